//! How a pass over a run is settled: the record is written first, then the queue hears of it.

use std::time::Duration;

use jiff::Timestamp;

use super::calls::jittered;
use super::ports::{Guard, JournalError};
use super::{Advance, Carrier, Engine, Limits, Stop};
use crate::domain::clock::{after, between};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::run::Run;
use crate::domain::state::{Command, RunState};
use crate::domain::step::Step;
use crate::domain::task::Task;
use crate::domain::waiting::Waiting;
use crate::ledger::{Change, Committed, commit};
use crate::operate::time_is_over;
use crate::telemetry::{chain, span};

/// The first back-off of an attempt; doubled per attempt, drawn with full jitter. With four attempts a provider may be away for half
/// a minute on average before its runs are dead, beyond the tries within each attempt.
const BACKOFF: Duration = Duration::from_secs(10);
/// The longest: the attempts of a real outage spread over minutes, and SQS takes up to 15.
pub(crate) const LONGEST_BACKOFF: Duration = Duration::from_secs(300);
/// A wait no longer than this is ended by a message that is delivered when it is over (SQS delays for 15 minutes at most); a longer
/// one by the sweeper, which may be a minute late.
const LONGEST_ALARM: Duration = Duration::from_secs(900);
/// Between two tries of a write.
const PAUSE: Duration = Duration::from_secs(1);

impl Engine {
    /// Writes the last step and the end of the run in one transaction.
    pub(super) async fn complete(&self, run: &mut Run, step: Option<Step>, answer: String, answered_at: u32) -> Result<String, Stop> {
        let mut ended = self.after(run, Command::Complete, "answered", Duration::ZERO)?;
        ended.steps = step.as_ref().map_or(run.steps, |step| step.index);
        ended.answered_at = Some(answered_at);
        let response = Some((answer.as_str(), answered_at));
        let change = Change { run: &ended, guard: held(run), step: step.as_ref(), response, cause: self.cause("answered") };
        self.insist(run, || async {
            let done = commit(self.journal.as_ref(), change).await?;
            self.send_ready(done.next).await;
            Ok(())
        })
        .await?;
        *run = ended;
        Ok(answer)
    }

    /// Writes what was paid for as long as the lease holds. A write that had an effect after all is refused as lost the second
    /// time: then the journal has the step, and whoever takes the run up next goes on behind it.
    pub(super) async fn insist<W>(&self, run: &Run, write: impl Fn() -> W) -> Result<(), Stop>
    where
        W: Future<Output = Result<(), JournalError>>,
    {
        loop {
            match write().await {
                Err(JournalError::Unavailable(cause)) if after(self.clock.now(), Limits::LEASE_MARGIN) < run.lease_end() => {
                    tracing::warn!(run.id = %run.id, error = %chain(cause.as_ref()), "a step could not be written, trying again");
                    self.clock.sleep(PAUSE).await;
                }
                other => return other.map_err(Stop::from),
            }
        }
    }

    /// Decides what becomes of a run whose pass stopped early.
    pub(super) async fn settle(&self, run: Run, stop: Stop, carrier: Carrier, steps_before: u32) -> Result<Advance, JournalError> {
        let made_progress = run.steps > steps_before;
        if let Stop::Attempt(failure, _) | Stop::Terminal(failure) | Stop::Uncertain(failure) = &stop {
            span::attempt_failed(&failure.code);
        }
        let result = match stop {
            Stop::Lost => Err(JournalError::Lost),
            Stop::Journal(error) => Err(error),
            Stop::Deadline => self.out_of_time(run, carrier, made_progress).await,
            Stop::Wait(waiting) => self.wait(&run, waiting).await,
            Stop::Terminal(failure) if Self::is_of_a_chosen_model(&run, &failure) => self.uncertain(run, failure, carrier).await,
            Stop::Terminal(failure) => self.fail(run, failure).await,
            Stop::Uncertain(failure) => self.uncertain(run, failure, carrier).await,
            Stop::Attempt(failure, retry_after) => self.try_again(run, failure, retry_after, carrier, made_progress).await,
        };
        match result {
            Err(JournalError::Lost) => Ok(Advance::Lost),
            other => other,
        }
    }

    /// A hand-over burns no attempt. But a worker that had no time for even one call would hand over for ever: that is a failure.
    async fn out_of_time(&self, mut run: Run, carrier: Carrier, made_progress: bool) -> Result<Advance, JournalError> {
        match carrier {
            Carrier::Message { .. } if !made_progress => {
                let message = "the worker's time is too short for one call; raise the function's timeout above the call's";
                let failure = self.failure(&run, FailureCode::NoTime, message);
                self.try_again(run, failure, None, carrier, made_progress).await
            }
            Carrier::Message { .. } | Carrier::Request => {
                run.attempts = run.attempts.saturating_sub(1);
                self.hand_over(&run, "out_of_time", Duration::ZERO).await
            }
        }
    }

    async fn try_again(
        &self,
        mut run: Run,
        failure: Failure,
        retry_after: Option<Duration>,
        carrier: Carrier,
        made_progress: bool,
    ) -> Result<Advance, JournalError> {
        let (max, code) = (self.limits.max_attempts, failure.code.clone());
        let throttles = throttles(&run, &failure);
        if throttles > 0 {
            // The provider has no room, or there is none that may be asked: that says nothing about the run. Its limit of working
            // time ends what never gets a turn.
            run.attempts = run.attempts.saturating_sub(1);
        }
        match carrier {
            Carrier::Message { sent_at, .. } if run.attempts >= max => return self.die(run, failure, sent_at).await,
            // A dead run has a message on the dead-letter queue; a request has none that could go there. So one attempt is left.
            Carrier::Request => run.attempts = run.attempts.min(max.saturating_sub(1)),
            Carrier::Message { .. } => {}
        }
        let pause = backoff(run.attempts.max(throttles), retry_after);
        run.note(failure);
        match carrier {
            // Its attempts are not used up, but after its last delivery the message would be taken for dead.
            Carrier::Message { deliveries, .. } if !made_progress && deliveries < max => self.come_back(&run, &code, pause).await,
            Carrier::Message { .. } | Carrier::Request => self.hand_over(&run, &code, pause).await,
        }
    }

    /// Record first, enqueue second. When the second fails, the message in hand comes back and stands in for the new one.
    async fn hand_over(&self, run: &Run, reason: &str, delay: Duration) -> Result<Advance, JournalError> {
        let handed = self.after(run, Command::HandOver, reason, delay)?;
        let done = self.put(run, &handed, reason).await?;
        self.queue.send(&done.run.task(), delay).await?;
        Ok(Advance::HandedOver)
    }

    async fn come_back(&self, run: &Run, reason: &str, after: Duration) -> Result<Advance, JournalError> {
        let released = self.after(run, Command::Release, reason, after)?;
        self.put(run, &released, reason).await?;
        Ok(Advance::Again { after })
    }

    async fn wait(&self, run: &Run, waiting: Waiting) -> Result<Advance, JournalError> {
        let reason = match &waiting {
            Waiting::Turn => "turn",
            Waiting::Answer { .. } => "question",
            Waiting::Approval { .. } => "approval",
            Waiting::Time { .. } => "time",
        };
        let mut waits = self.after(run, Command::Wait, reason, Duration::ZERO)?;
        if let Some(end) = waiting.ends_at() {
            waits.look_at(end);
        }
        let alarm = match &waiting {
            Waiting::Time { until, .. } => Some(between(self.clock.now(), *until)).filter(|pause| *pause <= LONGEST_ALARM),
            Waiting::Turn | Waiting::Answer { .. } | Waiting::Approval { .. } => None,
        };
        waits.waiting = Some(waiting);
        let done = self.put(run, &waits, reason).await?;
        if let Some(pause) = alarm
            && let Err(error) = self.queue.send(&done.run.task(), pause).await
        {
            tracing::warn!(run.id = %run.id, error = %chain(&error), "a short wait has no alarm; the sweeper ends it");
        }
        Ok(Advance::Waiting)
    }

    /// A message of a run that waits: the alarm of a short wait, or one that was delivered again and means nothing.
    pub(super) async fn ring(&self, task: &Task) -> Result<Advance, JournalError> {
        let waits = Advance::Ended { state: RunState::Waiting, response: None };
        let Some(run) = self.journal.run(&task.tenant, task.run).await? else { return Ok(Advance::Stale) };
        let Some(Waiting::Time { until, .. }) = &run.waiting else { return Ok(waits) };
        match between(self.clock.now(), *until) {
            Duration::ZERO => match time_is_over(self.journal.as_ref(), self.queue.as_ref(), self.cause("time_is_over"), &run).await {
                Ok(_) => Ok(Advance::HandedOver),
                // Somebody else was faster.
                Err(JournalError::Lost) => Ok(waits),
                Err(error) => Err(error),
            },
            // The clock of whoever set the alarm is a little ahead of this one.
            early if early <= Limits::LEASE_MARGIN => Ok(Advance::Again { after: early }),
            _ => Ok(waits),
        }
    }

    async fn fail(&self, mut run: Run, failure: Failure) -> Result<Advance, JournalError> {
        tracing::warn!(run.id = %run.id, code = %failure.code, "run failed");
        let code = failure.code.clone();
        run.note(failure);
        let ended = self.after(&run, Command::Fail, &code, Duration::ZERO)?;
        let done = self.put(&run, &ended, &code).await?;
        self.send_ready(done.next).await;
        Ok(Advance::Ended { state: ended.state, response: None })
    }

    /// Whether what a model refused may be the fault of an operator, who chose that model for this run: another choice may help.
    pub(super) fn is_of_a_chosen_model(run: &Run, failure: &Failure) -> bool {
        run.redriven.model.is_some() && failure.code == FailureCode::ProviderRejected.as_str()
    }

    /// A call that must not be repeated may have happened: the run is dead. A request leaves that to a worker of the queue, whose
    /// message then is the dead letter.
    async fn uncertain(&self, mut run: Run, failure: Failure, carrier: Carrier) -> Result<Advance, JournalError> {
        match carrier {
            Carrier::Message { sent_at, .. } => self.die(run, failure, sent_at).await,
            Carrier::Request => {
                run.abandoned = true;
                self.hand_over(&run, &failure.code, Duration::ZERO).await
            }
        }
    }

    async fn die(&self, mut run: Run, failure: Failure, sent_at: Option<Timestamp>) -> Result<Advance, JournalError> {
        tracing::error!(run.id = %run.id, code = %failure.code, attempts = run.attempts, "run is dead");
        let code = failure.code.clone();
        run.note(failure);
        let mut ended = self.after(&run, Command::Die, &code, Duration::ZERO)?;
        // Not before its message was sent, should this clock be behind the queue's: messages that were sent later wake it.
        ended.ended_at = ended.ended_at.max(sent_at);
        let done = self.put(&run, &ended, &code).await?;
        self.send_ready(done.next).await;
        Ok(Advance::Dead)
    }

    /// The record after `command`, which will be looked after if nobody takes it up for a while after `delay`.
    fn after(&self, run: &Run, command: Command, reason: &str, delay: Duration) -> Result<Run, JournalError> {
        let cause = self.cause(reason);
        let mut next = run.clone();
        // This worker holds the lease, so the run is running; if not, somebody else has it.
        next.apply(command, cause).map_err(|_| JournalError::Lost)?;
        if next.state == RunState::Queued {
            next.look_at(after(cause.at, delay + cause.patience));
        }
        Ok(next)
    }

    /// Writes what became of a run whose lease this worker holds.
    pub(super) async fn put(&self, before: &Run, after: &Run, reason: &str) -> Result<Committed, JournalError> {
        let change = Change { run: after, guard: held(before), step: None, response: None, cause: self.cause(reason) };
        commit(self.journal.as_ref(), change).await
    }
}

/// The condition of every write of a worker.
const fn held(run: &Run) -> Guard {
    Guard::Held { lease_no: run.lease_no, steps: run.steps }
}

/// How often in a row nobody has now had room for the run; 0 if that is not what `failure` says.
fn throttles(run: &Run, failure: &Failure) -> u32 {
    let codes = [FailureCode::ProviderRateLimited.as_str(), FailureCode::NoProvider.as_str()];
    let is_throttle = |failure: &&Failure| codes.contains(&failure.code.as_ref());
    if !is_throttle(&failure) {
        return 0;
    }
    let before = run.failures.iter().rev().take_while(is_throttle).count();
    u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1)
}

/// What the provider asked for, else exponential with full jitter.
fn backoff(attempt: u32, retry_after: Option<Duration>) -> Duration {
    retry_after.unwrap_or_else(|| jittered(BACKOFF, attempt as usize)).min(LONGEST_BACKOFF)
}
