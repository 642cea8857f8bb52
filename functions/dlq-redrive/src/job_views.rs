//! Jobs as the API shows them.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use shared::domain::clock::rfc3339_millis;
use shared::domain::id::{JobId, RunId};
use shared::domain::job::{CanaryState, Job, JobKind, JobResult, JobStatus, Outcome};
use shared::http::Call;
use shared::jobs::JobPage;

/// A job.
#[derive(Debug, Serialize)]
pub(crate) struct JobView<'a> {
    job_id: JobId,
    kind: JobKind,
    status: JobStatus,
    created_by: &'a str,
    reason: Option<&'a str>,
    #[serde(with = "rfc3339_millis")]
    created_at: Timestamp,
    #[serde(with = "rfc3339_millis::option")]
    started_at: Option<Timestamp>,
    #[serde(with = "rfc3339_millis::option")]
    ended_at: Option<Timestamp>,
    /// What it is about: `{ids}`, `{filter}` or `"all"`; for other kinds of jobs, what they were told.
    selection: Value,
    options: Value,
    counts: CountsView,
    canary: Option<CanaryView<'a>>,
    cancelled_by: Option<&'a str>,
    stopped_because: Option<&'a str>,
    links: Links,
}

#[derive(Debug, Serialize)]
struct CountsView {
    selected: u64,
    done: u64,
    skipped: u64,
    failed: u64,
    /// Runs that had not ended when the job last looked: it looks only where it limits or watches them.
    in_flight: usize,
}

#[derive(Debug, Serialize)]
struct CanaryView<'a> {
    size: u32,
    timeout_seconds: u64,
    state: CanaryState,
    runs: Vec<WatchedView<'a>>,
}

#[derive(Debug, Serialize)]
struct WatchedView<'a> {
    run_id: RunId,
    ended: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Links {
    #[serde(rename = "self")]
    this: String,
    results: String,
    cancel: String,
}

impl<'a> JobView<'a> {
    /// As it stands, with addresses as the caller reaches them.
    pub(crate) fn of(job: &'a Job, call: &Call) -> Self {
        let mut options = job.order.clone();
        let selection = options.as_object_mut().and_then(|fields| fields.remove("selection")).unwrap_or(Value::Null);
        if let Some(fields) = options.as_object_mut() {
            fields.insert("rate".into(), job.pace.rate.into());
            fields.extend(job.pace.concurrency.map(|most| ("concurrency".to_owned(), most.into())));
        }
        let watching = job.canary.as_ref().map_or(0, |canary| canary.runs.iter().filter(|run| run.ended.is_none()).count());
        let in_flight = if job.status == JobStatus::WaitingForCanary { watching } else { job.in_flight.len() };
        let base = match job.kind {
            JobKind::Retry | JobKind::Discard => format!("/v1/dlq/jobs/{}", job.id),
            JobKind::Replay => format!("/v1/replays/{}", job.id),
        };
        let watched = |run: &'a shared::domain::job::Watched| WatchedView { run_id: run.run, ended: run.ended.as_deref() };
        Self {
            job_id: job.id,
            kind: job.kind,
            status: job.status,
            created_by: &job.created_by,
            reason: job.reason.as_deref(),
            created_at: job.created_at,
            started_at: job.started_at,
            ended_at: job.ended_at,
            selection,
            options,
            counts: CountsView {
                selected: job.counts.selected,
                done: job.counts.done,
                skipped: job.counts.skipped,
                failed: job.counts.failed,
                in_flight: if job.status.has_ended() { 0 } else { in_flight },
            },
            canary: job.canary.as_ref().map(|canary| CanaryView {
                size: canary.size,
                timeout_seconds: canary.timeout_seconds,
                state: canary.state,
                runs: canary.runs.iter().map(watched).collect(),
            }),
            cancelled_by: job.cancelled.as_ref().map(|cancelled| cancelled.by.as_str()),
            stopped_because: job.stopped_because.as_deref(),
            links: Links {
                this: call.address(&base),
                results: call.address(&format!("{base}/results")),
                cancel: call.address(&format!("{base}/cancel")),
            },
        }
    }
}

/// A page of jobs.
#[derive(Debug, Serialize)]
pub(crate) struct JobPageView<'a> {
    jobs: Vec<JobView<'a>>,
    next_cursor: Option<JobId>,
}

impl<'a> JobPageView<'a> {
    pub(crate) fn of(page: &'a JobPage, call: &Call) -> Self {
        Self { jobs: page.jobs.iter().map(|job| JobView::of(job, call)).collect(), next_cursor: page.next }
    }
}

/// A page of results.
#[derive(Debug, Serialize)]
pub(crate) struct ResultPageView {
    results: Vec<ResultView>,
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize)]
struct ResultView {
    run_id: String,
    outcome: Outcome,
    detail: String,
    #[serde(with = "rfc3339_millis")]
    at: Timestamp,
}

impl ResultPageView {
    /// One more than asked for says that there are more.
    pub(crate) fn of(mut found: Vec<JobResult>, limit: usize) -> Self {
        let next_cursor = (found.len() > limit).then(|| found[limit - 1].key.clone());
        found.truncate(limit);
        let view = |result: JobResult| ResultView { run_id: result.key, outcome: result.outcome, detail: result.detail, at: result.at };
        Self { results: found.into_iter().map(view).collect(), next_cursor }
    }
}
