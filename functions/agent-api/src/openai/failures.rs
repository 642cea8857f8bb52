//! What a run without an answer is to an OpenAI client: a status that raises the right exception, and the run to look for.

use lambda_http::http::{HeaderName, StatusCode};
use shared::domain::failure::FailureCode;
use shared::domain::id::RunId;
use shared::domain::run::Run;
use shared::domain::state::RunState;
use shared::domain::waiting::Waiting;
use shared::http::Problem;

use crate::start::ended_badly;

/// Tells OpenAI's clients whether to send the request again by themselves, whatever the status.
pub(super) const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Seconds after which a client asks again for a run that goes on.
const ASK_AGAIN: u32 = 1;
/// Seconds after which a client asks again while a provider has no room.
const PROVIDER_HAS_ROOM: u32 = 5;

/// Lets pass a run that has an answer, if only a part of one.
pub(super) fn check(run: &Run) -> Result<(), Problem> {
    match run.state {
        RunState::Completed => Ok(()),
        RunState::Failed if is_partial(run) => Ok(()),
        RunState::Failed | RunState::Dead => Err(ended(run)),
        RunState::Cancelled => Err(Problem::conflict("cancelled", "the run was cancelled before it had an answer")),
        RunState::Queued | RunState::Running | RunState::Waiting => Err(goes_on(run)),
    }
}

/// An answer that was cut off or filtered is no success of the run; OpenAI's clients are told by the finish reason.
fn is_partial(run: &Run) -> bool {
    run.error()
        .is_some_and(|failure| [FailureCode::AnswerCutOff, FailureCode::AnswerRefused].iter().any(|code| failure.code == code.as_str()))
}

fn ended(run: &Run) -> Problem {
    let detail = run.error().map_or_else(|| "the run ended without an answer".to_owned(), |failure| failure.message.clone());
    match run.error().map(|failure| failure.code.as_ref()) {
        Some("provider_rate_limited") => {
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", detail).after(PROVIDER_HAS_ROOM)
        }
        Some("provider_timeout") => Problem::new(StatusCode::GATEWAY_TIMEOUT, "provider_timeout", detail),
        _ => ended_badly(run),
    }
}

/// The caller's time is over, or nothing can be done for it now; the run is on record and goes on.
pub(super) fn goes_on(run: &Run) -> Problem {
    let later =
        format!("The run goes on: send the request again with the same Idempotency-Key to wait for it, or see GET /v1/runs/{}.", run.id);
    if let Some(problem) = question(run) {
        return problem;
    }
    let why = run.error().map(|failure| (failure.code.as_ref(), failure.message.as_str()));
    match why {
        Some(("provider_rate_limited", message)) => {
            let detail = format!("{message}. {later}");
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", detail).after(PROVIDER_HAS_ROOM)
        }
        Some(("provider_timeout", message)) => {
            Problem::new(StatusCode::GATEWAY_TIMEOUT, "provider_timeout", format!("{message}. {later}")).after(ASK_AGAIN)
        }
        Some((_, message)) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "run_not_finished", format!("{message}. {later}")).after(ASK_AGAIN)
        }
        None => {
            let detail = format!("The run has not finished in the time that a request has. {later}");
            Problem::new(StatusCode::GATEWAY_TIMEOUT, "run_not_finished", detail).after(ASK_AGAIN)
        }
    }
}

/// What the agent asks a person, if the run waits for that.
pub(super) fn question(run: &Run) -> Option<Problem> {
    match &run.waiting {
        Some(Waiting::Answer { question_id, question, .. } | Waiting::Approval { question_id, question, .. }) => {
            let detail = format!("The agent asks: {question} Answer {question_id} at POST /v1/runs/{}/answer.", run.id);
            Some(Problem::conflict("question_open", detail).of_question(question_id))
        }
        Some(Waiting::Turn | Waiting::Time { .. }) | None => None,
    }
}

/// With the run, and whether to send the request again: without a key that would start a second run; with one it waits for the first,
/// which helps only while that goes on.
pub(super) fn told(problem: Problem, run: RunId, has_key: bool) -> Problem {
    let goes_on = problem.retries() && has_key;
    problem.of_run(run).with(SHOULD_RETRY, if goes_on { "true" } else { "false" })
}
