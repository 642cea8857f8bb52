//! Bulk actions: they are asked for, recorded, and carried out by workers that a queue of their own wakes, slice by slice.
//!
//! This file is what they take of the world. [`Desk::start`] records a job, `worker` carries one out, a [`Work`] is what one kind of job
//! does. The record says all of it ([`crate::domain::job`]): a worker that is killed is followed by another, which goes on from there
//! (ADR 0023).

mod dead;
mod desk;
mod dry_run;
mod selection;
#[cfg(test)]
mod tests;
mod watch;
mod watchman;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use self::dead::{DeadWork, ToTheDead};
pub use self::desk::{Desk, DeskError, JobPage, Started};
pub use self::dry_run::{LOOKED_AT, Refused, Trial, Would, dry_run};
pub use self::selection::{DeadOrder, MOST_IDS, Selection};
pub use self::watchman::Watchman;
pub use self::worker::{LEASE, Taken, Worker, wake};
use crate::domain::dead::Fingerprint;
use crate::domain::id::{JobId, TenantId};
use crate::domain::idempotency::UsedKey;
use crate::domain::job::{Item, Job, JobKind, JobResult, Outcome, Watched};
use crate::domain::job_message::JobMessage;
use crate::domain::run::Run;
use crate::engine::ports::JournalError;

/// Where jobs and their results are.
#[async_trait]
pub trait JobStore: Send + Sync {
    /// Records a new job, and the key of the request that asked for it; or tells for what that key was used before.
    async fn create(&self, job: &Job, key: Option<&UsedKey>) -> Result<Option<UsedKey>, JournalError>;
    /// A job as it stands.
    async fn job(&self, tenant: &TenantId, id: JobId) -> Result<Option<Job>, JournalError>;
    /// Writes a job together with results (at most [`crate::domain::job::LARGEST_BATCH`]; one that is there is replaced), if what stands
    /// there has the version before. Whether it has.
    async fn save(&self, job: &Job, results: &[JobResult]) -> Result<bool, JournalError>;
    /// Jobs older than `before`, newest first, at most `limit`.
    async fn jobs(&self, tenant: &TenantId, before: Option<JobId>, limit: usize) -> Result<Vec<Job>, JournalError>;
    /// Results of a job in the order of their names, behind `after`, at most `limit`.
    async fn results(&self, tenant: &TenantId, job: JobId, after: Option<&str>, limit: usize) -> Result<Vec<JobResult>, JournalError>;
    /// The jobs of all tenants that have not ended.
    async fn open(&self) -> Result<Vec<(TenantId, JobId)>, JournalError>;
}

/// The queue of jobs.
#[async_trait]
pub trait JobQueue: Send + Sync {
    /// Sends a message that shows after `delay`. The adapter retries; a message may arrive twice.
    async fn send_job(&self, message: &JobMessage, delay: Duration) -> Result<(), JournalError>;
}

/// What one kind of job does.
#[async_trait]
pub trait Work: Send + Sync {
    /// About how many things there are to act on.
    async fn count(&self, job: &Job) -> Result<u64, JournalError>;

    /// Things to act on behind `cursor`, at most `limit`, and where it goes on behind them; no cursor: they are the last. None with a
    /// cursor: nothing was found so far.
    async fn next(&self, job: &Job, cursor: Option<&str>, limit: usize) -> Result<(Vec<Item>, Option<String>), JournalError>;

    /// Acts on one thing. It may have been acted on before, by a worker that vanished, and must then come out as it did at first.
    ///
    /// # Errors
    /// When the store cannot be reached: it is acted on again.
    async fn act(&self, job: &Job, item: &Item) -> Result<Acted, JournalError>;
}

/// What came of acting on one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acted {
    /// How it came out.
    pub outcome: Outcome,
    /// A word or a sentence on it.
    pub detail: String,
    /// The run that was put back, ended or started.
    pub run: Option<Watched>,
}

/// What each kind of job does.
pub type Kinds = BTreeMap<JobKind, Arc<dyn Work>>;

/// How a run has failed, so that two that failed alike are known.
fn fingerprint(run: &Run) -> Option<String> {
    run.failures.last().map(|failure| Fingerprint::of(failure).to_string())
}
