//! What the dead-letter API does with a call. What is shown comes from the records, so that looking touches no message.
//!
//! This file is the table of routes; `list` and `show` look, `one` puts one run back or gives it up, `jobs` does so in bulk (carried
//! out by `worker`), `letters` is about messages that are none of ours, `replays` about past events.

mod bulk;
mod choices;
mod job_views;
mod jobs;
mod letters;
mod list;
mod one;
mod replays;
mod show;
mod views;
pub mod worker;

use std::sync::Arc;

use async_trait::async_trait;
use shared::config::{ApiAuth, ConfigError, Environment, ModelsConfig, variables};
use shared::domain::redact::Redactor;
use shared::http::{Api, Call, Problem, Reply};
use shared::letters::LetterDesk;
use shared::operate::{DeadIndex, Redrive};

pub use crate::choices::Choices;
pub use crate::jobs::JobsApi;
pub use crate::replays::Replays;

/// The function's configuration.
pub struct Settings {
    /// Where the runs are.
    pub table_name: String,
    /// Where retried runs go.
    pub task_queue_url: String,
    /// Where the messages of jobs go.
    pub jobs_queue_url: String,
    /// Where dead letters are.
    pub dlq_url: String,
    /// Their queue's name for move tasks.
    pub dlq_arn: String,
    /// What is not shown of payloads.
    pub redactor: Redactor,
    /// The names of the providers.
    pub providers: Vec<String>,
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
            jobs_queue_url: env.required(variables::JOBS_QUEUE_URL)?,
            dlq_url: env.required(variables::DLQ_URL)?,
            dlq_arn: env.required(variables::DLQ_ARN)?,
            redactor: read_redactor(env)?,
            providers: ModelsConfig::read_names(env)?,
            auth: ApiAuth::read(env)?,
        })
    }
}

fn read_redactor(env: &Environment) -> Result<Redactor, ConfigError> {
    let names = env.optional(variables::REDACT_KEYS)?.unwrap_or_default();
    Redactor::with_names(&names).map_err(|error| ConfigError { name: variables::REDACT_KEYS, problem: error.to_string() })
}

/// The dead-letter API.
pub struct DlqApi {
    /// Puts dead runs back, and gives them up.
    pub redrive: Redrive,
    /// Finds dead runs.
    pub index: Arc<dyn DeadIndex>,
    /// Messages that are none of ours.
    pub letters: LetterDesk,
    /// What is not shown of payloads.
    pub redactor: Redactor,
    /// Bulk actions.
    pub jobs: JobsApi,
    /// Processes past events again.
    pub replays: Replays,
    /// What may be chosen for a run.
    pub choices: Choices,
    /// Who may call.
    pub auth: ApiAuth,
}

#[async_trait]
impl Api for DlqApi {
    async fn handle(&self, call: &Call) -> Result<Reply, Problem> {
        let principal = call.principal(self.auth)?;
        match (call.method.as_str(), call.route.as_str()) {
            ("GET", "/v1/dlq") => self.list(&principal, call).await,
            ("GET", "/v1/dlq/stats") => self.stats(&principal, call).await,
            ("GET", "/v1/dlq/{id}") => self.show(&principal, call).await,
            ("GET", "/v1/dlq/{id}/payload") => self.payload(&principal, call).await,
            ("POST", "/v1/dlq/{id}/retry") => self.retry(&principal, call).await,
            ("POST", "/v1/dlq/{id}/discard") => self.discard(&principal, call).await,
            ("GET", "/v1/dlq/letters") => self.list_letters(call).await,
            ("GET", "/v1/dlq/letters/{id}") => self.show_letter(call).await,
            ("POST", "/v1/dlq/letters/{id}/move") => self.move_letter(&principal, call).await,
            ("POST", "/v1/dlq/letters/{id}/discard") => self.discard_letter(&principal, call).await,
            ("POST", "/v1/dlq/retry") => self.jobs.retry(&principal, call).await,
            ("POST", "/v1/dlq/retry-all") => self.jobs.retry_all(&principal, call).await,
            ("POST", "/v1/dlq/discard") => self.jobs.discard(&principal, call).await,
            ("GET", "/v1/dlq/jobs") => self.jobs.list(&principal, call).await,
            ("GET", "/v1/dlq/jobs/{id}") => self.jobs.show(&principal, call).await,
            ("GET", "/v1/dlq/jobs/{id}/results") => self.jobs.results(&principal, call).await,
            ("POST", "/v1/dlq/jobs/{id}/cancel") => self.jobs.cancel(&principal, call).await,
            (_, route) if route.starts_with("/v1/replays") => self.replays.handle(&principal, call).await,
            _ => Err(call.unknown_route()),
        }
    }
}
