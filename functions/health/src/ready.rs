//! Is it ready: one decision, told in the shape of each of the three manuals that ask for it.

use jiff::Timestamp;
use lambda_http::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use shared::domain::clock::rfc3339_millis;
use shared::http::{Problem, Reply};

use crate::providers;
use crate::survey::{Survey, Timed};

/// `/api/production/ready`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Ready {
    ready: bool,
    checks: Probe,
    /// More about the queue: where the first edition of the manual has it.
    queue_health: QueueHealth,
    /// What is wrong, check by check; empty when all is well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
    #[serde(with = "rfc3339_millis")]
    timestamp: Timestamp,
}

/// The checks, true when all is well.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    llm: bool,
    environment: bool,
    /// The table.
    dependencies: bool,
    queue: bool,
    /// More about the queue: where the later edition has it.
    queue_details: QueueHealth,
}

/// The queues, as far as it can be asked whether they answer.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueueHealth {
    pub(crate) status: &'static str,
    durable: bool,
    pub(crate) message: &'static str,
    latency_ms: Option<u64>,
    #[serde(with = "rfc3339_millis")]
    checked_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl QueueHealth {
    pub(crate) fn of(survey: &Survey) -> Self {
        let error = survey.queue_problem().cloned();
        let latency = survey.tasks.millis().max(survey.dead_letters.millis());
        Self {
            status: if error.is_none() { "pass" } else { "fail" },
            // SQS keeps what it has taken, reachable or not.
            durable: true,
            message: if error.is_none() { "SQS connection healthy" } else { "SQS connection failed" },
            latency_ms: error.is_none().then_some(latency),
            checked_at: survey.asked_at,
            error,
        }
    }
}

pub(crate) fn production(survey: &Survey) -> Result<Reply, Problem> {
    let queue = QueueHealth::of(survey);
    let checks = Probe {
        llm: providers::problem(survey).is_none(),
        environment: survey.environment.is_ok(),
        dependencies: survey.table.found.is_ok(),
        queue: survey.queue_problem().is_none(),
        queue_details: queue.clone(),
    };
    let (ready, problems) = (survey.is_ready(), survey.problems());
    Reply::json(status(survey), &Ready { ready, checks, queue_health: queue, problems, timestamp: survey.at })
}

/// `/ready`.
pub(crate) fn plain(survey: &Survey) -> Result<Reply, Problem> {
    let database = if survey.table.found.is_ok() { "connected" } else { "disconnected" };
    let body = json!({"status": word(survey), "database": database, "workflow": survey.environment.is_ok()});
    Reply::json(status(survey), &with_problems(body, survey))
}

/// `/readyz`. `environment` is the name of the stack.
pub(crate) fn short(survey: &Survey, environment: &str) -> Result<Reply, Problem> {
    let agents = match &survey.environment {
        Ok(configured) => json!({"status": "ok", "count": configured.agents}),
        Err(problem) => json!({"status": "error", "error": problem}),
    };
    let checks = json!({
        "database": component(&survey.table),
        "queue": component(&survey.tasks),
        "dead_letters": component(&survey.dead_letters),
        "llm": llm(survey),
        "agents": agents,
    });
    Reply::json(status(survey), &json!({"status": word(survey), "environment": environment, "checks": checks}))
}

fn component<T>(check: &Timed<T>) -> Value {
    match &check.found {
        Ok(_) => json!({"status": "ok", "latency_ms": check.millis()}),
        Err(problem) => json!({"status": "error", "error": problem}),
    }
}

fn llm(survey: &Survey) -> Value {
    match providers::problem(survey) {
        None => match providers::longest(survey) {
            Some(took) => json!({"status": "ok", "latency_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX)}),
            None => json!({"status": "ok"}),
        },
        Some(problem) => json!({"status": "error", "error": problem}),
    }
}

fn with_problems(mut body: Value, survey: &Survey) -> Value {
    let problems = survey.problems();
    if !problems.is_empty() {
        body["problems"] = json!(problems);
    }
    body
}

fn word(survey: &Survey) -> &'static str {
    if survey.is_ready() { "ready" } else { "not_ready" }
}

fn status(survey: &Survey) -> StatusCode {
    if survey.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
