//! `/v1/runs`: show, list, cancel, answer.

use lambda_http::http::StatusCode;
use shared::domain::failure::FailureCode;
use shared::domain::id::RunId;
use shared::domain::principal::Principal;
use shared::domain::run::Run;
use shared::domain::state::RunState;
use shared::domain::waiting::Waiting;
use shared::engine::ports::JournalError;
use shared::http::{Call, Problem, Reply, json_body};
use shared::operate::{self, CommandError, RunFilter};

use crate::requests::AnswerBody;
use crate::views::{ResultView, RunPage, RunView, StepPage};
use crate::{AgentApi, no_run, on_its_way, unavailable};

impl AgentApi {
    pub(crate) async fn show(&self, principal: &Principal, id: RunId) -> Result<Reply, Problem> {
        let run = self.run(principal, id).await?;
        let input = match self.records.input(&run).await {
            Ok(input) => Some(input),
            // Its conversation is being deleted.
            Err(JournalError::NotFound) => None,
            Err(error) => return Err(unavailable(error)),
        };
        let mut archives = if run.archives == 0 { Vec::new() } else { self.records.archives(&run).await.map_err(unavailable)? };
        // What was moved since the record was read is in the record as well.
        archives.retain(|archive| archive.index <= run.archives);
        let response = self.response(&run).await.map_err(unavailable)?;
        Reply::json(StatusCode::OK, &RunView::full(&run, archives, input, response))
    }

    pub(crate) async fn list(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
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
        Reply::json(StatusCode::OK, &RunPage::of(&page.map_err(unavailable)?))
    }

    pub(crate) async fn steps(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let id: RunId = call.id("id")?;
        let mut query = call.query();
        let after: u32 = query.take("cursor", "must be a next_cursor of this list")?.unwrap_or(0);
        let limit = query.limit()?;
        query.finish()?;
        let run = self.run(principal, id).await?;
        let steps = self.records.steps_after(&principal.tenant, run.id, after, limit).await.map_err(unavailable)?;
        Reply::json(StatusCode::OK, &StepPage::of(steps, &run))
    }

    /// The whole result of a tool call, of which the step may hold only the beginning.
    pub(crate) async fn result(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let id: RunId = call.id("id")?;
        let index: Option<u32> = call.parameter("index").parse().ok().filter(|&index| index > 0);
        let index = index.ok_or_else(|| Problem::invalid("index", "must be the index of a step, from 1"))?;
        let run = self.run(principal, id).await?;
        let steps = self.records.steps_after(&principal.tenant, run.id, index - 1, 1).await.map_err(unavailable)?;
        let step = steps.into_iter().find(|step| step.index == index);
        let result = step.and_then(|step| ResultView::of(&run, step));
        let no_result = || Problem::not_found("index", "no tool was called at that step; GET /v1/runs/{id}/steps lists them").of_run(id);
        Reply::json(StatusCode::OK, &result.ok_or_else(no_result)?)
    }

    pub(crate) async fn cancel(&self, principal: &Principal, id: RunId) -> Result<Reply, Problem> {
        let cause = self.cause(principal, FailureCode::CancelRequested.as_str());
        let queue = self.intake.engine.queue.as_ref();
        let cancelled = operate::cancel(self.records.as_ref(), queue, cause, &principal.tenant, id).await;
        let run = cancelled.map_err(|error| match error {
            CommandError::NotFound => no_run(),
            CommandError::WrongState(state) => {
                let detail = format!("the run is {} and cannot be cancelled any more", state.as_str());
                Problem::conflict("already_ended", detail).of_run(id)
            }
            CommandError::ConversationFull | CommandError::NotAsked | CommandError::OtherAnswer | CommandError::NotAgain(_) => {
                Problem::internal(&error).of_run(id)
            }
            CommandError::Journal(error) => unavailable(error).of_run(id),
        })?;
        Reply::json(StatusCode::OK, &RunView::summary(&run))
    }

    pub(crate) async fn answer(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let id: RunId = call.id("id")?;
        let body: AnswerBody = json_body(&call.body)?;
        let answer = body.into_answer()?;
        let cause = self.cause(principal, "answered");
        let queue = self.intake.engine.queue.as_ref();
        match operate::answer(self.records.as_ref(), queue, cause, &principal.tenant, id, &answer).await {
            Ok(run) => on_its_way(call, run.id, &RunView::summary(&run)),
            Err(CommandError::NotFound) => Err(no_run()),
            Err(CommandError::OtherAnswer) => {
                let detail = "the question wants `approved` (true or false) if it is about a tool call, else `answer`";
                Err(Problem::invalid("approved", detail).of_run(id))
            }
            Err(CommandError::NotAsked) => Err(self.not_asked(principal, id).await),
            Err(error @ (CommandError::WrongState(_) | CommandError::ConversationFull | CommandError::NotAgain(_))) => {
                Err(Problem::internal(&error).of_run(id))
            }
            Err(CommandError::Journal(error)) => Err(unavailable(error).of_run(id)),
        }
    }

    /// Says what may be answered instead.
    async fn not_asked(&self, principal: &Principal, id: RunId) -> Problem {
        let run = match self.run(principal, id).await {
            Ok(run) => run,
            Err(problem) => return problem,
        };
        match run.waiting {
            Some(Waiting::Answer { question_id, expires_at, .. } | Waiting::Approval { question_id, expires_at, .. })
                if expires_at > self.clock.now() =>
            {
                let detail = format!("question_id: the run waits for the answer to {question_id}");
                Problem::conflict("not_asked", detail).about("question_id").of_run(id).of_question(question_id)
            }
            Some(Waiting::Answer { .. } | Waiting::Approval { .. }) => {
                Problem::conflict("not_asked", "the question has expired; the agent is told that nobody answered").of_run(id)
            }
            Some(Waiting::Turn | Waiting::Time { .. }) | None => {
                let detail = format!("the run is {} and waits for no answer, or not any more", run.state.as_str());
                Problem::conflict("not_asked", detail).of_run(id)
            }
        }
    }

    /// The answer of a run.
    pub(crate) async fn response(&self, run: &Run) -> Result<Option<String>, JournalError> {
        operate::answer_of(self.records.as_ref(), run).await
    }
}
