//! Bulk actions on dead runs: asked for, looked at, ended. They are carried out by `worker.rs`, woken by their queue.

use std::sync::Arc;

use lambda_http::http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use shared::config::ApiAuth;
use shared::domain::id::{JobId, RunId};
use shared::domain::job::{JobKind, NewJob};
use shared::domain::principal::Principal;
use shared::engine::ports::JournalError;
use shared::http::{Call, IDEMPOTENCY_REPLAYED, Problem, Reply, json_body};
use shared::jobs::{DeadOrder, Desk, DeskError, Started, Trial, dry_run};
use shared::operate::{DeadIndex, Move, Redrive, Switches};

use crate::bulk::{Asking, DiscardBody, RetryBody, Wanted, checked_reason};
use crate::choices::Choices;
use crate::job_views::{JobPageView, JobView, ResultPageView};

/// Kinds of jobs that are about dead runs.
const KINDS: [JobKind; 2] = [JobKind::Retry, JobKind::Discard];
/// The part of the API that is about bulk actions.
pub struct JobsApi {
    /// Where they are asked for.
    pub desk: Desk,
    /// How runs are put back.
    pub redrive: Redrive,
    /// Which are dead.
    pub index: Arc<dyn DeadIndex>,
    /// What is known of providers.
    pub switches: Arc<dyn Switches>,
    /// What may be chosen for them.
    pub choices: Choices,
    /// Who may call.
    pub auth: ApiAuth,
}

/// The body of a wish to cancel.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CancelBody {
    reason: Option<String>,
}

impl JobsApi {
    /// Puts those back that the body names.
    pub(crate) async fn retry(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let body: RetryBody = json_body(&call.body)?;
        self.begin_retry(principal, call, body.of_some()?).await
    }

    /// Puts all of them back; with `native`, by the queue's own move task, which knows of no tenant and of no limits.
    pub(crate) async fn retry_all(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let is_empty = call.body.is_empty() || call.body == b"null";
        let body: RetryBody = if is_empty { RetryBody::default() } else { json_body(&call.body)? };
        let body = body.of_all()?;
        if body.native {
            return self.move_all(principal, call, body).await;
        }
        self.begin_retry(principal, call, body).await
    }

    /// The queue's own move task: managed, crash-safe; the consumer takes up each dead run whose message comes back. There is no job
    /// that tells of it, so the log does.
    async fn move_all(&self, principal: &Principal, call: &Call, body: RetryBody) -> Result<Reply, Problem> {
        call.only_operator(self.auth)?;
        let (rate, reason) = body.of_the_queue()?;
        let moved = self.redrive.dead_letters.start_move(rate).await.map_err(|error| Problem::unavailable(&error))?;
        let view = match moved {
            Move::Started { handle } => MoveView { status: "started", task: Some(handle) },
            Move::AlreadyRunning => MoveView { status: "already_running", task: None },
        };
        let task = view.task.as_deref();
        tracing::warn!(by = principal.name, reason, rate, task, status = view.status, "all dead letters move back, of all tenants");
        Reply::json(StatusCode::ACCEPTED, &view)
    }

    async fn begin_retry(&self, principal: &Principal, call: &Call, body: RetryBody) -> Result<Reply, Problem> {
        let is_dry = body.dry_run;
        let wanted = body.wanted(&self.choices, &Asking { principal, call, auth: self.auth })?;
        if is_dry {
            let retry = wanted.order.retry(&principal.name, wanted.reason.as_deref());
            return self.dry_run(&wanted.order, Some(&retry)).await;
        }
        self.begin(principal, call, JobKind::Retry, wanted).await
    }

    /// Gives those up that the body names.
    pub(crate) async fn discard(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let body: DiscardBody = json_body(&call.body)?;
        let is_dry = body.dry_run;
        let wanted = body.wanted(&Asking { principal, call, auth: self.auth })?;
        if is_dry {
            return self.dry_run(&wanted.order, None).await;
        }
        self.begin(principal, call, JobKind::Discard, wanted).await
    }

    async fn dry_run(&self, order: &DeadOrder, retry: Option<&shared::operate::Retry>) -> Result<Reply, Problem> {
        let board = self.switches.board_now().await.map_err(|error| Problem::unavailable(&error))?;
        let world = (self.index.as_ref(), self.redrive.records.as_ref());
        let trial = dry_run(order, retry, world, &board, self.desk.clock.now()).await.map_err(|error| Problem::unavailable(&error))?;
        Reply::json(StatusCode::OK, &DryRunView { dry_run: true, trial })
    }

    async fn begin(&self, principal: &Principal, call: &Call, kind: JobKind, wanted: Wanted) -> Result<Reply, Problem> {
        let new = NewJob {
            tenant: principal.tenant.clone(),
            kind,
            by: principal.name.clone(),
            reason: wanted.reason,
            order: serde_json::to_value(&wanted.order).map_err(|error| Problem::internal(&error))?,
            pace: wanted.pace,
            canary: wanted.canary,
            key: call.request_key()?,
        };
        let Started { job, is_replay } = self.desk.start(new).await.map_err(|error| refused(error, call))?;
        let reply = Reply::json(StatusCode::ACCEPTED, &JobView::of(&job, call))?;
        let reply = reply.with(header::LOCATION, call.address(&format!("/v1/dlq/jobs/{}", job.id)));
        Ok(if is_replay { reply.with(IDEMPOTENCY_REPLAYED, "true") } else { reply })
    }

    /// A job.
    pub(crate) async fn show(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let id: JobId = call.id("id")?;
        let job = self.desk.job(&principal.tenant, id, &KINDS).await.map_err(|error| refused(error, call))?;
        Reply::json(StatusCode::OK, &JobView::of(&job, call))
    }

    /// The jobs.
    pub(crate) async fn list(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let mut query = call.query();
        let cursor = query.take("cursor", "must be a next_cursor of this list")?;
        let limit = query.limit()?;
        query.finish()?;
        let page = self.desk.jobs(&principal.tenant, &KINDS, cursor, limit).await.map_err(|error| Problem::unavailable(&error))?;
        Reply::json(StatusCode::OK, &JobPageView::of(&page, call))
    }

    /// What came of each thing of a job.
    pub(crate) async fn results(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let id: JobId = call.id("id")?;
        let mut query = call.query();
        let cursor: Option<RunId> = query.take("cursor", "must be a next_cursor of this list")?;
        let limit = query.limit()?;
        query.finish()?;
        let job = self.desk.job(&principal.tenant, id, &KINDS).await.map_err(|error| refused(error, call))?;
        let after = cursor.map(|run| run.to_string());
        let found = self.desk.store.results(&principal.tenant, job.id, after.as_deref(), limit + 1).await;
        Reply::json(StatusCode::OK, &ResultPageView::of(found.map_err(|error| Problem::unavailable(&error))?, limit))
    }

    /// Ends a job: what it has begun is finished.
    pub(crate) async fn cancel(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let id: JobId = call.id("id")?;
        let body: CancelBody = if call.body.is_empty() { CancelBody::default() } else { json_body(&call.body)? };
        let reason = checked_reason(body.reason)?;
        let job = self.desk.cancel(&principal.tenant, id, &KINDS, &principal.name, reason).await.map_err(|error| refused(error, call))?;
        Reply::json(StatusCode::ACCEPTED, &JobView::of(&job, call))
    }
}

fn refused(error: DeskError, call: &Call) -> Problem {
    match error {
        DeskError::NotFound => Problem::not_found("id", "there is no such job; GET /v1/dlq/jobs lists them"),
        DeskError::Ended(job) => {
            let word = serde_json::to_value(job.status).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default();
            Problem::conflict("already_ended", format!("the job is {word}"))
        }
        DeskError::KeyReused => {
            let detail = "this key was sent with another request in the last 24 hours; a new request needs a new key";
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", detail).about("Idempotency-Key")
        }
        DeskError::Journal(error @ (JournalError::Lost | JournalError::NotFound | JournalError::Unavailable(_))) => {
            let problem = Problem::unavailable(&error);
            match call.method.as_str() {
                "GET" => problem,
                _ => problem.saying("a dependency does not answer; GET /v1/dlq/jobs shows whether the job was recorded"),
            }
        }
    }
}

#[derive(Debug, Serialize)]
struct MoveView {
    status: &'static str,
    task: Option<String>,
}

#[derive(Debug, Serialize)]
struct DryRunView {
    dry_run: bool,
    #[serde(flatten)]
    trial: Trial,
}
