//! `reprise health`: asks the probes of a deployment, and believes none that answers with an error.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::args::Health;
use crate::config::Env;
use crate::error::{FAILED, Result, UNREACHABLE};
use crate::http::{Http, Reply};
use crate::out;
use crate::problem::explain;
use crate::screen::{Screen, text};

/// What one probe said.
struct Probe {
    /// None: nothing answered.
    reply: Option<Reply>,
    error: Option<String>,
    seconds: f64,
}

impl Probe {
    fn ask(http: &Http, path: &str) -> Self {
        let begun = Instant::now();
        let (reply, error) = match http.get(path) {
            Ok(reply) => (Some(reply), None),
            Err(error) => (None, Some(error.render().lines().take(2).collect::<Vec<_>>().join(" "))),
        };
        Self { reply, error, seconds: begun.elapsed().as_secs_f64() }
    }

    fn status_code(&self) -> Option<u16> {
        self.reply.as_ref().map(|reply| reply.status)
    }

    fn body(&self) -> Value {
        self.reply.as_ref().map(Reply::json).unwrap_or_default()
    }

    /// Not part of this deployment.
    fn is_absent(&self) -> bool {
        self.status_code() == Some(404)
    }

    /// Who asks may not: that says nothing of how the deployment is.
    fn is_refused(&self) -> bool {
        matches!(self.status_code(), Some(401 | 403))
    }

    fn check(&self, status: &str) -> Value {
        let status = if self.is_refused() { "refused" } else { status };
        let mut check = json!({"status": status, "response_time": (self.seconds * 1e6).round() / 1e6});
        match (&self.error, self.status_code()) {
            (Some(error), _) => check["error"] = json!(error),
            (None, code) => check["status_code"] = json!(code),
        }
        check
    }
}

/// Exit code 0 when healthy, 1 when not, 2 when it could not be asked: nothing answered, or who asks may not.
pub(crate) fn execute(health: &Health, env: &Env) -> Result<ExitCode> {
    let http = Http::to(&health.target, env, Duration::from_secs(health.timeout))?;
    let api = Probe::ask(&http, "/health");
    let readiness = Probe::ask(&http, "/api/production/ready");
    let metrics = Probe::ask(&http, "/metrics");
    let detailed = health.detailed.then(|| Probe::ask(&http, "/health/detailed"));
    let probes = [Some(&api), Some(&readiness), Some(&metrics), detailed.as_ref()].into_iter().flatten();
    let is_asked = probes.clone().any(|probe| probe.reply.is_some());
    let refused = probes.filter(|probe| probe.is_refused()).find_map(|probe| probe.reply.as_ref());
    let mut report = report(&api, &readiness, &metrics, detailed.as_ref());
    if refused.is_some() && report["status"] == "healthy" {
        report["status"] = json!("unknown");
    }
    let screen = Screen::of(env);
    out::show(health.format, &report, |report| render(screen, report));
    if let Some(reply) = refused {
        screen.remark(explain(reply).render().trim_end());
    }
    Ok(ExitCode::from(match report["status"].as_str() {
        Some("healthy") => 0,
        Some("unhealthy") if is_asked => FAILED,
        Some(_) | None => UNREACHABLE,
    }))
}

fn report(api: &Probe, readiness: &Probe, metrics: &Probe, detailed: Option<&Probe>) -> Value {
    let word = |is_well: bool, well: &'static str, ill: &'static str| if is_well { well } else { ill };
    let lives = api.status_code() == Some(200) && api.body()["status"] == "healthy";
    let ready = readiness.status_code() == Some(200) && readiness.body()["ready"] == true;
    let measured = metrics.status_code() == Some(200) && metrics.reply.as_ref().is_some_and(|reply| !reply.body.trim().is_empty());
    let mut checks = json!({
        "api": api.check(word(lives, "healthy", "unhealthy")),
        "readiness": readiness.check(word(ready, "ready", "not_ready")),
        "metrics": metrics.check(if metrics.is_absent() { "skipped" } else { word(measured, "available", "unavailable") }),
    });
    let body = readiness.body();
    checks["readiness"]["checks"] = body["checks"].clone();
    checks["readiness"]["message"] = body["queueHealth"]["message"].clone();
    let counts = |probe: &Probe, is_well: bool| is_well || probe.is_refused();
    let mut healthy = counts(api, lives) && counts(readiness, ready) && (counts(metrics, measured) || metrics.is_absent());
    let mut report = json!({"timestamp": crate::clock::now().as_millisecond() as f64 / 1000.0});
    if let Some(detailed) = detailed {
        let body = detailed.body();
        let is_well = detailed.status_code() == Some(200) && body["status"] == "healthy";
        healthy &= counts(detailed, is_well) || detailed.is_absent();
        checks["detailed"] = detailed.check(match body["status"].as_str() {
            _ if detailed.is_absent() => "skipped",
            Some(status) if detailed.reply.is_some() => status,
            _ => "unhealthy",
        });
        report["indicators"] = body["indicators"].clone();
        for indicator in body["indicators"].as_array().into_iter().flatten() {
            if let Some(name) = indicator["name"].as_str() {
                report[name] = indicator.clone();
            }
        }
    }
    report["status"] = json!(word(healthy, "healthy", "unhealthy"));
    report["checks"] = checks;
    report
}

fn render(screen: Screen, report: &Value) -> String {
    let row = |name: &str, check: &Value| {
        let seconds = check["response_time"].as_f64().map(|seconds| format!("{:.0} ms", seconds * 1000.0)).unwrap_or_default();
        let parts = ["error", "message"].map(|field| text(&check[field]));
        vec![name.to_owned(), text(&check["status"]), seconds, parts.join(" ").trim().to_owned()]
    };
    // In this order, whatever order the fields have.
    let names = ["api", "readiness", "metrics", "detailed"];
    let checks = names.into_iter().filter_map(|name| Some(row(name, report["checks"].get(name)?)));
    let indicators = report["indicators"].as_array().into_iter().flatten().map(|indicator| {
        let latency = indicator["latency_ms"].as_f64().map(|ms| format!("{ms:.0} ms")).unwrap_or_default();
        vec![text(&indicator["name"]), text(&indicator["status"]), latency, text(&indicator["message"])]
    });
    let table = screen.table(&["check", "status", "time", "message"], checks.chain(indicators));
    format!("{table}\n\n{}", text(&report["status"]))
}
