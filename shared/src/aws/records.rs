//! The records in DynamoDB, as people see them.

use async_trait::async_trait;
use aws_sdk_dynamodb::error::SdkError;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use jiff::civil::Date;

use super::expression::Expression;
use super::items::{Key, SHARDS, Table, archive_of, delta_of, index_partition, n, run_of, spend_of};
use super::query::Stretch;
use super::unavailable;
use crate::domain::delta::{Delta, Try};
use crate::domain::id::{ConversationId, RunId, TenantId};
use crate::domain::run::{Archive, Run};
use crate::domain::spend::Spend;
use crate::domain::state::RunState;
use crate::domain::step::Step;
use crate::domain::turn::Turn;
use crate::engine::ports::JournalError;
use crate::operate::{Erasure, Range, Records};

#[async_trait]
impl Records for Table {
    async fn steps_after(&self, tenant: &TenantId, run: RunId, after: u32, limit: usize) -> Result<Vec<Step>, JournalError> {
        self.read_steps(tenant, run, after, Some(limit)).await
    }

    async fn deltas(
        &self,
        tenant: &TenantId,
        run: RunId,
        step: u32,
        from: Option<(Try, u32)>,
        limit: usize,
    ) -> Result<Vec<Delta>, JournalError> {
        let pk = Key::run(tenant, run).pk;
        let from = from.map_or_else(|| format!("delta#{step:06}#"), |(attempt, seq)| Key::delta(tenant, run, step, attempt, seq).sk);
        let stretch = Stretch { pk, from, to: format!("delta#{step:06}#~") };
        self.items(&stretch, Some(limit)).await?.into_iter().map(delta_of).collect()
    }

    async fn watch(&self, tenant: &TenantId, run: RunId, until: Timestamp) -> Result<(), JournalError> {
        let until = n(until.as_millisecond());
        let parts = Expression::default().if_there("pk").set("watched_until_ms", until).into_parts();
        let update = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(Key::run(tenant, run).into_item()))
            .update_expression(parts.update)
            .set_condition_expression(parts.condition)
            .set_expression_attribute_names(parts.names)
            .set_expression_attribute_values(parts.values);
        match self.update_alone(update).await {
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => Ok(()),
            done => done.map(|_| ()).map_err(unavailable),
        }
    }

    async fn archives(&self, run: &Run) -> Result<Vec<Archive>, JournalError> {
        if run.archives == 0 {
            return Ok(Vec::new());
        }
        let stretch = Stretch { pk: Key::run(&run.tenant, run.id).pk, from: "archive#".into(), to: "archive#~".into() };
        self.items(&stretch, None).await?.iter().map(archive_of).collect()
    }

    async fn ids(&self, tenant: &TenantId, state: Option<RunState>, range: Range, limit: usize) -> Result<Vec<RunId>, JournalError> {
        let shards = (0..SHARDS).map(|shard| self.shard_ids(index_partition(tenant, state, shard), state, range, limit));
        let mut ids: Vec<RunId> = try_join_all(shards).await?.into_iter().flatten().collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids.truncate(limit);
        Ok(ids)
    }

    async fn runs(&self, tenant: &TenantId, ids: &[RunId]) -> Result<Vec<Run>, JournalError> {
        let items = self.get_all(ids.iter().map(|id| Key::run(tenant, *id))).await?;
        let mut runs: Vec<Run> = items.into_iter().map(run_of).collect::<Result<_, _>>()?;
        // DynamoDB answers in any order.
        runs.sort_unstable_by_key(|run: &Run| std::cmp::Reverse(run.id));
        Ok(runs)
    }

    async fn count(&self, tenant: &TenantId, state: RunState) -> Result<u64, JournalError> {
        let shards = (0..SHARDS).map(|shard| self.shard_count(index_partition(tenant, Some(state), shard), state));
        Ok(try_join_all(shards).await?.into_iter().sum())
    }

    async fn spend(&self, tenant: &TenantId, day: Date) -> Result<Spend, JournalError> {
        let partitions = (0..SHARDS).map(|partition| async move {
            let Key { pk, .. } = Key::spend(tenant, day, partition);
            self.items(&Stretch { pk, from: "00".into(), to: "99".into() }, None).await
        });
        try_join_all(partitions).await?.into_iter().flatten().map(spend_of).sum()
    }

    async fn turns(
        &self,
        tenant: &TenantId,
        conversation: ConversationId,
        after: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<Turn>, JournalError> {
        self.read_turns(tenant, conversation, after, None, Some(limit)).await
    }

    async fn erase(&self, tenant: &TenantId, what: Erasure) -> Result<(), JournalError> {
        match what {
            Erasure::Run(run) => self.erase_run(tenant, run).await,
            Erasure::Conversation(conversation) => self.erase_partition(Key::conversation(tenant, conversation)).await,
        }
    }
}
