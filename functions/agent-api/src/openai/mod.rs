//! The OpenAI-compatible part of the API: a model is an agent, a chat completion is a run, and problems are errors that its
//! clients make exceptions of (ADR 0021).
//!
//! `parameters` says of every parameter what becomes of it, `body` reads a request, `messages` and `tools` its parts; `answer` writes a
//! run as a completion, `failures` what a run without an answer is to a client.

mod answer;
mod body;
mod chunks;
mod failures;
mod messages;
mod models;
mod parameters;
mod stream;
#[cfg(test)]
mod stream_tests;
mod tools;

use std::borrow::Cow;

use lambda_http::http::StatusCode;
use shared::domain::definition::Bundle;
use shared::domain::event::AgentInput;
use shared::domain::id::RunId;
use shared::domain::principal::Principal;
use shared::domain::step::Step;
use shared::engine::ports::JournalError;
use shared::http::{Call, IDEMPOTENCY_REPLAYED, Problem, RUN_ID, Reply};
use shared::intake::IntakeError;
use shared::operate::answer_step;

use self::answer::{Completion, run_of};
use self::body::{Chat, Streaming};
use crate::metadata::with_results;
use crate::start::refused;
use crate::{AgentApi, unavailable};

/// How many steps an answer shows; the rest is at `GET /v1/runs/{id}/steps`.
const SHOWN_STEPS: usize = 100;

/// Whether a route is of OpenAI's API, and so are its errors.
pub(crate) fn is_openai(call: &Call) -> bool {
    let route = call.route.as_str();
    route.ends_with("/chat/completions")
        || route.starts_with("/v1/chat/completions/")
        || route == "/v1/models"
        || route.starts_with("/v1/models/")
}

/// A request without an identity, as OpenAI's clients know it.
pub(crate) fn unauthenticated() -> Problem {
    let detail =
        "the request carries no identity that this API knows; sign it with AWS Signature Version 4, or ask the operator for access";
    Problem::new(StatusCode::UNAUTHORIZED, "invalid_api_key", detail)
}

fn bad_request(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, code, detail)
}

fn no_model(bundle: &Bundle) -> Problem {
    let names: Vec<_> = bundle.agents.iter().map(|agent| agent.name.as_str()).collect();
    let detail = format!("there is no such model; a model is an agent here, and there are: {}", names.join(", "));
    Problem::new(StatusCode::NOT_FOUND, "model_not_found", detail).about("model")
}

impl AgentApi {
    pub(crate) async fn chat(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let chat = Chat::read(&call.body, call.request_key()?, &self.aliases)?;
        self.check_model(&chat.request.input.overrides)?;
        if let Some(Streaming { include_usage }) = chat.stream {
            return self.chat_stream(principal, call, chat, include_usage).await;
        }
        let has_key = chat.request.key.is_some();
        let accepted = self.intake.while_waiting(principal, chat.request.clone()).await.map_err(|error| self.not_accepted(error, &chat))?;
        let is_replay = accepted.is_replay;
        let reply = self.completion(principal, accepted.run, &chat.model, &chat.request.input).await;
        let reply = reply.map_err(|problem| failures::told(problem, accepted.run, has_key));
        match reply {
            Ok(reply) if is_replay => Ok(reply.with(IDEMPOTENCY_REPLAYED, "true")),
            Err(problem) if is_replay => Err(problem.with(IDEMPOTENCY_REPLAYED, "true")),
            other => other,
        }
    }

    /// A completion that was asked for before, as it stands when it has ended or the time of this request has.
    pub(crate) async fn retrieve(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let none = || Problem::not_found("id", "there is no such chat completion, or it was deleted");
        let id = run_of(call.parameter("id")).ok_or_else(none)?;
        let found = self.records.run(&principal.tenant, id).await.map_err(unavailable)?;
        let run = found.ok_or_else(none)?;
        let input = self.records.input(&run).await.map_err(|error| match error {
            JournalError::NotFound => none(),
            error @ (JournalError::Lost | JournalError::Unavailable(_)) => unavailable(error),
        })?;
        self.intake.await_end_of(principal, id).await.map_err(unavailable)?;
        let model = input.overrides.model.as_ref().map_or_else(|| run.agent.clone(), |model| format!("{}/{model}", run.agent));
        let reply = self.completion(principal, id, &model, &input).await;
        // To look again starts nothing.
        reply.map_err(|problem| failures::told(problem, id, true))
    }

    /// What has become of a run that was accepted, now or before. Only the record tells.
    async fn completion(&self, principal: &Principal, id: RunId, model: &str, input: &AgentInput) -> Result<Reply, Problem> {
        let run = self.run(principal, id).await?;
        failures::check(&run)?;
        let steps = self.records.steps_after(&run.tenant, run.id, 0, SHOWN_STEPS).await.map_err(unavailable)?;
        let steps: Vec<_> = steps.into_iter().map(Step::in_brief).collect();
        let answer = answer_step(self.records.as_ref(), &run).await.map_err(unavailable)?;
        let answer = answer.ok_or_else(|| Problem::internal(&"a run has ended without an answer"))?;
        let engine = &self.intake.engine;
        let metadata = with_results(input, engine.bundle.agent(&run.agent), &engine.tools, &steps);
        let completion = Completion::of(&run, model, input, metadata, &answer, steps);
        Ok(Reply::json(StatusCode::OK, &completion)?.with(RUN_ID, run.id.to_string()))
    }

    fn not_accepted(&self, error: IntakeError, chat: &Chat) -> Problem {
        match error {
            IntakeError::UnknownAgent => no_model(&self.intake.engine.bundle),
            // Without a key it may be recorded and would be started twice.
            error @ IntakeError::Journal(_) if chat.request.key.is_none() => {
                refused(error, &chat.request, &self.intake.engine.bundle.agents).with(failures::SHOULD_RETRY, "false")
            }
            error @ (IntakeError::NoConversation
            | IntakeError::ConversationBusy
            | IntakeError::ConversationFull
            | IntakeError::KeyReused
            | IntakeError::Journal(_)) => refused(error, &chat.request, &self.intake.engine.bundle.agents),
        }
    }
}
