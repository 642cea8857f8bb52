//! What the agent API does with a call: `start` takes a question, `events` takes an event, `runs` and `conversations` show and command, `openai` speaks
//! to the clients of OpenAI's API, `requests` reads
//! what is asked, `views` writes what is answered.

mod conversations;
mod events;
mod history;
mod metadata;
mod openai;
mod overrides;
mod providers;
mod requests;
mod runs;
mod start;
mod stream;
mod usage;
mod views;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lambda_http::http::{StatusCode, header};
use serde::Serialize;
use shared::config::{ApiAuth, ConfigError, EngineSettings, Environment, read_aliases, variables};
use shared::domain::clock::Clock;
use shared::domain::id::RunId;
use shared::domain::principal::Principal;
use shared::domain::run::{Cause, Run};
use shared::engine::ports::JournalError;
use shared::http::{Api, Call, ErrorShape, Problem, Reply};
use shared::intake::Intake;
use shared::operate::{Contents, Events, Records, Switches};

use crate::openai::is_openai;
use crate::views::AgentsView;

/// The document that `GET /openapi.json` serves, checked against the template and the answers by tests.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// The routes whose answers API Gateway streams; the template says the same.
pub const STREAMS: [(&str, &str); 5] = [
    ("POST", "/v1/agent"),
    ("GET", "/v1/runs/{id}/stream"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/agent/chat/completions"),
    ("POST", "/chat/completions"),
];

/// The function's configuration.
pub struct Settings {
    /// Where the runs are.
    pub table_name: String,
    /// Who may call.
    pub auth: ApiAuth,
    /// How runs are worked on.
    pub engine: EngineSettings,
    /// What callers may call agents besides their names.
    pub aliases: BTreeMap<String, String>,
    /// How long a caller waits.
    pub patience: Duration,
}

impl Settings {
    /// Reads all variables.
    ///
    /// # Errors
    /// Names the one that is missing or wrong.
    pub fn read(env: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            table_name: env.required(variables::TABLE_NAME)?,
            auth: ApiAuth::read(env)?,
            engine: EngineSettings::read(env)?,
            aliases: read_aliases(env)?,
            // API Gateway gives up after 29 s; the last write and the answer need a few of them.
            patience: env.seconds(variables::INLINE_SECONDS, 1..=26)?,
        })
    }
}

/// The agent API.
pub struct AgentApi {
    /// Accepts runs.
    pub intake: Arc<Intake>,
    /// Shows them.
    pub records: Arc<dyn Records>,
    /// Lists events.
    pub events: Arc<dyn Events>,
    /// What stands beside them.
    pub contents: Arc<dyn Contents>,
    /// What operators say of providers.
    pub switches: Arc<dyn Switches>,
    /// The names of the providers of this deployment; those that agents name come to them.
    pub providers: Vec<String>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who may call.
    pub auth: ApiAuth,
    /// What callers may call agents besides their names.
    pub aliases: BTreeMap<String, String>,
}

impl AgentApi {
    /// Over one store of all that it shows.
    #[must_use]
    pub fn over<S>(store: Arc<S>, intake: Intake, clock: Arc<dyn Clock>, providers: Vec<String>, callers: Callers) -> Self
    where
        S: Records + Events + Contents + Switches + 'static,
    {
        let (records, events, contents, switches) = (store.clone(), store.clone(), store.clone(), store);
        let Callers { aliases, auth } = callers;
        Self { intake: Arc::new(intake), records, events, contents, switches, providers, clock, auth, aliases }
    }
}

/// What the configuration says of callers.
pub struct Callers {
    /// See [`AgentApi::aliases`].
    pub aliases: BTreeMap<String, String>,
    /// See [`AgentApi::auth`].
    pub auth: ApiAuth,
}

#[async_trait]
impl Api for AgentApi {
    async fn handle(&self, call: &Call) -> Result<Reply, Problem> {
        let principal = call.principal(self.auth).map_err(|problem| if is_openai(call) { openai::unauthenticated() } else { problem })?;
        match (call.method.as_str(), call.route.as_str()) {
            ("POST", "/v1/agent") => self.ask(&principal, call).await,
            ("GET", "/v1/agents") => Reply::json(StatusCode::OK, &AgentsView::of(&self.intake.engine.bundle)),
            ("GET", "/v1/runs") => self.list(&principal, call).await,
            ("GET", "/v1/runs/{id}") => self.show(&principal, call.id("id")?).await,
            ("GET", "/v1/runs/{id}/steps") => self.steps(&principal, call).await,
            ("GET", "/v1/runs/{id}/stream") => self.stream(&principal, call).await,
            ("GET", "/v1/runs/{id}/steps/{index}/result") => self.result(&principal, call).await,
            ("POST", "/v1/runs/{id}/answer") => self.answer(&principal, call).await,
            ("POST", "/v1/runs/{id}/cancel") => self.cancel(&principal, call.id("id")?).await,
            ("GET", "/v1/conversations/{id}") => self.conversation(&principal, call).await,
            ("DELETE", "/v1/conversations/{id}") => self.delete(&principal, call.id("id")?).await,
            ("POST", "/v1/events") => self.publish(&principal, call).await,
            ("GET", "/v1/events") => self.list_events(&principal, call).await,
            ("GET", "/v1/history") => self.executions(&principal, call).await,
            ("GET", "/v1/usage") => self.usage(&principal, call).await,
            ("GET", "/v1/events/{id}") => self.event(&principal, call.id("id")?).await,
            ("GET", "/v1/agent/history/{id}") => self.history(&principal, call.id("id")?).await,
            ("POST", "/v1/chat/completions" | "/v1/agent/chat/completions" | "/chat/completions") => self.chat(&principal, call).await,
            ("GET", "/v1/chat/completions/{id}") => self.retrieve(&principal, call).await,
            ("GET", "/v1/models") => self.models(),
            ("GET", "/v1/models/{id}") => self.model(call),
            ("GET", "/v1/providers") => self.providers(&principal, call, "list").await,
            ("POST", "/v1/providers/disable") => self.providers(&principal, call, "disable").await,
            ("POST", "/v1/providers/enable") => self.providers(&principal, call, "enable").await,
            ("POST", "/v1/providers/pin") => self.providers(&principal, call, "pin").await,
            ("POST", "/v1/providers/unpin") => self.providers(&principal, call, "unpin").await,
            ("GET", "/openapi.json") => Ok(Reply::text(StatusCode::OK, OPENAPI)),
            _ => Err(call.unknown_route()),
        }
    }

    fn streams(&self, method: &str, route: &str) -> bool {
        STREAMS.contains(&(method, route))
    }

    fn error_shape(&self, call: &Call) -> ErrorShape {
        if is_openai(call) { ErrorShape::OpenAi } else { ErrorShape::Problem }
    }
}

impl AgentApi {
    async fn run(&self, principal: &Principal, id: RunId) -> Result<Run, Problem> {
        let run = self.records.run(&principal.tenant, id).await.map_err(unavailable)?;
        run.ok_or_else(no_run)
    }

    /// The caller as the cause of a transition.
    fn cause<'a>(&self, principal: &'a Principal, reason: &'a str) -> Cause<'a> {
        Cause { at: self.clock.now(), by: &principal.name, reason, patience: self.intake.engine.limits.lease }
    }
}

/// 202 with the address of the run.
fn on_its_way(call: &Call, run: RunId, view: &impl Serialize) -> Result<Reply, Problem> {
    Ok(Reply::json(StatusCode::ACCEPTED, view)?.with(header::LOCATION, call.address(&format!("/v1/runs/{run}"))))
}

#[expect(clippy::needless_pass_by_value, reason = "it ends a chain of `map_err`")]
fn unavailable(error: JournalError) -> Problem {
    Problem::unavailable(&error)
}

fn no_run() -> Problem {
    Problem::not_found("id", "there is no such run; GET /v1/runs lists them")
}
