//! The index `due` and the heartbeats in DynamoDB.
//!
//! | item | pk | sk |
//! |---|---|---|
//! | the sweeper's mark | `#heartbeat` | `sweeper` |
//! | the consumer's mark | `#heartbeat` | `worker` |
//!
//! No tenant is named `#heartbeat`: `#` ends every tenant's part of a key. [`super::probes`] reads the marks.

use async_trait::async_trait;
use aws_sdk_dynamodb::error::SdkError;
use jiff::Timestamp;

use super::items::{Item, Key, Table, due_partition, due_sort_key, n, s};
use super::unavailable;
use crate::domain::clock::{between, rfc3339_millis};
use crate::domain::task::Canary;
use crate::engine::ports::JournalError;
use crate::heartbeat::{DepthAt, Heartbeats, Marks, Oldest, REMEMBERED, Standing};
use crate::sweep::{DueEntry, DueIndex, Signs, Tally};

pub(super) const HEARTBEAT: &str = "#heartbeat";
pub(super) const SWEEPER: &str = "sweeper";
pub(super) const WORKER: &str = "worker";
/// The sweeper must read every shard that is written.
const _: () = assert!(super::items::SHARDS == crate::sweep::SHARDS);

/// See [`due_sort_key`].
fn entry_of(item: &Item) -> Option<DueEntry> {
    let mut parts = item.get("gsi3sk")?.as_s().ok()?.splitn(3, '#');
    let at = Timestamp::from_millisecond(parts.next()?.parse().ok()?).ok()?;
    Some(DueEntry { at, tenant: parts.next()?.parse().ok()?, run: parts.next()?.parse().ok()? })
}

#[async_trait]
impl DueIndex for Table {
    async fn due(&self, shard: u8, after: Option<&DueEntry>, limit: usize) -> Result<Vec<DueEntry>, JournalError> {
        let start = after.map(|entry| {
            let mut key = Key::run(&entry.tenant, entry.run).into_item();
            key.insert("gsi3pk".into(), s(due_partition(shard)));
            key.insert("gsi3sk".into(), s(due_sort_key(entry.at.as_millisecond(), &entry.tenant, entry.run)));
            key
        });
        let query = self
            .client
            .query()
            .table_name(&self.name)
            .index_name("due")
            .key_condition_expression("gsi3pk = :pk")
            .expression_attribute_values(":pk", s(due_partition(shard)))
            .set_exclusive_start_key(start)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX));
        let items = query.send().await.map_err(unavailable)?.items.unwrap_or_default();
        let read =
            |item: &Item| entry_of(item).ok_or_else(|| JournalError::Unavailable("an entry of the index `due` cannot be read".into()));
        items.iter().map(read).collect()
    }
}

#[async_trait]
impl Signs for Table {
    async fn marks(&self) -> Result<Marks, JournalError> {
        Self::marks(self).await
    }
}

#[async_trait]
impl Heartbeats for Table {
    async fn swept(&self, at: Timestamp, tally: &Tally, standing: Option<&Standing>) -> Result<(), JournalError> {
        let tally = serde_dynamo::to_attribute_value(tally).map_err(unavailable)?;
        let mark = self.client.update_item().table_name(&self.name).key("pk", s(HEARTBEAT)).key("sk", s(SWEEPER));
        let mark = mark
            .expression_attribute_names("#at", "at")
            .expression_attribute_values(":at", s(rfc3339_millis::format(at)))
            .expression_attribute_values(":tally", tally);
        let mut update = "SET #at = :at, first_at = if_not_exists(first_at, :at), tally = :tally".to_owned();
        let (mut depths, mut oldest) = (None, None);
        if let Some(Standing { depth, oldest: found }) = standing {
            // Two ticks at once may each miss what the other one saw; the next ones are whole again.
            if let Some(depth) = depth {
                // That somebody was at work is told even if what was written before cannot be read.
                let mut seen = self.marks().await.map(|marks| marks.depths).unwrap_or_default();
                seen.push(DepthAt { at, depth: *depth });
                let last = seen.len().saturating_sub(REMEMBERED);
                depths = Some(serde_dynamo::to_attribute_value(&seen[last..]).map_err(unavailable)?);
                update += ", depths = :depths";
            }
            oldest = found.as_ref().map(serde_dynamo::to_attribute_value).transpose().map_err(unavailable)?;
            update += if oldest.is_some() { ", oldest = :oldest" } else { " REMOVE oldest" };
        }
        let mut mark = mark.update_expression(update);
        for (name, value) in [(":depths", depths), (":oldest", oldest)] {
            if let Some(value) = value {
                mark = mark.expression_attribute_values(name, value);
            }
        }
        mark.send().await.map(|_| ()).map_err(unavailable)
    }

    async fn oldest(&self) -> Result<Option<Oldest>, JournalError> {
        self.marks().await.map(|marks| marks.oldest)
    }

    async fn arrived(&self, canary: &Canary, at: Timestamp) -> Result<(), JournalError> {
        let put = self
            .client
            .put_item()
            .table_name(&self.name)
            .item("pk", s(HEARTBEAT))
            .item("sk", s(WORKER))
            .item("at", s(rfc3339_millis::format(at)))
            .item("sent_at", s(rfc3339_millis::format(canary.sent_at)))
            .item("latency_ms", n(between(canary.sent_at, at).as_millis()))
            // A late one must not hide that newer ones arrived. Texts of one length compare as the times do.
            .condition_expression("attribute_not_exists(pk) OR sent_at <= :sent_at")
            .expression_attribute_values(":sent_at", s(rfc3339_millis::format(canary.sent_at)));
        match put.send().await {
            Ok(_) => Ok(()),
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => Ok(()),
            Err(error) => Err(unavailable(error)),
        }
    }
}
