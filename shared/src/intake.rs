//! How a run is accepted: recorded first, then queued, or worked on at once while the caller waits.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;

use crate::domain::agent::{Agent, DEFAULT_AGENT};
use crate::domain::clock::after;
use crate::domain::event::{AGENT_REQUEST, AgentInput, Event, EventMeta};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::{ConversationId, EventId, RunId};
use crate::domain::principal::Principal;
use crate::domain::run::Run;
use crate::domain::state::RunState;
use crate::engine::ports::{AcceptError, Acceptance, JournalError};
use crate::engine::{Advance, Carrier, Engine, Hold, Window};
use crate::operate::Records;
use crate::telemetry::chain;

/// What a caller asks for, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentRequest {
    /// The agent; the default one if absent.
    pub agent: Option<String>,
    /// The conversation to go on with; a new one if absent.
    pub conversation: Option<ConversationId>,
    /// What it is asked.
    pub input: AgentInput,
}

/// Why a run was not accepted, or could not be started.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// No agent has that name.
    #[error("no such agent")]
    UnknownAgent,
    /// The conversation does not exist, is another tenant's, or is busy; or the store cannot be reached.
    #[error(transparent)]
    Accept(#[from] AcceptError),
    /// The run is recorded but could not be carried on or queued; it was cancelled, so that the caller may ask again.
    #[error("the queue or the store cannot be reached")]
    Unavailable(#[source] JournalError),
}

/// A run that was accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// The run.
    pub run: RunId,
    /// Its conversation.
    pub conversation: ConversationId,
    /// When.
    pub created_at: Timestamp,
    /// What became of it while the caller waited; `None` for a background run.
    pub advance: Option<Advance>,
}

/// Accepts runs.
pub struct Intake {
    /// Works on synchronous ones.
    pub engine: Engine,
    /// For the cancellation of a run that could not be queued.
    pub records: Arc<dyn Records>,
    /// How long a caller waits before the run is handed to the queue.
    pub patience: Duration,
}

impl Intake {
    /// Records a run and queues it: one write, one message.
    ///
    /// # Errors
    /// See [`IntakeError`].
    pub async fn in_background(&self, principal: &Principal, request: AgentRequest) -> Result<Accepted, IntakeError> {
        let acceptance = self.prepare(principal, request)?;
        let Acceptance { run, .. } = self.accept(acceptance).await?;
        if let Err(error) = self.engine.queue.send(&run.task(), Duration::ZERO).await {
            self.withdraw(run, FailureCode::QueueUnavailable).await;
            return Err(IntakeError::Unavailable(error));
        }
        tracing::info!(run.id = %run.id, "run accepted");
        Ok(Accepted { run: run.id, conversation: run.conversation, created_at: run.created_at, advance: None })
    }

    /// Records a run and works on it through the same engine and journal; what is not finished in time goes to the queue.
    ///
    /// # Errors
    /// See [`IntakeError`].
    pub async fn while_waiting(&self, principal: &Principal, request: AgentRequest) -> Result<Accepted, IntakeError> {
        let mut acceptance = self.prepare(principal, request)?;
        let now = acceptance.run.created_at;
        let run = &mut acceptance.run;
        run.state = RunState::Running;
        run.lease_no = 1;
        run.lease_owner = Some(self.engine.delivery("request", 1).owner);
        run.lease_until_ms = after(now, self.engine.limits.lease).as_millisecond();
        run.attempts = 1;
        let Acceptance { event, run } = self.accept(acceptance).await?;
        let (id, conversation, recorded) = (run.id, run.conversation, run.clone());
        let window = Window { deadline: after(now, self.patience), cut_calls: true };
        let advance = self.engine.advance(run, false, &event.input, Carrier::Request, window, &NoMessage);
        let advance = match AssertUnwindSafe(advance).catch_unwind().await {
            Ok(Ok(advance)) => advance,
            // The caller hears of a failure and will ask again: the run must not go on by itself, nor hold its conversation.
            Ok(Err(error)) => match self.withdraw_recorded(&recorded, FailureCode::QueueUnavailable).await {
                Some(state) => Advance::Ended { state, response: None },
                None => return Err(IntakeError::Unavailable(error)),
            },
            Err(panic) => {
                self.withdraw_recorded(&recorded, FailureCode::WorkerPanicked).await;
                std::panic::resume_unwind(panic);
            }
        };
        Ok(Accepted { run: id, conversation, created_at: now, advance: Some(advance) })
    }

    /// Records the run, whose id may have to move for the order of its conversation.
    async fn accept(&self, mut acceptance: Acceptance) -> Result<Acceptance, IntakeError> {
        for _ in 0..3 {
            match self.engine.journal.accept(&acceptance).await {
                Ok(()) => return Ok(acceptance),
                Err(AcceptError::OutOfOrder { last }) => acceptance.run.id = RunId::above(last, self.engine.clock.now()),
                Err(AcceptError::Journal(error)) => {
                    // The answer got lost, perhaps not the write: a run that nobody knows of must not hold its conversation.
                    self.withdraw_recorded(&acceptance.run, FailureCode::QueueUnavailable).await;
                    return Err(AcceptError::Journal(error).into());
                }
                Err(error @ (AcceptError::NoConversation | AcceptError::ConversationBusy)) => return Err(error.into()),
            }
        }
        Err(AcceptError::ConversationBusy.into())
    }

    fn prepare(&self, principal: &Principal, request: AgentRequest) -> Result<Acceptance, IntakeError> {
        let agent = request.agent.unwrap_or_else(|| DEFAULT_AGENT.to_owned());
        if Agent::named(&agent).is_none() {
            return Err(IntakeError::UnknownAgent);
        }
        let now = self.engine.clock.now();
        let event = Event {
            id: EventId::new(now),
            kind: AGENT_REQUEST.into(),
            source: "api".into(),
            principal: principal.name.clone(),
            meta: EventMeta::default(),
            created_at: now,
            input: request.input,
        };
        let conversation = request.conversation.unwrap_or_else(|| ConversationId::new(now));
        let run = Run::new(principal.tenant.clone(), &event, conversation, request.conversation.is_some(), agent);
        Ok(Acceptance { event, run })
    }

    /// Withdraws the run as the store has it, if it has it and can be reached; unless it has ended: then this is how.
    async fn withdraw_recorded(&self, run: &Run, code: FailureCode) -> Option<RunState> {
        let run = self.records.run(&run.tenant, run.id).await.ok()??;
        if run.state.has_ended() {
            return Some(run.state);
        }
        self.withdraw(run, code).await;
        None
    }

    /// Best effort: if this fails too, the run stays `queued` for all to see.
    async fn withdraw(&self, mut run: Run, code: FailureCode) {
        let now = self.engine.clock.now();
        run.note(Failure::new(code, "the request could not be carried out; send it again", now, run.attempts));
        run.updated_at = now;
        run.ended_at = Some(now);
        if let Err(error) = self.records.cancel(&run).await {
            tracing::error!(run.id = %run.id, error = %chain(&error), "a run was recorded but neither queued nor withdrawn");
        }
    }
}

/// A request has no message whose invisibility could be extended.
struct NoMessage;

#[async_trait::async_trait]
impl Hold for NoMessage {
    async fn extend(&self, _duration: Duration) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::CallError;
    use crate::engine::ports::{Model, ModelReply, ModelRequest};
    use crate::fakes::{FixedClock, MemoryQueue, MemoryStore, engine};
    use crate::operate::{RunFilter, list};

    struct Panics;

    #[async_trait::async_trait]
    impl Model for Panics {
        async fn ask(&self, request: &ModelRequest<'_>) -> Result<ModelReply, CallError> {
            panic!("asked with {} messages", request.messages.len())
        }
    }

    #[tokio::test]
    async fn a_panic_while_the_caller_waits_leaves_no_run_behind_that_holds_its_conversation() {
        let store = Arc::new(MemoryStore::default());
        let clock = Arc::new(FixedClock::at("2026-01-02T03:04:05Z"));
        let engine = engine(store.clone(), Arc::new(MemoryQueue::default()), Arc::new(Panics), clock);
        let intake = Intake { engine, records: store.clone(), patience: Duration::from_secs(24) };
        let principal = Principal { tenant: "acme".parse().unwrap(), name: "ana".into() };
        let input = AgentInput { prompt: "why?".into(), ..AgentInput::default() };
        let request = AgentRequest { agent: None, conversation: None, input };
        assert!(AssertUnwindSafe(intake.while_waiting(&principal, request)).catch_unwind().await.is_err(), "the edge answers 500");
        let page = list(store.as_ref(), &principal.tenant, &RunFilter::default(), None, 10).await.unwrap();
        let run = &page.runs[0];
        assert_eq!((run.state, run.error().unwrap().code.as_ref()), (RunState::Cancelled, "worker_panicked"));
        let (conversation, _) = store.conversation(&principal.tenant, run.conversation, None, 10).await.unwrap().unwrap();
        assert_eq!(conversation.active_run, None);
    }
}
