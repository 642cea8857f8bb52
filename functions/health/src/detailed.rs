//! How well it is: `/health/detailed` and `/api/production/health`. Something that does not answer is a 503; something that is only
//! more than it should be is degraded, and a 200.

use lambda_http::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use shared::domain::clock::{between, rfc3339_millis};
use shared::http::{Problem, Reply};

use crate::Instance;
use crate::process::Process;
use crate::survey::{Survey, Timed};

/// The parts' states, the worst last: that one is the whole's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Healthy,
    Degraded,
    Unhealthy,
}

#[derive(Debug, Serialize)]
struct Indicator {
    name: &'static str,
    status: Health,
    message: Option<String>,
    latency_ms: Option<u64>,
}

/// `/health/detailed`.
pub(crate) fn indicators(survey: &Survey) -> Result<Reply, Problem> {
    let limits = survey.thresholds();
    let mut indicators = vec![indicator("database", &survey.table, |_| (Health::Healthy, None))];
    indicators.push(indicator("event_queue", &survey.tasks, |depth| match depth.pending() {
        many if many > limits.backlog => (Health::Degraded, Some(format!("{many} pending events"))),
        few => (Health::Healthy, Some(format!("{few} pending"))),
    }));
    indicators.push(indicator("dlq", &survey.dead_letters, |depth| match depth.pending() {
        many if many > limits.dead_letters => (Health::Degraded, Some(format!("{many} events in DLQ"))),
        few => (Health::Healthy, Some(format!("{few} in DLQ"))),
    }));
    // Only told when there is something to tell: the manual has three.
    if let Err(problem) = &survey.environment {
        let (status, message) = (Health::Unhealthy, Some(problem.clone()));
        indicators.push(Indicator { name: "configuration", status, message, latency_ms: None });
    }
    let status = worst(indicators.iter().map(|indicator| indicator.status));
    Reply::json(code(status), &json!({"status": status, "indicators": indicators}))
}

fn indicator<T>(name: &'static str, check: &Timed<T>, judge: impl FnOnce(&T) -> (Health, Option<String>)) -> Indicator {
    let (status, message) = check.found.as_ref().map_or_else(|problem| (Health::Unhealthy, Some(problem.clone())), judge);
    let latency_ms = check.found.is_ok().then(|| check.millis());
    Indicator { name, status, message, latency_ms }
}

/// `/api/production/health`.
pub(crate) fn production(survey: &Survey, instance: &Instance, process: Process) -> Result<Reply, Problem> {
    let found = [
        ("database", database(survey)),
        ("llm", plain(&survey.llm, "the model's address takes connections")),
        ("workflows", workflows(survey)),
        ("memory", memory(process)),
        ("queue", queue(survey)),
        ("dependencies", plain(&survey.dead_letters, "the dead-letter queue answers")),
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
        "responseTime": survey.longest().as_millis(),
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

fn timed<T>((health, mut body): Told, check: &Timed<T>) -> Told {
    body["responseTime"] = json!(check.millis());
    (health, body)
}

fn plain<T>(check: &Timed<T>, well: &str) -> Told {
    let result = check.found.as_ref().map_or_else(|problem| told(Health::Unhealthy, problem), |_| told(Health::Healthy, well));
    timed(result, check)
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
        (Err(problem), _) | (_, Err(problem)) => return timed(told(Health::Unhealthy, problem), &survey.tasks),
    };
    let limits = survey.thresholds();
    let is_much = tasks.pending() > limits.backlog || dead.pending() > limits.dead_letters;
    let health = if is_much { Health::Degraded } else { Health::Healthy };
    let (health, mut body) = told(health, format!("{} pending, {} dead letters", tasks.pending(), dead.pending()));
    body["details"] =
        json!({"waiting": tasks.waiting, "inFlight": tasks.in_flight, "delayed": tasks.delayed, "deadLetters": dead.pending()});
    timed((health, body), &survey.tasks)
}

fn worst(parts: impl Iterator<Item = Health>) -> Health {
    parts.max().unwrap_or(Health::Healthy)
}

fn code(status: Health) -> StatusCode {
    match status {
        Health::Healthy | Health::Degraded => StatusCode::OK,
        Health::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    }
}
