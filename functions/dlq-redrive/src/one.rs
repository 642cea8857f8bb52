//! `POST /v1/dlq/{id}/retry` and `…/discard`: what is done with one dead run.

use lambda_http::http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use shared::domain::definition::ModelRef;
use shared::domain::event::AgentInput;
use shared::domain::id::{RunId, TenantId};
use shared::domain::message::Message;
use shared::domain::principal::Principal;
use shared::domain::revival::Revival;
use shared::domain::run::Run;
use shared::domain::state::RunState;
use shared::domain::step::Step;
use shared::engine::ports::JournalError;
use shared::http::{Call, Object, Problem, Reply, Word, json_body};
use shared::operate::dead::stopped_at;
use shared::operate::providers::LONGEST_REASON;
use shared::operate::{CommandError, LOOP_GUARD, NotAgain, Retry};

use crate::DlqApi;
use crate::show::no_run;
use crate::views::StoppedView;

/// Bytes as JSON of what a run is asked: it is one item of the table.
const LARGEST_INPUT: usize = 150_000;

/// From where a run goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum From {
    /// From the step that failed.
    #[default]
    FailedStep,
    /// From its start.
    Start,
}

/// What a run has done so far was done by its agent, for what it was asked: another one begins anew.
pub(crate) fn checked_from(from: Option<From>, is_another: bool) -> Result<(), Problem> {
    if from == Some(From::FailedStep) && is_another {
        let detail = "must be `start` with another input or agent: what the run has done so far was done for the old one";
        return Err(Problem::invalid("from", detail));
    }
    Ok(())
}

/// The body of a retry.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RetryBody {
    from: Option<Word<From>>,
    model: Option<String>,
    agent: Option<String>,
    input: Option<Object<InputBody>>,
    reason: Option<String>,
    force: bool,
    dry_run: bool,
}

/// What a run is asked instead. What is left out stays as it was.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct InputBody {
    prompt: Option<String>,
    messages: Option<Vec<Object<Message>>>,
    metadata: Option<Map<String, Value>>,
}

/// The body of a discard.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReasonBody {
    reason: String,
}

impl ReasonBody {
    pub(crate) const fn of(reason: String) -> Self {
        Self { reason }
    }

    /// The reason, which nobody may leave out.
    pub(crate) fn checked(self) -> Result<String, Problem> {
        if self.reason.trim().is_empty() {
            return Err(Problem::invalid("reason", "must say why"));
        }
        reason(self.reason)
    }
}

/// A reason that is not too long.
fn reason(text: String) -> Result<String, Problem> {
    if text.chars().count() > LONGEST_REASON {
        return Err(Problem::invalid("reason", format!("must have at most {LONGEST_REASON} characters")));
    }
    Ok(text)
}

#[derive(Debug, Serialize)]
struct DoneView {
    run_id: RunId,
    status: RunState,
    epoch: u64,
}

/// What a retry would do.
#[derive(Debug, Serialize)]
struct WouldView {
    /// `resume`, `start_over`, or `send_again` for a run that is queued already.
    action: &'static str,
    /// The step that would be made first.
    step: StoppedView,
    agent: String,
    /// The model that would be asked, if an operator chose one.
    model: Option<ModelRef>,
    /// How often it was put back before.
    redrives: u32,
}

impl DlqApi {
    pub(crate) async fn retry(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let id: RunId = call.id("id")?;
        let tenant = self.tenant(principal, call)?;
        // Some clients cannot send nothing.
        let is_none = matches!(call.body.trim_ascii(), b"" | b"null");
        let body: RetryBody = if is_none { RetryBody::default() } else { json_body(&call.body)? };
        let dry_run = body.dry_run;
        let retry = self.retry_of(&tenant, id, body, principal).await?;
        if dry_run {
            return self.would(&tenant, id, &retry).await;
        }
        let run = self.redrive.retry(&tenant, id, &retry).await.map_err(|error| refused(error, id, "retried"))?;
        let view = DoneView { run_id: run.id, status: run.state, epoch: run.epoch };
        Ok(Reply::json(StatusCode::ACCEPTED, &view)?.with(header::LOCATION, call.address(&format!("/v1/runs/{}", run.id))))
    }

    pub(crate) async fn discard(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let id: RunId = call.id("id")?;
        let tenant = self.tenant(principal, call)?;
        let reason = json_body::<ReasonBody>(&call.body)?.checked()?;
        let revival = Revival { note: Some(reason), ..Revival::default() };
        let why = Retry { revival, ..Retry::by(&principal.name) };
        let run = self.redrive.discard(&tenant, id, &why).await.map_err(|error| refused(error, id, "discarded"))?;
        Reply::json(StatusCode::OK, &DoneView { run_id: run.id, status: run.state, epoch: run.epoch })
    }

    async fn retry_of(&self, tenant: &TenantId, id: RunId, body: RetryBody, principal: &Principal) -> Result<Retry, Problem> {
        let from = body.from.map(|word| word.0);
        checked_from(from, body.input.is_some() || body.agent.is_some())?;
        let (model, agent) = (self.choices.model(body.model.as_deref())?, self.choices.agent(body.agent)?);
        let input = match body.input {
            Some(Object(input)) => Some(self.edited(tenant, id, input).await?),
            None => None,
        };
        let revival = Revival {
            note: body.reason.map(reason).transpose()?.filter(|reason| !reason.trim().is_empty()),
            job: None,
            from_start: from == Some(From::Start),
            model,
            agent,
            input,
        };
        Ok(Retry { revival, force: body.force, ..Retry::by(&principal.name) })
    }

    /// What the run is asked, with what an operator has changed of it.
    async fn edited(&self, tenant: &TenantId, id: RunId, body: InputBody) -> Result<AgentInput, Problem> {
        let records = self.redrive.records.as_ref();
        let run = records.run(tenant, id).await.map_err(|error| Problem::unavailable(&error))?.ok_or_else(no_run)?;
        let mut input = match records.input(&run).await {
            Ok(input) => input,
            Err(JournalError::NotFound) => return Err(no_run()),
            Err(error) => return Err(Problem::unavailable(&error)),
        };
        input.prompt = body.prompt.unwrap_or(input.prompt);
        input.messages = body.messages.map(|messages| messages.into_iter().map(|Object(message)| message).collect()).or(input.messages);
        input.metadata = body.metadata.unwrap_or(input.metadata);
        if input.as_messages().is_empty() {
            return Err(Problem::invalid("input.prompt", "must not be empty without messages"));
        }
        if json!(input).to_string().len() > LARGEST_INPUT {
            return Err(Problem::too_large("input", LARGEST_INPUT));
        }
        Ok(input)
    }

    /// What the retry would do; what would refuse it refuses this too.
    async fn would(&self, tenant: &TenantId, id: RunId, retry: &Retry) -> Result<Reply, Problem> {
        let records = self.redrive.records.as_ref();
        let run = records.run(tenant, id).await.map_err(|error| Problem::unavailable(&error))?.ok_or_else(no_run)?;
        retry.allows(&run).map_err(|error| refused(error.into(), id, "retried"))?;
        let is_changed = retry.revival != Revival { note: retry.revival.note.clone(), ..Revival::default() };
        let action = match run.state {
            RunState::Dead if retry.revival.is_from_start() => "start_over",
            RunState::Dead => "resume",
            RunState::Queued if !is_changed => "send_again",
            state => return Err(refused(CommandError::WrongState(state), id, "retried")),
        };
        let steps = self.last_steps(&run).await.map_err(|error| Problem::unavailable(&error))?;
        let step = if retry.revival.is_from_start() { StoppedView::first(&run) } else { self.cleared(&run, &steps) };
        let would = WouldView {
            action,
            step,
            agent: retry.revival.agent.clone().unwrap_or_else(|| run.agent.clone()),
            model: retry.revival.model.clone().or_else(|| run.redriven.model.clone()),
            redrives: run.redriven.count,
        };
        Reply::json(StatusCode::OK, &json!({"dry_run": true, "run_id": id, "would": would}))
    }

    fn cleared(&self, run: &Run, steps: &[Step]) -> StoppedView {
        let mut view = StoppedView::of(&stopped_at(run, steps, &[]));
        view.arguments = view.arguments.map(|arguments| self.redactor.redact(arguments).value);
        view
    }
}

fn refused(error: CommandError, id: RunId, done: &str) -> Problem {
    match error {
        CommandError::NotFound => no_run(),
        CommandError::WrongState(state) => {
            Problem::conflict("not_dead", format!("the run is {}; only a dead run can be {done}", state.as_str())).of_run(id)
        }
        CommandError::NotAgain(NotAgain::DoneBefore | NotAgain::DiedSince) => Problem::internal(&error).of_run(id),
        CommandError::NotAgain(NotAgain::Guarded(times)) => {
            let detail = format!("the run was put back {times} times and died each time; from {LOOP_GUARD} on that needs `force`");
            Problem::conflict("loop_guard", detail).of_run(id)
        }
        CommandError::ConversationFull => {
            let detail = "as many runs of its conversation wait for their turn as may; retry it when some have ended";
            Problem::conflict("conversation_full", detail).of_run(id).after(5)
        }
        CommandError::NotAsked | CommandError::OtherAnswer => Problem::internal(&error).of_run(id),
        CommandError::Journal(error) => Problem::unavailable(&error).of_run(id),
    }
}
