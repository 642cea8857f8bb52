//! A job: a bulk action that somebody asked for, as the record that its workers go by.
//!
//! Whatever a worker is about to act on stands in the record first ([`Job::batch`]), and what came of it is written together with the
//! counts. So a worker that vanishes leaves a record from which the next one goes on, and what it acts on again must find itself done.
//! [`crate::jobs`] is what works on one.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::clock::{after, rfc3339_millis};
use super::id::{JobId, RunId, TenantId};
use super::idempotency::RequestKey;
use super::job_message::JobMessage;

/// The most that a batch holds: with the record it fits into one transaction.
pub const LARGEST_BATCH: usize = 90;
/// Runs per second, where the order does not say.
pub const DEFAULT_RATE: u32 = 50;
/// How long a canary is watched, where the order does not say.
pub const DEFAULT_CANARY_SECONDS: u64 = 600;
/// Slices in a row that may end badly before the job is stopped: the queue delivers a message a few times, and the sweeper sends others.
const MOST_ATTEMPTS: u32 = 20;

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Puts dead runs back.
    Retry,
    /// Ends dead runs for good.
    Discard,
    /// Starts new runs for past events.
    Replay,
}

/// Where a job is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// Recorded; no worker has begun.
    Queued,
    /// A worker is at it, or its next message is under way.
    Running,
    /// The first few are done; the rest waits for what becomes of them.
    WaitingForCanary,
    /// Somebody asked for the end: what is begun is finished, nothing else is begun.
    Cancelling,
    /// All is done.
    Completed,
    /// It ended itself: see [`Job::stopped_because`].
    Stopped,
    /// It was ended by request.
    Cancelled,
}

/// How fast a job goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Runs per second, at most.
    pub rate: u32,
    /// Runs of the job that have not ended, at most; absent: as many as the rate brings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
}

/// The first few, on which the rest depends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// How many.
    pub size: u32,
    /// How long they are waited for, once all of them are under way.
    pub timeout_seconds: u64,
    /// How it stands with them.
    pub state: CanaryState,
    /// Which they are.
    #[serde(default)]
    pub runs: Vec<Watched>,
    /// Since when all of them are under way.
    #[serde(default, with = "rfc3339_millis::option", skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// How it stands with a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CanaryState {
    /// Not all of them are under way.
    Starting,
    /// They are waited for.
    Watching,
    /// None has failed as it did before: the rest goes on.
    Passed,
    /// The rest is left alone.
    Failed,
}

/// A run that the job has set going.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub run: RunId,
    /// How it had failed before, see [`super::dead`]; absent where it is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// How it ended, once it has: a state, or what it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

/// One thing to act on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its name within the job, which is the name of its result: a run's id, for one. The same thing has the same name each time.
    pub key: String,
    /// What the kind of job needs to act on it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
}

/// How acting on a thing came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is done.
    Done,
    /// There was a reason not to.
    Skipped,
    /// It could not be done.
    Failed,
}

/// What came of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobResult {
    /// Its name, see [`Item::key`].
    pub key: String,
    /// The run that was put back, ended or started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// How it came out.
    pub outcome: Outcome,
    /// A word or a sentence on it.
    pub detail: String,
    /// When.
    #[serde(with = "rfc3339_millis")]
    pub at: Timestamp,
}

/// What a job has come to, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// How many there are to act on: as counted at the beginning, exact once all is done.
    pub selected: u64,
    /// See [`Outcome::Done`].
    pub done: u64,
    /// See [`Outcome::Skipped`].
    pub skipped: u64,
    /// See [`Outcome::Failed`].
    pub failed: u64,
}

/// Somebody's wish that the job end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    /// Who.
    pub by: String,
    /// Why, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When.
    #[serde(with = "rfc3339_millis")]
    pub at: Timestamp,
}

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Whose.
    pub tenant: TenantId,
    /// What it does.
    pub kind: JobKind,
    /// Who asks.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// What it is about and how it is done, as the kind understands it.
    pub order: Value,
    /// How fast.
    pub pace: Pace,
    /// How many first and for how long they are waited for.
    pub canary: Option<(u32, u64)>,
    /// The key of the request.
    pub key: Option<RequestKey>,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Whose.
    pub tenant: TenantId,
    /// Its id: jobs sort by the time when they were asked for.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// Where it is.
    pub status: JobStatus,
    /// Who asked for it.
    pub created_by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was asked for: it is about what was there then.
    #[serde(with = "rfc3339_millis")]
    pub created_at: Timestamp,
    /// When a worker began.
    #[serde(default, with = "rfc3339_millis::option", skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, with = "rfc3339_millis::option", skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// See [`NewJob::order`].
    pub order: Value,
    /// How fast.
    pub pace: Pace,
    /// The first few, if the rest depends on them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// What it has come to.
    pub counts: Counts,
    /// Whether all there is to act on was counted.
    #[serde(default)]
    pub is_counted: bool,
    /// Behind what the next batch begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Whether nothing comes behind the batch.
    #[serde(default)]
    pub is_exhausted: bool,
    /// What is acted on now: each may have been acted on already by a worker that vanished.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub batch: Vec<Item>,
    /// Its runs that had not ended when they were last looked at, where the job limits how many that may be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_flight: Vec<Watched>,
    /// Who wants it to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<Cancelled>,
    /// Why it ended itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_because: Option<String>,
    /// Not before then is anything else begun: what keeps the rate.
    #[serde(default, with = "rfc3339_millis::option", skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Raised by every write, each of which is conditional on the one before.
    pub version: u64,
    /// Which message counts: raised whenever one is about to be sent, so that older ones mean nothing.
    pub turn: u64,
    /// Which lease counts: raised by every claim.
    pub lease_no: u64,
    /// When the lease ends; absent when nobody holds it.
    #[serde(default, with = "rfc3339_millis::option", skip_serializing_if = "Option::is_none")]
    pub leased_until: Option<Timestamp>,
    /// When its message is due, or its lease over: if nothing happens for some time after it, its message is lost.
    #[serde(with = "rfc3339_millis")]
    pub expected_at: Timestamp,
    /// Claims since the last that ended well or got on.
    #[serde(default)]
    pub attempts: u32,
}

impl JobStatus {
    /// Whether nothing more happens.
    #[must_use]
    pub const fn has_ended(self) -> bool {
        match self {
            Self::Completed | Self::Stopped | Self::Cancelled => true,
            Self::Queued | Self::Running | Self::WaitingForCanary | Self::Cancelling => false,
        }
    }
}

impl Job {
    /// A job as it is asked for at `now`.
    #[must_use]
    pub fn new(new: NewJob, now: Timestamp) -> Self {
        let canary =
            |(size, timeout_seconds)| Canary { size, timeout_seconds, state: CanaryState::Starting, runs: Vec::new(), since: None };
        Self {
            tenant: new.tenant,
            id: JobId::new(now),
            kind: new.kind,
            status: JobStatus::Queued,
            created_by: new.by,
            reason: new.reason,
            created_at: now,
            started_at: None,
            ended_at: None,
            order: new.order,
            pace: new.pace,
            canary: new.canary.map(canary),
            counts: Counts::default(),
            is_counted: false,
            cursor: None,
            is_exhausted: false,
            batch: Vec::new(),
            in_flight: Vec::new(),
            cancelled: None,
            stopped_because: None,
            not_before: None,
            version: 1,
            turn: 1,
            lease_no: 0,
            leased_until: None,
            expected_at: now,
            attempts: 0,
        }
    }

    /// Gives the lease to a worker. One that finds that too many before it came to a bad end stops the job instead.
    pub fn claim(&mut self, now: Timestamp, until: Timestamp) {
        self.lease_no += 1;
        self.attempts += 1;
        self.started_at.get_or_insert(now);
        if self.status == JobStatus::Queued {
            self.status = JobStatus::Running;
        }
        self.hold(until);
        if self.attempts > MOST_ATTEMPTS {
            self.stop(format!("its worker came to a bad end {MOST_ATTEMPTS} times in a row"), now);
        }
    }

    /// Keeps the lease for longer.
    pub fn hold(&mut self, until: Timestamp) {
        self.leased_until = Some(until);
        self.expected_at = until;
    }

    /// Gives the lease back; the next message follows after `delay`.
    pub fn hand_over(&mut self, now: Timestamp, delay: Duration) {
        self.attempts = 0;
        self.expect_again(after(now, delay));
    }

    /// Its message may be lost: another one follows.
    pub fn expect_again(&mut self, at: Timestamp) {
        self.turn += 1;
        self.leased_until = None;
        self.expected_at = at;
    }

    /// Whether somebody holds it at `now`.
    #[must_use]
    pub fn is_leased(&self, now: Timestamp) -> bool {
        self.leased_until.is_some_and(|until| until > now)
    }

    /// What is acted on next, and where it goes on behind that.
    pub fn plan(&mut self, mut batch: Vec<Item>, cursor: Option<String>, now: Timestamp) {
        // An index may show one run at two places for a moment, and the results of a batch are written together, each once.
        let mut names = std::collections::BTreeSet::new();
        batch.retain(|item| names.insert(item.key.clone()));
        self.is_exhausted = cursor.is_none();
        self.cursor = cursor;
        // Not counted from the time that it should have begun: what was lost is not made up for by going faster.
        let takes = Duration::from_secs_f64(batch.len() as f64 / f64::from(self.pace.rate.max(1)));
        self.not_before = Some(after(now, takes));
        self.batch = batch;
    }

    /// Counts what came of things of the batch; the others stay in it.
    pub fn settle(&mut self, results: &[JobResult]) {
        for result in results {
            let count = match result.outcome {
                Outcome::Done => &mut self.counts.done,
                Outcome::Skipped => &mut self.counts.skipped,
                Outcome::Failed => &mut self.counts.failed,
            };
            *count += 1;
            self.attempts = 0;
        }
        self.batch.retain(|item| results.iter().all(|result| result.key != item.key));
        self.counts.selected = self.counts.selected.max(self.counts.settled());
    }

    /// The message that counts.
    #[must_use]
    pub fn message(&self) -> JobMessage {
        JobMessage { tenant: self.tenant.clone(), job: self.id, turn: self.turn }
    }

    /// Takes over from the record as it was found that somebody wants it to end, so that the next write does not lose that.
    pub fn keep_wish(&mut self, found: &Self) {
        self.version = found.version;
        if let Some(cancelled) = &found.cancelled
            && self.cancelled.is_none()
        {
            self.cancelled = Some(cancelled.clone());
            if !self.status.has_ended() {
                self.status = JobStatus::Cancelling;
            }
        }
    }

    /// Notes that somebody wants it to end. Whoever asked first stays noted.
    pub fn cancel(&mut self, cancelled: Cancelled) {
        self.cancelled.get_or_insert(cancelled);
        self.status = JobStatus::Cancelling;
    }

    /// Ends it by itself.
    pub fn stop(&mut self, because: String, now: Timestamp) {
        self.stopped_because = Some(because);
        self.end(JobStatus::Stopped, now);
    }

    /// Ends it.
    pub fn end(&mut self, status: JobStatus, now: Timestamp) {
        self.status = status;
        self.ended_at = Some(now);
        self.leased_until = None;
        self.not_before = None;
        // Of what stands in the batch of a job whose workers all vanished nobody knows.
        self.counts.failed += std::mem::take(&mut self.batch).len() as u64;
        // What was left alone was selected as well.
        let settled = self.counts.settled();
        self.counts.selected = if status == JobStatus::Completed { settled } else { self.counts.selected.max(settled) };
    }
}

impl Counts {
    /// How many were acted on.
    #[must_use]
    pub const fn settled(&self) -> u64 {
        self.done + self.skipped + self.failed
    }
}
