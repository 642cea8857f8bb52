//! The probes. Liveness is a constant: it builds no client and makes no call. Readiness asks every dependency at once and
//! builds its clients on first use (ADR 0007), so that liveness never pays for them.

mod ready;

use std::sync::Arc;

use async_trait::async_trait;
use lambda_http::http::StatusCode;
use shared::config::Environment;
use shared::domain::clock::Clock;
use shared::http::{Api, Call, Problem, Reply};
use shared::telemetry::SystemClock;

pub use ready::{Check, Checks, Probe, Ready, RealChecks};

/// The probes.
pub struct HealthApi {
    checks: Arc<dyn Checks>,
    clock: Arc<dyn Clock>,
}

impl HealthApi {
    /// Probes of the real dependencies; none is touched before it is asked about.
    #[must_use]
    pub fn new(env: Environment) -> Self {
        Self::with(Arc::new(RealChecks::new(env)), Arc::new(SystemClock))
    }

    /// Probes of these dependencies.
    #[must_use]
    pub fn with(checks: Arc<dyn Checks>, clock: Arc<dyn Clock>) -> Self {
        Self { checks, clock }
    }
}

#[async_trait]
impl Api for HealthApi {
    async fn handle(&self, call: &Call) -> Result<Reply, Problem> {
        match (call.method.as_str(), call.route.as_str()) {
            ("GET", "/health") => Ok(Reply::text(StatusCode::OK, r#"{"status":"healthy"}"#)),
            ("GET", "/healthz") => Ok(Reply::text(StatusCode::OK, r#"{"status":"ok"}"#)),
            ("GET", "/api/production/ready") => {
                let ready = ready::ask(self.checks.as_ref(), self.clock.as_ref()).await;
                let status = if ready.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                Reply::json(status, &ready)
            }
            _ => Err(call.unknown_route()),
        }
    }
}

#[cfg(test)]
mod tests;
