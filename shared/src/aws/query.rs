//! Reading parts of an item collection: steps, turns, archives. Strongly consistent, page by page.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::{KeysAndAttributes, Select};

use super::chunks::Joiner;
use super::items::{Item, Key, Table, s, turn_of};
use super::unavailable;
use crate::domain::id::{ConversationId, RunId, TenantId};
use crate::domain::state::RunState;
use crate::domain::step::Step;
use crate::domain::turn::Turn;
use crate::engine::ports::JournalError;
use crate::operate::Range;

/// Keys that DynamoDB reads in one call.
const BATCH: usize = 100;
/// Pages of one query: 1 MB each. More than any agent's limits allow and than a function's memory takes; nothing loops for ever.
pub(super) const PAGES: usize = 64;
/// What an answer can carry: a reader who set a limit gets no more steps than fit, unless one alone is larger.
const ENOUGH: usize = 1_000_000;

/// A stretch of sort keys in one partition, both ends inclusive.
#[derive(Debug, Clone)]
pub(super) struct Stretch {
    pub(super) pk: String,
    pub(super) from: String,
    pub(super) to: String,
}

/// Some items, and where the next page begins.
pub(super) struct ItemPage {
    pub(super) items: Vec<Item>,
    pub(super) next: Option<Item>,
}

pub(super) fn too_much() -> JournalError {
    JournalError::Unavailable("more is stored here than can be read at once".into())
}

impl Table {
    pub(super) async fn get(&self, key: Key) -> Result<Option<Item>, JournalError> {
        let get = self.client.get_item().table_name(&self.name).set_key(Some(key.into_item())).consistent_read(true);
        Ok(get.send().await.map_err(unavailable)?.item)
    }

    /// The items with these keys, in any order; what does not exist is left out. A key may be there twice: an index may show a record
    /// at its old place and at its new one for a moment, and DynamoDB refuses to be asked twice for one item.
    pub(super) async fn get_all(&self, keys: impl IntoIterator<Item = Key>) -> Result<Vec<Item>, JournalError> {
        let keys: BTreeSet<(String, String)> = keys.into_iter().map(|Key { pk, sk }| (pk, sk)).collect();
        let keys: Vec<Item> = keys.into_iter().map(|(pk, sk)| Key { pk, sk }.into_item()).collect();
        let mut items = Vec::with_capacity(keys.len());
        for some in keys.chunks(BATCH) {
            let wanted = KeysAndAttributes::builder().set_keys(Some(some.to_vec())).consistent_read(true).build().map_err(unavailable)?;
            let mut asked = Some(HashMap::from([(self.name.clone(), wanted)]));
            for _ in 0..PAGES {
                let Some(request) = asked.take().filter(|keys| !keys.is_empty()) else { break };
                let page = self.client.batch_get_item().set_request_items(Some(request)).send().await.map_err(unavailable)?;
                items.extend(page.responses.unwrap_or_default().into_values().flatten());
                asked = page.unprocessed_keys;
            }
            if asked.is_some_and(|keys| !keys.is_empty()) {
                return Err(too_much());
            }
        }
        Ok(items)
    }

    /// Items of a partition from the last key below `below` on, backwards, at most `limit`: as many pages as that takes.
    pub(super) async fn newest_below(&self, pk: &str, below: &str, limit: usize) -> Result<Vec<Item>, JournalError> {
        let (mut items, mut start) = (Vec::new(), None);
        for _ in 0..PAGES {
            let query = self
                .client
                .query()
                .table_name(&self.name)
                .key_condition_expression("pk = :pk AND sk < :below")
                .expression_attribute_values(":pk", s(pk))
                .expression_attribute_values(":below", s(below))
                .consistent_read(true)
                .scan_index_forward(false)
                .limit(i32::try_from(limit - items.len()).unwrap_or(i32::MAX))
                .set_exclusive_start_key(start);
            let page = query.send().await.map_err(unavailable)?;
            items.extend(page.items.unwrap_or_default());
            start = page.last_evaluated_key;
            if start.is_none() || items.len() >= limit {
                return Ok(items);
            }
        }
        Err(too_much())
    }

    /// One page of a stretch, in order, at most `limit` items.
    async fn page(&self, stretch: &Stretch, limit: Option<usize>, start: Option<Item>) -> Result<ItemPage, JournalError> {
        // DynamoDB refuses a range whose end is before its beginning, which a caller's cursor can ask for.
        if stretch.from > stretch.to {
            return Ok(ItemPage { items: Vec::new(), next: None });
        }
        let query = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :to")
            .expression_attribute_values(":pk", s(&stretch.pk))
            .expression_attribute_values(":from", s(&stretch.from))
            .expression_attribute_values(":to", s(&stretch.to))
            .consistent_read(true)
            .set_limit(limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX)))
            .set_exclusive_start_key(start);
        let page = query.send().await.map_err(unavailable)?;
        Ok(ItemPage { items: page.items.unwrap_or_default(), next: page.last_evaluated_key })
    }

    /// All items of a stretch; with a limit, at most so many and no more than a page.
    pub(super) async fn items(&self, stretch: &Stretch, limit: Option<usize>) -> Result<Vec<Item>, JournalError> {
        let (mut items, mut start) = (Vec::new(), None);
        for _ in 0..PAGES {
            let page = self.page(stretch, limit, start).await?;
            items.extend(page.items);
            start = page.next;
            if start.is_none() || limit.is_some() {
                return Ok(items);
            }
        }
        Err(too_much())
    }

    /// Keys of one page of a whole partition.
    pub(super) async fn keys(&self, pk: &str, start: Option<Item>) -> Result<ItemPage, JournalError> {
        let query = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", s(pk))
            .projection_expression("pk, sk")
            .consistent_read(true)
            .set_exclusive_start_key(start);
        let page = query.send().await.map_err(unavailable)?;
        Ok(ItemPage { items: page.items.unwrap_or_default(), next: page.last_evaluated_key })
    }

    /// Steps after one, in order: all of them, or at most `limit`.
    pub(super) async fn read_steps(
        &self,
        tenant: &TenantId,
        run: RunId,
        after: u32,
        limit: Option<usize>,
    ) -> Result<Vec<Step>, JournalError> {
        let Key { pk, sk: from } = Key::step(tenant, run, after.saturating_add(1));
        let stretch = Stretch { pk, from, to: "step#~".into() };
        let (mut read, mut start) = (Joiner::default(), None);
        for _ in 0..PAGES {
            // A step may be several items; the one that is begun counts until it is whole.
            let left = limit.map(|limit| limit.saturating_sub(read.steps.len() + usize::from(read.lacking > 0)) + read.lacking);
            let page = self.page(&stretch, left, start).await?;
            for item in &page.items {
                read.take(item)?;
            }
            start = page.next;
            let is_enough = limit.is_some_and(|limit| read.lacking == 0 && (read.steps.len() >= limit || read.bytes >= ENOUGH));
            if start.is_none() || is_enough {
                return Ok(read.steps);
            }
        }
        Err(too_much())
    }

    /// Turns after one run and before another, both exclusive, in order.
    pub(super) async fn read_turns(
        &self,
        tenant: &TenantId,
        conversation: ConversationId,
        after: Option<RunId>,
        before: Option<RunId>,
        limit: Option<usize>,
    ) -> Result<Vec<Turn>, JournalError> {
        let bound = |run: RunId| Key::turn(tenant, conversation, run).sk;
        let stretch = Stretch {
            pk: Key::conversation(tenant, conversation).pk,
            from: after.map_or_else(|| "turn#".into(), bound),
            to: before.map_or_else(|| "turn#~".into(), bound),
        };
        // One more than asked for: the bounds of BETWEEN are inclusive, ours are not.
        let items = self.items(&stretch, limit.map(|limit| limit.saturating_add(1))).await?;
        let turns: Vec<Turn> = items.into_iter().map(turn_of).collect::<Result<_, _>>()?;
        let outside = |turn: &Turn| Some(turn.run_id) != after && Some(turn.run_id) != before;
        Ok(turns.into_iter().filter(outside).take(limit.unwrap_or(usize::MAX)).collect())
    }

    /// Ids of one shard of an index, newest first.
    pub(super) async fn shard_ids(
        &self,
        partition: String,
        state: Option<RunState>,
        range: Range,
        limit: usize,
    ) -> Result<Vec<RunId>, JournalError> {
        let (index, pk, sk) = index_of(state);
        let page = self
            .client
            .query()
            .table_name(&self.name)
            .index_name(index)
            .key_condition_expression("#pk = :pk AND #sk BETWEEN :from AND :to")
            .expression_attribute_names("#pk", pk)
            .expression_attribute_names("#sk", sk)
            .expression_attribute_values(":pk", s(partition))
            .expression_attribute_values(":from", s(range.after.map_or_else(|| RunId::PREFIX.into(), String::from)))
            .expression_attribute_values(":to", s(range.before.map_or_else(|| "run_~".into(), String::from)))
            .scan_index_forward(false)
            // The bounds are inclusive, ours are not. Keys only: a hundred are far below a page's 1 MB.
            .limit(i32::try_from(limit.saturating_add(2)).unwrap_or(i32::MAX));
        let items = page.send().await.map_err(unavailable)?.items.unwrap_or_default();
        let ids = items.iter().filter_map(|item| item.get(sk)?.as_s().ok()?.parse().ok());
        Ok(ids.filter(|id| Some(*id) != range.before && Some(*id) != range.after).collect())
    }

    /// How many runs one shard of the index by state has.
    pub(super) async fn shard_count(&self, partition: String, state: RunState) -> Result<u64, JournalError> {
        let (index, pk, _) = index_of(Some(state));
        let (mut count, mut start) = (0, None);
        for _ in 0..PAGES {
            let page = self
                .client
                .query()
                .table_name(&self.name)
                .index_name(index)
                .select(Select::Count)
                .key_condition_expression("#pk = :pk")
                .expression_attribute_names("#pk", pk)
                .expression_attribute_values(":pk", s(&partition))
                .set_exclusive_start_key(start);
            let page = page.send().await.map_err(unavailable)?;
            count += u64::try_from(page.count).unwrap_or(0);
            start = page.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        Ok(count)
    }
}

const fn index_of(state: Option<RunState>) -> (&'static str, &'static str, &'static str) {
    match state {
        None => ("by_time", "gsi1pk", "gsi1sk"),
        Some(_) => ("by_state", "gsi2pk", "gsi2sk"),
    }
}
