//! `/v1/replays`: past events, processed again.

mod body;
mod views;

use lambda_http::http::{StatusCode, header};
use serde_json::json;
use shared::domain::id::JobId;
use shared::domain::job::{JobKind, NewJob};
use shared::domain::principal::Principal;
use shared::engine::ports::JournalError;
use shared::http::{Call, IDEMPOTENCY_REPLAYED, Problem, Reply, json_body};
use shared::jobs::{Desk, DeskError};
use shared::replay::{Place, Replayer, results};

use self::body::{CancelBody, ReplayBody, checked_reason};
use self::views::{PlanView, ResultPageView};
use crate::choices::Choices;
use crate::job_views::{JobPageView, JobView};

/// The only kind of job that is shown here.
const KINDS: [JobKind; 1] = [JobKind::Replay];
/// How many results a page may have: two runs and their answers are read for each.
const MOST_RESULTS: usize = 50;

/// Replays.
pub struct Replays {
    /// Takes them in.
    pub desk: Desk,
    /// Says what they would do.
    pub replayer: Replayer,
    /// What may be chosen for them.
    pub choices: Choices,
}

impl Replays {
    /// Answers a route below `/v1/replays`.
    pub(crate) async fn handle(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        match (call.method.as_str(), call.route.as_str()) {
            ("POST", "/v1/replays") => self.start(principal, call).await,
            ("GET", "/v1/replays") => self.list(principal, call).await,
            ("GET", "/v1/replays/{id}") => self.show(principal, call).await,
            ("GET", "/v1/replays/{id}/results") => self.results(principal, call).await,
            ("POST", "/v1/replays/{id}/cancel") => self.cancel(principal, call).await,
            _ => Err(call.unknown_route()),
        }
    }

    async fn start(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let body: ReplayBody = json_body(&call.body)?;
        let (is_dry, reason, pace) = (body.dry_run, checked_reason(body.reason.clone())?, body.pace()?);
        let order = body.into_order(&self.choices)?;
        if is_dry {
            let plan = self.replayer.plan(&principal.tenant, &order).await.map_err(unavailable)?;
            return Reply::json(StatusCode::OK, &PlanView::of(plan, &order));
        }
        let new = NewJob {
            tenant: principal.tenant.clone(),
            kind: JobKind::Replay,
            by: principal.name.clone(),
            reason,
            order: json!(order),
            pace,
            canary: None,
            key: call.request_key()?,
        };
        let started = self.desk.start(new).await.map_err(refused)?;
        let reply = Reply::json(StatusCode::ACCEPTED, &JobView::of(&started.job, call))?;
        let reply = reply.with(header::LOCATION, call.address(&format!("/v1/replays/{}", started.job.id)));
        Ok(if started.is_replay { reply.with(IDEMPOTENCY_REPLAYED, "true") } else { reply })
    }

    async fn list(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let mut query = call.query();
        let cursor = query.take("cursor", "must be a next_cursor of this list")?;
        let limit = query.limit()?;
        query.finish()?;
        let page = self.desk.jobs(&principal.tenant, &KINDS, cursor, limit).await.map_err(unavailable)?;
        Reply::json(StatusCode::OK, &JobPageView::of(&page, call))
    }

    async fn show(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let job = self.desk.job(&principal.tenant, call.id("id")?, &KINDS).await.map_err(refused)?;
        Reply::json(StatusCode::OK, &JobView::of(&job, call))
    }

    /// What it has started goes on; nothing else is started.
    async fn cancel(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let id: JobId = call.id("id")?;
        let body: CancelBody = if call.body.is_empty() { CancelBody::default() } else { json_body(&call.body)? };
        let reason = checked_reason(body.reason)?;
        let job = self.desk.cancel(&principal.tenant, id, &KINDS, &principal.name, reason).await.map_err(refused)?;
        Reply::json(StatusCode::ACCEPTED, &JobView::of(&job, call))
    }

    async fn results(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let id: JobId = call.id("id")?;
        let mut query = call.query();
        let cursor: Option<Place> = query.take("cursor", "must be a next_cursor of this list")?;
        let limit = query.limit()?.min(MOST_RESULTS);
        query.finish()?;
        let job = self.desk.job(&principal.tenant, id, &KINDS).await.map_err(refused)?;
        let records = self.replayer.records.as_ref();
        let page = results(self.desk.store.as_ref(), records, &job, cursor.map(|place| place.to_string()).as_deref(), limit)
            .await
            .map_err(unavailable)?;
        Reply::json(StatusCode::OK, &ResultPageView::of(page))
    }
}

/// What the desk did not do.
fn refused(error: DeskError) -> Problem {
    match error {
        DeskError::NotFound => Problem::not_found("id", "there is no such replay; GET /v1/replays lists them"),
        DeskError::Ended(_) => Problem::conflict("already_ended", "the replay has ended and cannot be cancelled any more"),
        DeskError::KeyReused => {
            let detail = "this key was sent with another request in the last 24 hours; a new request needs a new key";
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", detail).about("Idempotency-Key")
        }
        DeskError::Journal(error) => unavailable(error),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it ends a chain of `map_err`")]
fn unavailable(error: JournalError) -> Problem {
    Problem::unavailable(&error)
}
