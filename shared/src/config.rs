//! Configuration: read once at init, by topic. What is missing or wrong stops the function and names the variable;
//! absence never turns into a default that hides it. The only module that reads the environment.

mod models;
mod tools;

use std::collections::BTreeMap;
use std::time::Duration;

pub use models::{ModelsConfig, ProviderConfig, Timeouts};
pub use tools::ToolsConfig;

/// The variables of the functions, for the contract test that compares them with `template.yaml`.
pub mod variables {
    /// Where the runs are.
    pub const TABLE_NAME: &str = "TABLE_NAME";
    /// The tasks queue's address.
    pub const TASK_QUEUE_URL: &str = "TASK_QUEUE_URL";
    /// The address of the queue of jobs.
    pub const JOBS_QUEUE_URL: &str = "JOBS_QUEUE_URL";
    /// The dead-letter queue's address.
    pub const DLQ_URL: &str = "DLQ_URL";
    /// The dead-letter queue's name for move tasks.
    pub const DLQ_ARN: &str = "DLQ_ARN";
    /// `iam` or `none`.
    pub const API_AUTH: &str = "API_AUTH";
    /// `<provider>::<model>`, or several, parted by commas: the next where the one before it fails.
    pub const MODEL: &str = "MODEL";
    /// Where the first model's provider is, if not at its usual address; may be empty.
    pub const MODEL_BASE_URL: &str = "MODEL_BASE_URL";
    /// The secret that holds the key of the first model's provider; may be empty.
    pub const MODEL_API_KEY_SECRET: &str = "MODEL_API_KEY_SECRET";
    /// More providers, as a JSON array; `[]` for none.
    pub const PROVIDERS: &str = "PROVIDERS";
    /// Tools whose services are elsewhere than their definitions say, as a JSON object; `{}` for none.
    pub const TOOLS: &str = "TOOLS";
    /// What callers may call agents besides their names, as a JSON object; `{}` for nothing else.
    pub const MODEL_ALIASES: &str = "MODEL_ALIASES";
    /// How long one model call may take.
    pub const MODEL_TIMEOUT_SECONDS: &str = "MODEL_TIMEOUT_SECONDS";
    /// How long a lease holds.
    pub const LEASE_SECONDS: &str = "LEASE_SECONDS";
    /// Attempts without progress before a run is dead.
    pub const MAX_ATTEMPTS: &str = "MAX_ATTEMPTS";
    /// How long a synchronous request is worked on before it is handed to the queue.
    pub const INLINE_SECONDS: &str = "INLINE_SECONDS";
    /// Whether a function runs with the definitions that were packed with it, or not at all.
    pub const REQUIRE_COMPILED: &str = "REQUIRE_COMPILED";
    /// Messages on the tasks queue above which a probe calls it degraded.
    pub const BACKLOG_THRESHOLD: &str = "BACKLOG_THRESHOLD";
    /// How long a run may wait for a worker before a probe calls the queue degraded.
    pub const BACKLOG_AGE_SECONDS: &str = "BACKLOG_AGE_SECONDS";
    /// Dead letters above which a probe calls the system degraded.
    pub const DEAD_LETTER_THRESHOLD: &str = "DEAD_LETTER_THRESHOLD";
    /// How old a sign of life may be.
    pub const HEARTBEAT_TIMEOUT_SECONDS: &str = "HEARTBEAT_TIMEOUT_SECONDS";
    /// How long probes tell what one of them found; 0 for not at all.
    pub const PROBE_CACHE_SECONDS: &str = "PROBE_CACHE_SECONDS";
    /// Names of fields that are not shown of payloads, besides those that always are not, parted by commas; may be empty.
    pub const REDACT_KEYS: &str = "REDACT_KEYS";
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub const LOG_LEVEL: &str = "LOG_LEVEL";
    /// `1` for log lines in JSON, `0` for people.
    pub const LOG_JSON: &str = "LOG_JSON";
    /// Where traces go, without `/v1/traces`; empty for nowhere.
    pub const OTEL_EXPORTER_OTLP_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    /// The secret that holds the headers that the collector wants; may be empty.
    pub const OTEL_EXPORTER_OTLP_HEADERS_SECRET: &str = "OTEL_EXPORTER_OTLP_HEADERS_SECRET";
    /// `true` if traces may hold what is said to models and tools and by them.
    pub const OTEL_CAPTURE_CONTENT: &str = "OTEL_CAPTURE_CONTENT";

    /// What `health` reads.
    pub const HEALTH: &[&str] = &[
        TABLE_NAME,
        TASK_QUEUE_URL,
        JOBS_QUEUE_URL,
        DLQ_URL,
        API_AUTH,
        MODEL,
        MODEL_BASE_URL,
        PROVIDERS,
        REQUIRE_COMPILED,
        BACKLOG_THRESHOLD,
        BACKLOG_AGE_SECONDS,
        DEAD_LETTER_THRESHOLD,
        HEARTBEAT_TIMEOUT_SECONDS,
        LEASE_SECONDS,
        PROBE_CACHE_SECONDS,
        LOG_LEVEL,
        LOG_JSON,
    ];
    /// What `agent-api` reads.
    pub const AGENT_API: &[&str] = &[
        TABLE_NAME,
        TASK_QUEUE_URL,
        API_AUTH,
        MODEL,
        MODEL_BASE_URL,
        MODEL_API_KEY_SECRET,
        PROVIDERS,
        TOOLS,
        MODEL_ALIASES,
        MODEL_TIMEOUT_SECONDS,
        LEASE_SECONDS,
        MAX_ATTEMPTS,
        INLINE_SECONDS,
        REQUIRE_COMPILED,
        LOG_LEVEL,
        LOG_JSON,
        OTEL_EXPORTER_OTLP_ENDPOINT,
        OTEL_EXPORTER_OTLP_HEADERS_SECRET,
        OTEL_CAPTURE_CONTENT,
    ];
    /// What `queue-consumer` reads.
    pub const QUEUE_CONSUMER: &[&str] = &[
        TABLE_NAME,
        TASK_QUEUE_URL,
        MODEL,
        MODEL_BASE_URL,
        MODEL_API_KEY_SECRET,
        PROVIDERS,
        TOOLS,
        MODEL_TIMEOUT_SECONDS,
        LEASE_SECONDS,
        MAX_ATTEMPTS,
        REQUIRE_COMPILED,
        LOG_LEVEL,
        LOG_JSON,
        OTEL_EXPORTER_OTLP_ENDPOINT,
        OTEL_EXPORTER_OTLP_HEADERS_SECRET,
        OTEL_CAPTURE_CONTENT,
    ];
    /// What `dlq-redrive` reads.
    pub const DLQ_REDRIVE: &[&str] = &[
        TABLE_NAME,
        TASK_QUEUE_URL,
        JOBS_QUEUE_URL,
        DLQ_URL,
        DLQ_ARN,
        REDACT_KEYS,
        MODEL,
        PROVIDERS,
        API_AUTH,
        REQUIRE_COMPILED,
        LOG_LEVEL,
        LOG_JSON,
    ];
    /// What `operator-api` reads.
    pub const OPERATOR_API: &[&str] = &[TABLE_NAME, TASK_QUEUE_URL, API_AUTH, LOG_LEVEL, LOG_JSON];
    /// What `sweeper` reads.
    pub const SWEEPER: &[&str] = &[TABLE_NAME, TASK_QUEUE_URL, JOBS_QUEUE_URL, DLQ_URL, DLQ_ARN, MAX_ATTEMPTS, LOG_LEVEL, LOG_JSON];
}

/// A variable that stops the function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("environment variable {name}: {problem}")]
pub struct ConfigError {
    /// The variable.
    pub name: &'static str,
    /// What is wrong and what would be right; never the value, which may be a secret.
    pub problem: String,
}

/// Where variables come from: the process, or a table in a test.
#[derive(Clone, Copy)]
pub struct Environment(fn(&str) -> Option<String>);

impl Environment {
    /// The process's own.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this module is the one that reads the environment")]
    pub fn of_process() -> Self {
        Self(|name| std::env::var(name).ok())
    }

    /// A table, for tests.
    #[must_use]
    pub fn of(table: fn(&str) -> Option<String>) -> Self {
        Self(table)
    }

    /// A variable that must be there and not empty.
    ///
    /// # Errors
    /// When it is missing or empty.
    pub fn required(&self, name: &'static str) -> Result<String, ConfigError> {
        match (self.0)(name) {
            Some(value) if !value.is_empty() => Ok(value),
            Some(_) => Err(ConfigError { name, problem: "is empty; set it in template.yaml".into() }),
            None => Err(ConfigError { name, problem: "is not set; set it in template.yaml".into() }),
        }
    }

    /// A variable that must be there but may be empty.
    ///
    /// # Errors
    /// When it is missing.
    pub fn optional(&self, name: &'static str) -> Result<Option<String>, ConfigError> {
        let value = (self.0)(name).ok_or(ConfigError { name, problem: "is not set (it may be empty); set it in template.yaml".into() })?;
        Ok(Some(value).filter(|value| !value.is_empty()))
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// When it is missing or neither.
    pub fn flag(&self, name: &'static str) -> Result<bool, ConfigError> {
        self.required(name)?.parse().map_err(|_| ConfigError { name, problem: "must be `true` or `false`".into() })
    }

    /// A whole number in a range.
    ///
    /// # Errors
    /// When it is missing, no number or outside.
    pub fn number(&self, name: &'static str, range: std::ops::RangeInclusive<u32>) -> Result<u32, ConfigError> {
        let number: Option<u32> = self.required(name)?.parse().ok();
        number
            .filter(|n| range.contains(n))
            .ok_or_else(|| ConfigError { name, problem: format!("must be a whole number from {} to {}", range.start(), range.end()) })
    }

    /// A number of seconds in a range.
    ///
    /// # Errors
    /// When it is missing, no number or outside.
    pub fn seconds(&self, name: &'static str, range: std::ops::RangeInclusive<u32>) -> Result<Duration, ConfigError> {
        self.number(name, range).map(|n| Duration::from_secs(n.into()))
    }
}

/// A text that is never printed: it has no `Display`, nothing serializes it, and its memory is overwritten when it is dropped. Every key
/// and token that a function holds is one.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Drop for Secret {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

impl Secret {
    /// This text.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one place that sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// What functions that work on runs are told.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// Where tasks go.
    pub task_queue_url: String,
    /// Who answers.
    pub models: ModelsConfig,
    /// Tools that are elsewhere.
    pub tools: ToolsConfig,
    /// The engine's numbers.
    pub limits: crate::engine::Limits,
}

impl EngineSettings {
    /// Reads their variables.
    ///
    /// # Errors
    /// Names the one that is missing or wrong.
    pub fn read(env: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            task_queue_url: env.required(variables::TASK_QUEUE_URL)?,
            models: ModelsConfig::read(env)?,
            tools: ToolsConfig::read(env)?,
            limits: read_limits(env)?,
        })
    }
}

/// The engine's numbers.
///
/// # Errors
/// Names the variable that is missing or wrong; a lease must outlive a model call.
pub fn read_limits(env: &Environment) -> Result<crate::engine::Limits, ConfigError> {
    use crate::engine::Limits;
    let limits = Limits {
        lease: env.seconds(variables::LEASE_SECONDS, 10..=900)?,
        model_timeout: env.seconds(variables::MODEL_TIMEOUT_SECONDS, 1..=890)?,
        max_attempts: env.number(variables::MAX_ATTEMPTS, 1..=100)?,
    };
    if limits.lease <= limits.model_timeout + Limits::LEASE_MARGIN {
        let problem = format!("must be more than {} + {} s", variables::MODEL_TIMEOUT_SECONDS, Limits::LEASE_MARGIN.as_secs());
        return Err(ConfigError { name: variables::LEASE_SECONDS, problem });
    }
    Ok(limits)
}

/// What callers may call agents besides their names: a client that has a model's name built in is given an agent for it.
///
/// # Errors
/// When `MODEL_ALIASES` is no JSON object of texts.
pub fn read_aliases(env: &Environment) -> Result<BTreeMap<String, String>, ConfigError> {
    let problem = |error| format!("must be JSON, {{\"<name>\": \"<agent>\"}}: {error}");
    let name = variables::MODEL_ALIASES;
    serde_json::from_str(&env.required(name)?).map_err(|error| ConfigError { name, problem: problem(error) })
}

/// Who may call the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiAuth {
    /// Only callers whom API Gateway has authorized; a request without an identity is refused.
    Iam,
    /// Anybody who reaches the port: for a stack on one's own machine.
    None,
}

impl ApiAuth {
    /// Reads `API_AUTH`.
    ///
    /// # Errors
    /// When it is neither `iam` nor `none`.
    pub fn read(env: &Environment) -> Result<Self, ConfigError> {
        match env.required(variables::API_AUTH)?.as_str() {
            "iam" => Ok(Self::Iam),
            "none" => Ok(Self::None),
            _ => Err(ConfigError { name: variables::API_AUTH, problem: "must be `iam` or `none`".into() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_variable_is_named() {
        let env = Environment::of(|_| None);
        assert_eq!(
            env.required("TABLE_NAME").unwrap_err().to_string(),
            "environment variable TABLE_NAME: is not set; set it in template.yaml"
        );
        assert_eq!(read_limits(&env).unwrap_err().name, "LEASE_SECONDS");
        assert_eq!(ApiAuth::read(&env).unwrap_err().name, "API_AUTH");
    }

    #[test]
    fn aliases_are_names_of_names() {
        let env = Environment::of(|_| Some(r#"{"gpt-4o": "assistant"}"#.into()));
        assert_eq!(read_aliases(&env).unwrap()["gpt-4o"], "assistant");
        for wrong in [|_: &str| Some("[]".to_owned()), |_: &str| Some(r#"{"a": 1}"#.to_owned()), |_: &str| None] {
            assert_eq!(read_aliases(&Environment::of(wrong)).unwrap_err().name, "MODEL_ALIASES");
        }
    }

    #[test]
    fn a_lease_must_outlive_a_model_call() {
        let env = Environment::of(|name| Some(if name == "MAX_ATTEMPTS" { "3" } else { "60" }.into()));
        assert_eq!(read_limits(&env).unwrap_err().name, "LEASE_SECONDS");
    }

    #[test]
    fn a_secret_is_never_printed() {
        assert!(!format!("{:?}", Secret::new("sk-123".into())).contains("sk-123"));
    }
}
