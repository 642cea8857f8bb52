//! A replay as a job: what there is to start, each run exactly once, and what came of them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::Value;

use super::{Candidate, Comparison, Place, Refused, ReplayOrder, Replayer, Selected, compare};
use crate::domain::id::{RunId, TenantId};
use crate::domain::job::{Item, Job, JobResult, Outcome, Watched};
use crate::domain::run::Run;
use crate::engine::ports::JournalError;
use crate::jobs::{Acted, JobStore, Work};
use crate::operate::Records;

/// The work of a replay.
pub struct ReplayWork(pub Replayer);

/// What became of one thing that was to be replayed.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayResult {
    /// How it came out when it was started.
    pub result: JobResult,
    /// Both runs, if there is a new one.
    pub comparison: Option<Comparison>,
}

/// A part of what a replay came to.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayPage {
    /// In the order of their names, which is the order of arrival.
    pub results: Vec<ReplayResult>,
    /// Where the next page begins.
    pub next: Option<String>,
}

impl ReplayWork {
    fn order(job: &Job) -> Result<ReplayOrder, JournalError> {
        serde_json::from_value(job.order.clone()).map_err(|error| JournalError::Unavailable(Box::new(error)))
    }
}

#[async_trait]
impl Work for ReplayWork {
    /// As far as a dry run looks: the rest adds itself as it is found.
    async fn count(&self, job: &Job) -> Result<u64, JournalError> {
        let plan = self.0.plan_before(&job.tenant, &Self::order(job)?, job.created_at).await?;
        Ok((plan.matches.len() + plan.nothing.len()) as u64)
    }

    async fn next(&self, job: &Job, cursor: Option<&str>, limit: usize) -> Result<(Vec<Item>, Option<String>), JournalError> {
        let place: Option<Place> = cursor.map(str::parse).transpose().map_err(|error| JournalError::Unavailable(Box::new(error)))?;
        let (selected, next) = self.0.select(&job.tenant, &Self::order(job)?, job.created_at, place, limit).await?;
        let items = selected.into_iter().map(|selected| match selected {
            Selected::Start(key, candidate) => Ok(Item { key, data: serde_json::to_value(candidate)? }),
            Selected::Nothing(key, why) => Ok(Item { key, data: Value::String(why.to_owned()) }),
        });
        let items = items.collect::<Result<_, serde_json::Error>>().map_err(|error| JournalError::Unavailable(Box::new(error)))?;
        Ok((items, next.map(|place| place.to_string())))
    }

    async fn act(&self, job: &Job, item: &Item) -> Result<Acted, JournalError> {
        let acted = |outcome, detail: String, run: Option<RunId>| {
            let watched = |run| Watched { tenant: job.tenant.clone(), run, fingerprint: None, ended: None };
            Acted { outcome, detail, run: run.map(watched) }
        };
        if let Value::String(why) = &item.data {
            return Ok(acted(Outcome::Skipped, why.clone(), None));
        }
        let candidate: Candidate = serde_json::from_value(item.data.clone()).map_err(|error| JournalError::Unavailable(Box::new(error)))?;
        match self.0.start(job, &Self::order(job)?, &item.key, &candidate).await {
            Ok(started) => Ok(acted(Outcome::Done, "started".into(), Some(started.run))),
            Err(Refused::Journal(error)) => Err(error),
            Err(error @ Refused::TooLong) => Ok(acted(Outcome::Failed, error.to_string(), None)),
            Err(error @ (Refused::NoEvent | Refused::NoRun | Refused::NoTrigger | Refused::NoAgent(_))) => {
                Ok(acted(Outcome::Skipped, error.to_string(), None))
            }
        }
    }
}

/// What came of a replay: each new run beside the one that it repeats, a page of them.
///
/// # Errors
/// When the store cannot be reached.
pub async fn results(
    jobs: &dyn JobStore,
    records: &dyn Records,
    job: &Job,
    after: Option<&str>,
    limit: usize,
) -> Result<ReplayPage, JournalError> {
    let found = jobs.results(&job.tenant, job.id, after, limit).await?;
    let next = (found.len() == limit).then(|| found.last().map(|result| result.key.clone())).flatten();
    let new = read(records, &job.tenant, found.iter().filter_map(|result| result.run).collect()).await?;
    let old = new.values().filter_map(|run| run.replay.as_ref()?.of).collect();
    let old = read(records, &job.tenant, old).await?;
    let mut results = Vec::with_capacity(found.len());
    for result in found {
        let comparison = match result.run.and_then(|run| new.get(&run)) {
            Some(run) => {
                let of = run.replay.as_ref().and_then(|replay| old.get(&replay.of?));
                Some(compare(records, of, run).await?)
            }
            None => None,
        };
        results.push(ReplayResult { result, comparison });
    }
    Ok(ReplayPage { results, next })
}

async fn read(records: &dyn Records, tenant: &TenantId, mut ids: Vec<RunId>) -> Result<BTreeMap<RunId, Run>, JournalError> {
    ids.sort_unstable();
    ids.dedup();
    Ok(records.runs(tenant, &ids).await?.into_iter().map(|run| (run.id, run)).collect())
}
