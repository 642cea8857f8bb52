//! What the dead-letter API does with a call. The list comes from the records, so that looking touches no message.

use async_trait::async_trait;
use jiff::Timestamp;
use lambda_http::http::{StatusCode, header};
use serde::Serialize;
use shared::config::{ApiAuth, ConfigError, Environment, variables};
use shared::domain::clock::rfc3339_millis;
use shared::domain::failure::Failure;
use shared::domain::id::{ConversationId, RunId};
use shared::domain::principal::Principal;
use shared::domain::run::Run;
use shared::domain::state::RunState;
use shared::http::{Api, Call, Problem, Reply};
use shared::operate::{self, CommandError, LOOP_GUARD, Move, NotAgain, Redrive, Retry, RunFilter};

/// The function's configuration.
pub struct Settings {
    /// Where the runs are.
    pub table_name: String,
    /// Where retried runs go.
    pub task_queue_url: String,
    /// Where dead letters are.
    pub dlq_url: String,
    /// Their queue's name for move tasks.
    pub dlq_arn: String,
    /// Who may call.
    pub auth: ApiAuth,
}

impl Settings {
    /// Reads all variables.
    ///
    /// # Errors
    /// Names the one that is missing or wrong.
    pub fn read(env: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            table_name: env.required(variables::TABLE_NAME)?,
            task_queue_url: env.required(variables::TASK_QUEUE_URL)?,
            dlq_url: env.required(variables::DLQ_URL)?,
            dlq_arn: env.required(variables::DLQ_ARN)?,
            auth: ApiAuth::read(env)?,
        })
    }
}

/// The dead-letter API.
pub struct DlqApi {
    /// Shows dead runs and puts them back.
    pub redrive: Redrive,
    /// Who may call.
    pub auth: ApiAuth,
}

#[async_trait]
impl Api for DlqApi {
    async fn handle(&self, call: &Call) -> Result<Reply, Problem> {
        let principal = call.principal(self.auth)?;
        match (call.method.as_str(), call.route.as_str()) {
            ("GET", "/v1/dlq") => self.list(&principal, call).await,
            ("POST", "/v1/dlq/{id}/retry") => self.retry(&principal, call).await,
            ("POST", "/v1/dlq/retry-all") => {
                call.only_operator(self.auth)?;
                self.retry_all().await
            }
            _ => Err(call.unknown_route()),
        }
    }
}

impl DlqApi {
    async fn list(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let mut query = call.query();
        let cursor = query.take("cursor", "must be a next_cursor of this list")?;
        let limit = query.limit()?;
        query.finish()?;
        let records = self.redrive.records.as_ref();
        let filter = RunFilter { state: Some(RunState::Dead), ..RunFilter::default() };
        let page = operate::list(records, &principal.tenant, &filter, cursor, limit).await.map_err(|e| Problem::unavailable(&e))?;
        let count = records.count(&principal.tenant, RunState::Dead).await.map_err(|e| Problem::unavailable(&e))?;
        // The queue is shared by all tenants: only the operator sees its depth.
        let queue = match call.only_operator(self.auth) {
            Ok(()) => {
                let depth = self.redrive.dead_letters.depth().await.map_err(|e| Problem::unavailable(&e))?;
                Some(QueueView { approximate_messages: depth })
            }
            Err(_) => None,
        };
        let view = ListView { count, entries: page.runs.iter().map(EntryView::of).collect(), queue, next_cursor: page.next };
        Reply::json(StatusCode::OK, &view)
    }

    async fn retry(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let id: RunId = call.id("id")?;
        let run = self.redrive.retry(&principal.tenant, id, &Retry::by(&principal.name)).await.map_err(|error| match error {
            CommandError::NotFound => Problem::not_found("id", "there is no such run; GET /v1/dlq lists the dead ones"),
            CommandError::WrongState(state) => {
                Problem::conflict("not_dead", format!("the run is {}; only a dead run can be retried", state.as_str())).of_run(id)
            }
            CommandError::NotAgain(NotAgain::DoneBefore | NotAgain::DiedSince) => Problem::internal(&error).of_run(id),
            CommandError::NotAgain(NotAgain::Guarded(times)) => {
                let detail = format!("the run was put back {times} times and died each time; from {LOOP_GUARD} on that needs `force`");
                Problem::conflict("loop_guard", detail).of_run(id)
            }
            CommandError::ConversationFull => {
                let detail = "as many runs of its conversation wait for their turn as may; retry it when some have ended";
                Problem::conflict("conversation_full", detail).of_run(id).after(5)
            }
            CommandError::NotAsked | CommandError::OtherAnswer => Problem::internal(&error).of_run(id),
            CommandError::Journal(error) => Problem::unavailable(&error).of_run(id),
        })?;
        let view = RetryView { run_id: run.id, status: run.state, epoch: run.epoch };
        Ok(Reply::json(StatusCode::ACCEPTED, &view)?.with(header::LOCATION, call.address(&format!("/v1/runs/{}", run.id))))
    }

    /// The queue's own move task: managed, crash-safe; the consumer takes up each dead run whose message comes back.
    async fn retry_all(&self) -> Result<Reply, Problem> {
        let moved = self.redrive.dead_letters.start_move().await.map_err(|e| Problem::unavailable(&e))?;
        let view = match moved {
            Move::Started { handle } => MoveView { status: "started", task: Some(handle) },
            Move::AlreadyRunning => MoveView { status: "already_running", task: None },
        };
        Reply::json(StatusCode::ACCEPTED, &view)
    }
}

#[derive(Debug, Serialize)]
struct ListView {
    count: u64,
    entries: Vec<EntryView>,
    queue: Option<QueueView>,
    next_cursor: Option<RunId>,
}

#[derive(Debug, Serialize)]
struct QueueView {
    approximate_messages: u64,
}

/// A dead run.
#[derive(Debug, Serialize)]
struct EntryView {
    run_id: RunId,
    conversation_id: ConversationId,
    agent: String,
    error: Option<Failure>,
    failures: Vec<Failure>,
    attempts: u32,
    steps: u32,
    #[serde(with = "rfc3339_millis::option")]
    first_failed_at: Option<Timestamp>,
    #[serde(with = "rfc3339_millis::option")]
    last_failed_at: Option<Timestamp>,
    #[serde(with = "rfc3339_millis")]
    created_at: Timestamp,
}

impl EntryView {
    fn of(run: &Run) -> Self {
        Self {
            run_id: run.id,
            conversation_id: run.conversation,
            agent: run.agent.clone(),
            error: run.error().cloned(),
            failures: run.failures.clone(),
            attempts: run.attempts,
            steps: run.steps,
            first_failed_at: run.first_failed_at,
            last_failed_at: run.failures.last().map(|failure| failure.at),
            created_at: run.created_at,
        }
    }
}

#[derive(Debug, Serialize)]
struct RetryView {
    run_id: RunId,
    status: RunState,
    epoch: u64,
}

#[derive(Debug, Serialize)]
struct MoveView {
    status: &'static str,
    task: Option<String>,
}
