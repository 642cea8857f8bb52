//! `POST /v1/agent`.

use lambda_http::http::StatusCode;
use shared::domain::agent::Agent;
use shared::domain::event::AgentInput;
use shared::domain::principal::Principal;
use shared::domain::run::Run;
use shared::domain::state::RunState;
use shared::domain::step::Step;
use shared::engine::ports::JournalError;
use shared::http::{Call, IDEMPOTENCY_REPLAYED, Problem, Reply, json_body};
use shared::intake::{Accepted, AgentRequest, IntakeError};

use crate::metadata::with_results;
use crate::requests::AgentBody;
use crate::views::{AgentView, LARGEST_PAGE, fitting};
use crate::{AgentApi, on_its_way, unavailable};

/// How many steps an answer shows; the rest is at `GET /v1/runs/{id}/steps`.
const SHOWN_STEPS: usize = 100;

impl AgentApi {
    pub(crate) async fn ask(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let body: AgentBody = json_body(&call.body)?;
        let (in_background, is_streamed) = (body.background, body.stream);
        let request = body.into_request(call.request_key()?)?;
        self.check_model(&request.input.overrides)?;
        if is_streamed && in_background {
            let detail = "must not be asked for together with `background`; GET /v1/runs/{id}/stream reads along with any run";
            return Err(Problem::invalid("stream", detail));
        }
        if is_streamed {
            return self.ask_and_stream(principal, call, request).await;
        }
        let accepted = if in_background {
            self.intake.in_background(principal, request.clone()).await
        } else {
            self.intake.while_waiting(principal, request.clone()).await
        };
        let accepted = accepted.map_err(|error| refused(error, &request, &self.intake.engine.bundle.agents))?;
        if in_background && !accepted.is_replay {
            return on_its_way(call, accepted.run, &AgentView::accepted(&accepted, &request.input));
        }
        let reply = self.as_it_stands(principal, call, &accepted, &request.input, in_background).await;
        match reply {
            Ok(reply) if accepted.is_replay => Ok(reply.with(IDEMPOTENCY_REPLAYED, "true")),
            Err(problem) if accepted.is_replay => Err(problem.with(IDEMPOTENCY_REPLAYED, "true")),
            other => other,
        }
    }

    /// What has become of a run that was accepted, now or before. Only the record tells: whoever worked on it may have lost it.
    async fn as_it_stands(
        &self,
        principal: &Principal,
        call: &Call,
        accepted: &Accepted,
        input: &AgentInput,
        in_background: bool,
    ) -> Result<Reply, Problem> {
        // An answer may be there and paid for: whoever cannot be shown it now must know where it is.
        let run = self.run(principal, accepted.run).await.map_err(|problem| problem.of_run(accepted.run))?;
        match run.state {
            RunState::Completed => match self.completed(&run, input).await.map_err(|error| unavailable(error).of_run(run.id))? {
                Some(view) => Reply::json(StatusCode::OK, &view),
                None => on_its_way(call, run.id, &AgentView::of(&run, input)),
            },
            RunState::Queued | RunState::Running | RunState::Waiting => on_its_way(call, run.id, &AgentView::of(&run, input)),
            // Nobody waited for the end when it was asked for: that it was accepted is still the answer.
            RunState::Failed | RunState::Dead | RunState::Cancelled if in_background => {
                on_its_way(call, run.id, &AgentView::of(&run, input))
            }
            RunState::Cancelled => Err(Problem::conflict("cancelled", "the run was cancelled before it had an answer").of_run(run.id)),
            RunState::Failed | RunState::Dead => Err(ended_badly(&run)),
        }
    }

    /// The run with its answer; `None` when that is too long to be shown twice in one answer of ours, as text and as message.
    async fn completed(&self, run: &Run, input: &AgentInput) -> Result<Option<AgentView>, JournalError> {
        let Some(response) = self.response(run).await?.filter(|text| 2 * text.len() < LARGEST_PAGE) else { return Ok(None) };
        let steps = self.records.steps_after(&run.tenant, run.id, 0, SHOWN_STEPS).await?;
        let steps: Vec<_> = steps.into_iter().map(Step::in_brief).collect();
        let steps = fitting(steps, LARGEST_PAGE - 2 * response.len());
        let engine = &self.intake.engine;
        let metadata = with_results(input, engine.bundle.agent(&run.agent), &engine.tools, &steps);
        Ok(Some(AgentView::completed(run, input, metadata, response, steps)))
    }
}

/// A run that was not accepted.
pub(crate) fn refused(error: IntakeError, request: &AgentRequest, agents: &[Agent]) -> Problem {
    match error {
        IntakeError::UnknownAgent => {
            let names: Vec<_> = agents.iter().map(|agent| agent.name.as_str()).collect();
            Problem::invalid("agent", format!("there is no such agent; there are: {}", names.join(", ")))
        }
        IntakeError::NoConversation => {
            Problem::not_found("conversation_id", "there is no such conversation; leave conversation_id out to begin one")
        }
        IntakeError::ConversationBusy => {
            let detail = "another run of this conversation is active; wait for it to end, or choose another multitask_strategy";
            Problem::conflict("conversation_busy", detail).about("conversation_id").after(2)
        }
        IntakeError::ConversationFull => {
            let detail = "as many runs of this conversation wait for their turn as may; wait for some to end, or interrupt them";
            Problem::conflict("conversation_full", detail).about("conversation_id").after(5)
        }
        IntakeError::KeyReused => {
            let detail = "this key was sent with another request in the last 24 hours; a new request needs a new key";
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", detail).about("Idempotency-Key")
        }
        // Its conversation was deleted: it cannot be shown, and must not be started again in secret.
        IntakeError::Journal(JournalError::NotFound) => {
            let detail = "the run that this key has started was deleted; send a new key to start another";
            Problem::conflict("idempotency_key_in_use", detail).about("Idempotency-Key")
        }
        IntakeError::Journal(error @ (JournalError::Lost | JournalError::Unavailable(_))) => {
            let problem = Problem::unavailable(&error);
            if request.key.is_some() {
                problem.saying("a dependency does not answer; sent again with the same Idempotency-Key, the request starts no second run")
            } else {
                problem.saying(
                    "a dependency does not answer; the run may be recorded: look for it in GET /v1/runs before you send it again, or send \
                     an Idempotency-Key the next time",
                )
            }
        }
    }
}

/// A run that ended without an answer is a problem, never a 200.
pub(crate) fn ended_badly(run: &Run) -> Problem {
    let (code, detail) = why_no_answer(run);
    Problem::new(StatusCode::BAD_GATEWAY, code, detail).of_run(run.id)
}

/// Why a run has ended without an answer: one of the codes that callers know, and a sentence.
pub(crate) fn why_no_answer(run: &Run) -> (&'static str, String) {
    let detail = run.error().map_or_else(|| "the run ended without an answer".to_owned(), |failure| failure.message.clone());
    let code = match run.error().map(|failure| failure.code.as_ref()) {
        Some("provider_rejected") => "provider_rejected",
        Some("answer_cut_off") => "answer_cut_off",
        Some("answer_refused") => "answer_refused",
        Some("invalid_output") => "invalid_output",
        Some("result_too_large") => "result_too_large",
        Some("step_limit") => "step_limit",
        Some("token_limit") => "token_limit",
        Some("time_limit") => "time_limit",
        Some("cost_limit") => "cost_limit",
        Some("repeated_tool_call") => "repeated_tool_call",
        _ => "run_failed",
    };
    (code, detail)
}
