//! What the engine needs of the world. Each port says what is idempotent, what is ordered and who retries.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;

use super::CallError;
use crate::domain::event::Event;
use crate::domain::id::{EventId, RunId, TenantId};
use crate::domain::message::Message;
use crate::domain::run::Run;
use crate::domain::state::RunState;
use crate::domain::step::{FinishReason, Step, Usage};
use crate::domain::task::Task;

/// Why the journal did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The lease is somebody else's, or the run has ended. Final: stop.
    #[error("the lease is lost")]
    Lost,
    /// A record that must exist does not.
    #[error("a record is missing")]
    NotFound,
    /// The store or the queue could not be reached, after the adapter's own retries. Nothing is known to be written.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A claim that a worker makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The worker: unique per delivery, so that a claim repeated by the transport finds itself, and nobody else does.
    pub owner: String,
    /// The worker's time.
    pub now: Timestamp,
    /// When the lease ends unless it is renewed.
    pub until: Timestamp,
    /// Deliveries of the message so far.
    pub attempt: u32,
}

/// What came of a claim.
#[derive(Debug)]
pub enum Claim {
    /// The run is this worker's.
    Taken(Box<Claimed>),
    /// It is not.
    Refused(Refusal),
}

/// A run that was claimed.
#[derive(Debug)]
pub struct Claimed {
    /// The run with its new lease.
    pub run: Run,
    /// Whether a lease had ended unreleased: its worker died or was cut off in the middle of something.
    pub was_abandoned: bool,
}

/// Why a claim was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No such run.
    Missing,
    /// The message names an older epoch.
    Stale {
        /// The epoch that counts.
        current: u64,
        /// Where the run is.
        state: RunState,
    },
    /// The run has ended (for `dead`: and the message is not a redriven one).
    Ended(RunState),
    /// Another worker holds it.
    Leased {
        /// Until when at least.
        until: Timestamp,
    },
    /// Another run of its conversation is active.
    ConversationBusy,
}

impl Refusal {
    /// The one rule of claiming, over the record as it stands; the store's condition says the same.
    #[must_use]
    pub fn of(run: &Run, task: &Task, lease: &Lease) -> Option<Self> {
        if run.epoch != task.epoch {
            return Some(Self::Stale { current: run.epoch, state: run.state });
        }
        let is_mine = run.lease_owner.as_deref() == Some(lease.owner.as_str());
        match run.state {
            RunState::Queued => None,
            RunState::Running if is_mine || !run.is_leased(lease.now) => None,
            RunState::Running => Some(Self::Leased { until: Timestamp::from_millisecond(run.lease_until_ms).unwrap_or(lease.until) }),
            // A redriven message is new to the queue; one that has more deliveries than the run had is on its way to the dead letters.
            RunState::Dead if lease.attempt <= 1 || lease.attempt < run.attempts => None,
            RunState::Dead | RunState::Waiting | RunState::Completed | RunState::Failed | RunState::Cancelled => {
                Some(Self::Ended(run.state))
            }
        }
    }
}

impl Claimed {
    /// The record as the claim leaves it.
    #[must_use]
    pub fn from(mut run: Run, lease: &Lease) -> Self {
        // Also when the owner is the same: a claim that the transport repeats finds itself, and must not forget who was before.
        let was_abandoned = run.state == RunState::Running;
        run.state = RunState::Running;
        run.lease_no += 1;
        run.lease_owner = Some(lease.owner.clone());
        run.lease_until_ms = lease.until.as_millisecond();
        run.attempts = lease.attempt;
        run.updated_at = lease.now;
        run.ended_at = None;
        Self { run, was_abandoned }
    }
}

/// A run to be recorded, with all that belongs to it.
#[derive(Debug, Clone)]
pub struct Acceptance {
    /// What arrived.
    pub event: Event,
    /// The run, `queued`, or already `running` under the lease of the function that accepts it.
    pub run: Run,
}

/// Why a run was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The conversation does not exist, or is another tenant's.
    #[error("no such conversation")]
    NoConversation,
    /// A run of the conversation is active.
    #[error("the conversation is busy")]
    ConversationBusy,
    /// The run's id sorts before the conversation's latest: two clocks differ. An id above `last` will do.
    #[error("the run is out of order")]
    OutOfOrder {
        /// The conversation's latest run.
        last: RunId,
    },
    /// The store could not be reached. What became of the write is unknown.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// How a worker's part of a run ends.
#[derive(Debug, Clone, Copy)]
pub struct Ending<'a> {
    /// The last step, when it is what ends the run: written in the same transaction.
    pub step: Option<&'a Step>,
    /// The answer, for the conversation.
    pub response: Option<&'a str>,
}

/// Durable records of runs. Every write names the lease and is refused with [`JournalError::Lost`] once that is not
/// the run's; every write is atomic and may be repeated by the transport without a second effect.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Records event, run, conversation and turn: all or nothing, in one call.
    async fn accept(&self, acceptance: &Acceptance) -> Result<(), AcceptError>;
    /// Takes the lease if the message's epoch counts and nobody holds it.
    async fn claim(&self, task: &Task, lease: &Lease) -> Result<Claim, JournalError>;
    /// The event of a run.
    async fn event(&self, tenant: &TenantId, id: EventId) -> Result<Event, JournalError>;
    /// All steps of a run, in order.
    async fn steps(&self, run: &Run) -> Result<Vec<Step>, JournalError>;
    /// The messages of the finished turns before this run, in order of arrival.
    async fn history(&self, run: &Run) -> Result<Vec<Message>, JournalError>;
    /// Adds the step after `run.steps`, and `run`'s usage and time.
    async fn append(&self, run: &Run, step: &Step) -> Result<(), JournalError>;
    /// Writes `run` in its final state, gives the conversation free and adds the last step, if any.
    async fn end(&self, run: &Run, ending: Ending<'_>) -> Result<(), JournalError>;
    /// Gives the lease back: writes `run` as `queued`, with the epoch that it now has.
    async fn release(&self, run: &Run) -> Result<(), JournalError>;
    /// Raises the epoch of a run that is queued at epoch `current`, for a new message; `None` when it is not any more.
    async fn reissue(&self, task: &Task, current: u64) -> Result<Option<u64>, JournalError>;
    /// Extends the lease.
    async fn renew(&self, run: &Run, until: Timestamp) -> Result<(), JournalError>;
}

/// Where tasks go. Not ordered; a task may be delivered more than once, which the epoch and the lease make harmless.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Sends `task`, to be delivered after `delay` (at most 15 minutes). The adapter retries.
    async fn send(&self, task: &Task, delay: Duration) -> Result<(), JournalError>;
}

/// What a model is asked.
#[derive(Debug, Clone)]
pub struct ModelRequest<'a> {
    /// The transcript.
    pub messages: &'a [Message],
    /// What it may call.
    pub tools: Vec<ToolSpec>,
    /// `<run>:<step>`, sent to the provider as the request's idempotency key.
    pub key: String,
}

/// A tool as a model sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSpec {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// The JSON Schema of its arguments.
    pub parameters: Value,
}

/// What a model answered.
#[derive(Debug, Clone)]
pub struct ModelReply {
    /// Who answered.
    pub provider: String,
    /// With which model.
    pub model: String,
    /// The assistant message.
    pub message: Message,
    /// Why it stopped.
    pub finish_reason: FinishReason,
    /// What it cost.
    pub usage: Usage,
}

/// A model. One try per call: the engine retries and sets the time-out by dropping the call.
#[async_trait]
pub trait Model: Send + Sync {
    /// Asks once.
    async fn ask(&self, request: &ModelRequest<'_>) -> Result<ModelReply, CallError>;
}
