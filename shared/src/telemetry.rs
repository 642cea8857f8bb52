//! Logs: one JSON object per line on standard output, where CloudWatch reads them. Never a body or a secret.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, Environment, variables};
use crate::domain::clock::Clock;
use crate::domain::id::RunId;

/// Starts logging at the level of `LOG_LEVEL`.
///
/// # Errors
/// When the variable is missing or no level.
pub fn start(env: &Environment) -> Result<(), ConfigError> {
    let level = env.required(variables::LOG_LEVEL)?;
    let wrong = || ConfigError { name: variables::LOG_LEVEL, problem: "must be error, warn, info, debug or trace".into() };
    let level: tracing::Level = level.parse().map_err(|_| wrong())?;
    // Libraries speak only when something is wrong: below that they may print requests. The provider crate not even then: it prints
    // answers, and what went wrong is told by the model adapter.
    let ours = ["shared", "health", "agent_api", "queue_consumer", "dlq_redrive", "operator_api", "sweeper"];
    let filter = EnvFilter::new(ours.iter().fold("warn,genai=off".to_owned(), |filter, target| format!("{filter},{target}={level}")));
    tracing_subscriber::fmt().json().flatten_event(true).with_current_span(false).with_env_filter(filter).with_target(false).init();
    Ok(())
}

/// This sandbox's name in leases: the name of its log stream, where an operator finds what it did, or a random one.
#[must_use]
pub fn worker_name(env: &Environment, clock: &dyn Clock) -> String {
    let stream = env.optional("AWS_LAMBDA_LOG_STREAM_NAME").ok().flatten();
    stream.unwrap_or_else(|| format!("worker-{}", RunId::new(clock.now())))
}

/// An error with its causes, outermost first, for the one place that logs it.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one real clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
