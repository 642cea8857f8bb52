//! Carries jobs out: one message, one slice of a job, until the time of the invocation is over; then the next message.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};
use jiff::Timestamp;
use tracing::Instrument as _;

use super::watch::Canaries;
use super::{Acted, JobQueue, JobStore, Kinds, Work};
use crate::domain::clock::{Clock, after, between};
use crate::domain::id::{JobId, TenantId};
use crate::domain::job::{Canary, CanaryState, Item, Job, JobResult, JobStatus, LARGEST_BATCH, Outcome};
use crate::domain::job_message::JobMessage;
use crate::engine::ports::JournalError;
use crate::operate::Records;
use crate::telemetry::{chain, span};

/// How long a worker holds a job without writing it. Longer than an invocation, so that no other works beside one that is alive; what
/// one does that was frozen and wakes is refused by the record, and finds itself done where it acts.
pub const LEASE: Duration = Duration::from_secs(35);
/// Things acted on side by side: waiting for the store is what takes the time.
const SIDE_BY_SIDE: usize = 16;
/// A wait up to this is waited for; before a longer one the function ends, and a message with a delay comes back.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// No wait is shorter: a clock of milliseconds would stand still.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// How often runs are looked at that a job waits for: less often the longer nothing ends, since one may wait for days.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(60);
/// The same for a canary, which may take as long as its model does.
const LOOK_AT_CANARY_EVERY: Duration = Duration::from_secs(3);
/// How often a write is tried again that another write of the same job came before: such are only wishes to cancel it.
const TRIES: usize = 5;
/// After so many claims in which the store took the job, but nothing could be done to any thing of the batch, these have failed: a record
/// that cannot be read must not stop the rest.
const HOPELESS: u32 = 10;

/// Carries jobs out.
pub struct Worker {
    /// The jobs.
    pub store: Arc<dyn JobStore>,
    /// Their queue.
    pub queue: Arc<dyn JobQueue>,
    /// The runs that they set going.
    pub records: Arc<dyn Records>,
    /// What each kind does.
    pub kinds: Kinds,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It may be deleted.
    Done,
    /// Another worker has the job: it comes back after this time.
    Again(Duration),
}

/// What a step of a slice came to.
enum Step {
    /// There is more to do.
    Again,
    /// There is nothing to do for so long.
    Wait(Duration),
    /// The job has ended.
    Ended,
    /// The job is another worker's.
    Lost,
}

impl Worker {
    /// Takes a message up: works on its job until `until`, and sends the next message.
    ///
    /// # Errors
    /// When the store cannot be reached. The message comes back, and the lease is over by then.
    pub async fn take_up(&self, message: &JobMessage, until: Timestamp) -> Result<Taken, JournalError> {
        self.work_on(message, until).instrument(span::job(&message.tenant, message.job)).await
    }

    async fn work_on(&self, message: &JobMessage, until: Timestamp) -> Result<Taken, JournalError> {
        let Some(mut job) = self.store.job(&message.tenant, message.job).await? else {
            tracing::error!(job.id = %message.job, "a message is about a job that does not exist");
            return Ok(Taken::Done);
        };
        let now = self.clock.now();
        if job.status.has_ended() || job.turn != message.turn {
            tracing::info!(job.id = %job.id, turn = job.turn, of_message = message.turn, "a message that means nothing any more");
            return Ok(Taken::Done);
        }
        if job.is_leased(now) {
            return Ok(Taken::Again(between(now, job.leased_until.unwrap_or(now))));
        }
        let (Some(work), before) = (self.kinds.get(&job.kind), job.batch.clone()) else {
            return Err(JournalError::Unavailable(format!("no work of the kind {:?} is known here", job.kind).into()));
        };
        job.claim(now, after(now, LEASE));
        let given_up: Vec<JobResult> =
            if job.status.has_ended() { before.iter().map(|item| unknown(item, now)).collect() } else { Vec::new() };
        job.version += 1;
        if !self.store.save(&job, &given_up).await? {
            return Ok(Taken::Again(Duration::ZERO));
        }
        if job.status.has_ended() {
            tracing::error!(job.id = %job.id, because = job.stopped_because, "job stopped");
            return Ok(Taken::Done);
        }
        self.slice(job, work.as_ref(), until).await
    }

    /// Works on a job that is held, until it ends, has to wait, or the time is over.
    async fn slice(&self, mut job: Job, work: &dyn Work, until: Timestamp) -> Result<Taken, JournalError> {
        loop {
            let delay = if self.clock.now() >= until {
                Duration::ZERO
            } else {
                match self.step(&mut job, work).await? {
                    Step::Again => continue,
                    Step::Wait(pause) if pause <= LONGEST_WAIT && after(self.clock.now(), pause) < until => {
                        self.clock.sleep(pause).await;
                        continue;
                    }
                    Step::Wait(pause) => pause,
                    Step::Ended => {
                        tracing::info!(job.id = %job.id, status = ?job.status, counts = ?job.counts, "job ended");
                        return Ok(Taken::Done);
                    }
                    Step::Lost => {
                        tracing::warn!(job.id = %job.id, "another worker has taken the job over");
                        return Ok(Taken::Done);
                    }
                }
            };
            job.hand_over(self.clock.now(), delay);
            if self.save(&mut job, &[]).await? {
                self.send(&job, delay).await;
            }
            return Ok(Taken::Done);
        }
    }

    /// A job whose message cannot be sent is found by the sweeper.
    async fn send(&self, job: &Job, delay: Duration) {
        if let Err(error) = self.queue.send_job(&job.message(), delay).await {
            tracing::warn!(job.id = %job.id, error = %chain(&error), "the next message of a job could not be sent; the sweeper does it");
        }
    }

    /// One thing after the other, each of which leaves a record that another worker can go on from.
    async fn step(&self, job: &mut Job, work: &dyn Work) -> Result<Step, JournalError> {
        let now = self.clock.now();
        if !job.batch.is_empty() {
            return self.act(job, work).await;
        }
        if job.cancelled.is_some() {
            return self.end(job, JobStatus::Cancelled).await;
        }
        if !job.is_counted {
            job.counts.selected = work.count(job).await?.max(job.counts.settled());
            job.is_counted = true;
            return self.saved(job).await;
        }
        if let Some(canary) = job.canary.clone().filter(|canary| canary.state == CanaryState::Watching) {
            return self.watch(job, canary).await;
        }
        if let Some(pause) = job.not_before.filter(|at| *at > now).map(|at| between(now, at)) {
            return Ok(Step::Wait(pause.max(SHORTEST_WAIT)));
        }
        if job.canary_is_under_way() {
            job.watch_canary(now);
            return self.saved(job).await;
        }
        if job.is_exhausted {
            return self.end(job, JobStatus::Completed).await;
        }
        let room = match self.room(job).await? {
            0 => return Ok(Step::Wait(look_again_in(job, now))),
            room => room,
        };
        let (batch, cursor) = work.next(job, job.cursor.as_deref(), room).await?;
        job.plan(batch, cursor, now);
        self.saved(job).await
    }

    /// How many things may be acted on now.
    async fn room(&self, job: &mut Job) -> Result<usize, JournalError> {
        let mut room = LARGEST_BATCH.min(job.pace.rate as usize).max(1);
        if let Some(canary) = job.canary.as_ref().filter(|canary| canary.state == CanaryState::Starting) {
            room = room.min((canary.size as usize).saturating_sub(canary.runs.len()));
        }
        if let Some(most) = job.pace.concurrency {
            if job.in_flight.len() >= most as usize {
                Canaries(self.records.as_ref()).refresh(&mut job.in_flight).await?;
                job.in_flight.retain(|run| run.ended.is_none());
            }
            room = room.min((most as usize).saturating_sub(job.in_flight.len()));
        }
        Ok(room)
    }

    /// Acts on the batch. What the store had no answer for stays in it, and is acted on again with the next message.
    async fn act(&self, job: &mut Job, work: &dyn Work) -> Result<Step, JournalError> {
        let (batch, of) = (job.batch.clone(), &job.clone());
        let acting = batch.into_iter().map(|item| async move {
            let acted = AssertUnwindSafe(work.act(of, &item)).catch_unwind().await;
            (item, acted)
        });
        let acted: Vec<_> = stream::iter(acting).buffer_unordered(SIDE_BY_SIDE).collect().await;
        let (mut results, mut failure) = (Vec::new(), None);
        let now = self.clock.now();
        for (item, acted) in acted {
            match acted {
                Ok(Ok(acted)) => {
                    results.push(result(&item, &acted, now));
                    job.set_going(acted);
                }
                Ok(Err(error)) if of.attempts >= HOPELESS => {
                    tracing::error!(job.id = %job.id, item = item.key, error = %chain(&error), "nothing can be done to a thing");
                    let detail = format!("the store had no answer for it {HOPELESS} times");
                    results.push(result(&item, &Acted { outcome: Outcome::Failed, detail, run: None }, now));
                }
                Ok(Err(error)) => failure = Some(error),
                Err(_) => {
                    tracing::error!(job.id = %job.id, item = item.key, "acting on a thing panicked");
                    let acted = Acted { outcome: Outcome::Failed, detail: "an internal error".into(), run: None };
                    results.push(result(&item, &acted, now));
                }
            }
        }
        job.settle(&results);
        if !self.save(job, &results).await? {
            return Ok(Step::Lost);
        }
        failure.map_or(Ok(Step::Again), Err)
    }

    async fn watch(&self, job: &mut Job, mut canary: Canary) -> Result<Step, JournalError> {
        let before = canary.clone();
        Canaries(self.records.as_ref()).look(&mut canary, self.clock.now()).await?;
        if canary == before {
            return Ok(Step::Wait(LOOK_AT_CANARY_EVERY));
        }
        let verdict = canary.state;
        let because = canary.told();
        job.canary = Some(canary);
        match verdict {
            CanaryState::Failed => {
                job.stop(because, self.clock.now());
                Ok(if self.save(job, &[]).await? { Step::Ended } else { Step::Lost })
            }
            CanaryState::Passed => {
                job.status = JobStatus::Running;
                self.saved(job).await
            }
            CanaryState::Starting | CanaryState::Watching => self.saved(job).await,
        }
    }

    async fn end(&self, job: &mut Job, status: JobStatus) -> Result<Step, JournalError> {
        job.end(status, self.clock.now());
        Ok(if self.save(job, &[]).await? { Step::Ended } else { Step::Lost })
    }

    async fn saved(&self, job: &mut Job) -> Result<Step, JournalError> {
        Ok(if self.save(job, &[]).await? { Step::Again } else { Step::Lost })
    }

    /// Writes the job, which is held until it has ended or was handed over. Whether it is still this worker's.
    async fn save(&self, job: &mut Job, results: &[JobResult]) -> Result<bool, JournalError> {
        if job.leased_until.is_some() {
            job.hold(after(self.clock.now(), LEASE));
        }
        for _ in 0..TRIES {
            job.version += 1;
            if self.store.save(job, results).await? {
                return Ok(true);
            }
            match self.store.job(&job.tenant, job.id).await? {
                // Nobody else writes a job that is held, but to note that it shall end.
                Some(found) if found.lease_no == job.lease_no && !found.status.has_ended() => job.keep_wish(&found),
                Some(_) | None => return Ok(false),
            }
        }
        Err(JournalError::Unavailable("the job moved too often".into()))
    }
}

/// Sends the message of a job again that nobody works on. For the sweeper, which knows of all jobs that have not ended.
///
/// # Errors
/// When the store or the queue cannot be reached.
pub async fn wake(
    store: &dyn JobStore,
    queue: &dyn JobQueue,
    (tenant, id): (&TenantId, JobId),
    now: Timestamp,
    patience: Duration,
) -> Result<bool, JournalError> {
    let Some(mut job) = store.job(tenant, id).await? else { return Ok(false) };
    if job.status.has_ended() || after(job.expected_at, patience) > now || job.is_leased(now) {
        return Ok(false);
    }
    job.expect_again(now);
    job.version += 1;
    if !store.save(&job, &[]).await? {
        return Ok(false);
    }
    queue.send_job(&job.message(), Duration::ZERO).await?;
    tracing::warn!(tenant = %tenant, job.id = %job.id, turn = job.turn, "job woken: its message was lost");
    Ok(true)
}

/// A part of the time that has passed since the last batch.
fn look_again_in(job: &Job, now: Timestamp) -> Duration {
    let idle = job.not_before.map_or(Duration::ZERO, |since| between(since, now));
    (idle / 4).clamp(LOOK_EVERY, LOOK_AT_LEAST_EVERY)
}

fn result(item: &Item, acted: &Acted, at: Timestamp) -> JobResult {
    let run = acted.run.as_ref().map(|watched| watched.run);
    JobResult { key: item.key.clone(), run, outcome: acted.outcome, detail: acted.detail.clone(), at }
}

fn unknown(item: &Item, at: Timestamp) -> JobResult {
    let detail = "the workers that acted on it all came to a bad end: look at it".into();
    JobResult { key: item.key.clone(), run: None, outcome: Outcome::Failed, detail, at }
}
