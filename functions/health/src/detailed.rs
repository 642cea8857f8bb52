//! How well it is: `/health/detailed` and `/api/production/health`. Something that does not answer is a 503; something that is only
//! more than it should be is degraded, and a 200.

use std::time::Duration;

use lambda_http::http::StatusCode;
use serde_json::{Value, json};
use shared::domain::clock::{between, rfc3339_millis};
use shared::heartbeat::Depth;
use shared::http::{Problem, Reply};

use crate::indicator::{Health, Indicator, worst};
use crate::process::Process;
use crate::signs::backlog;
use crate::survey::{Survey, Timed};
use crate::{Instance, providers, signs};

/// `/health/detailed`.
pub(crate) fn indicators(survey: &Survey) -> Result<Reply, Problem> {
    let mut indicators = vec![
        indicator("database", &survey.table, |_| (Health::Healthy, None)),
        indicator("event_queue", &survey.tasks, |depth| event_queue(survey, depth)),
        indicator("dlq", &survey.dead_letters, |depth| match depth.pending() {
            many if many > survey.thresholds().dead_letters => (Health::Degraded, Some(format!("{many} events in DLQ"))),
            few => (Health::Healthy, Some(format!("{few} in DLQ"))),
        }),
    ];
    indicators.extend(providers::indicators(survey));
    let (worker, sweeper) = signs_of_life(survey);
    indicators.extend([Indicator::known("worker", worker), Indicator::known("sweeper", sweeper)]);
    // Only told when there is something to tell.
    if let Some(problem) = survey.environment.as_ref().err().or(survey.models.as_ref().err()) {
        indicators.push(Indicator::known("configuration", (Health::Unhealthy, problem.clone())));
    }
    let status = worst(indicators.iter().map(|indicator| indicator.status));
    let body = json!({
        "status": status,
        "indicators": indicators,
        "checked_at": rfc3339_millis::format(survey.asked_at),
        "took_ms": u64::try_from(survey.took.as_millis()).unwrap_or(u64::MAX),
    });
    Reply::json(code(status), &body)
}

fn indicator<T>(name: &str, check: &Timed<T>, judge: impl FnOnce(&T) -> (Health, Option<String>)) -> Indicator {
    let (status, message) = check.found.as_ref().map_or_else(|problem| (Health::Unhealthy, Some(problem.clone())), judge);
    let latency_ms = check.found.is_ok().then(|| check.millis());
    Indicator { name: name.to_owned(), status, message, latency_ms }
}

fn event_queue(survey: &Survey, depth: &Depth) -> (Health, Option<String>) {
    match (depth.pending(), backlog(survey)) {
        // In the words of the manual.
        (many, Some(_)) if many > survey.thresholds().backlog => (Health::Degraded, Some(format!("{many} pending events"))),
        (_, Some(problem)) => (Health::Degraded, Some(problem)),
        (few, None) => (Health::Healthy, Some(format!("{few} pending"))),
    }
}

/// The worker and the sweeper.
fn signs_of_life(survey: &Survey) -> ((Health, String), (Health, String)) {
    let Ok(marks) = &survey.table.found else {
        // What is wrong is said of the table.
        let unknown = || (Health::Degraded, "not known while the table does not answer".to_owned());
        return (unknown(), unknown());
    };
    let timeout = survey.thresholds().heartbeat;
    (signs::worker(marks, survey.at, timeout), signs::sweeper(marks, survey.at, timeout))
}

/// `/api/production/health`.
pub(crate) fn production(survey: &Survey, instance: &Instance, process: Process) -> Result<Reply, Problem> {
    let (worker, sweeper) = signs_of_life(survey);
    let found = [
        ("database", database(survey)),
        ("llm", llm(survey)),
        ("workflows", workflows(survey)),
        ("memory", memory(process)),
        ("queue", queue(survey)),
        ("dependencies", plain(&survey.dead_letters, "the dead-letter queue answers")),
        ("worker", told(worker.0, worker.1)),
        ("sweeper", told(sweeper.0, sweeper.1)),
    ];
    let status = worst(found.iter().map(|(_, (health, _))| *health));
    let checks: serde_json::Map<String, Value> = found.into_iter().map(|(name, (_, body))| (name.to_owned(), body)).collect();
    let agents = survey.environment.as_ref().map_or(0, |configured| configured.agents);
    let body = json!({
        "status": status,
        "timestamp": rfc3339_millis::format(survey.at),
        "version": env!("CARGO_PKG_VERSION"),
        "uptime": between(instance.started_at, survey.at).as_secs(),
        "environment": instance.name,
        "checks": checks,
        "metrics": {
            "totalWorkflows": agents,
            // A function serves one request at a time and holds no connection between them.
            "activeConnections": 0,
            "memoryUsage": {"rss": process.resident_bytes, "limit": process.limit_bytes},
            "cpuUsage": {"user": process.user_micros, "system": process.system_micros},
        },
        "responseTime": survey.took.as_millis(),
    });
    Reply::json(code(status), &body)
}

type Told = (Health, Value);

fn told(health: Health, message: impl Into<String>) -> Told {
    let status = match health {
        Health::Healthy => "pass",
        Health::Degraded => "warn",
        Health::Unhealthy => "fail",
    };
    (health, json!({"status": status, "message": message.into()}))
}

fn timed((health, mut body): Told, took: Duration) -> Told {
    body["responseTime"] = json!(took.as_millis());
    (health, body)
}

fn plain<T>(check: &Timed<T>, well: &str) -> Told {
    let result = check.found.as_ref().map_or_else(|problem| told(Health::Unhealthy, problem), |_| told(Health::Healthy, well));
    timed(result, check.took)
}

fn llm(survey: &Survey) -> Told {
    let (health, message) = providers::summary(survey);
    match providers::longest(survey) {
        Some(took) => timed(told(health, message), took),
        None => told(health, message),
    }
}

fn database(survey: &Survey) -> Told {
    plain(&survey.table, "the table answers")
}

fn workflows(survey: &Survey) -> Told {
    match &survey.environment {
        Ok(configured) => told(Health::Healthy, format!("{} agents", configured.agents)),
        Err(problem) => told(Health::Unhealthy, problem),
    }
}

fn memory(process: Process) -> Told {
    let (Some(used), Some(limit)) = (process.resident_bytes, process.limit_bytes) else {
        return told(Health::Healthy, "not known here");
    };
    let percent = used.saturating_mul(100) / limit.max(1);
    let health = match percent {
        91.. => Health::Unhealthy,
        76.. => Health::Degraded,
        _ => Health::Healthy,
    };
    told(health, format!("{percent} % of the function's memory"))
}

fn queue(survey: &Survey) -> Told {
    let (tasks, dead) = match (&survey.tasks.found, &survey.dead_letters.found) {
        (Ok(tasks), Ok(dead)) => (tasks, dead),
        (Err(problem), _) | (_, Err(problem)) => return timed(told(Health::Unhealthy, problem), survey.tasks.took),
    };
    let backlog = backlog(survey);
    let is_much = backlog.is_some() || dead.pending() > survey.thresholds().dead_letters;
    let health = if is_much { Health::Degraded } else { Health::Healthy };
    let counts = format!("{} pending, {} dead letters", tasks.pending(), dead.pending());
    let (health, mut body) = told(health, backlog.map_or(counts.clone(), |problem| format!("{counts}. {problem}")));
    body["details"] =
        json!({"waiting": tasks.waiting, "inFlight": tasks.in_flight, "delayed": tasks.delayed, "deadLetters": dead.pending()});
    timed((health, body), survey.tasks.took)
}

fn code(status: Health) -> StatusCode {
    match status {
        Health::Healthy | Health::Degraded => StatusCode::OK,
        Health::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    }
}
