//! The index `dead` in DynamoDB. Of one tenant it is read in order; of all tenants it is scanned: it is sparse, so a scan reads the
//! dead and nothing else.

use async_trait::async_trait;
use futures_util::future::try_join_all;

use super::items::{DEAD, Item, SHARDS, Table, dead_bound, dead_of, dead_partition, dead_sort_key, s};
use super::query::{PAGES, too_much};
use super::unavailable;
use crate::domain::dead::DeadEntry;
use crate::domain::id::TenantId;
use crate::engine::ports::JournalError;
use crate::operate::{DeadIndex, DeadRange, Whose};

/// Sorts behind every digit and letter of a key.
const LAST: &str = "~";

impl DeadRange {
    /// Sort keys between which it lies, both inclusive. The one that it begins behind lies on a bound.
    fn bounds(&self) -> (String, String) {
        let behind = self.behind.map(|(died_at, run)| dead_sort_key(died_at, run));
        let from = self.since.map(dead_bound).unwrap_or_default().max("0".to_owned());
        // The smallest key of the first millisecond outside is not there: keys have a run behind it.
        let to = self.until.map_or_else(|| LAST.to_owned(), dead_bound);
        match behind {
            Some(behind) if self.oldest_first => (from.max(behind), to),
            Some(behind) => (from, to.min(behind)),
            None => (from, to),
        }
    }
}

#[async_trait]
impl DeadIndex for Table {
    async fn dead(&self, whose: Whose<'_>, range: &DeadRange, limit: usize) -> Result<Vec<DeadEntry>, JournalError> {
        let (from, to) = range.bounds();
        // DynamoDB refuses a range whose end is before its beginning.
        if from > to || limit == 0 {
            return Ok(Vec::new());
        }
        let found = match whose {
            Whose::Tenant(tenant) => {
                let shards = (0..SHARDS).map(|shard| self.dead_shard(tenant, shard, (&from, &to), range.oldest_first, limit));
                try_join_all(shards).await?
            }
            Whose::All => {
                let segments = (0..i32::from(SHARDS)).map(|segment| self.dead_segment(segment, (&from, &to), range, limit));
                try_join_all(segments).await?
            }
        };
        Ok(range.select(found.into_iter().flatten(), limit))
    }
}

impl Table {
    async fn dead_shard(
        &self,
        tenant: &TenantId,
        shard: u8,
        (from, to): (&str, &str),
        oldest_first: bool,
        limit: usize,
    ) -> Result<Vec<DeadEntry>, JournalError> {
        let (mut found, mut start) = (Vec::new(), None);
        // One lies on a bound.
        let enough = limit.saturating_add(1);
        for _ in 0..PAGES {
            let query = self
                .client
                .query()
                .table_name(&self.name)
                .index_name(DEAD)
                .key_condition_expression("gsi4pk = :pk AND gsi4sk BETWEEN :from AND :to")
                .expression_attribute_values(":pk", s(dead_partition(tenant, shard)))
                .expression_attribute_values(":from", s(from))
                .expression_attribute_values(":to", s(to))
                .scan_index_forward(oldest_first)
                .limit(i32::try_from(enough - found.len()).unwrap_or(i32::MAX))
                .set_exclusive_start_key(start);
            let page = query.send().await.map_err(unavailable)?;
            take(&mut found, page.items)?;
            start = page.last_evaluated_key;
            if start.is_none() || found.len() >= enough {
                return Ok(found);
            }
        }
        Err(too_much())
    }

    async fn dead_segment(
        &self,
        segment: i32,
        (from, to): (&str, &str),
        range: &DeadRange,
        limit: usize,
    ) -> Result<Vec<DeadEntry>, JournalError> {
        let (mut found, mut start) = (Vec::new(), None);
        for _ in 0..PAGES {
            let scan = self
                .client
                .scan()
                .table_name(&self.name)
                .index_name(DEAD)
                .segment(segment)
                .total_segments(i32::from(SHARDS))
                .filter_expression("gsi4sk BETWEEN :from AND :to")
                .expression_attribute_values(":from", s(from))
                .expression_attribute_values(":to", s(to))
                .set_exclusive_start_key(start);
            let page = scan.send().await.map_err(unavailable)?;
            take(&mut found, page.items)?;
            // A segment is in no order: what is kept are the first ones so far, not all that was read.
            if found.len() > limit.saturating_mul(2) {
                found = range.select(found, limit);
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(found);
            }
        }
        Err(too_much())
    }
}

/// Adds the entries of a page. Its items go at once: they take several times the room.
fn take(found: &mut Vec<DeadEntry>, page: Option<Vec<Item>>) -> Result<(), JournalError> {
    for item in page.unwrap_or_default() {
        found.push(dead_of(&item)?);
    }
    Ok(())
}
