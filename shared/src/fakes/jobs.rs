//! Jobs and their queue in memory: the same promises as the real ones.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;

use super::{locked, unavailable};
use crate::domain::id::{JobId, TenantId};
use crate::domain::idempotency::UsedKey;
use crate::domain::job::{Job, JobResult, LARGEST_BATCH};
use crate::domain::job_message::JobMessage;
use crate::engine::ports::JournalError;
use crate::jobs::{JobQueue, JobStore};

/// Jobs, their results and their messages in memory.
#[derive(Debug, Default)]
pub struct MemoryJobs {
    /// The jobs.
    pub jobs: Mutex<BTreeMap<JobId, Job>>,
    /// Their results, by name.
    pub results: Mutex<BTreeMap<(JobId, String), JobResult>>,
    /// Keys of requests.
    pub keys: Mutex<BTreeMap<String, UsedKey>>,
    /// Messages and their delays, oldest first.
    pub sent: Mutex<Vec<(JobMessage, Duration)>>,
    /// Calls so far, of any kind.
    pub calls: Mutex<usize>,
    /// Refuses everything while true.
    pub is_down: Mutex<bool>,
    /// The calls that fail before they have an effect, and those whose answer is lost after it, by number.
    pub failing: Mutex<(Vec<usize>, Vec<usize>)>,
}

impl MemoryJobs {
    /// Takes what was sent first.
    pub fn take_first(&self) -> Option<(JobMessage, Duration)> {
        let mut sent = locked(&self.sent);
        if sent.is_empty() { None } else { Some(sent.remove(0)) }
    }

    /// A job as it stands.
    #[must_use]
    pub fn get(&self, id: JobId) -> Option<Job> {
        locked(&self.jobs).get(&id).cloned()
    }

    fn call<T>(&self, effect: impl FnOnce(&Self) -> T) -> Result<T, JournalError> {
        let number = {
            let mut calls = locked(&self.calls);
            *calls += 1;
            *calls
        };
        let (fails, loses) = {
            let failing = locked(&self.failing);
            (failing.0.contains(&number), failing.1.contains(&number))
        };
        if fails || *locked(&self.is_down) {
            return Err(unavailable());
        }
        let done = effect(self);
        if loses { Err(unavailable()) } else { Ok(done) }
    }
}

#[async_trait]
impl JobStore for MemoryJobs {
    async fn create(&self, job: &Job, key: Option<&UsedKey>) -> Result<Option<UsedKey>, JournalError> {
        self.call(|this| {
            if let Some(key) = key {
                let mut keys = locked(&this.keys);
                let name = format!("{}#{}", job.tenant, key.digest);
                if let Some(known) = keys.get(&name).filter(|known| !known.has_expired(key.created_at)) {
                    return Some(known.clone());
                }
                keys.insert(name, key.clone());
            }
            locked(&this.jobs).insert(job.id, job.clone());
            None
        })
    }

    async fn job(&self, tenant: &TenantId, id: JobId) -> Result<Option<Job>, JournalError> {
        self.call(|this| this.get(id).filter(|job| job.tenant == *tenant))
    }

    async fn save(&self, job: &Job, results: &[JobResult]) -> Result<bool, JournalError> {
        assert!(results.len() <= LARGEST_BATCH, "{} results fit into no transaction", results.len());
        self.call(|this| {
            let mut jobs = locked(&this.jobs);
            if jobs.get(&job.id).is_none_or(|found| found.version + 1 != job.version) {
                return false;
            }
            jobs.insert(job.id, job.clone());
            locked(&this.results).extend(results.iter().map(|result| ((job.id, result.key.clone()), result.clone())));
            true
        })
    }

    async fn jobs(&self, tenant: &TenantId, before: Option<JobId>, limit: usize) -> Result<Vec<Job>, JournalError> {
        self.call(|this| {
            let jobs = locked(&this.jobs);
            let fits = |job: &&Job| job.tenant == *tenant && before.is_none_or(|before| job.id < before);
            jobs.values().rev().filter(fits).take(limit).cloned().collect()
        })
    }

    async fn results(&self, _tenant: &TenantId, job: JobId, after: Option<&str>, limit: usize) -> Result<Vec<JobResult>, JournalError> {
        self.call(|this| {
            let results = locked(&this.results);
            let fits = |((of, key), _): &(&(JobId, String), &JobResult)| *of == job && after.is_none_or(|after| key.as_str() > after);
            results.iter().filter(fits).map(|(_, result)| result.clone()).take(limit).collect()
        })
    }

    async fn open(&self) -> Result<Vec<(TenantId, JobId)>, JournalError> {
        self.call(|this| {
            locked(&this.jobs).values().filter(|job| !job.status.has_ended()).map(|job| (job.tenant.clone(), job.id)).collect()
        })
    }
}

#[async_trait]
impl JobQueue for MemoryJobs {
    async fn send_job(&self, message: &JobMessage, delay: Duration) -> Result<(), JournalError> {
        self.call(|this| locked(&this.sent).push((message.clone(), delay)))
    }
}
