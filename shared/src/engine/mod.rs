//! How one run advances: claim, call, journal, again. The heart of Reprise.
//!
//! [`ports`] is what it needs of the world, `lease` keeps its right to work, `calls` makes the calls, and this file is
//! the loop. Invariants that live here: a step is finished only when it is in the journal; a call starts only while the
//! lease outlives its time-out; a worker that lost its lease stops and writes nothing.

mod asking;
mod calls;
mod caps;
mod ending;
mod lease;
mod live;
mod measuring;
pub mod ports;
mod refused;
mod route;
mod routes;
mod stepping;
#[cfg(test)]
mod tests;
mod tool_calls;
mod withheld;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tracing::{Instrument as _, Span};

use crate::domain::agent::Agent;
use crate::domain::clock::{Clock, after};
use crate::domain::definition::Bundle;
use crate::domain::event::AgentInput;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::run::{Cause, LEASE_GRACE, Run};
use crate::domain::state::RunState;
use crate::domain::task::Task;
use crate::domain::transcript::{Next, Transcript};
use crate::domain::waiting::Waiting;
use crate::metrics::Meter;
use crate::telemetry::{chain, span};
use crate::tools::Toolbox;
pub use calls::CallError;
pub(crate) use ending::LONGEST_BACKOFF;
use live::Heard;
pub use live::Live;
pub(crate) use live::News;
use ports::{Claim, Journal, JournalError, Lease, Model, Queue};
pub use routes::{Breakers, Routes};
use tool_calls::waits;

/// The engine's numbers; each comes from the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a claim or a renewal holds.
    pub lease: Duration,
    /// How long one model call may take; less than the lease, see [`Limits::LEASE_MARGIN`].
    pub model_timeout: Duration,
    /// Attempts without progress before a run is dead; and deliveries of one message before the queue takes it for dead.
    pub max_attempts: u32,
}

impl Limits {
    /// What a lease must outlive a call's time-out by: one write of the result, and clocks that differ by up to 5 s (Lambda keeps its
    /// clocks within a second of each other; a worker whose clock is off by more may lose its lease early, never keep it late,
    /// because every write names the lease's number and not the time).
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
    /// A queue message, delivered for the nth time: it comes back by itself, until the queue takes it for dead.
    Message {
        /// Deliveries so far, this one included.
        deliveries: u32,
        /// See [`Delivery::sent_at`].
        sent_at: Option<Timestamp>,
    },
    /// A request whose caller waits: there is no message that could come back.
    Request,
}

/// One delivery of a message to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Who claims: unique to this delivery, so that a duplicate in the same batch is somebody else.
    pub owner: String,
    /// The queue's name for the message.
    pub message: String,
    /// Deliveries of the message so far, this one included.
    pub deliveries: u32,
    /// When the queue got the message, by its own clock, if it says so.
    pub sent_at: Option<Timestamp>,
}

impl Delivery {
    const fn carrier(&self) -> Carrier {
        Carrier::Message { deliveries: self.deliveries, sent_at: self.sent_at }
    }
}

/// Extends what makes the run come back if this worker dies. Idempotent; failures are logged, not fatal: the lease is the truth.
#[async_trait::async_trait]
pub trait Hold: Send + Sync {
    /// Keeps the message invisible for `duration` from now.
    async fn extend(&self, duration: Duration);

    /// Where what the run says is heard, if somebody in this process reads along.
    fn live(&self) -> Option<&Live> {
        None
    }
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
    /// It waits for something else than a message; this one is done.
    Waiting,
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
#[derive(Clone)]
pub struct Engine {
    /// Where runs are.
    pub journal: Arc<dyn Journal>,
    /// Where continuations go.
    pub queue: Arc<dyn Queue>,
    /// Who answers.
    pub model: Arc<dyn Model>,
    /// Which models may be asked, in which order.
    pub routes: Arc<Routes>,
    /// Which agents there are, and what calls cost.
    pub bundle: Arc<Bundle>,
    /// What agents can do.
    pub tools: Toolbox,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The numbers.
    pub limits: Limits,
    /// This worker's name in leases, which an operator can find in the logs.
    pub worker: String,
    /// What models take and cost, and how much of their limits runs use.
    pub meter: Arc<Meter>,
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
    /// There is nothing to do until somebody answers or a time comes.
    Wait(Waiting),
    /// The journal cannot be reached.
    Journal(JournalError),
}

impl Engine {
    /// The delivery of the message with that id; `place` tells it from its duplicate in the same batch.
    #[must_use]
    pub fn delivery(&self, message: &str, place: usize, deliveries: u32) -> Delivery {
        // A part of the message's name tells it from any other that this worker has had. The owner stands in the record twice, and with
        // more it would cost each step a second write unit.
        let part = message.get(..8).unwrap_or(message);
        let owner = format!("{}/{part}/{deliveries}.{place}", self.worker);
        Delivery { owner, message: message.to_owned(), deliveries, sent_at: None }
    }

    /// This worker as the cause of a transition.
    #[must_use]
    pub fn cause<'a>(&'a self, reason: &'a str) -> Cause<'a> {
        Cause { at: self.clock.now(), by: &self.worker, reason, patience: self.limits.lease }
    }

    /// Sends what a write has made ready. The record says that it is queued: if this fails, the sweeper sends it.
    pub async fn send_ready(&self, task: Option<Task>) {
        let Some(task) = task else { return };
        if let Err(error) = self.queue.send(&task, Duration::ZERO).await {
            tracing::warn!(run.id = %task.run, error = %chain(&error), "a queued run is not sent yet; the sweeper does it");
        }
    }
}

/// An attempt, in its span; which then says how it ended.
async fn attempted(around: Span, attempt: BoxFuture<'_, Result<Advance, JournalError>>) -> Result<Advance, JournalError> {
    let ended = attempt.instrument(around.clone()).await;
    span::attempt_ended(&around, &ended);
    ended
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
        let run = match self.journal.claim(task, &self.lease(delivery)).await? {
            Claim::Taken(run) => *run,
            Claim::Refused(refusal) => return Box::pin(self.refused(task, delivery, refusal)).await,
        };
        let mut run = match self.seen_in_time(run).await {
            Err(JournalError::Lost) => return Ok(Advance::Lost),
            other => other?,
        };
        let around = span::attempt(&mut run);
        let attempt = async move {
            match self.journal.input(&run).await {
                Ok(input) => self.advance_in(run, &input, delivery.carrier(), window, hold).await,
                Err(error) => {
                    let (stop, steps) = (self.unread(&run, &error), run.steps);
                    Box::pin(self.settle(run, stop, delivery.carrier(), steps)).await
                }
            }
        };
        attempted(around, Box::pin(attempt)).await
    }

    /// A claim does not say when somebody has to look, because that was set when the run was queued and is mostly before the end of
    /// the lease. A run that was sent again and again is looked at ever more rarely: should this worker vanish, that is too late.
    async fn seen_in_time(&self, run: Run) -> Result<Run, JournalError> {
        let latest = after(run.lease_end(), LEASE_GRACE);
        if run.due_ms.is_none_or(|due| due <= latest.as_millisecond()) {
            return Ok(run);
        }
        let mut seen = run.clone();
        seen.look_at(latest);
        self.put(&run, &seen, "claimed").await.map(|done| done.run)
    }

    /// Advances a run whose lease this worker holds, and settles how the pass ended.
    ///
    /// # Errors
    /// When the journal or the queue cannot be reached.
    pub async fn advance(
        &self,
        mut run: Run,
        input: &AgentInput,
        carrier: Carrier,
        window: Window,
        hold: &dyn Hold,
    ) -> Result<Advance, JournalError> {
        let around = span::attempt(&mut run);
        attempted(around, Box::pin(self.advance_in(run, input, carrier, window, hold))).await
    }

    async fn advance_in(
        &self,
        mut run: Run,
        input: &AgentInput,
        carrier: Carrier,
        window: Window,
        hold: &dyn Hold,
    ) -> Result<Advance, JournalError> {
        let steps_before = run.steps;
        let unheard = Live::unheard();
        let hold = &Heard { hold, live: hold.live().unwrap_or(&unheard) };
        match Box::pin(self.pass(&mut run, input, window, hold)).await {
            Ok(answer) => Ok(Advance::Ended { state: RunState::Completed, response: Some(answer) }),
            Err(stop) => Box::pin(self.settle(run, stop, carrier, steps_before)).await,
        }
    }

    /// Settles a run whose pass ended without a word on record (a panic, or a store that did not answer), so that the failure is
    /// not only in a log; and finds out whether the run has ended meanwhile.
    ///
    /// # Errors
    /// When the journal or the queue cannot be reached.
    pub async fn settle_unsettled(&self, task: &Task, delivery: &Delivery, code: FailureCode) -> Result<Advance, JournalError> {
        match self.journal.claim(task, &self.lease(delivery)).await? {
            Claim::Refused(refusal) => Box::pin(self.refused(task, delivery, refusal)).await,
            Claim::Taken(claimed) => {
                let mut run = *claimed;
                let around = span::attempt(&mut run);
                let attempt = async move {
                    let stop = match self.what_was_in_flight(&run).await {
                        Ok(()) => Stop::Attempt(self.failure(&run, code, "the worker failed on this run; its log says where"), None),
                        Err(stop) => stop,
                    };
                    let steps = run.steps;
                    self.settle(run, stop, delivery.carrier(), steps).await
                };
                attempted(around, Box::pin(attempt)).await
            }
        }
    }

    /// Whether the call that was not finished may simply be made again.
    async fn what_was_in_flight(&self, run: &Run) -> Result<(), Stop> {
        let input = self.journal.input(run).await?;
        let Some(agent) = self.agent_of(run, &input) else { return Ok(()) };
        let transcript = self.rebuild(run, &agent, &input).await?;
        self.refuse_uncertain(run, &agent, &transcript)
    }

    /// Calls and journals until the answer is there or something stops it.
    async fn pass(&self, run: &mut Run, input: &AgentInput, window: Window, hold: &Heard<'_>) -> Result<String, Stop> {
        let Some(agent) = &self.agent_of(run, input) else {
            let message = format!("no agent is named `{}` in this version; deploy it, then retry the run", run.agent);
            return Err(Stop::Attempt(self.failure(run, FailureCode::UnknownAgent, message), None));
        };
        run.governed_by(&self.bundle);
        let mut transcript = self.rebuild(run, agent, input).await.map_err(|stop| match stop {
            Stop::Journal(error) => self.unread(run, &error),
            other => other,
        })?;
        if run.abandoned {
            self.refuse_uncertain(run, agent, &transcript)?;
        }
        if run.attempts > self.limits.max_attempts {
            let message = format!("{} workers in a row vanished or failed on the same step", run.attempts - 1);
            return Err(Stop::Attempt(self.failure(run, FailureCode::WorkerLost, message), None));
        }
        loop {
            let around = span::step(transcript.steps() + 1);
            if let Some(answer) = self.next_step(run, agent, input, &mut transcript, window, hold).instrument(around).await? {
                return Ok(answer);
            }
        }
    }

    /// The agent of a run as its request has changed it, in the version that is deployed now.
    fn agent_of(&self, run: &Run, input: &AgentInput) -> Option<Agent> {
        let mut agent = self.bundle.agent(&run.agent)?.for_run(&input.overrides);
        if let Some(model) = &run.redriven.model {
            agent.models = vec![model.clone()];
        }
        Some(agent)
    }

    async fn rebuild(&self, run: &Run, agent: &Agent, input: &AgentInput) -> Result<Transcript, Stop> {
        let history = if run.has_history && input.messages.is_none() { self.journal.history(run).await? } else { Vec::new() };
        let before = run.redriven.start.steps;
        let mut transcript = Transcript::open_behind(before, agent, history, input);
        if run.steps > before {
            for step in self.journal.steps(run).await? {
                transcript.record(&step);
            }
        }
        Ok(transcript)
    }

    /// What a run begins with could not be read. Nothing was called yet: the lease is given back, not left to lapse, so that nobody
    /// takes the next call for one that may have happened.
    fn unread(&self, run: &Run, error: &JournalError) -> Stop {
        tracing::warn!(run.id = %run.id, error = %chain(error), "the input or the journal of a run could not be read");
        let message = "what the run was asked, or what it had done, could not be read";
        Stop::Attempt(self.failure(run, FailureCode::JournalUnavailable, message), None)
    }

    /// The previous worker vanished, perhaps in the middle of a tool call: that call is repeated only if it may be.
    fn refuse_uncertain(&self, run: &Run, agent: &Agent, transcript: &Transcript) -> Result<(), Stop> {
        match transcript.next() {
            // It was not begun: somebody is asked first, or it never is.
            Next::Tool(call) if waits(agent, transcript, &call) || self.is_withheld(run, agent, transcript, &call) => Ok(()),
            Next::Tool(call) if !self.tools.is_idempotent(&call.name) => {
                let message = format!(
                    "the tool `{}` may have been called by a worker that died (call {}); check its effect, then retry the run to call it again",
                    call.name, call.id
                );
                Err(Stop::Uncertain(self.failure(run, FailureCode::UncertainToolCall, message)))
            }
            Next::Tool(_) | Next::Model(_) | Next::Ended(_) | Next::Failed(..) => Ok(()),
        }
    }

    fn lease(&self, delivery: &Delivery) -> Lease {
        let now = self.clock.now();
        let until = after(now, self.limits.lease);
        Lease { owner: delivery.owner.clone(), now, until, message: delivery.message.clone(), sent_at: delivery.sent_at }
    }

    fn failure(&self, run: &Run, code: FailureCode, message: impl Into<String>) -> Failure {
        Failure::new(code, message, self.clock.now(), run.attempts)
    }
}
