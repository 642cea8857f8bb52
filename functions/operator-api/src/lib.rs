//! What the operators' API does with a call: `incidents` writes down what is wrong, `backup` copies the table out and back. All of it
//! is for the account that owns the API alone, because it is about all tenants.

mod backup;
mod incidents;
mod views;

use std::sync::Arc;

use async_trait::async_trait;
use shared::backup::{Backups, WholeTable};
use shared::config::{ApiAuth, ConfigError, Environment, variables};
use shared::domain::clock::Clock;
use shared::engine::ports::JournalError;
use shared::http::{Api, Call, Problem, Reply};
use shared::operate::Incidents;

/// The function's configuration.
pub struct Settings {
    /// The table.
    pub table_name: String,
    /// Who may call.
    pub auth: ApiAuth,
}

impl Settings {
    /// Reads all variables.
    ///
    /// # Errors
    /// Names the one that is missing or wrong.
    pub fn read(env: &Environment) -> Result<Self, ConfigError> {
        // The template gives it to all functions; without it this one would be deployed wrongly as well.
        env.required(variables::TASK_QUEUE_URL)?;
        Ok(Self { table_name: env.required(variables::TABLE_NAME)?, auth: ApiAuth::read(env)? })
    }
}

/// The operators' API.
pub struct OperatorApi {
    /// What is wrong.
    pub incidents: Arc<dyn Incidents>,
    /// All that is stored.
    pub table: Arc<dyn WholeTable>,
    /// What is known of copies of it.
    pub backups: Arc<dyn Backups>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who may call.
    pub auth: ApiAuth,
}

#[async_trait]
impl Api for OperatorApi {
    async fn handle(&self, call: &Call) -> Result<Reply, Problem> {
        let principal = call.principal(self.auth)?;
        let by = principal.name.as_str();
        match (call.method.as_str(), call.route.as_str()) {
            ("GET", "/v1/incidents") => self.allowed(call)?.list(call).await,
            ("POST", "/v1/incidents") => self.allowed(call)?.open(by, call).await,
            ("GET", "/v1/incidents/{id}") => self.allowed(call)?.show(call).await,
            ("PATCH", "/v1/incidents/{id}") => self.allowed(call)?.update(by, call).await,
            ("POST", "/v1/incidents/{id}/notes") => self.allowed(call)?.note(by, call).await,
            ("GET", "/v1/backup") => self.allowed(call)?.last_backups(call).await,
            ("POST", "/v1/backup") => self.allowed(call)?.note_backup(by, call).await,
            ("GET", "/v1/backup/items") => self.allowed(call)?.read_items(call).await,
            ("PUT", "/v1/backup/items") => self.allowed(call)?.write_items(by, call).await,
            _ => Err(call.unknown_route()),
        }
    }
}

impl OperatorApi {
    fn allowed(&self, call: &Call) -> Result<&Self, Problem> {
        call.only_operator(self.auth).map(|()| self)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it ends a chain of `map_err`")]
fn unavailable(error: JournalError) -> Problem {
    Problem::unavailable(&error)
}
