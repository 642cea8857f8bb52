//! Bulk actions on dead runs: asked for, looked at, ended. They are carried out by `worker.rs`, woken by their queue.

use std::sync::Arc;

use lambda_http::http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use shared::config::ApiAuth;
use shared::domain::definition::ModelRef;
use shared::domain::id::{JobId, RunId, TenantId};
use shared::domain::job::{DEFAULT_CANARY_SECONDS, DEFAULT_RATE, JobKind, NewJob, Pace};
use shared::domain::principal::Principal;
use shared::engine::ports::JournalError;
use shared::http::{Call, IDEMPOTENCY_REPLAYED, Object, Problem, Reply, Word, json_body};
use shared::jobs::{DeadOrder, Desk, DeskError, MOST_IDS, Selection, Started, Trial, dry_run};
use shared::operate::providers::LONGEST_REASON;
use shared::operate::{DeadFilter, DeadIndex, Move, Redrive, Switches};

use crate::job_views::{JobPageView, JobView, ResultPageView};

/// Kinds of jobs that are about dead runs.
const KINDS: [JobKind; 2] = [JobKind::Retry, JobKind::Discard];
/// What stands for the tenants of all.
const EVERYBODY: &str = "*";

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
    /// Who may call.
    pub auth: ApiAuth,
}

/// Where a retry goes on.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum From {
    FailedStep,
    Start,
}

/// The canary: a number, or that and how long it is waited for.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum CanaryBody {
    Size(u32),
    Both(CanaryFields),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CanaryFields {
    size: u32,
    timeout_seconds: Option<u64>,
}

/// The body of a bulk retry.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RetryBody {
    ids: Option<Vec<RunId>>,
    filter: Option<Object<serde_json::Value>>,
    all: Option<bool>,
    tenant: Option<String>,
    from: Option<Word<From>>,
    model: Option<ModelRef>,
    agent: Option<String>,
    rate: Option<u32>,
    concurrency: Option<u32>,
    canary: Option<CanaryBody>,
    force: bool,
    reason: Option<String>,
    dry_run: bool,
    native: bool,
}

/// The body of a bulk discard.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiscardBody {
    ids: Option<Vec<RunId>>,
    filter: Option<Object<serde_json::Value>>,
    all: Option<bool>,
    reason: String,
    rate: Option<u32>,
    #[serde(default)]
    dry_run: bool,
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
        if body.native || body.tenant.is_some() {
            let field = if body.native { "native" } else { "tenant" };
            return Err(Problem::invalid(field, "belongs to POST /v1/dlq/retry-all; here `filter.tenant` says whose"));
        }
        self.begin_retry(principal, call, body).await
    }

    /// Puts all of them back; with `native`, by the queue's own move task, which knows of no tenant, no rate of runs and no reason.
    pub(crate) async fn retry_all(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let is_empty = call.body.is_empty() || call.body == b"null";
        let body: RetryBody = if is_empty { RetryBody::default() } else { json_body(&call.body)? };
        for (field, is_there) in [("ids", body.ids.is_some()), ("filter", body.filter.is_some()), ("all", body.all == Some(false))] {
            if is_there {
                return Err(Problem::invalid(field, "belongs to POST /v1/dlq/retry: this is about all of them"));
            }
        }
        if body.native {
            return self.move_all(call, &body).await;
        }
        self.begin_retry(principal, call, RetryBody { all: Some(true), ..body }).await
    }

    /// The queue's own move task: managed, crash-safe; the consumer takes up each dead run whose message comes back.
    async fn move_all(&self, call: &Call, body: &RetryBody) -> Result<Reply, Problem> {
        call.only_operator(self.auth)?;
        let rate = checked_rate(body.rate)?;
        let moved = self.redrive.dead_letters.start_move(rate).await.map_err(|error| Problem::unavailable(&error))?;
        let view = match moved {
            Move::Started { handle } => MoveView { status: "started", task: Some(handle) },
            Move::AlreadyRunning => MoveView { status: "already_running", task: None },
        };
        Reply::json(StatusCode::ACCEPTED, &view)
    }

    async fn begin_retry(&self, principal: &Principal, call: &Call, body: RetryBody) -> Result<Reply, Problem> {
        let (selection, tenant) = self.selection(principal, call, (body.ids, body.filter, body.all), body.tenant)?;
        let order = DeadOrder {
            selection,
            tenant,
            from_start: matches!(body.from, Some(Word(From::Start))),
            model: body.model,
            agent: body.agent,
            force: body.force,
        };
        let reason = checked_reason(body.reason)?;
        let pace = Pace { rate: checked_rate(body.rate)?.unwrap_or(DEFAULT_RATE), concurrency: checked_concurrency(body.concurrency)? };
        let canary = body.canary.map(checked_canary).transpose()?;
        if body.dry_run {
            let retry = order.retry(&principal.name, reason.as_deref());
            return self.dry_run(&order, Some(&retry)).await;
        }
        self.begin(principal, call, (JobKind::Retry, &order, reason), pace, canary).await
    }

    /// Gives those up that the body names.
    pub(crate) async fn discard(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let body: DiscardBody = json_body(&call.body)?;
        let (selection, tenant) = self.selection(principal, call, (body.ids, body.filter, body.all), None)?;
        let order = DeadOrder { selection, tenant, from_start: false, model: None, agent: None, force: false };
        let reason = checked_reason(Some(body.reason))?;
        if reason.as_deref().is_none_or(|reason| reason.trim().is_empty()) {
            return Err(Problem::invalid("reason", "must say why: it is all that is left to explain it"));
        }
        if body.dry_run {
            return self.dry_run(&order, None).await;
        }
        let pace = Pace { rate: checked_rate(body.rate)?.unwrap_or(DEFAULT_RATE), concurrency: None };
        self.begin(principal, call, (JobKind::Discard, &order, reason), pace, None).await
    }

    async fn dry_run(&self, order: &DeadOrder, retry: Option<&shared::operate::Retry>) -> Result<Reply, Problem> {
        let board = self.switches.board_now().await.map_err(|error| Problem::unavailable(&error))?;
        let world = (self.index.as_ref(), self.redrive.records.as_ref());
        let trial = dry_run(order, retry, world, &board, self.desk.clock.now()).await.map_err(|error| Problem::unavailable(&error))?;
        Reply::json(StatusCode::OK, &DryRunView { dry_run: true, trial })
    }

    async fn begin(
        &self,
        principal: &Principal,
        call: &Call,
        (kind, order, reason): (JobKind, &DeadOrder, Option<String>),
        pace: Pace,
        canary: Option<(u32, u64)>,
    ) -> Result<Reply, Problem> {
        let new = NewJob {
            tenant: principal.tenant.clone(),
            kind,
            by: principal.name.clone(),
            reason,
            order: serde_json::to_value(order).map_err(|error| Problem::internal(&error))?,
            pace,
            canary,
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

    /// What a body is about: exactly one of the three, and for other tenants only operators.
    fn selection(
        &self,
        principal: &Principal,
        call: &Call,
        (ids, filter, all): (Option<Vec<RunId>>, Option<Object<serde_json::Value>>, Option<bool>),
        tenant: Option<String>,
    ) -> Result<(Selection, Option<TenantId>), Problem> {
        let chosen = [("ids", ids.is_some()), ("filter", filter.is_some()), ("all", all == Some(true))];
        let mut chosen = chosen.into_iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name);
        match (chosen.next(), chosen.next()) {
            (None, _) => return Err(Problem::invalid("filter", "say which: `ids`, a `filter`, or `\"all\": true`")),
            (Some(_), Some(second)) => return Err(Problem::invalid(second, "give one of `ids`, `filter` and `all`, not two")),
            (Some(_), None) => {}
        }
        let (mut selection, mut whose) = (Selection::All, tenant);
        if let Some(ids) = ids {
            if ids.is_empty() || ids.len() > MOST_IDS {
                return Err(Problem::invalid("ids", format!("must be 1 to {MOST_IDS} ids of runs; a filter takes any number")));
            }
            let mut named = std::collections::BTreeSet::new();
            selection = Selection::Ids(ids.into_iter().filter(|id| named.insert(*id)).collect());
        }
        if let Some(Object(mut fields)) = filter {
            let of = fields.as_object_mut().and_then(|fields| fields.remove("tenant"));
            if let Some(of) = of {
                let name = of.as_str().ok_or_else(|| Problem::invalid("filter.tenant", "must be the name of a tenant, or `*`"))?;
                whose = Some(name.to_owned());
            }
            let filter: DeadFilter = serde_json::from_value(fields).map_err(|error| Problem::invalid("filter", error))?;
            if filter.is_empty() && whose.is_none() {
                return Err(Problem::invalid("filter", "is empty and would mean all of them; say `\"all\": true` if you mean that"));
            }
            selection = Selection::Filter(Box::new(filter));
        }
        let tenant = match whose.as_deref() {
            None => Some(principal.tenant.clone()),
            Some(name) => {
                let everybody = name == EVERYBODY;
                let other = if everybody { None } else { Some(name.parse().map_err(|error| Problem::invalid("tenant", error))?) };
                if other.as_ref() != Some(&principal.tenant) {
                    call.only_operator(self.auth)?;
                }
                other
            }
        };
        Ok((selection, tenant))
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

fn checked_rate(rate: Option<u32>) -> Result<Option<u32>, Problem> {
    let right = rate.is_none_or(|rate| (1..=500).contains(&rate));
    if right { Ok(rate) } else { Err(Problem::invalid("rate", "must be 1 to 500 runs a second")) }
}

fn checked_concurrency(concurrency: Option<u32>) -> Result<Option<u32>, Problem> {
    let right = concurrency.is_none_or(|most| (1..=100).contains(&most));
    if right { Ok(concurrency) } else { Err(Problem::invalid("concurrency", "must be 1 to 100 runs at once")) }
}

fn checked_canary(canary: CanaryBody) -> Result<(u32, u64), Problem> {
    let (size, timeout) = match canary {
        CanaryBody::Size(size) => (size, None),
        CanaryBody::Both(CanaryFields { size, timeout_seconds }) => (size, timeout_seconds),
    };
    let timeout = timeout.unwrap_or(DEFAULT_CANARY_SECONDS);
    if !(1..=100).contains(&size) {
        return Err(Problem::invalid("canary", "must be 1 to 100 runs"));
    }
    if !(1..=86_400).contains(&timeout) {
        return Err(Problem::invalid("canary.timeout_seconds", "must be 1 to 86400"));
    }
    Ok((size, timeout))
}

fn checked_reason(reason: Option<String>) -> Result<Option<String>, Problem> {
    if reason.as_ref().is_some_and(|reason| reason.chars().count() > LONGEST_REASON) {
        return Err(Problem::invalid("reason", format!("must have at most {LONGEST_REASON} characters")));
    }
    Ok(reason)
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
