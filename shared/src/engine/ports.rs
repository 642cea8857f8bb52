//! What the engine needs of the world. Each port says what is idempotent, what is ordered and who retries.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;

use super::CallError;
use crate::domain::conversation::Conversation;
use crate::domain::definition::{Effort, ModelRef, OutputSchema, Sampling};
use crate::domain::delta::Delta;
use crate::domain::event::{AgentInput, Event};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::{ConversationId, EventId, RunId, TenantId};
use crate::domain::idempotency::UsedKey;
use crate::domain::message::Message;
use crate::domain::overrides::ToolChoice;
use crate::domain::run::{Archive, Run, Seen, Transition};
use crate::domain::spend::{Spend, Spent};
use crate::domain::state::RunState;
use crate::domain::step::{FinishReason, Step, Usage};
use crate::domain::task::Task;
use crate::domain::turn::{Turn, TurnEnd};

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
    /// The queue's name for the message. A message that is moved or sent again has a new one.
    pub message: String,
    /// When the queue got the message, by its own clock; a message that is moved back is sent then.
    pub sent_at: Option<Timestamp>,
}

/// What came of a claim.
#[derive(Debug)]
pub enum Claim {
    /// The run is this worker's: the record with its new lease.
    Taken(Box<Run>),
    /// It is not.
    Refused(Refusal),
}

/// Why a claim was refused.
#[derive(Debug, Clone, PartialEq)]
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
    /// The run has ended, or waits for something else than this message (for `dead`: and the message is the one it died of).
    NotNow(RunState),
    /// The run is dead and this is another message than the one it died of: an operator moved it back.
    Redriven(Box<Run>),
    /// Another worker holds it.
    Leased {
        /// Until when at least.
        until: Timestamp,
    },
}

impl Refusal {
    /// The one rule of claiming, over the record as it stands; the store's condition says the same.
    #[must_use]
    pub fn of(run: &Run, task: &Task, lease: &Lease) -> Option<Self> {
        if run.epoch != task.epoch {
            return Some(Self::Stale { current: run.epoch, state: run.state });
        }
        match run.state {
            RunState::Queued => None,
            RunState::Running if !run.is_leased(lease.now) => None,
            RunState::Running => Some(Self::Leased { until: run.lease_end() }),
            RunState::Dead if lease.is_of_another_message(run) => Some(Self::Redriven(Box::new(run.clone()))),
            RunState::Dead | RunState::Waiting | RunState::Completed | RunState::Failed | RunState::Cancelled => {
                Some(Self::NotNow(run.state))
            }
        }
    }
}

impl Lease {
    /// Whether the message is not one of those that a dead run died of: another name, and sent after its death. A message that the
    /// transport sent twice has two names.
    fn is_of_another_message(&self, dead: &Run) -> bool {
        let is_newer = self.sent_at.is_none_or(|sent_at| dead.ended_at.is_none_or(|ended_at| sent_at > ended_at));
        is_newer && dead.message.as_deref() != Some(self.message.as_str())
    }

    /// The record, if this very claim has taken it before: the transport repeats what had an effect, and the second time finds itself.
    /// Nothing is written then, or a repetition that is late would take the lease from the worker that made the claim.
    #[must_use]
    pub fn taken_before(&self, run: &Run, task: &Task) -> Option<Run> {
        let is_mine = run.state == RunState::Running && run.lease_owner.as_deref() == Some(self.owner.as_str());
        (is_mine && run.epoch == task.epoch).then(|| {
            let mut run = run.clone();
            // What the lost answer would have said: whether another worker had it before.
            let before = run.transitions.iter().rev().nth(1);
            run.abandoned |= before.is_some_and(|transition| transition.to == RunState::Running);
            run
        })
    }

    /// The record as the claim leaves it. [`Refusal::of`] has said that it may be taken, and [`Self::taken_before`] that it was not.
    #[must_use]
    pub fn take(&self, mut run: Run) -> Run {
        if run.state == RunState::Running {
            let message = "the worker that had the run vanished, or was cut off, in the middle of a step";
            run.note(Failure::new(FailureCode::WorkerLost, message, self.now, run.attempts));
            run.abandoned = true;
        }
        run.state = RunState::Running;
        run.lease_to(self.owner.clone(), self.until, Some(self.message.clone()));
        run.transitions.push(self.transition());
        run.updated_at = self.now;
        run
    }

    /// What the audit trail says of the claim.
    #[must_use]
    pub fn transition(&self) -> Transition {
        Transition { at: self.now, to: RunState::Running, by: self.owner.clone(), reason: "claimed".to_owned(), note: None }
    }
}

/// One conditional write. A list of them is written whole or not at all.
#[derive(Debug, Clone, Copy)]
pub enum Write<'a> {
    /// The whole record of a run.
    Run(&'a Run, Guard),
    /// What a step changes of its run: the number of steps, usage, cost, attempts, time. On condition that the lease counts and the
    /// step is the next.
    Progress(&'a Run, &'a Step),
    /// A step that is not there yet.
    Step(&'a Run, &'a Step),
    /// An archive that is not there yet.
    Archive(&'a Run, &'a Archive),
    /// The input of a run that is not its event's payload, or the one that an operator wrote last; not there yet.
    Input(&'a Run, &'a AgentInput),
    /// An event that is not there yet.
    Event(&'a TenantId, &'a Event),
    /// A turn that is not there yet.
    Turn(&'a Run, &'a Turn),
    /// What the turn of this run asks now; on condition that it is there.
    Ask(&'a Run, &'a [Message]),
    /// How the turn of this run ended; on condition that it is there.
    EndTurn(&'a Run, TurnEnd, Option<Answer<'a>>),
    /// A conversation.
    Conversation(&'a TenantId, ConversationWrite<'a>),
    /// A key that is not remembered, or not any more at that time.
    Key(&'a TenantId, &'a UsedKey),
    /// Adds to what a tenant has spent; on no condition.
    Spend(&'a TenantId, Spent),
    /// A mark of a trigger: that it has seen something, or how often it ran. See [`Mark`].
    Mark(&'a TenantId, &'a Mark),
}

/// What a worker sees of its run while a call is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Whether the lease is still its own.
    pub is_held: bool,
    /// See [`Run::watched_until_ms`].
    pub watched_until_ms: Option<i64>,
}

/// What the write of a run's record is conditional on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// That it is not there yet.
    New,
    /// That the lease with this number is held, and so many steps are written.
    Held {
        /// See [`Run::lease_no`].
        lease_no: u64,
        /// See [`Run::steps`].
        steps: u32,
    },
    /// That it is as it was read.
    Seen(Seen),
}

/// An answer, or where it is.
#[derive(Debug, Clone, Copy)]
pub enum Answer<'a> {
    /// It.
    Text(&'a str),
    /// The step whose message it is: it is too long to stand in two places.
    InStep(u32),
}

/// How a conversation is written.
#[derive(Debug, Clone, Copy)]
pub enum ConversationWrite<'a> {
    /// It is not there yet.
    Open(&'a Conversation),
    /// `run` takes it if nobody has it and its id is above the latest: saves reading it.
    TakeFree(&'a Run),
    /// `run` leaves it if it is its turn and nobody waits: saves reading it.
    LeaveAlone(&'a Run, Spend),
    /// On condition that its version is the one before this one.
    Put(&'a Conversation),
}

/// What a trigger remembers, for all functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The trigger, and what it has seen or the window that is counted.
    pub key: String,
    /// How often it may be written before [`Mark::expires_at`]: 1 for what must be seen only once.
    pub limit: u32,
    /// The time of the write.
    pub now: Timestamp,
    /// When it is forgotten, in seconds since 1970: the table's time to live.
    pub expires_at: i64,
}

/// Why a list of writes was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A condition did not hold: the first one that did not, and what is there instead, where that is of use.
    #[error("write {index} was refused")]
    Refused {
        /// Which of the list.
        index: usize,
        /// What is there.
        found: Found,
    },
    /// The store could not be reached. What became of the writes is unknown.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What is there instead.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Found {
    /// Nothing, or nothing of use.
    #[default]
    Nothing,
    /// A conversation.
    Conversation(Box<Conversation>),
    /// A key that was used.
    Key(UsedKey),
}

impl From<WriteError> for JournalError {
    /// A refused write of a worker means that the run is not its own any more.
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Refused { .. } => Self::Lost,
            WriteError::Unavailable(cause) => Self::Unavailable(cause),
        }
    }
}

/// Durable records of runs and what belongs to them. Reads are strongly consistent. Every write is atomic, conditional, and
/// may be repeated by the transport without a second effect; the adapter retries what has surely had no effect.
#[async_trait]
pub trait Journal: Send + Sync {
    /// All of these (at most 100) or none.
    async fn write(&self, writes: &[Write<'_>]) -> Result<(), WriteError>;
    /// Takes the lease if the message's epoch counts and nobody holds it. One call.
    async fn claim(&self, task: &Task, lease: &Lease) -> Result<Claim, JournalError>;
    /// Extends the lease; [`JournalError::Lost`] if it is not this one's any more. Never shortens it: a renewal that was given up and
    /// arrives late changes nothing. One call.
    async fn renew(&self, run: &Run, until: Timestamp) -> Result<(), JournalError>;
    /// Whether the lease is still this one's: a cheap look, for the time that a call takes.
    async fn look(&self, run: &Run) -> Result<Look, JournalError>;
    /// Keeps what a model has said so far, for a day. Not conditional: what a worker says that lost its lease is of an older try.
    async fn tell(&self, run: &Run, delta: &Delta) -> Result<(), JournalError>;
    /// A run.
    async fn run(&self, tenant: &TenantId, id: RunId) -> Result<Option<Run>, JournalError>;
    /// What a run is asked: its own input, or its event's.
    async fn input(&self, run: &Run) -> Result<AgentInput, JournalError>;
    /// All steps of a run, in order; an error if there are fewer than its record counts (it is being deleted, or the read fell
    /// between two writes): none of them may be paid for again.
    async fn steps(&self, run: &Run) -> Result<Vec<Step>, JournalError>;
    /// The messages of the turns before this run, in order of arrival, see [`Turn::into_history`].
    async fn history(&self, run: &Run) -> Result<Vec<Message>, JournalError>;
    /// A conversation without its turns.
    async fn conversation(&self, tenant: &TenantId, id: ConversationId) -> Result<Option<Conversation>, JournalError>;
    /// An event.
    async fn event(&self, tenant: &TenantId, id: EventId) -> Result<Option<Event>, JournalError>;
}

/// Where tasks go. Not ordered; a task may be delivered more than once, which the epoch and the lease make harmless.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Sends `task`, to be delivered after `delay` (at most 15 minutes). The adapter retries.
    async fn send(&self, task: &Task, delay: Duration) -> Result<(), JournalError>;
}

/// What a model is asked.
#[derive(Clone)]
pub struct ModelRequest<'a> {
    /// Which model; the deployment's first if absent.
    pub target: Option<ModelRef>,
    /// The transcript.
    pub messages: &'a [Message],
    /// What it may call.
    pub tools: Vec<ToolSpec>,
    /// Whether it may, must or must not.
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may ask for several calls at once.
    pub parallel_tool_calls: Option<bool>,
    /// How it draws its answer.
    pub sampling: Sampling,
    /// How much it thinks.
    pub effort: Option<Effort>,
    /// What the answer must look like.
    pub output: Option<&'a OutputSchema>,
    /// Where the text goes as it comes.
    pub sink: &'a dyn Sink,
    /// `<run>:<step>`, sent to the provider as the request's idempotency key.
    pub key: String,
}

impl<'a> ModelRequest<'a> {
    /// What the deployment's first model is asked, without tools, as it likes to answer, and unheard.
    #[must_use]
    pub fn new(messages: &'a [Message], key: String) -> Self {
        Self {
            target: None,
            messages,
            tools: Vec::new(),
            tool_choice: None,
            parallel_tool_calls: None,
            sampling: Sampling::default(),
            effort: None,
            output: None,
            sink: &NoSink,
            key,
        }
    }
}

/// Hears a model's text as it comes, before the whole answer is there. What it hears may yet be worth nothing: the call may fail.
pub trait Sink: Send + Sync {
    /// Another try begins: what was heard before it is worth nothing.
    fn begin(&self) {}
    /// Takes the next part of the text. Must be quick: the model's answer is not read meanwhile.
    fn text(&self, part: &str);
}

/// Hears nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoSink;

impl Sink for NoSink {
    fn text(&self, _part: &str) {}
}

/// A tool as a model sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSpec {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
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
