//! What the agent API does with a call: `requests` reads what is asked, `views` writes what is answered.

mod requests;
mod views;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lambda_http::http::{StatusCode, header};
use shared::config::{ApiAuth, ConfigError, Environment, ModelConfig, read_limits, variables};
use shared::domain::clock::Clock;
use shared::domain::id::{ConversationId, RunId};
use shared::domain::principal::Principal;
use shared::domain::state::RunState;
use shared::engine::ports::AcceptError;
use shared::engine::{Advance, Limits};
use shared::http::{Api, Call, Problem, Reply, json_body};
use shared::intake::{Accepted, Intake, IntakeError};
use shared::operate::{self, CommandError, Records, RunFilter};

use crate::requests::AgentBody;
use crate::views::{AgentView, ConversationView, RunPage, RunView, StepPage};

/// How many steps an answer to `POST /v1/agent` shows; the rest is at `GET /v1/runs/{id}/steps`.
const SHOWN_STEPS: usize = 100;

/// The document that `GET /openapi.json` serves, checked against the template and the answers by tests.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// The function's configuration.
pub struct Settings {
    /// Where the runs are.
    pub table_name: String,
    /// Where tasks go.
    pub task_queue_url: String,
    /// Who may call.
    pub auth: ApiAuth,
    /// Who answers.
    pub model: ModelConfig,
    /// The engine's numbers.
    pub limits: Limits,
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
            task_queue_url: env.required(variables::TASK_QUEUE_URL)?,
            auth: ApiAuth::read(env)?,
            model: ModelConfig::read(env)?,
            limits: read_limits(env)?,
            // API Gateway gives up after 29 s; the last write and the answer need a few of them.
            patience: env.seconds(variables::INLINE_SECONDS, 1..=26)?,
        })
    }
}

/// The agent API.
pub struct AgentApi {
    /// Accepts runs.
    pub intake: Intake,
    /// Shows them.
    pub records: Arc<dyn Records>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who may call.
    pub auth: ApiAuth,
}

#[async_trait]
impl Api for AgentApi {
    async fn handle(&self, call: &Call) -> Result<Reply, Problem> {
        let principal = call.principal(self.auth)?;
        match (call.method.as_str(), call.route.as_str()) {
            ("POST", "/v1/agent") => self.ask(&principal, call).await,
            ("GET", "/v1/runs") => self.list(&principal, call).await,
            ("GET", "/v1/runs/{id}") => self.show(&principal, call.id("id")?).await,
            ("GET", "/v1/runs/{id}/steps") => self.steps(&principal, call).await,
            ("POST", "/v1/runs/{id}/cancel") => self.cancel(&principal, call.id("id")?).await,
            ("GET", "/v1/conversations/{id}") => self.conversation(&principal, call).await,
            ("GET", "/openapi.json") => Ok(Reply::text(StatusCode::OK, OPENAPI)),
            _ => Err(call.unknown_route()),
        }
    }
}

impl AgentApi {
    async fn ask(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let body: AgentBody = json_body(&call.body)?;
        let in_background = body.background;
        let request = body.into_request()?;
        let accepted = if in_background {
            self.intake.in_background(principal, request.clone()).await
        } else {
            self.intake.while_waiting(principal, request.clone()).await
        };
        let accepted = accepted.map_err(refused)?;
        let Some(advance) = &accepted.advance else {
            return handed_over(call, &accepted, &AgentView::queued(&accepted, &request.input));
        };
        // An answer is there and paid for: whoever cannot be shown it now must know where it is.
        let run = self.run(principal, accepted.run).await.map_err(|problem| problem.of_run(accepted.run))?;
        match advance {
            Advance::Ended { state: RunState::Completed, response: Some(response) } => {
                let steps = self
                    .records
                    .steps(&principal.tenant, run.id, 0, SHOWN_STEPS)
                    .await
                    .map_err(|e| Problem::unavailable(&e).of_run(run.id))?;
                Reply::json(StatusCode::OK, &AgentView::completed(&run, &request.input, response, steps))
            }
            // Handed to the queue, or moved or even completed by somebody else: its address tells what becomes of it.
            _ if !run.state.has_ended() || run.state == RunState::Completed => {
                handed_over(call, &accepted, &AgentView::of(&run, &request.input))
            }
            _ if run.state == RunState::Cancelled => {
                Err(Problem::conflict("cancelled", "the run was cancelled while it ran").of_run(run.id))
            }
            _ => Err(ended_badly(&run)),
        }
    }

    async fn run(&self, principal: &Principal, id: RunId) -> Result<shared::domain::run::Run, Problem> {
        let run = self.records.run(&principal.tenant, id).await.map_err(|e| Problem::unavailable(&e))?;
        run.ok_or_else(no_run)
    }

    async fn show(&self, principal: &Principal, id: RunId) -> Result<Reply, Problem> {
        let run = self.run(principal, id).await?;
        let event = self.records.event(&principal.tenant, run.event).await.map_err(|e| Problem::unavailable(&e))?;
        let last = match run.state {
            // Steps are numbered from 1, so the answer is the one after all others.
            RunState::Completed => {
                self.records.steps(&principal.tenant, id, run.steps.saturating_sub(1), 1).await.map_err(|e| Problem::unavailable(&e))?
            }
            _ => Vec::new(),
        };
        Reply::json(StatusCode::OK, &RunView::full(&run, event.as_ref(), last.first()))
    }

    async fn list(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let mut query = call.query();
        let time = "must be an RFC 3339 time, e.g. 2026-01-02T03:04:05Z";
        let filter = RunFilter {
            state: query.take_with(
                "status",
                "must be queued, running, waiting, completed, failed, dead or cancelled",
                RunState::from_word,
            )?,
            agent: query.take("agent", "must be an agent's name")?,
            since: query.take("since", time)?,
            until: query.take("until", time)?,
        };
        let cursor = query.take("cursor", "must be a next_cursor of this list")?;
        let limit = query.limit()?;
        query.finish()?;
        let page = operate::list(self.records.as_ref(), &principal.tenant, &filter, cursor, limit).await;
        Reply::json(StatusCode::OK, &RunPage::of(&page.map_err(|e| Problem::unavailable(&e))?))
    }

    async fn steps(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let id: RunId = call.id("id")?;
        let mut query = call.query();
        let after: u32 = query.take("cursor", "must be a next_cursor of this list")?.unwrap_or(0);
        let limit = query.limit()?;
        query.finish()?;
        let run = self.run(principal, id).await?;
        let steps = self.records.steps(&principal.tenant, run.id, after, limit).await.map_err(|e| Problem::unavailable(&e))?;
        Reply::json(StatusCode::OK, &StepPage::of(steps, &run))
    }

    async fn cancel(&self, principal: &Principal, id: RunId) -> Result<Reply, Problem> {
        let cancelled = operate::cancel(self.records.as_ref(), self.clock.as_ref(), &principal.tenant, id, &principal.name).await;
        let run = cancelled.map_err(|error| match error {
            CommandError::NotFound => no_run(),
            CommandError::WrongState(state) => {
                let detail = format!("the run is {} and cannot be cancelled any more", state.as_str());
                Problem::conflict("already_ended", detail).of_run(id)
            }
            CommandError::ConversationBusy => busy(),
            CommandError::Journal(error) => Problem::unavailable(&error),
        })?;
        Reply::json(StatusCode::OK, &RunView::summary(&run))
    }

    async fn conversation(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let id: ConversationId = call.id("id")?;
        let mut query = call.query();
        let after = query.take("cursor", "must be a next_cursor of this list")?;
        let limit = query.limit()?;
        query.finish()?;
        let found = self.records.conversation(&principal.tenant, id, after, limit).await.map_err(|e| Problem::unavailable(&e))?;
        let (conversation, turns) = found.ok_or_else(no_conversation)?;
        Reply::json(StatusCode::OK, &ConversationView::of(conversation, turns))
    }
}

fn handed_over(call: &Call, accepted: &Accepted, view: &AgentView) -> Result<Reply, Problem> {
    Ok(Reply::json(StatusCode::ACCEPTED, view)?.with(header::LOCATION, call.address(&format!("/v1/runs/{}", accepted.run))))
}

fn no_run() -> Problem {
    Problem::not_found("id", "there is no such run; GET /v1/runs lists them")
}

fn no_conversation() -> Problem {
    Problem::not_found("conversation_id", "there is no such conversation; leave conversation_id out to begin one")
}

fn busy() -> Problem {
    let detail = "another run of this conversation is active; wait for it to end or cancel it";
    Problem::conflict("conversation_busy", detail).about("conversation_id").after(2)
}

fn refused(error: IntakeError) -> Problem {
    match error {
        IntakeError::UnknownAgent => {
            let names: Vec<_> = shared::domain::agent::Agent::names().collect();
            Problem::invalid("agent", format!("there is no such agent; there are: {}", names.join(", ")))
        }
        IntakeError::Accept(AcceptError::NoConversation) => no_conversation(),
        IntakeError::Accept(AcceptError::ConversationBusy | AcceptError::OutOfOrder { .. }) => busy(),
        IntakeError::Accept(AcceptError::Journal(error)) | IntakeError::Unavailable(error) => Problem::unavailable(&error),
    }
}

/// A run that ended without an answer is a problem, never a 200.
fn ended_badly(run: &shared::domain::run::Run) -> Problem {
    let detail = run.error().map_or_else(|| "the run ended without an answer".to_owned(), |failure| failure.message.clone());
    let code = match run.error().map(|failure| failure.code.as_ref()) {
        Some("provider_rejected") => "provider_rejected",
        Some("answer_cut_off") => "answer_cut_off",
        Some("result_too_large") => "result_too_large",
        Some("step_limit") => "step_limit",
        _ => "run_failed",
    };
    Problem::new(StatusCode::BAD_GATEWAY, code, detail).of_run(run.id)
}
