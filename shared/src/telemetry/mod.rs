//! What a function tells of itself: log lines (`lines`), and the spans that say which request, run and step a line belongs to
//! ([`span`]). Never a body or a secret.

#[cfg(feature = "traces")]
mod collector;
mod lines;
#[cfg(feature = "traces")]
pub(crate) mod outbox;
pub(crate) mod semconv;
pub mod span;
pub(crate) mod trace;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::config::{ConfigError, Environment, variables};
use crate::domain::clock::Clock;
use crate::domain::id::RunId;
pub use lines::{Format, Lines};
#[cfg(feature = "traces")]
pub use outbox::{flush, keys_are_in};

/// Starts logging at the level of `LOG_LEVEL`, in the format that `LOG_JSON` chooses.
///
/// # Errors
/// When a variable is missing or wrong.
pub fn start(env: &Environment) -> Result<(), ConfigError> {
    // It is set once, at init; a test that has set its own keeps that.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(logs(env)?));
    Ok(())
}

/// Starts logging, and traces as well if `OTEL_EXPORTER_OTLP_ENDPOINT` names a collector. They are sent by [`flush`].
///
/// # Errors
/// When a variable is missing or wrong.
#[cfg(feature = "traces")]
pub fn start_with_traces(env: &Environment) -> Result<(), ConfigError> {
    let is_content_shown = env.flag(variables::OTEL_CAPTURE_CONTENT)?;
    let Some(outbox) = outbox::Outbox::read(env)? else { return start(env) };
    let subscriber = tracing_subscriber::registry().with(logs(env)?).with(outbox.layer(is_content_shown));
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

fn logs<S>(env: &Environment) -> Result<impl tracing_subscriber::Layer<S> + use<S>, ConfigError>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let level = env.required(variables::LOG_LEVEL)?;
    let wrong = || ConfigError { name: variables::LOG_LEVEL, problem: "must be error, warn, info, debug or trace".into() };
    let level = level.parse().map_err(|_| wrong())?;
    let format = match env.required(variables::LOG_JSON)?.as_str() {
        "1" => Format::Json,
        "0" => Format::Text,
        _ => return Err(ConfigError { name: variables::LOG_JSON, problem: "must be 1 (JSON) or 0 (for people)".into() }),
    };
    Ok(Lines::to_stdout(format).with_filter(speakers(level)))
}

/// Without traces there is nothing to send.
#[cfg(not(feature = "traces"))]
pub fn flush() -> std::future::Ready<()> {
    std::future::ready(())
}

/// Who is heard. Libraries speak only when something is wrong: below that they may print requests. The provider crate not even then: it
/// prints answers, and what went wrong is told by the model adapter. Spans are always there, so that each line has its ids.
#[must_use]
pub fn speakers(level: Level) -> Targets {
    let ours = ["shared", "health", "agent_api", "queue_consumer", "dlq_redrive", "operator_api", "sweeper"];
    let level = LevelFilter::from_level(level);
    Targets::new()
        .with_default(LevelFilter::WARN.min(level))
        .with_target("genai", LevelFilter::OFF)
        .with_target(span::TRACED, LevelFilter::ERROR)
        .with_target(span::UNTRACED, LevelFilter::ERROR)
        // Its one span says which invocation it is.
        .with_target(span::INVOCATION, LevelFilter::INFO)
        .with_targets(ours.map(|target| (target, level)))
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
