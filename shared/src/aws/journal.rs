//! The journal in DynamoDB. Each write is one call: a transaction that names the lease, or one conditional update.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{Put, ReturnValue, ReturnValuesOnConditionCheckFailure as OnFailure, TransactWriteItem, Update};
use jiff::Timestamp;

use super::items::{Item, Key, Table, conversation_of, event_item, event_of, n, run_item, run_of, s, step_item, turn_item};
use super::unavailable;
use crate::domain::clock::rfc3339_millis;
use crate::domain::event::Event;
use crate::domain::id::{EventId, TenantId};
use crate::domain::message::Message;
use crate::domain::run::Run;
use crate::domain::state::RunState;
use crate::domain::step::Step;
use crate::domain::task::Task;
use crate::domain::turn::{Conversation, Turn};
use crate::engine::ports::{AcceptError, Acceptance, Claim, Claimed, Ending, Journal, JournalError, Lease, Refusal};

/// A transaction that collided with another, or was throttled, had no effect, and the SDK does not look into its reasons: it is
/// tried again so often, after a back-off that doubles from this.
const TRIES: u32 = 6;
const BACKOFF: Duration = Duration::from_millis(50);
const PASSING: [&str; 3] = ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"];
const IS_HELD: &str = "lease_no = :lease AND #state = :running";

/// Why a transaction was not carried out.
pub(super) enum Refused {
    /// The condition of the write with this index failed; the item as it is, if asked for.
    Condition(usize, Option<Item>),
    /// The table could not be reached.
    Error(JournalError),
}

impl From<JournalError> for Refused {
    fn from(error: JournalError) -> Self {
        Self::Error(error)
    }
}

/// A failed condition means that the lease is somebody else's.
fn lost(refused: Refused) -> JournalError {
    match refused {
        Refused::Condition(..) => JournalError::Lost,
        Refused::Error(error) => error,
    }
}

/// `result` of a builder whose required fields are all set here.
fn built<T>(result: Result<T, aws_sdk_dynamodb::error::BuildError>) -> Result<T, JournalError> {
    result.map_err(unavailable)
}

impl Table {
    /// All of these or none.
    pub(super) async fn transact(&self, writes: Vec<TransactWriteItem>) -> Result<(), Refused> {
        for attempt in 1.. {
            // The SDK adds a token, so that its own retries of one call have one effect.
            let sent = self.client.transact_write_items().set_transact_items(Some(writes.clone())).send().await;
            let error = match sent {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            let reasons = match &error {
                SdkError::ServiceError(e) => match e.err() {
                    TransactWriteItemsError::TransactionCanceledException(e) => e.cancellation_reasons(),
                    _ => &[],
                },
                _ => &[],
            };
            if let Some(index) = reasons.iter().position(|reason| reason.code() == Some("ConditionalCheckFailed")) {
                return Err(Refused::Condition(index, reasons[index].item().cloned()));
            }
            let will_pass = reasons.iter().any(|reason| reason.code().is_some_and(|code| PASSING.contains(&code)));
            if !will_pass || attempt >= TRIES {
                return Err(unavailable(error).into());
            }
            tokio::time::sleep(BACKOFF.saturating_mul(1 << attempt).mul_f64(fastrand::f64())).await;
        }
        unreachable!("the loop returns")
    }

    pub(super) fn put(&self, item: Item) -> aws_sdk_dynamodb::types::builders::PutBuilder {
        Put::builder().table_name(&self.name).set_item(Some(item))
    }

    pub(super) fn put_new(&self, item: Item) -> Result<TransactWriteItem, JournalError> {
        let put = built(self.put(item).condition_expression("attribute_not_exists(pk)").build())?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Writes the whole record of a run whose lease is held.
    fn put_held(&self, run: &Run) -> Result<TransactWriteItem, JournalError> {
        let put = self
            .put(run_item(run)?)
            .condition_expression(IS_HELD)
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":lease", n(run.lease_no))
            .expression_attribute_values(":running", s(RunState::Running.as_str()));
        Ok(TransactWriteItem::builder().put(built(put.build())?).build())
    }

    pub(super) fn update(&self, key: Key) -> aws_sdk_dynamodb::types::builders::UpdateBuilder {
        Update::builder().table_name(&self.name).set_key(Some(key.into_item()))
    }

    /// Gives the conversation to the run if it is free, or already the run's.
    pub(super) fn take_conversation(&self, run: &Run) -> Result<TransactWriteItem, JournalError> {
        let update = self
            .update(Key::conversation(&run.tenant, run.conversation))
            .update_expression("SET active_run = :run, updated_at = :now")
            .condition_expression("attribute_not_exists(active_run) OR active_run = :run")
            .expression_attribute_values(":run", s(run.id))
            .expression_attribute_values(":now", s(rfc3339_millis::format(run.updated_at)));
        Ok(TransactWriteItem::builder().update(built(update.build())?).build())
    }

    /// Lets the next run of the conversation go.
    pub(super) fn free_conversation(&self, run: &Run) -> Result<TransactWriteItem, JournalError> {
        let update = self
            .update(Key::conversation(&run.tenant, run.conversation))
            .update_expression("SET updated_at = :now REMOVE active_run")
            .condition_expression("active_run = :run")
            .expression_attribute_values(":run", s(run.id))
            .expression_attribute_values(":now", s(rfc3339_millis::format(run.updated_at)));
        Ok(TransactWriteItem::builder().update(built(update.build())?).build())
    }

    fn open_conversation(&self, run: &Run) -> Result<TransactWriteItem, JournalError> {
        let (fields, condition) = if run.has_history {
            (
                "SET active_run = :run, last_run = :run, updated_at = :now",
                "attribute_exists(pk) AND attribute_not_exists(active_run) AND last_run < :run",
            )
        } else {
            ("SET active_run = :run, last_run = :run, updated_at = :now, created_at = :now, id = :id", "attribute_not_exists(pk)")
        };
        let mut update = self
            .update(Key::conversation(&run.tenant, run.conversation))
            .update_expression(fields)
            .condition_expression(condition)
            .return_values_on_condition_check_failure(OnFailure::AllOld)
            .expression_attribute_values(":run", s(run.id))
            .expression_attribute_values(":now", s(rfc3339_millis::format(run.created_at)));
        if !run.has_history {
            update = update.expression_attribute_values(":id", s(run.conversation));
        }
        Ok(TransactWriteItem::builder().update(built(update.build())?).build())
    }

    /// A redriven message wakes its dead run, if the conversation is free.
    async fn claim_dead(&self, run: Run, lease: &Lease) -> Result<Claim, JournalError> {
        let (old_lease, epoch) = (run.lease_no, run.epoch);
        let claimed = Claimed::from(run, lease);
        let put = self
            .put(run_item(&claimed.run)?)
            .condition_expression("#state = :dead AND epoch = :epoch AND lease_no = :lease")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":dead", s(RunState::Dead.as_str()))
            .expression_attribute_values(":epoch", n(epoch))
            .expression_attribute_values(":lease", n(old_lease));
        let writes = vec![TransactWriteItem::builder().put(built(put.build())?).build(), self.take_conversation(&claimed.run)?];
        match self.transact(writes).await {
            Ok(()) => Ok(Claim::Taken(Box::new(claimed))),
            // Somebody else moved it between our read and our write: look again when the message comes back.
            Err(Refused::Condition(0, _)) => Ok(Claim::Refused(Refusal::Leased { until: lease.now })),
            Err(Refused::Condition(..)) => Ok(Claim::Refused(Refusal::ConversationBusy)),
            Err(Refused::Error(error)) => Err(error),
        }
    }
}

/// Why a conversation, as it stands, does not take the run.
fn refused_by_conversation(item: Item, run: &Run) -> AcceptError {
    match conversation_of(item) {
        Ok(Conversation { active_run: None, last_run: Some(last), .. }) if last >= run.id => AcceptError::OutOfOrder { last },
        Ok(_) => AcceptError::ConversationBusy,
        Err(error) => AcceptError::Journal(error),
    }
}

#[async_trait]
impl Journal for Table {
    async fn accept(&self, acceptance: &Acceptance) -> Result<(), AcceptError> {
        let Acceptance { event, run } = acceptance;
        let writes = vec![
            self.open_conversation(run)?,
            self.put_new(event_item(&run.tenant, event)?)?,
            self.put_new(run_item(run)?)?,
            self.put_new(turn_item(run, event)?)?,
        ];
        self.transact(writes).await.map_err(|refused| match refused {
            Refused::Condition(0, Some(item)) => refused_by_conversation(item, run),
            Refused::Condition(0, None) => AcceptError::NoConversation,
            // Ids are random: this is our own write, seen twice.
            Refused::Condition(..) => AcceptError::Journal(JournalError::Lost),
            Refused::Error(error) => AcceptError::Journal(error),
        })
    }

    async fn claim(&self, task: &Task, lease: &Lease) -> Result<Claim, JournalError> {
        let shard_of = |state| super::items::index_partition(&task.tenant, Some(state), task.run.shard(super::items::SHARDS));
        let update = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(Key::run(&task.tenant, task.run).into_item()))
            .update_expression(
                "SET #state = :running, lease_no = lease_no + :one, lease_owner = :me, lease_until_ms = :until, attempts = :attempt, \
                 updated_at = :at, gsi2pk = :partition, gsi2sk = :run REMOVE ended_at",
            )
            .condition_expression(
                "epoch = :epoch AND (#state = :queued OR (#state = :running AND (lease_until_ms <= :now OR lease_owner = :me)))",
            )
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":running", s(RunState::Running.as_str()))
            .expression_attribute_values(":queued", s(RunState::Queued.as_str()))
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":me", s(&lease.owner))
            .expression_attribute_values(":now", n(lease.now.as_millisecond()))
            .expression_attribute_values(":until", n(lease.until.as_millisecond()))
            .expression_attribute_values(":attempt", n(lease.attempt))
            .expression_attribute_values(":at", s(rfc3339_millis::format(lease.now)))
            .expression_attribute_values(":epoch", n(task.epoch))
            .expression_attribute_values(":partition", s(shard_of(RunState::Running)))
            .expression_attribute_values(":run", s(task.run))
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(OnFailure::AllOld);
        let stored = match update.send().await {
            Ok(done) => {
                let old = run_of(done.attributes.ok_or(JournalError::NotFound)?)?;
                return Ok(Claim::Taken(Box::new(Claimed::from(old, lease))));
            }
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => match error.into_err() {
                UpdateItemError::ConditionalCheckFailedException(failed) => failed.item,
                other => return Err(unavailable(other)),
            },
            Err(error) => return Err(unavailable(error)),
        };
        let Some(run) = stored.map(run_of).transpose()? else { return Ok(Claim::Refused(Refusal::Missing)) };
        match Refusal::of(&run, task, lease) {
            Some(refusal) => Ok(Claim::Refused(refusal)),
            None if run.state == RunState::Dead => self.claim_dead(run, lease).await,
            None => Ok(Claim::Refused(Refusal::Leased { until: lease.now })),
        }
    }

    async fn event(&self, tenant: &TenantId, id: EventId) -> Result<Event, JournalError> {
        self.get(Key::event(tenant, id)).await?.as_ref().map(event_of).transpose()?.ok_or(JournalError::NotFound)
    }

    async fn steps(&self, run: &Run) -> Result<Vec<Step>, JournalError> {
        self.steps_after(&run.tenant, run.id, 0, None).await
    }

    async fn history(&self, run: &Run) -> Result<Vec<Message>, JournalError> {
        let turns = self.turns(&run.tenant, run.conversation, None, Some(run.id), None).await?;
        Ok(turns.into_iter().flat_map(Turn::into_history).collect())
    }

    async fn append(&self, run: &Run, step: &Step) -> Result<(), JournalError> {
        let usage = serde_dynamo::to_attribute_value(run.usage).map_err(unavailable)?;
        let update = self
            .update(Key::run(&run.tenant, run.id))
            .update_expression("SET steps = :step, #usage = :usage, updated_at = :at")
            .condition_expression(format!("{IS_HELD} AND steps = :before"))
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#usage", "usage")
            .expression_attribute_values(":lease", n(run.lease_no))
            .expression_attribute_values(":running", s(RunState::Running.as_str()))
            .expression_attribute_values(":before", n(step.index - 1))
            .expression_attribute_values(":step", n(step.index))
            .expression_attribute_values(":usage", usage)
            .expression_attribute_values(":at", s(rfc3339_millis::format(run.updated_at)));
        let update = TransactWriteItem::builder().update(built(update.build())?).build();
        self.transact(vec![update, self.put_new(step_item(run, step)?)?]).await.map_err(lost)
    }

    async fn end(&self, run: &Run, ending: Ending<'_>) -> Result<(), JournalError> {
        let mut writes = vec![self.put_held(run)?];
        if let Some(step) = ending.step {
            writes.push(self.put_new(step_item(run, step)?)?);
        }
        if let Some(response) = ending.response {
            let turn = self
                .update(Key::turn(&run.tenant, run.conversation, run.id))
                .update_expression("SET #response = :response")
                .expression_attribute_names("#response", "response")
                .expression_attribute_values(":response", s(response));
            writes.push(TransactWriteItem::builder().update(built(turn.build())?).build());
        }
        let conversation = writes.len();
        writes.push(self.free_conversation(run)?);
        match self.transact(writes.clone()).await {
            // The conversation is not this run's: nothing to free, and no reason to lose the answer.
            Err(Refused::Condition(index, _)) if index == conversation => {
                writes.truncate(conversation);
                self.transact(writes).await.map_err(lost)
            }
            other => other.map_err(lost),
        }
    }

    async fn release(&self, run: &Run) -> Result<(), JournalError> {
        self.transact(vec![self.put_held(run)?]).await.map_err(lost)
    }

    async fn reissue(&self, task: &Task, current: u64) -> Result<Option<u64>, JournalError> {
        let update = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(Key::run(&task.tenant, task.run).into_item()))
            .update_expression("SET epoch = :next")
            .condition_expression("epoch = :current AND #state = :queued")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":next", n(current + 1))
            .expression_attribute_values(":current", n(current))
            .expression_attribute_values(":queued", s(RunState::Queued.as_str()));
        match update.send().await {
            Ok(_) => Ok(Some(current + 1)),
            Err(SdkError::ServiceError(e)) if e.err().is_conditional_check_failed_exception() => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn renew(&self, run: &Run, until: Timestamp) -> Result<(), JournalError> {
        let update = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(Key::run(&run.tenant, run.id).into_item()))
            .update_expression("SET lease_until_ms = :until")
            .condition_expression(IS_HELD)
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":lease", n(run.lease_no))
            .expression_attribute_values(":running", s(RunState::Running.as_str()))
            .expression_attribute_values(":until", n(until.as_millisecond()));
        update.send().await.map(|_| ()).map_err(|error| match &error {
            SdkError::ServiceError(e) if e.err().is_conditional_check_failed_exception() => JournalError::Lost,
            _ => unavailable(error),
        })
    }
}
