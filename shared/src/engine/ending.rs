//! How a pass over a run is settled: the record is written first, then the queue hears of it.

use std::time::Duration;

use super::calls::jittered;
use super::lease::lease_end;
use super::ports::{Ending, JournalError};
use super::{Advance, Carrier, Engine, Limits, Stop};
use crate::domain::clock::after;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::run::Run;
use crate::domain::state::{Command, RunState};
use crate::domain::step::Step;
use crate::telemetry::chain;

/// The first back-off of an attempt; doubled per attempt, drawn with full jitter.
const BACKOFF: Duration = Duration::from_secs(2);
/// The longest: the attempts of a real outage spread over minutes, and SQS takes up to 15.
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);
/// Between two tries of a write.
const PAUSE: Duration = Duration::from_secs(1);

impl Engine {
    /// Writes the last step and the end of the run in one transaction.
    pub(super) async fn complete(&self, run: &mut Run, step: Option<Step>, answer: String) -> Result<String, Stop> {
        let mut ended = self.ended(run, Command::Complete);
        ended.steps = step.as_ref().map_or(run.steps, |step| step.index);
        let ending = Ending { step: step.as_ref(), response: Some(&answer) };
        self.insist(run, || self.journal.end(&ended, ending)).await?;
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
                Err(JournalError::Unavailable(cause)) if after(self.clock.now(), Limits::LEASE_MARGIN) < lease_end(run) => {
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
        let result = match stop {
            Stop::Lost => Err(JournalError::Lost),
            Stop::Journal(error) => Err(error),
            Stop::Deadline => self.out_of_time(run, carrier, made_progress).await,
            Stop::Terminal(failure) => self.fail(run, failure).await,
            Stop::Uncertain(failure) => self.die(run, failure).await,
            Stop::Attempt(failure, retry_after) => self.try_again(run, failure, retry_after, carrier, made_progress).await,
        };
        match result {
            Err(JournalError::Lost) => Ok(Advance::Lost),
            other => other,
        }
    }

    /// A hand-over burns no attempt. But a worker that had no time for even one call would hand over for ever: that is a failure.
    async fn out_of_time(&self, run: Run, carrier: Carrier, made_progress: bool) -> Result<Advance, JournalError> {
        match carrier {
            Carrier::Message { .. } if !made_progress => {
                let message = "the worker's time is too short for one call; raise the function's timeout above the call's";
                let failure = self.failure(&run, FailureCode::NoTime, message);
                self.try_again(run, failure, None, carrier, made_progress).await
            }
            Carrier::Message { .. } | Carrier::Request => self.hand_over(run, None, Duration::ZERO).await,
        }
    }

    async fn try_again(
        &self,
        run: Run,
        failure: Failure,
        retry_after: Option<Duration>,
        carrier: Carrier,
        made_progress: bool,
    ) -> Result<Advance, JournalError> {
        match carrier {
            Carrier::Message { attempt } if !made_progress && attempt >= self.limits.max_attempts => self.die(run, failure).await,
            Carrier::Message { attempt } if !made_progress => self.come_back(run, failure, backoff(attempt, retry_after)).await,
            // Progress, or no message that could come back: a new message, whose attempts count from one.
            Carrier::Message { .. } | Carrier::Request => self.hand_over(run, Some(failure), backoff(1, retry_after)).await,
        }
    }

    /// Record first, enqueue second. When the second fails, the message in hand comes back and stands in for the new one.
    async fn hand_over(&self, mut run: Run, failure: Option<Failure>, delay: Duration) -> Result<Advance, JournalError> {
        run.epoch += 1;
        self.release(&mut run, failure).await?;
        self.queue.send(&run.task(), delay).await?;
        Ok(Advance::HandedOver)
    }

    async fn come_back(&self, mut run: Run, failure: Failure, after: Duration) -> Result<Advance, JournalError> {
        self.release(&mut run, Some(failure)).await?;
        Ok(Advance::Again { after })
    }

    async fn release(&self, run: &mut Run, failure: Option<Failure>) -> Result<(), JournalError> {
        if let Some(failure) = failure {
            run.note(failure);
        }
        run.state = RunState::Queued;
        run.updated_at = self.clock.now();
        run.drop_lease();
        self.journal.release(run).await
    }

    async fn fail(&self, mut run: Run, failure: Failure) -> Result<Advance, JournalError> {
        tracing::warn!(run.id = %run.id, code = %failure.code, "run failed");
        run.note(failure);
        let ended = self.ended(&run, Command::Fail);
        self.journal.end(&ended, Ending { step: None, response: None }).await?;
        Ok(Advance::Ended { state: ended.state, response: None })
    }

    async fn die(&self, mut run: Run, failure: Failure) -> Result<Advance, JournalError> {
        tracing::error!(run.id = %run.id, code = %failure.code, attempts = run.attempts, "run is dead");
        run.note(failure);
        let ended = self.ended(&run, Command::Die);
        self.journal.end(&ended, Ending { step: None, response: None }).await?;
        Ok(Advance::Dead)
    }

    fn ended(&self, run: &Run, command: Command) -> Run {
        let now = self.clock.now();
        let mut ended = run.clone();
        // The table says where `command` leads from `running`; the store's condition makes sure that the run still is.
        ended.state = RunState::Running.after(command).unwrap_or(run.state);
        ended.updated_at = now;
        ended.ended_at = Some(now);
        ended.drop_lease();
        ended
    }
}

/// What the provider asked for, else exponential with full jitter.
fn backoff(attempt: u32, retry_after: Option<Duration>) -> Duration {
    retry_after.unwrap_or_else(|| jittered(BACKOFF, attempt as usize)).min(LONGEST_BACKOFF)
}
