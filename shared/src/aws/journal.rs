//! The journal in DynamoDB. Each write is one call: a transaction whose conditions name what it was computed from, or one
//! conditional update.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure as OnFailure};
use jiff::Timestamp;

use super::expression::Expression;
use super::items::{Key, SHARDS, Table, conversation_of, delta_item, event_of, index_partition, input_of, n, run_of, s};
use super::unavailable;
use super::writes::if_held;
use crate::domain::clock::{after, rfc3339_millis};
use crate::domain::conversation::Conversation;
use crate::domain::delta::Delta;
use crate::domain::event::{AgentInput, Event};
use crate::domain::id::{ConversationId, EventId, RunId, TenantId};
use crate::domain::message::Message;
use crate::domain::run::Run;
use crate::domain::state::RunState;
use crate::domain::step::{Step, StepBody};
use crate::domain::task::Task;
use crate::domain::turn::Turn;
use crate::engine::ports::{Claim, Journal, JournalError, Lease, Look, Refusal, Write, WriteError};

/// How long what was said of an unfinished step is kept.
const KEPT_DELTAS: Duration = Duration::from_secs(24 * 3600);

/// The condition and the effect of a claim: the rule of [`Refusal::of`], and what [`Lease::take`] does. It leaves the index `due`
/// alone: its entry is a lower bound.
fn claimed(task: &Task, lease: &Lease) -> Result<Expression, JournalError> {
    let running = || s(RunState::Running.as_str());
    let partition = index_partition(&task.tenant, Some(RunState::Running), task.run.shard(SHARDS));
    let transition = serde_dynamo::to_attribute_value(lease.transition()).map_err(unavailable)?;
    let lapsed = |e: Expression| e.if_at_most("lease_until_ms", n(lease.now.as_millisecond())).if_is_not("lease_owner", s(&lease.owner));
    Ok(Expression::default()
        .if_is("epoch", n(task.epoch))
        .any(|e| e.if_is("state", s(RunState::Queued.as_str())).all(|e| lapsed(e.if_is("state", running()))))
        .set("state", running())
        .count("lease_no")
        .count("attempts")
        .remove("renewals")
        .set("lease_owner", s(&lease.owner))
        .set("lease_until_ms", n(lease.until.as_millisecond()))
        .set("message", s(&lease.message))
        .append("transitions", transition)
        .set("updated_at", s(rfc3339_millis::format(lease.now)))
        .set("gsi2pk", s(partition))
        .set("gsi2sk", s(task.run)))
}

impl Table {
    /// The answer of a turn that stands in the journal alone.
    async fn answer_in(&self, tenant: &TenantId, run: RunId, step: u32) -> Result<String, JournalError> {
        let steps = self.read_steps(tenant, run, step.saturating_sub(1), Some(1)).await?;
        match steps.into_iter().next() {
            Some(Step { index, body: StepBody::Model(model), .. }) if index == step => model.message.content.ok_or(JournalError::NotFound),
            _ => Err(JournalError::NotFound),
        }
    }
}

#[async_trait]
impl Journal for Table {
    async fn write(&self, writes: &[Write<'_>]) -> Result<(), WriteError> {
        let done = self.write_all(writes).await;
        if done.is_ok() {
            self.meter.written(writes);
        }
        done
    }

    async fn claim(&self, task: &Task, lease: &Lease) -> Result<Claim, JournalError> {
        let parts = claimed(task, lease)?.into_parts();
        let update = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(Key::run(&task.tenant, task.run).into_item()))
            .update_expression(parts.update)
            .set_condition_expression(parts.condition)
            .set_expression_attribute_names(parts.names)
            .set_expression_attribute_values(parts.values)
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(OnFailure::AllOld);
        let stored = match self.update_alone(update).await {
            Ok(done) => {
                let old = run_of(done.attributes.ok_or(JournalError::NotFound)?)?;
                let before = old.clone();
                let taken = lease.take(old);
                self.meter.claimed(&before, taken.attempts, lease.now);
                return Ok(Claim::Taken(Box::new(taken)));
            }
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => match error.into_err() {
                UpdateItemError::ConditionalCheckFailedException(failed) => failed.item,
                other => return Err(unavailable(other)),
            },
            Err(error) => return Err(unavailable(error)),
        };
        let Some(run) = stored.map(run_of).transpose()? else { return Ok(Claim::Refused(Refusal::Missing)) };
        if let Some(taken) = lease.taken_before(&run, task) {
            return Ok(Claim::Taken(Box::new(taken)));
        }
        // The condition says the same as the rule; should they ever differ, the message comes back.
        Ok(Claim::Refused(Refusal::of(&run, task, lease).unwrap_or(Refusal::Leased { until: lease.now })))
    }

    async fn renew(&self, run: &Run, until: Timestamp) -> Result<(), JournalError> {
        let until = n(until.as_millisecond());
        let held = if_held(Expression::default(), run.lease_no).if_at_most("lease_until_ms", until.clone());
        let parts = held.set("lease_until_ms", until).count("renewals").into_parts();
        let update = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(Key::run(&run.tenant, run.id).into_item()))
            .update_expression(parts.update)
            .set_condition_expression(parts.condition)
            .set_expression_attribute_names(parts.names)
            .set_expression_attribute_values(parts.values);
        self.update_alone(update).await.map(|_| ()).map_err(|error| match &error {
            SdkError::ServiceError(e) if e.err().is_conditional_check_failed_exception() => JournalError::Lost,
            _ => unavailable(error),
        })
    }

    async fn look(&self, run: &Run) -> Result<Look, JournalError> {
        let get = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(Key::run(&run.tenant, run.id).into_item()))
            .consistent_read(true)
            .projection_expression("#state, lease_no, watched_until_ms")
            .expression_attribute_names("#state", "state");
        let item = get.send().await.map_err(unavailable)?.item.unwrap_or_default();
        let has = |name, value| item.get(name) == Some(&value);
        Ok(Look {
            is_held: has("state", s(RunState::Running.as_str())) && has("lease_no", n(run.lease_no)),
            watched_until_ms: item.get("watched_until_ms").and_then(|until| until.as_n().ok()?.parse().ok()),
        })
    }

    async fn tell(&self, run: &Run, delta: &Delta) -> Result<(), JournalError> {
        let expires_at = after(run.updated_at, KEPT_DELTAS).as_second();
        let put = self.client.put_item().table_name(&self.name).set_item(Some(delta_item(run, delta, expires_at)?));
        put.send().await.map(|_| ()).map_err(unavailable)
    }

    async fn run(&self, tenant: &TenantId, id: RunId) -> Result<Option<Run>, JournalError> {
        self.get(Key::run(tenant, id)).await?.map(run_of).transpose()
    }

    async fn input(&self, run: &Run) -> Result<AgentInput, JournalError> {
        if run.has_own_input() {
            return input_of(&self.get(Key::input(run)).await?.ok_or(JournalError::NotFound)?);
        }
        let event = Journal::event(self, &run.tenant, run.event).await?.ok_or(JournalError::NotFound)?;
        event.agent_input().map_err(unavailable)
    }

    async fn steps(&self, run: &Run) -> Result<Vec<Step>, JournalError> {
        let steps = self.read_steps(&run.tenant, run.id, 0, None).await?;
        // A query may fall between the items of a transaction; a step that the record counts must not be paid for again.
        if steps.len() < run.steps as usize {
            return Err(JournalError::Unavailable("the journal is behind its record".into()));
        }
        Ok(steps)
    }

    async fn history(&self, run: &Run) -> Result<Vec<Message>, JournalError> {
        let mut messages = Vec::new();
        for mut turn in self.read_turns(&run.tenant, run.conversation, None, Some(run.id), None).await? {
            if let (None, Some(step)) = (&turn.response, turn.response_step) {
                turn.response = Some(self.answer_in(&run.tenant, turn.run_id, step).await?);
            }
            messages.extend(Turn::into_history(turn));
        }
        Ok(messages)
    }

    async fn conversation(&self, tenant: &TenantId, id: ConversationId) -> Result<Option<Conversation>, JournalError> {
        self.get(Key::conversation(tenant, id)).await?.map(conversation_of).transpose()
    }

    async fn event(&self, tenant: &TenantId, id: EventId) -> Result<Option<Event>, JournalError> {
        self.get(Key::event(tenant, id)).await?.as_ref().map(event_of).transpose()
    }
}
