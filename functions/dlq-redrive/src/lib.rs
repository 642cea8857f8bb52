//! What the dead-letter API does with a call. What is shown comes from the records, so that looking touches no message.
//!
//! This file is the table of routes; `list` and `show` look, `one` puts one run back or gives it up, `letters` is about messages that
//! are none of ours.

mod letters;
mod list;
mod one;
mod show;
mod views;

use std::sync::Arc;

use async_trait::async_trait;
use lambda_http::http::StatusCode;
use serde::Serialize;
use shared::config::{ApiAuth, ConfigError, Environment, variables};
use shared::domain::redact::Redactor;
use shared::http::{Api, Call, Problem, Reply};
use shared::letters::LetterDesk;
use shared::operate::{DeadIndex, Move, Redrive};

/// The function's configuration.
pub struct Settings {
    /// Where the runs are.
    pub table_name: String,
    /// Where retried runs go.
    pub task_queue_url: String,
    /// Where dead letters are.
    pub dlq_url: String,
    /// Their queue's name for move tasks.
    pub dlq_arn: String,
    /// What is not shown of payloads.
    pub redactor: Redactor,
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
            dlq_url: env.required(variables::DLQ_URL)?,
            dlq_arn: env.required(variables::DLQ_ARN)?,
            redactor: read_redactor(env)?,
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
            ("POST", "/v1/dlq/retry-all") => {
                call.only_operator(self.auth)?;
                self.retry_all().await
            }
            _ => Err(call.unknown_route()),
        }
    }
}

impl DlqApi {
    /// The queue's own move task: managed, crash-safe; the consumer takes up each dead run whose message comes back.
    async fn retry_all(&self) -> Result<Reply, Problem> {
        let moved = self.redrive.dead_letters.start_move().await.map_err(|e| Problem::unavailable(&e))?;
        let view = match moved {
            Move::Started { handle } => MoveView { status: "started", task: Some(handle) },
            Move::AlreadyRunning => MoveView { status: "already_running", task: None },
        };
        Reply::json(StatusCode::ACCEPTED, &view)
    }
}

#[derive(Debug, Serialize)]
struct MoveView {
    status: &'static str,
    task: Option<String>,
}
