//! The probes. Liveness is a constant: it builds no client and makes no call. All others ask every dependency at once and build their
//! clients on first use (ADR 0007), so that liveness never pays for them. What they tell is shared by the whole fleet, and the status
//! code follows it.
//!
//! `checks` asks, `survey` asks all at once, `asking` says which probe asks the queues and the providers. `signs` and `providers` judge
//! what was found, and `ready`, `detailed`, `heartbeat` and `metrics` each tell it in the shape of a manual. `failed` counts answers with 5xx.

mod asking;
mod checks;
mod detailed;
mod failed;
mod heartbeat;
mod indicator;
mod metrics;
mod process;
mod providers;
mod ready;
mod signs;
mod survey;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::{join, join3};
use jiff::Timestamp;
use lambda_http::http::{StatusCode, header};
use serde_json::json;
use shared::config::{ApiAuth, Environment};
use shared::domain::clock::{Clock, between, rfc3339_millis};
use shared::domain::id::TenantId;
use shared::domain::run::Run;
use shared::engine::ports::JournalError;
use shared::http::{Api, Call, Problem, Reply};
use shared::telemetry::SystemClock;

pub use checks::{Check, Checks, Configured, Reach, RealChecks, Sees};
pub use survey::Thresholds;

use asking::LIMIT;
use checks::limited;
use heartbeat::{OVERDUE, Pulse};
use process::Process;
use survey::Survey;

/// The probes.
pub struct HealthApi {
    checks: Arc<dyn Checks>,
    clock: Arc<dyn Clock>,
    instance: Instance,
    env: Environment,
}

/// What a probe says of itself.
struct Instance {
    /// The stack's name.
    name: String,
    started_at: Timestamp,
}

impl HealthApi {
    /// Probes of the real dependencies; none is touched before it is asked about.
    #[must_use]
    pub fn new(env: Environment) -> Self {
        Self::with(Arc::new(RealChecks::new(env)), Arc::new(SystemClock), env)
    }

    /// Probes of these dependencies.
    #[must_use]
    pub fn with(checks: Arc<dyn Checks>, clock: Arc<dyn Clock>, env: Environment) -> Self {
        let function = env.required("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default();
        let name = function.strip_suffix("-health").unwrap_or("unknown").to_owned();
        let started_at = clock.now();
        Self { checks, clock, instance: Instance { name, started_at }, env }
    }

    async fn survey(&self) -> Survey {
        Survey::take(self.checks.as_ref(), self.clock.as_ref()).await
    }

    fn live(&self) -> Result<Reply, Problem> {
        let now = self.clock.now();
        let uptime = between(self.instance.started_at, now).as_secs();
        Reply::json(StatusCode::OK, &json!({"alive": true, "timestamp": rfc3339_millis::format(now), "uptime": uptime}))
    }

    /// Since when what is due is late, and the runs that are due.
    async fn due(&self, sees: &Sees<'_>) -> (Timestamp, Check<Vec<Run>>) {
        let now = self.clock.now();
        let late = now.checked_sub(OVERDUE).unwrap_or(now);
        (late, limited(self.checks.due(late, sees), LIMIT, self.clock.as_ref()).await)
    }

    async fn heartbeat(&self, call: &Call) -> Result<Reply, Problem> {
        // Configuration that is wrong does not stop this function; until it is mended it is as careful as it can be.
        let auth = ApiAuth::read(&self.env).unwrap_or(ApiAuth::Iam);
        let is_operator = call.only_operator(auth).is_ok();
        let caller = call.principal(auth).ok();
        let sees = |tenant: &TenantId| is_operator || caller.as_ref().is_some_and(|caller| caller.tenant == *tenant);
        let (survey, (late, due)) = join(self.survey(), self.due(&sees)).await;
        let pulse = Pulse { survey: &survey, due, late };
        aged(pulse.reply(sees), &survey)
    }

    /// What is told of everything, in the shape of a route.
    async fn told(&self, tell: impl FnOnce(&Survey) -> Result<Reply, Problem>) -> Result<Reply, Problem> {
        let survey = self.survey().await;
        aged(tell(&survey), &survey)
    }

    async fn metrics(&self) -> Result<Reply, Problem> {
        let sums = limited(self.checks.sums(), LIMIT, self.clock.as_ref());
        let (survey, (late, due), sums) = join3(self.survey(), self.due(&|_| false), sums).await;
        metrics::text(&Pulse { survey: &survey, due, late }, &sums)
            .map(Reply::metrics)
            .map_err(|problem| Problem::unavailable(&JournalError::Unavailable(problem.into())))
    }
}

#[async_trait]
impl Api for HealthApi {
    async fn handle(&self, call: &Call) -> Result<Reply, Problem> {
        match (call.method.as_str(), call.route.as_str()) {
            ("GET", "/health") => Ok(Reply::text(StatusCode::OK, r#"{"status":"healthy"}"#)),
            ("GET", "/healthz") => Reply::json(StatusCode::OK, &json!({"status": "ok", "environment": self.instance.name, "detail": null})),
            ("GET", "/live") => self.live(),
            ("GET", "/ready") => self.told(ready::plain).await,
            ("GET", "/readyz") => self.told(|survey| ready::short(survey, &self.instance.name)).await,
            ("GET", "/health/detailed") => self.told(detailed::indicators).await,
            ("GET", "/metrics") => self.metrics().await,
            ("GET", "/api/production/ready") => self.told(ready::production).await,
            ("GET", "/api/production/health") => {
                self.told(|survey| detailed::production(survey, &self.instance, Process::now(&self.env))).await
            }
            ("GET", "/api/production/queue/heartbeat") => self.heartbeat(call).await,
            _ => Err(call.unknown_route()),
        }
    }

    fn answered(&self, status: u16) {
        if status >= 500 {
            failed::tell(&self.instance.name, self.clock.now());
        }
    }
}

/// With the age of what was asked, if another probe asked it.
fn aged(reply: Result<Reply, Problem>, survey: &Survey) -> Result<Reply, Problem> {
    let reply = reply?;
    Ok(match survey.age() {
        Some(seconds) => reply.with(header::AGE, seconds.to_string()),
        None => reply,
    })
}

#[cfg(test)]
mod tests;
