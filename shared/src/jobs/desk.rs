//! Where people ask for jobs, look at them and end them.

use std::sync::Arc;
use std::time::Duration;

use super::{JobQueue, JobStore};
use crate::domain::clock::Clock;
use crate::domain::id::{JobId, TenantId};
use crate::domain::idempotency::{KeyOutcome, UsedKey};
use crate::domain::job::{Cancelled, Job, JobKind, NewJob};
use crate::engine::ports::JournalError;
use crate::telemetry::chain;

/// How often a wish to cancel is written anew because the worker has got on meanwhile.
const TRIES: usize = 20;
/// Jobs read at once, and how often, before a list hands out a cursor instead.
const ROUND: usize = 25;
const ROUNDS: usize = 10;

/// Takes jobs in.
#[derive(Clone)]
pub struct Desk {
    /// The jobs.
    pub store: Arc<dyn JobStore>,
    /// Their queue.
    pub queue: Arc<dyn JobQueue>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// A job that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Started {
    /// The job.
    pub job: Job,
    /// Whether the same request had been made before.
    pub is_replay: bool,
}

/// A part of a list, newest first. While there is a cursor there may be more.
#[derive(Debug, Clone, PartialEq)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// Where the next page begins.
    pub next: Option<JobId>,
}

/// Why the desk did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// No such job, or another tenant's.
    #[error("no such job")]
    NotFound,
    /// It has ended.
    #[error("the job has ended")]
    Ended(Box<Job>),
    /// The key stands for another request.
    #[error("the key was used for another request")]
    KeyReused,
    /// The store cannot be reached.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Desk {
    /// Records a job and sends its first message. One that cannot be sent is found by the sweeper.
    ///
    /// # Errors
    /// [`DeskError::KeyReused`], or the store cannot be reached.
    pub async fn start(&self, new: NewJob) -> Result<Started, DeskError> {
        let now = self.clock.now();
        let key = new.key.clone();
        let job = Job::new(new, now);
        let used = key.as_ref().map(|key| UsedKey::new(key, KeyOutcome::Job(job.id), now));
        if let Some(known) = self.store.create(&job, used.as_ref()).await? {
            let KeyOutcome::Job(id) = known.outcome else { return Err(DeskError::KeyReused) };
            if key.is_none_or(|key| key.fingerprint != known.fingerprint) {
                return Err(DeskError::KeyReused);
            }
            let job = self.store.job(&job.tenant, id).await?.ok_or(JournalError::NotFound)?;
            return Ok(Started { job, is_replay: true });
        }
        if let Err(error) = self.queue.send_job(&job.message(), Duration::ZERO).await {
            tracing::warn!(job.id = %job.id, error = %chain(&error), "the first message of a job could not be sent; the sweeper does it");
        }
        tracing::info!(job.id = %job.id, kind = ?job.kind, by = job.created_by, "job asked for");
        Ok(Started { job, is_replay: false })
    }

    /// A job of one of these kinds.
    ///
    /// # Errors
    /// [`DeskError::NotFound`], or the store cannot be reached.
    pub async fn job(&self, tenant: &TenantId, id: JobId, kinds: &[JobKind]) -> Result<Job, DeskError> {
        let job = self.store.job(tenant, id).await?.filter(|job| kinds.contains(&job.kind));
        job.ok_or(DeskError::NotFound)
    }

    /// The jobs of these kinds, newest first.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn jobs(&self, tenant: &TenantId, kinds: &[JobKind], cursor: Option<JobId>, limit: usize) -> Result<JobPage, JournalError> {
        let (mut jobs, mut before) = (Vec::new(), cursor);
        for _ in 0..ROUNDS {
            let found = self.store.jobs(tenant, before, ROUND).await?;
            let is_last = found.len() < ROUND;
            before = found.last().map(|job| job.id);
            jobs.extend(found.into_iter().filter(|job| kinds.contains(&job.kind)));
            if jobs.len() > limit {
                jobs.truncate(limit);
                let next = jobs.last().map(|job| job.id);
                return Ok(JobPage { jobs, next });
            }
            if is_last {
                return Ok(JobPage { jobs, next: None });
            }
        }
        Ok(JobPage { jobs, next: before })
    }

    /// Says that a job shall end: what it has begun is finished, and counted.
    ///
    /// # Errors
    /// [`DeskError::NotFound`], [`DeskError::Ended`], or the store cannot be reached.
    pub async fn cancel(
        &self,
        tenant: &TenantId,
        id: JobId,
        kinds: &[JobKind],
        by: &str,
        reason: Option<String>,
    ) -> Result<Job, DeskError> {
        for _ in 0..TRIES {
            let mut job = self.job(tenant, id, kinds).await?;
            if job.status.has_ended() {
                return Err(DeskError::Ended(Box::new(job)));
            }
            if job.cancelled.is_some() {
                return Ok(job);
            }
            job.cancel(Cancelled { by: by.to_owned(), reason: reason.clone(), at: self.clock.now() });
            job.version += 1;
            if self.store.save(&job, &[]).await? {
                return Ok(job);
            }
        }
        Err(JournalError::Unavailable("the job moved too often".into()).into())
    }
}
