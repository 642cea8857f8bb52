//! How a run is accepted: recorded first, then queued, or worked on at once while the caller waits, or put in its conversation's line.

mod events;
mod streaming;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::agent::DEFAULT_AGENT;
use crate::domain::clock::after;
use crate::domain::conversation::{Conversation, Entered, WhenBusy};
use crate::domain::event::{AGENT_REQUEST, AgentInput, Event, EventMeta};
use crate::domain::id::{ConversationId, EventId, RunId};
use crate::domain::idempotency::{KeyOutcome, RequestKey, UsedKey};
use crate::domain::principal::Principal;
use crate::domain::run::{Cause, LEASE_GRACE, Run, Transition};
use crate::domain::spend::Spent;
use crate::domain::state::RunState;
use crate::domain::trace::RunTrace;
use crate::domain::turn::{INTERRUPTED, ROLLED_BACK, Turn, TurnEnd};
use crate::domain::waiting::Waiting;
use crate::engine::ports::{ConversationWrite, Found, Guard, JournalError, Write, WriteError};
use crate::engine::{Carrier, Engine, Hold, Window};
use crate::ledger::{Cancelled, cancelled};
use crate::operate::Records;
use crate::telemetry::{chain, span};
pub use events::{NewEvent, Published, input_of};
pub use streaming::Streamed;

/// How often a caller's run is looked at that somebody else works on.
const LOOK: Duration = Duration::from_millis(500);
/// How often an acceptance is computed anew because its conversation has moved meanwhile.
const TRIES: usize = 20;
/// Why a run was accepted.
const ACCEPTED: &str = "accepted";

/// What a caller asks for, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentRequest {
    /// The agent; the default one if absent.
    pub agent: Option<String>,
    /// The conversation to go on with; a new one if absent.
    pub conversation: Option<ConversationId>,
    /// What it is asked.
    pub input: AgentInput,
    /// What to do if the conversation is busy.
    pub when_busy: WhenBusy,
    /// The caller's key: the same one gives the same run.
    pub key: Option<RequestKey>,
}

/// Why a run was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// No agent has that name.
    #[error("no such agent")]
    UnknownAgent,
    /// The conversation does not exist, is another tenant's, or is being deleted.
    #[error("no such conversation")]
    NoConversation,
    /// A run of the conversation is active, and the caller did not want to wait.
    #[error("the conversation is busy")]
    ConversationBusy,
    /// As many runs of the conversation wait as may.
    #[error("the conversation is full")]
    ConversationFull,
    /// The key was used for another request.
    #[error("the key was used for another request")]
    KeyReused,
    /// The store could not be reached. What became of the run is unknown; with the same key it may be asked again.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// A run that was accepted, now or before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The run.
    pub run: RunId,
    /// Its conversation.
    pub conversation: ConversationId,
    /// When.
    pub created_at: Timestamp,
    /// Where it is.
    pub state: RunState,
    /// Whether an earlier request with the same key had started it.
    pub is_replay: bool,
}

/// Accepts runs.
#[derive(Clone)]
pub struct Intake {
    /// Works on synchronous ones.
    pub engine: Engine,
    /// For reading.
    pub records: Arc<dyn Records>,
    /// How long a caller waits before the run is handed to the queue.
    pub patience: Duration,
}

/// What was recorded.
enum Recorded {
    /// This run; some others may have been ended for it.
    New(Box<Run>),
    /// The run of an earlier request with the same key.
    Known(RunId),
}

impl Intake {
    /// Records a run and queues it: one write, one message. If the message cannot be sent, the sweeper sends it.
    ///
    /// # Errors
    /// See [`IntakeError`].
    pub async fn in_background(&self, principal: &Principal, request: AgentRequest) -> Result<Accepted, IntakeError> {
        match self.record(principal, &request, false, false).await? {
            Recorded::Known(id) => self.known(principal, id).await,
            Recorded::New(run) => {
                if run.state == RunState::Queued {
                    self.engine.send_ready(Some(run.task())).await;
                }
                tracing::info!(run.id = %run.id, state = run.state.as_str(), "run accepted");
                Ok(accepted(&run, false))
            }
        }
    }

    /// Records a run and works on it through the same engine and journal; what is not finished in time goes to the queue. If it
    /// has to wait for its turn, or an earlier request with the same key has started it, its end is waited for.
    ///
    /// # Errors
    /// See [`IntakeError`].
    pub async fn while_waiting(&self, principal: &Principal, request: AgentRequest) -> Result<Accepted, IntakeError> {
        let deadline = after(self.engine.clock.now(), self.patience);
        match self.record(principal, &request, true, false).await? {
            Recorded::Known(id) => {
                self.await_end(principal, id, deadline).await?;
                self.known(principal, id).await
            }
            Recorded::New(run) if run.state == RunState::Waiting => {
                self.await_end(principal, run.id, deadline).await?;
                Ok(accepted(&run, false))
            }
            Recorded::New(run) => {
                let outcome = accepted(&run, false);
                let window = Window { deadline, cut_calls: true };
                let advanced = self.engine.advance(*run, &request.input, Carrier::Request, window, &NoMessage).await;
                if let Err(error) = advanced {
                    // The run is on record, and its lease will end: then it is taken up without its caller.
                    tracing::error!(run.id = %outcome.run, error = %chain(&error), "a synchronous run could not be carried on; the sweeper hands it over");
                }
                Ok(outcome)
            }
        }
    }

    /// Waits until a run has ended, as long as a caller waits.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn await_end_of(&self, principal: &Principal, id: RunId) -> Result<(), JournalError> {
        self.await_end(principal, id, after(self.engine.clock.now(), self.patience)).await
    }

    /// Waits until a run has ended that somebody else works on, or until `deadline`.
    async fn await_end(&self, principal: &Principal, id: RunId, deadline: Timestamp) -> Result<(), JournalError> {
        while self.engine.clock.now() < deadline {
            if self.records.run(&principal.tenant, id).await?.is_none_or(|run| run.state.has_ended()) {
                break;
            }
            self.engine.clock.sleep(LOOK).await;
        }
        Ok(())
    }

    /// The run that an earlier request with the same key had started.
    async fn known(&self, principal: &Principal, id: RunId) -> Result<Accepted, IntakeError> {
        let run = self.records.run(&principal.tenant, id).await?.ok_or(JournalError::NotFound)?;
        Ok(accepted(&run, true))
    }

    /// Records a run; this function takes it `at_once` if it may. `is_read` is whether somebody reads along.
    async fn record(&self, principal: &Principal, request: &AgentRequest, at_once: bool, is_read: bool) -> Result<Recorded, IntakeError> {
        let agent = request.agent.clone().unwrap_or_else(|| DEFAULT_AGENT.to_owned());
        if self.engine.bundle.agent(&agent).is_none() {
            return Err(IntakeError::UnknownAgent);
        }
        let now = self.engine.clock.now();
        let mut event = Event {
            id: EventId::new(now),
            kind: AGENT_REQUEST.into(),
            source: "api".into(),
            principal: principal.name.clone(),
            meta: EventMeta::default(),
            created_at: now,
            client_id: None,
            payload: serde_json::to_value(&request.input).map_err(|error| JournalError::Unavailable(Box::new(error)))?,
            run: None,
            matches: Vec::new(),
        };
        let conversation = request.conversation.unwrap_or_else(|| ConversationId::new(now));
        let patience = self.engine.limits.lease;
        let mut asked = Run::new(principal.tenant.clone(), &event, conversation, request.conversation.is_some(), agent, patience);
        asked.watched_until_ms = is_read.then(|| after(now, streaming::WATCHED).as_millisecond());
        asked.trace = span::place().map(RunTrace::accepted);
        asked.governed_by(&self.engine.bundle);
        let (mut id, mut found) = (asked.id, None);
        for _ in 0..TRIES {
            // Anew: what a refused try had made of it does not count.
            let mut run = Run { id, ..asked.clone() };
            let plan = self.plan(&mut run, request, found.take(), principal).await?;
            id = run.id;
            event.run = Some(id);
            if run.state == RunState::Queued && at_once {
                self.take(&mut run);
            }
            let key = request.key.as_ref().map(|key| UsedKey::new(key, KeyOutcome::Run(run.id), now));
            match self.write(&run, &event, request, key.as_ref(), &plan).await {
                Ok(()) => return Ok(Recorded::New(Box::new(run))),
                Err(WriteError::Refused { found: Found::Key(used), .. }) => return known_by(request, &used),
                Err(WriteError::Refused { found: Found::Conversation(conversation), .. }) => found = Some(*conversation),
                Err(WriteError::Refused { .. }) if request.conversation.is_none() => return Err(JournalError::Lost.into()),
                // A run that is to be ended has moved, or there is no such conversation.
                Err(WriteError::Refused { .. }) => {
                    let now = self.records.conversation(&principal.tenant, conversation).await?;
                    found = Some(now.ok_or(IntakeError::NoConversation)?);
                }
                Err(WriteError::Unavailable(cause)) => return Err(JournalError::Unavailable(cause).into()),
            }
        }
        Err(IntakeError::ConversationBusy)
    }

    /// How the run enters its conversation, as that was `found`; unknown yet, it is taken as free, which it mostly is.
    async fn plan(
        &self,
        run: &mut Run,
        request: &AgentRequest,
        found: Option<Conversation>,
        principal: &Principal,
    ) -> Result<Plan, IntakeError> {
        let now = run.created_at;
        if request.conversation.is_none() {
            return Ok(Plan::Open(Conversation::new(run.conversation, run.id, now)));
        }
        let Some(mut conversation) = found else { return Ok(Plan::TakeFree) };
        if conversation.is_being_deleted {
            return Err(IntakeError::NoConversation);
        }
        if let Some(last) = conversation.last_run.filter(|last| *last >= run.id) {
            run.id = RunId::above(last, now);
        }
        enters(run, RunState::Queued, &principal.name);
        let mut ended = Vec::new();
        if conversation.active_run.is_some() {
            let reason = match request.when_busy {
                WhenBusy::Reject => return Err(IntakeError::ConversationBusy),
                WhenBusy::Enqueue => None,
                WhenBusy::Interrupt => Some(INTERRUPTED),
                WhenBusy::Rollback => Some(ROLLED_BACK),
            };
            if let Some(reason) = reason {
                // This one may have been asked for a while ago: others began and ended meanwhile.
                let cause = Cause { at: self.engine.clock.now(), by: &principal.name, reason, patience: self.engine.limits.lease };
                ended = cancelled(self.records.as_ref(), &run.tenant, &conversation.clear(cause.at), cause).await?;
                ended.iter().filter_map(|ended| ended.spent).for_each(|spent| conversation.spend += spent.spend);
            }
        }
        match conversation.enter(run.id, now) {
            Entered::Active => {}
            Entered::InLine => enters(run, RunState::Waiting, &principal.name),
            Entered::Full => return Err(IntakeError::ConversationFull),
        }
        conversation.last_run = Some(run.id);
        conversation.version += 1;
        Ok(Plan::Put(conversation, ended))
    }

    /// Gives the run to this function at once.
    fn take(&self, run: &mut Run) {
        let until = after(self.engine.clock.now(), self.engine.limits.lease);
        let owner = self.engine.delivery("request", 0, 1).owner;
        run.transitions.push(Transition {
            at: run.created_at,
            to: RunState::Running,
            by: owner.clone(),
            reason: "request".into(),
            note: None,
        });
        run.state = RunState::Running;
        run.lease_no = 0;
        run.attempts = 0;
        run.lease_to(owner, until, None);
        run.look_at(after(until, LEASE_GRACE));
    }

    async fn write(&self, run: &Run, event: &Event, request: &AgentRequest, key: Option<&UsedKey>, plan: &Plan) -> Result<(), WriteError> {
        let tenant = &run.tenant;
        let turn = Turn::new(run.id, request.input.as_messages(), run.created_at);
        let mut writes: Vec<Write<'_>> = key.map(|key| Write::Key(tenant, key)).into_iter().collect();
        let ended: &[Cancelled] = match plan {
            Plan::Open(conversation) => {
                writes.push(Write::Conversation(tenant, ConversationWrite::Open(conversation)));
                &[]
            }
            Plan::TakeFree => {
                writes.push(Write::Conversation(tenant, ConversationWrite::TakeFree(run)));
                &[]
            }
            Plan::Put(conversation, ended) => {
                writes.push(Write::Conversation(tenant, ConversationWrite::Put(conversation)));
                ended
            }
        };
        writes.extend([Write::Event(tenant, event), Write::Run(run, Guard::New), Write::Turn(run, &turn)]);
        for Cancelled { run, guard, .. } in ended {
            writes.push(Write::Run(run, *guard));
            writes.extend(TurnEnd::of(run).map(|end| Write::EndTurn(run, end, None)));
        }
        writes.extend(Spent::together(ended.iter().filter_map(|ended| ended.spent)).map(|spent| Write::Spend(tenant, spent)));
        self.engine.journal.write(&writes).await
    }
}

/// How a run enters its conversation.
enum Plan {
    /// It begins it.
    Open(Conversation),
    /// It takes it if it is free.
    TakeFree,
    /// The conversation after it, and the runs that end for it.
    Put(Conversation, Vec<Cancelled>),
}

/// The run as it is accepted in that state.
fn enters(run: &mut Run, state: RunState, by: &str) {
    run.state = state;
    run.waiting = (state == RunState::Waiting).then_some(Waiting::Turn);
    run.lease_owner = None;
    run.transitions = vec![Transition { at: run.created_at, to: state, by: by.to_owned(), reason: ACCEPTED.to_owned(), note: None }];
}

fn accepted(run: &Run, is_replay: bool) -> Accepted {
    Accepted { run: run.id, conversation: run.conversation, created_at: run.created_at, state: run.state, is_replay }
}

fn known_by(request: &AgentRequest, used: &UsedKey) -> Result<Recorded, IntakeError> {
    match (&request.key, used.outcome) {
        (Some(key), KeyOutcome::Run(run)) if key.fingerprint == used.fingerprint => Ok(Recorded::Known(run)),
        _ => Err(IntakeError::KeyReused),
    }
}

/// A request has no message whose invisibility could be extended.
struct NoMessage;

#[async_trait::async_trait]
impl Hold for NoMessage {
    async fn extend(&self, _duration: Duration) {}
}

#[cfg(test)]
mod event_tests;
#[cfg(test)]
mod tests;
