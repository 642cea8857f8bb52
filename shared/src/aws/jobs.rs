//! Jobs in DynamoDB.
//!
//! | item | pk | sk |
//! |---|---|---|
//! | job | `<tenant>#jobs` | `<job>` |
//! | what came of one thing | `<tenant>#job#<job>` | `result#<name>` |
//! | that a job has not ended | `#jobs` | `<tenant>#<job>` |
//!
//! The last are what the sweeper reads, of all tenants by one query: there are as many as jobs at work. A job and what belongs to one
//! change of it are one transaction, so counts and results always agree.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::TransactWriteItem;
use serde::de::DeserializeOwned;

use super::expression::Expression;
use super::items::{Item, Key, Table, json_text, key_item, key_of, n, s};
use super::query::{PAGES, Stretch, too_much};
use super::transact::Refused;
use super::unavailable;
use crate::domain::id::{JobId, TenantId};
use crate::domain::idempotency::UsedKey;
use crate::domain::job::{Job, JobResult};
use crate::engine::ports::JournalError;
use crate::jobs::JobStore;

const OPEN: &str = "#jobs";

fn job_key(tenant: &TenantId, job: impl ToString) -> Key {
    Key { pk: format!("{tenant}#jobs"), sk: job.to_string() }
}

fn result_key(tenant: &TenantId, job: JobId, name: &str) -> Key {
    Key { pk: format!("{tenant}#job#{job}"), sk: format!("result#{name}") }
}

fn open_key(tenant: &TenantId, job: JobId) -> Key {
    Key { pk: OPEN.into(), sk: format!("{tenant}#{job}") }
}

fn job_item(job: &Job) -> Result<Item, JournalError> {
    let mut item = job_key(&job.tenant, job.id).into_item();
    item.extend([("body".to_owned(), s(json_text(job)?)), ("version".to_owned(), n(job.version))]);
    Ok(item)
}

fn result_item(job: &Job, result: &JobResult) -> Result<Item, JournalError> {
    let mut item = result_key(&job.tenant, job.id, &result.key).into_item();
    item.insert("body".into(), s(json_text(result)?));
    Ok(item)
}

fn body<T: DeserializeOwned>(item: &Item) -> Result<T, JournalError> {
    let text = item.get("body").and_then(|body| body.as_s().ok()).map(String::as_str).unwrap_or_default();
    serde_json::from_str(text).map_err(unavailable)
}

#[async_trait]
impl JobStore for Table {
    async fn create(&self, job: &Job, key: Option<&UsedKey>) -> Result<Option<UsedKey>, JournalError> {
        let mut items = vec![self.put_new(job_item(job)?)?, self.put_new(open_key(&job.tenant, job.id).into_item())?];
        if let Some(key) = key {
            let now = n(key.created_at.as_second());
            let free = Expression::default().any(|e| e.if_absent("pk").if_at_most("expires_at", now));
            items.push(self.put_or_tell(key_item(&job.tenant, key)?, free)?);
        }
        match self.transact(items).await {
            Ok(()) => Ok(None),
            Err(Refused::Condition(2, Some(item))) => key_of(item).map(Some),
            Err(Refused::Condition(..)) => Err(JournalError::Unavailable("a job of that name is there already".into())),
            Err(Refused::Error(error)) => Err(error),
        }
    }

    async fn job(&self, tenant: &TenantId, id: JobId) -> Result<Option<Job>, JournalError> {
        self.get(job_key(tenant, id)).await?.as_ref().map(body).transpose()
    }

    async fn save(&self, job: &Job, results: &[JobResult]) -> Result<bool, JournalError> {
        let before = Expression::default().if_is("version", n(job.version.saturating_sub(1)));
        let mut items: Vec<TransactWriteItem> = vec![self.put(job_item(job)?, before)?];
        for result in results {
            items.push(self.put(result_item(job, result)?, Expression::default())?);
        }
        if job.status.has_ended() {
            items.push(self.delete(open_key(&job.tenant, job.id))?);
        }
        match self.transact(items).await {
            Ok(()) => Ok(true),
            Err(Refused::Condition(..)) => Ok(false),
            Err(Refused::Error(error)) => Err(error),
        }
    }

    async fn jobs(&self, tenant: &TenantId, before: Option<JobId>, limit: usize) -> Result<Vec<Job>, JournalError> {
        let below = before.map_or_else(|| "job_~".to_owned(), |job| job.to_string());
        self.newest_below(&job_key(tenant, "").pk, &below, limit).await?.iter().map(body).collect()
    }

    async fn results(&self, tenant: &TenantId, job: JobId, after: Option<&str>, limit: usize) -> Result<Vec<JobResult>, JournalError> {
        let Key { pk, sk: from } = result_key(tenant, job, after.unwrap_or_default());
        let items = self.items(&Stretch { pk, from, to: "result#~".into() }, Some(limit.saturating_add(1))).await?;
        let results = items.iter().map(body).collect::<Result<Vec<JobResult>, _>>()?;
        Ok(results.into_iter().filter(|result| Some(result.key.as_str()) != after).take(limit).collect())
    }

    async fn open(&self) -> Result<Vec<(TenantId, JobId)>, JournalError> {
        let (mut open, mut start) = (Vec::new(), None);
        for _ in 0..PAGES {
            let page = self.keys(OPEN, start).await?;
            open.extend(page.items.iter().filter_map(|item| {
                let (tenant, job) = item.get("sk")?.as_s().ok()?.split_once('#')?;
                Some((tenant.parse().ok()?, job.parse().ok()?))
            }));
            start = page.next;
            if start.is_none() {
                return Ok(open);
            }
        }
        Err(too_much())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::job::{JobKind, NewJob, Outcome, Pace};

    #[test]
    fn a_job_and_its_results_survive_the_table_below_their_tenant() {
        let now = "2026-01-02T03:04:05.678Z".parse().unwrap();
        let new = NewJob {
            tenant: "acme".parse().unwrap(),
            kind: JobKind::Discard,
            by: "ana".into(),
            reason: Some("old".into()),
            order: json!({"selection": {"filter": {"code": "provider_timeout"}}, "tenant": "acme"}),
            pace: Pace { rate: 5, concurrency: Some(3) },
            canary: Some((2, 60)),
            key: None,
        };
        let mut job = Job::new(new, now);
        assert_eq!(body::<Job>(&job_item(&job).unwrap()).unwrap(), job);
        job.claim(now, now);
        job.plan(vec![crate::domain::job::Item { key: "run_1".into(), data: json!({"n": 1}) }], Some("7".into()), now);
        let item = job_item(&job).unwrap();
        assert_eq!(body::<Job>(&item).unwrap(), job);
        assert_eq!((item["pk"].as_s().unwrap().as_str(), item["version"].as_n().unwrap().as_str()), ("acme#jobs", "1"));
        let result = JobResult { key: "run_1".into(), run: None, outcome: Outcome::Skipped, detail: "not_dead".into(), at: now };
        let item = result_item(&job, &result).unwrap();
        assert_eq!(body::<JobResult>(&item).unwrap(), result);
        assert_eq!(item["pk"].as_s().unwrap(), &format!("acme#job#{}", job.id));
    }
}
