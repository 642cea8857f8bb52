//! The records in DynamoDB, as people see them.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, Select, TransactWriteItem};
use futures_util::future::try_join_all;

use super::items::{Item, Key, SHARDS, Table, conversation_of, event_of, index_partition, n, run_item, run_of, s, step_of, turn_of};
use super::journal::Refused;
use super::unavailable;
use crate::domain::event::Event;
use crate::domain::id::{ConversationId, EventId, RunId, TenantId};
use crate::domain::run::Run;
use crate::domain::state::{Command, RunState};
use crate::domain::step::Step;
use crate::domain::turn::{Conversation, Turn};
use crate::engine::ports::JournalError;
use crate::operate::{Range, Records, Requeued};

/// Pages of one query: 1 MB each. More than any agent's limits allow; nothing loops for ever.
const PAGES: usize = 64;

impl Table {
    pub(super) async fn get(&self, key: Key) -> Result<Option<Item>, JournalError> {
        let get = self.client.get_item().table_name(&self.name).set_key(Some(key.into_item())).consistent_read(true);
        Ok(get.send().await.map_err(unavailable)?.item)
    }

    /// The items of `pk` between two sort keys, both inclusive, in order, at most `limit`.
    async fn between(&self, pk: String, from: String, to: String, limit: Option<usize>) -> Result<Vec<Item>, JournalError> {
        // DynamoDB refuses a range whose end is before its beginning, which a caller's cursor can ask for.
        if from > to {
            return Ok(Vec::new());
        }
        let (mut items, mut start) = (Vec::new(), None);
        for _ in 0..PAGES {
            let left = limit.map(|limit| limit.saturating_sub(items.len()));
            let page = self
                .client
                .query()
                .table_name(&self.name)
                .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :to")
                .expression_attribute_values(":pk", s(&pk))
                .expression_attribute_values(":from", s(&from))
                .expression_attribute_values(":to", s(&to))
                .consistent_read(true)
                .set_limit(left.and_then(|left| i32::try_from(left).ok()))
                .set_exclusive_start_key(start);
            let page = page.send().await.map_err(unavailable)?;
            items.extend(page.items.unwrap_or_default());
            start = page.last_evaluated_key;
            // One page (1 MB) is what an answer can carry; without a limit it is the engine that reads, and needs all.
            if start.is_none() || limit.is_some() {
                break;
            }
        }
        Ok(items)
    }

    pub(super) async fn steps_after(
        &self,
        tenant: &TenantId,
        run: RunId,
        after: u32,
        limit: Option<usize>,
    ) -> Result<Vec<Step>, JournalError> {
        let (from, to) = (Key::step(tenant, run, after.saturating_add(1)), Key::step(tenant, run, 999_999));
        self.between(from.pk, from.sk, to.sk, limit).await?.iter().map(step_of).collect()
    }

    /// Turns after one run and before another, both exclusive, in order.
    pub(super) async fn turns(
        &self,
        tenant: &TenantId,
        conversation: ConversationId,
        after: Option<RunId>,
        before: Option<RunId>,
        limit: Option<usize>,
    ) -> Result<Vec<Turn>, JournalError> {
        let bound = |run: RunId| Key::turn(tenant, conversation, run).sk;
        // One more than asked for: the bounds of BETWEEN are inclusive, ours are not.
        let items = self
            .between(
                Key::conversation(tenant, conversation).pk,
                after.map_or_else(|| "turn#".into(), bound),
                before.map_or_else(|| "turn#~".into(), bound),
                limit.map(|limit| limit + 1),
            )
            .await?;
        let turns: Vec<Turn> = items.into_iter().map(turn_of).collect::<Result<_, _>>()?;
        let outside = |turn: &Turn| Some(turn.run_id) != after && Some(turn.run_id) != before;
        Ok(turns.into_iter().filter(outside).take(limit.unwrap_or(usize::MAX)).collect())
    }

    async fn shard_ids(&self, partition: String, state: Option<RunState>, range: Range, limit: usize) -> Result<Vec<RunId>, JournalError> {
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
            .limit(i32::try_from(limit + 2).unwrap_or(i32::MAX));
        let items = page.send().await.map_err(unavailable)?.items.unwrap_or_default();
        let ids = items.iter().filter_map(|item| item.get(sk)?.as_s().ok()?.parse().ok());
        Ok(ids.filter(|id| Some(*id) != range.before && Some(*id) != range.after).collect())
    }

    async fn shard_count(&self, partition: String, state: RunState) -> Result<u64, JournalError> {
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

#[async_trait]
impl Records for Table {
    async fn run(&self, tenant: &TenantId, id: RunId) -> Result<Option<Run>, JournalError> {
        self.get(Key::run(tenant, id)).await?.map(run_of).transpose()
    }

    async fn event(&self, tenant: &TenantId, id: EventId) -> Result<Option<Event>, JournalError> {
        self.get(Key::event(tenant, id)).await?.as_ref().map(event_of).transpose()
    }

    async fn steps(&self, tenant: &TenantId, run: RunId, after: u32, limit: usize) -> Result<Vec<Step>, JournalError> {
        self.steps_after(tenant, run, after, Some(limit)).await
    }

    async fn ids(&self, tenant: &TenantId, state: Option<RunState>, range: Range, limit: usize) -> Result<Vec<RunId>, JournalError> {
        let shards = (0..SHARDS).map(|shard| self.shard_ids(index_partition(tenant, state, shard), state, range, limit));
        let mut ids: Vec<RunId> = try_join_all(shards).await?.into_iter().flatten().collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids.truncate(limit);
        Ok(ids)
    }

    async fn runs(&self, tenant: &TenantId, ids: &[RunId]) -> Result<Vec<Run>, JournalError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<Item> = ids.iter().map(|id| Key::run(tenant, *id).into_item()).collect();
        let wanted = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build().map_err(unavailable)?;
        let mut asked = Some(std::collections::HashMap::from([(self.name.clone(), wanted)]));
        let mut runs = Vec::with_capacity(ids.len());
        for _ in 0..PAGES {
            let Some(request) = asked.take().filter(|keys| !keys.is_empty()) else { break };
            let page = self.client.batch_get_item().set_request_items(Some(request)).send().await.map_err(unavailable)?;
            for item in page.responses.unwrap_or_default().into_values().flatten() {
                runs.push(run_of(item)?);
            }
            asked = page.unprocessed_keys;
        }
        // DynamoDB answers in any order.
        runs.sort_unstable_by_key(|run: &Run| std::cmp::Reverse(run.id));
        Ok(runs)
    }

    async fn count(&self, tenant: &TenantId, state: RunState) -> Result<u64, JournalError> {
        let shards = (0..SHARDS).map(|shard| self.shard_count(index_partition(tenant, Some(state), shard), state));
        Ok(try_join_all(shards).await?.into_iter().sum())
    }

    async fn conversation(
        &self,
        tenant: &TenantId,
        id: ConversationId,
        after: Option<RunId>,
        limit: usize,
    ) -> Result<Option<(Conversation, Vec<Turn>)>, JournalError> {
        let Some(item) = self.get(Key::conversation(tenant, id)).await? else { return Ok(None) };
        Ok(Some((conversation_of(item)?, self.turns(tenant, id, after, None, Some(limit)).await?)))
    }

    async fn cancel(&self, run: &Run) -> Result<(), JournalError> {
        let states: Vec<(String, AttributeValue)> =
            RunState::sources_of(Command::Cancel).enumerate().map(|(i, state)| (format!(":s{i}"), s(state.as_str()))).collect();
        let names: Vec<&str> = states.iter().map(|(name, _)| name.as_str()).collect();
        let failures = serde_dynamo::to_attribute_value(&run.failures).map_err(unavailable)?;
        let mut update = self
            .update(Key::run(&run.tenant, run.id))
            .update_expression(
                "SET #state = :cancelled, failures = :failures, updated_at = :at, ended_at = :at, lease_until_ms = :none \
                 REMOVE gsi2pk, gsi2sk, lease_owner",
            )
            .condition_expression(format!("#state IN ({})", names.join(", ")))
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":cancelled", s(RunState::Cancelled.as_str()))
            .expression_attribute_values(":failures", failures)
            .expression_attribute_values(":none", n(0))
            .expression_attribute_values(":at", s(crate::domain::clock::rfc3339_millis::format(run.updated_at)));
        for (name, value) in states {
            update = update.expression_attribute_values(name, value);
        }
        let update = TransactWriteItem::builder().update(update.build().map_err(unavailable)?).build();
        match self.transact(vec![update.clone(), self.free_conversation(run)?]).await {
            Ok(()) => Ok(()),
            Err(Refused::Condition(1, _)) => match self.transact(vec![update]).await {
                Ok(()) => Ok(()),
                Err(Refused::Condition(..)) => Err(JournalError::Lost),
                Err(Refused::Error(error)) => Err(error),
            },
            Err(Refused::Condition(..)) => Err(JournalError::Lost),
            Err(Refused::Error(error)) => Err(error),
        }
    }

    async fn requeue(&self, run: &Run) -> Result<Requeued, JournalError> {
        let put = self
            .put(run_item(run)?)
            .condition_expression("#state IN (:dead, :queued) AND epoch = :epoch AND lease_no = :lease")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":dead", s(RunState::Dead.as_str()))
            .expression_attribute_values(":queued", s(RunState::Queued.as_str()))
            .expression_attribute_values(":epoch", n(run.epoch - 1))
            .expression_attribute_values(":lease", n(run.lease_no));
        let put = TransactWriteItem::builder().put(put.build().map_err(unavailable)?).build();
        match self.transact(vec![put, self.take_conversation(run)?]).await {
            Ok(()) => Ok(Requeued::Yes),
            Err(Refused::Condition(1, _)) => Ok(Requeued::ConversationBusy),
            Err(Refused::Condition(..)) => Err(JournalError::Lost),
            Err(Refused::Error(error)) => Err(error),
        }
    }
}
