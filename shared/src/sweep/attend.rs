//! Looking after one run that is due: read the record as it stands, do what its state calls for, once.
//!
//! Every write is conditional on the record that was read. Whoever loses that race (another sweeper, a worker, an operator) has
//! nothing to do: the run has got on.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::oldest::waits_since;
use super::{Attendant, Attended, Done, DueEntry, line};
use crate::domain::clock::{Clock, after, between};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::run::{Cause, LEASE_GRACE, Run, WORKER_LOST};
use crate::domain::state::{Command, RunState};
use crate::domain::task::Task;
use crate::domain::waiting::Waiting;
use crate::engine::ports::{Guard, Journal, JournalError, Queue, Write};
use crate::ledger::{Change, commit};
use crate::operate::time_is_over;
use crate::telemetry::{chain, span};

/// Who the audit trail says it was.
pub(super) const SWEEPER: &str = "sweeper";
/// How long a run that was queued by the sweeper may wait for its worker.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// A queued run that nobody takes up is sent again after twice the time, each time: however long the queue is, at some point it is
/// shorter than that, and the message that is then on it is not made worthless by the next one.
const DOUBLINGS: u32 = 14;
/// With more messages than this on the tasks queue, a run that is not taken up is taken for one that has to wait.
const BACKLOG: u64 = 100;
/// Until it has waited this long (doubled per time it was sent again): then its message may be lost all the same.
const LONGEST_BACKLOG: Duration = Duration::from_secs(900);
/// A run that waits for its turn is looked at no less often.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

/// How much is on the tasks queue.
#[async_trait]
pub trait Backlog: Send + Sync {
    /// About how many messages wait for a consumer.
    async fn waiting(&self) -> Result<u64, JournalError>;
}

/// Looks after runs.
pub struct Caretaker {
    /// The records.
    pub journal: Arc<dyn Journal>,
    /// Where runs are sent.
    pub queue: Arc<dyn Queue>,
    /// How full that is.
    pub backlog: Arc<dyn Backlog>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Attempts without progress before a run is dead.
    pub max_attempts: u32,
}

#[async_trait]
impl Attendant for Caretaker {
    async fn attend(&self, entry: &DueEntry) -> Result<Attended, JournalError> {
        let nothing = |next| Attended { done: Done::Nothing, next, waits_since: None };
        let Some(run) = self.journal.run(&entry.tenant, entry.run).await? else { return Ok(nothing(None)) };
        span::is_of_attempt(run.attempts);
        let (due, now) = (run.due_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()), self.clock.now());
        let waits_since = waits_since(&run, now);
        // The index lags: what it says of the run is over.
        if due.is_none_or(|due| due > now) {
            return Ok(Attended { waits_since, ..nothing(due) });
        }
        match self.as_read(&run).await? {
            // Somebody else was faster: what was read is over.
            (Done::Nothing, next) => Ok(nothing(next)),
            (done, next) => Ok(Attended { done, next, waits_since }),
        }
    }
}

impl Caretaker {
    /// What the record calls for that was just read.
    pub(super) async fn as_read(&self, run: &Run) -> Result<(Done, Option<Timestamp>), JournalError> {
        let attended = match (run.state, &run.waiting) {
            (RunState::Queued, _) => self.queued(run).await,
            (RunState::Running, _) => self.running(run).await,
            (RunState::Waiting, Some(Waiting::Turn) | None) => self.in_line(run).await,
            (RunState::Waiting, Some(Waiting::Answer { .. } | Waiting::Approval { .. } | Waiting::Time { .. })) => self.waiting(run).await,
            (RunState::Completed | RunState::Failed | RunState::Dead | RunState::Cancelled, _) => {
                self.put(&Run { due_ms: None, ..run.clone() }, run).await.map(|()| (Done::Removed, None))
            }
        };
        match attended {
            Err(JournalError::Lost) => Ok((Done::Nothing, None)),
            other => other,
        }
    }

    /// Nobody took it up: its message was never sent, or is lost, or has to wait.
    async fn queued(&self, run: &Run) -> Result<(Done, Option<Timestamp>), JournalError> {
        let now = self.clock.now();
        let so_far = between(run.updated_at, now);
        if so_far < LONGEST_BACKLOG * doubled(run.resends) && self.backlog.waiting().await? > BACKLOG {
            return self.look_again(run, after(now, so_far.max(PATIENCE))).await;
        }
        let cause = Cause { patience: PATIENCE * doubled(run.resends + 1), ..self.cause("not_taken_up") };
        let mut sent = run.clone();
        sent.apply(Command::Resend, cause).map_err(|_| JournalError::Lost)?;
        self.change(run, &sent, cause).await?;
        tracing::warn!(run.id = %run.id, epoch = sent.epoch, resends = sent.resends, waited_s = so_far.as_secs(), "run sent again");
        Ok((Done::Resent, None))
    }

    /// Its worker is at work, or has vanished.
    async fn running(&self, run: &Run) -> Result<(Done, Option<Timestamp>), JournalError> {
        let now = self.clock.now();
        let due = after(run.lease_end(), LEASE_GRACE);
        if due > now {
            return self.look_again(run, due).await;
        }
        let cause = self.cause(WORKER_LOST);
        let message = "the worker that had the run vanished in the middle of it: killed, cut off, or out of time";
        let mut next = run.clone();
        next.note(Failure::new(FailureCode::WorkerLost, message, now, run.attempts));
        if run.message.is_none() {
            // A dead run has a message on the dead-letter queue; a request has none that could go there. So one attempt is left.
            next.attempts = run.attempts.min(self.max_attempts.saturating_sub(1));
        }
        let is_dead = next.attempts >= self.max_attempts;
        next.apply(if is_dead { Command::Die } else { Command::HandOver }, cause).map_err(|_| JournalError::Lost)?;
        self.change(run, &next, cause).await?;
        let worker = run.lease_owner.as_deref().unwrap_or_default();
        if is_dead {
            // The epoch is as it was: its message is on the dead-letter queue, or on its way there.
            tracing::error!(run.id = %run.id, worker, "run is dead: its worker vanished and no attempt is left");
            return Ok((Done::Died, None));
        }
        tracing::warn!(run.id = %run.id, epoch = next.epoch, worker, "run taken from a worker that vanished");
        Ok((Done::Requeued, None))
    }

    /// It waits for an answer or a time.
    async fn waiting(&self, run: &Run) -> Result<(Done, Option<Timestamp>), JournalError> {
        match run.waiting.as_ref().and_then(Waiting::ends_at) {
            Some(end) if end > self.clock.now() => self.look_again(run, end).await,
            _ => {
                let woken = time_is_over(self.journal.as_ref(), self.queue.as_ref(), self.cause("time_is_over"), run).await?;
                tracing::info!(run.id = %run.id, epoch = woken.epoch, "run woken: its wait is over");
                Ok((Done::Woken, None))
            }
        }
    }

    /// It waits for its turn, which comes with the end of the run before it. Here only what that may have missed.
    async fn in_line(&self, run: &Run) -> Result<(Done, Option<Timestamp>), JournalError> {
        let repair = line::look(self.journal.as_ref(), run, self.cause("line_repaired")).await?;
        match repair {
            line::Repair::NotNeeded => {
                let now = self.clock.now();
                let pause = between(run.updated_at, now).clamp(PATIENCE, LONGEST_PAUSE);
                self.look_again(run, after(now, pause)).await
            }
            line::Repair::Woken(task) => {
                tracing::error!(run.id = %run.id, woken = %task.run, "a line stood still: the run whose turn it is was woken");
                let done = if task.run == run.id { Done::Woken } else { Done::Repaired };
                self.send(&task).await;
                Ok((done, None))
            }
            line::Repair::Cancelled => {
                tracing::warn!(run.id = %run.id, "run cancelled: its conversation is gone");
                Ok((Done::Removed, None))
            }
        }
    }

    /// All is well so far.
    async fn look_again(&self, run: &Run, at: Timestamp) -> Result<(Done, Option<Timestamp>), JournalError> {
        let mut moved = run.clone();
        moved.look_at(at);
        self.put(&moved, run).await?;
        tracing::debug!(run.id = %run.id, state = run.state.as_str(), at = %at, "to be looked at later");
        Ok((Done::Moved, Some(at)))
    }

    async fn put(&self, run: &Run, found: &Run) -> Result<(), JournalError> {
        Ok(self.journal.write(&[Write::Run(run, Guard::Seen(found.seen()))]).await?)
    }

    /// Record first, then the messages that the record calls for.
    async fn change(&self, found: &Run, next: &Run, cause: Cause<'_>) -> Result<(), JournalError> {
        let change = Change { run: next, guard: Guard::Seen(found.seen()), step: None, response: None, cause };
        let done = commit(self.journal.as_ref(), change).await?;
        if done.run.state == RunState::Queued {
            self.send(&done.run.task()).await;
        }
        if let Some(next) = done.next {
            self.send(&next).await;
        }
        Ok(())
    }

    /// A run that cannot be sent is due again: the record says when.
    async fn send(&self, task: &Task) {
        if let Err(error) = self.queue.send(task, Duration::ZERO).await {
            tracing::warn!(run.id = %task.run, error = %chain(&error), "a queued run could not be sent; it will be looked at again");
        }
    }

    fn cause(&self, reason: &'static str) -> Cause<'static> {
        Cause { at: self.clock.now(), by: SWEEPER, reason, patience: PATIENCE }
    }
}

fn doubled(times: u32) -> u32 {
    1 << times.min(DOUBLINGS)
}
