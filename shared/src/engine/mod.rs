//! How one run advances: claim, call, journal, again. The heart of Reprise.
//!
//! [`ports`] is what it needs of the world, `lease` keeps its right to work, `calls` makes the calls, and this file is
//! the loop. Invariants that live here: a step is finished only when it is in the journal; a call starts only while the
//! lease outlives its time-out; a worker that lost its lease stops and writes nothing.

mod calls;
mod ending;
mod lease;
pub mod ports;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::agent::Agent;
use crate::domain::clock::{Clock, after, between};
use crate::domain::event::AgentInput;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::run::Run;
use crate::domain::state::RunState;
use crate::domain::step::{FinishReason, LARGEST_STEP, Step, StepBody};
use crate::domain::task::Task;
use crate::domain::transcript::{Next, Transcript};
use crate::tools::Toolbox;
pub use calls::CallError;
use ports::{Claim, Journal, JournalError, Lease, Model, Queue, Refusal};

/// The engine's numbers; each comes from the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a claim or a renewal holds.
    pub lease: Duration,
    /// How long one model call may take; less than the lease, see [`Limits::LEASE_MARGIN`].
    pub model_timeout: Duration,
    /// Deliveries of one message that may fail without progress before the run is dead.
    pub max_attempts: u32,
}

impl Limits {
    /// What a lease must outlive a call's time-out by: one write of the result, and clocks that differ by up to 5 s.
    pub const LEASE_MARGIN: Duration = Duration::from_secs(5);
}

/// When a worker has to stop, and what it does to a call that would outlast that.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// The last moment for a write.
    pub deadline: Timestamp,
    /// Whether a call is cut at the deadline (a caller waits for the answer) rather than not begun (nobody waits).
    pub cut_calls: bool,
}

/// What carries the run to this worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// A queue message, delivered for the nth time: it comes back by itself.
    Message {
        /// Deliveries so far, this one included.
        attempt: u32,
    },
    /// A request whose caller waits: there is no message that could come back.
    Request,
}

/// One delivery of a message to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Who claims: unique to this delivery, so that a duplicate in the same batch is somebody else.
    pub owner: String,
    /// Deliveries of the message so far, this one included.
    pub attempt: u32,
}

/// Extends what makes the run come back if this worker dies. Idempotent; failures are logged, not fatal: the lease is the truth.
#[async_trait::async_trait]
pub trait Hold: Send + Sync {
    /// Keeps the message invisible for `duration` from now.
    async fn extend(&self, duration: Duration);
}

/// What became of the run in this invocation.
#[derive(Debug, Clone, PartialEq)]
pub enum Advance {
    /// It has ended, here or before; its message is done. The answer is there when it completed here.
    Ended {
        /// How.
        state: RunState,
        /// The answer.
        response: Option<String>,
    },
    /// A new message carries it on; this one is done.
    HandedOver,
    /// This message has to come back after the time.
    Again {
        /// When.
        after: Duration,
    },
    /// Its attempts are used up: the message belongs on the dead-letter queue, by the queue's own policy.
    Dead,
    /// The message means nothing any more: it names an older epoch, or nothing that exists.
    Stale,
    /// The run was taken or ended by somebody else meanwhile. The message may still be needed: it stays as it is.
    Lost,
}

/// One engine serves all runs of a function.
pub struct Engine {
    /// Where runs are.
    pub journal: Arc<dyn Journal>,
    /// Where continuations go.
    pub queue: Arc<dyn Queue>,
    /// Who answers.
    pub model: Arc<dyn Model>,
    /// What agents can do.
    pub tools: Toolbox,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The numbers.
    pub limits: Limits,
    /// This worker's name in leases, which an operator can find in the logs.
    pub worker: String,
}

/// Why a pass over a run ended early.
pub(crate) enum Stop {
    /// Somebody else has the run, or it has ended: nothing more may be written.
    Lost,
    /// No time for another call.
    Deadline,
    /// This attempt failed; another may succeed.
    Attempt(Failure, Option<Duration>),
    /// The run cannot succeed.
    Terminal(Failure),
    /// The run cannot be repeated safely: an operator decides.
    Uncertain(Failure),
    /// The journal cannot be reached.
    Journal(JournalError),
}

impl Engine {
    /// The delivery of the message with that id.
    #[must_use]
    pub fn delivery(&self, message_id: &str, attempt: u32) -> Delivery {
        Delivery { owner: format!("{}/{message_id}/{attempt}", self.worker), attempt }
    }
}

impl From<JournalError> for Stop {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Lost => Self::Lost,
            JournalError::NotFound | JournalError::Unavailable(_) => Self::Journal(error),
        }
    }
}

impl Engine {
    /// Takes up the run that a queue message names and advances it as far as the window allows.
    ///
    /// # Errors
    /// When the journal or the queue cannot be reached: the message has to come back.
    pub async fn take_up(&self, task: &Task, delivery: &Delivery, window: Window, hold: &dyn Hold) -> Result<Advance, JournalError> {
        let lease = self.lease(delivery);
        let (now, attempt) = (lease.now, lease.attempt);
        let claimed = match self.journal.claim(task, &lease).await? {
            Claim::Taken(claimed) => claimed,
            Claim::Refused(refusal) => return self.refused(task, attempt, refusal, now).await,
        };
        let event = self.journal.event(&claimed.run.tenant, claimed.run.event).await?;
        let carrier = Carrier::Message { attempt };
        self.advance(claimed.run, claimed.was_abandoned, &event.input, carrier, window, hold).await
    }

    /// Advances a run whose lease this worker holds, and settles how the pass ended.
    ///
    /// # Errors
    /// When the journal or the queue cannot be reached.
    pub async fn advance(
        &self,
        mut run: Run,
        was_abandoned: bool,
        input: &AgentInput,
        carrier: Carrier,
        window: Window,
        hold: &dyn Hold,
    ) -> Result<Advance, JournalError> {
        let steps_before = run.steps;
        match self.pass(&mut run, was_abandoned, input, window, hold).await {
            Ok(answer) => Ok(Advance::Ended { state: RunState::Completed, response: Some(answer) }),
            Err(stop) => self.settle(run, stop, carrier, steps_before).await,
        }
    }

    /// A message whose run could not be claimed.
    async fn refused(&self, task: &Task, attempt: u32, refusal: Refusal, now: Timestamp) -> Result<Advance, JournalError> {
        Ok(match refusal {
            Refusal::Missing => {
                tracing::warn!(run.id = %task.run, epoch = task.epoch, "no such run: its message is dropped");
                Advance::Stale
            }
            // A hand-over that was recorded but not sent leaves a queued run whose old message comes back: it stands in.
            Refusal::Stale { current, state: RunState::Queued } if attempt > 1 => {
                // Under a new epoch: should the other message exist after all, it means nothing any more.
                // Refused may also mean that our own write was repeated by the transport: the message in hand stays until it is clear.
                let Some(epoch) = self.journal.reissue(task, current).await? else {
                    return Ok(Advance::Again { after: Limits::LEASE_MARGIN });
                };
                self.queue.send(&Task { epoch, ..task.clone() }, Duration::ZERO).await?;
                Advance::HandedOver
            }
            Refusal::Stale { current, .. } => {
                tracing::info!(run.id = %task.run, epoch = task.epoch, current, "message of an older epoch dropped");
                Advance::Stale
            }
            // On its way to the dead-letter queue, which takes as many deliveries as the queue's policy says.
            Refusal::Ended(RunState::Dead) => Advance::Dead,
            Refusal::Ended(state) => Advance::Ended { state, response: None },
            Refusal::Leased { until } => Advance::Again { after: between(now, until) + Limits::LEASE_MARGIN },
            Refusal::ConversationBusy => Advance::Again { after: self.limits.lease },
        })
    }

    /// Settles a run whose pass ended without a word on record (a panic, or a store that did not answer), so that the failure is
    /// not only in a log; and finds out whether the run has ended meanwhile.
    ///
    /// # Errors
    /// When the journal or the queue cannot be reached.
    pub async fn settle_unsettled(&self, task: &Task, delivery: &Delivery, code: FailureCode) -> Result<Advance, JournalError> {
        let lease = self.lease(delivery);
        let (now, attempt) = (lease.now, lease.attempt);
        match self.journal.claim(task, &lease).await? {
            Claim::Refused(refusal) => self.refused(task, attempt, refusal, now).await,
            Claim::Taken(claimed) => {
                let run = claimed.run;
                let stop = match self.what_was_in_flight(&run).await {
                    Ok(()) => Stop::Attempt(self.failure(&run, code, "the worker failed on this run; its log says where"), None),
                    Err(stop) => stop,
                };
                let steps = run.steps;
                self.settle(run, stop, Carrier::Message { attempt }, steps).await
            }
        }
    }

    /// Whether the call that was not finished may simply be made again.
    async fn what_was_in_flight(&self, run: &Run) -> Result<(), Stop> {
        let Some(agent) = Agent::named(&run.agent) else { return Ok(()) };
        let event = self.journal.event(&run.tenant, run.event).await?;
        let transcript = self.rebuild(run, agent, &event.input).await?;
        self.refuse_uncertain(run, &transcript)
    }

    /// Calls and journals until the answer is there or something stops it.
    async fn pass(&self, run: &mut Run, was_abandoned: bool, input: &AgentInput, window: Window, hold: &dyn Hold) -> Result<String, Stop> {
        let Some(agent) = Agent::named(&run.agent) else {
            let message = format!("no agent is named `{}` in this version; deploy it, then retry the run", run.agent);
            return Err(Stop::Attempt(self.failure(run, FailureCode::UnknownAgent, message), None));
        };
        let mut transcript = self.rebuild(run, agent, input).await?;
        if was_abandoned {
            self.refuse_uncertain(run, &transcript)?;
        }
        loop {
            let started_at = self.clock.now();
            let body = match transcript.next() {
                Next::Ended(answer) => return self.complete(run, None, answer).await,
                Next::Model if transcript.steps() >= agent.max_steps => {
                    let message = format!("the agent `{}` used its {} steps without an answer", agent.name, agent.max_steps);
                    return Err(Stop::Terminal(self.failure(run, FailureCode::StepLimit, message)));
                }
                Next::Model => StepBody::Model(self.call_model(run, agent, &transcript, window, hold).await?),
                Next::Tool(call) => StepBody::Tool(self.call_tool(run, agent, call, window, hold).await?),
            };
            let step = Step { index: transcript.steps() + 1, started_at, ended_at: self.clock.now(), body };
            run.usage += step.body.usage();
            if step.size() > LARGEST_STEP {
                let message = format!("the result of step {} has {} bytes; the journal takes {LARGEST_STEP}", step.index, step.size());
                return Err(Stop::Terminal(self.failure(run, FailureCode::ResultTooLarge, message)));
            }
            transcript.record(&step);
            match transcript.next() {
                Next::Ended(answer) => return self.complete(run, Some(step), answer).await,
                Next::Model | Next::Tool(_) => {
                    run.updated_at = step.ended_at;
                    self.insist(run, || self.journal.append(run, &step)).await?;
                    run.steps = step.index;
                }
            }
        }
    }

    async fn rebuild(&self, run: &Run, agent: &Agent, input: &AgentInput) -> Result<Transcript, Stop> {
        let history = if run.has_history && input.messages.is_none() { self.journal.history(run).await? } else { Vec::new() };
        let mut transcript = Transcript::open(agent, history, input);
        if run.steps > 0 {
            for step in self.journal.steps(run).await? {
                transcript.record(&step);
            }
        }
        Ok(transcript)
    }

    /// The previous worker vanished, perhaps in the middle of a tool call: that call is repeated only if it may be.
    fn refuse_uncertain(&self, run: &Run, transcript: &Transcript) -> Result<(), Stop> {
        match transcript.next() {
            Next::Tool(call) if !self.tools.is_idempotent(&call.name) => {
                let message = format!(
                    "the tool `{}` may have been called by a worker that died (call {}); check its effect, then retry the run to call it again",
                    call.name, call.id
                );
                Err(Stop::Uncertain(self.failure(run, FailureCode::UncertainToolCall, message)))
            }
            Next::Tool(_) | Next::Model | Next::Ended(_) => Ok(()),
        }
    }

    fn lease(&self, delivery: &Delivery) -> Lease {
        let now = self.clock.now();
        Lease { owner: delivery.owner.clone(), now, until: after(now, self.limits.lease), attempt: delivery.attempt }
    }

    fn failure(&self, run: &Run, code: FailureCode, message: impl Into<String>) -> Failure {
        Failure::new(code, message, self.clock.now(), run.attempts)
    }
}

/// A model answer that is no answer: an outcome to be retried, never a success.
pub(crate) fn check_answer(finish: FinishReason, content: Option<&str>, calls: usize) -> Result<(), CallError> {
    let said = content.is_some_and(|text| !text.trim().is_empty());
    match finish {
        // Another try would pay the same tokens to stop at the same place.
        FinishReason::Length => Err(CallError::Terminal {
            code: FailureCode::AnswerCutOff,
            message: "the model ran into its token limit before it had said all".into(),
        }),
        FinishReason::ContentFilter => Err(CallError::rejected("the provider filtered the answer")),
        FinishReason::Stop | FinishReason::ToolCalls if said || calls > 0 => Ok(()),
        FinishReason::Stop | FinishReason::ToolCalls => Err(CallError::garbled("the model answered with neither text nor tool calls")),
    }
}
