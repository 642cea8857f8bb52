//! `GET /v1/dlq/{id}`: one dead run with all that explains it; `GET /v1/dlq/{id}/payload`: what it was asked, with nothing taken out.

use lambda_http::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use shared::domain::id::{RunId, TenantId};
use shared::domain::overrides::PresetCall;
use shared::domain::principal::Principal;
use shared::domain::run::{Run, Transition};
use shared::domain::state::RunState;
use shared::domain::step::Step;
use shared::engine::ports::JournalError;
use shared::http::{Call, Problem, Reply};
use shared::operate::dead::stopped_at;

use crate::DlqApi;
use crate::views::{EntryView, StoppedView};

/// Steps that are shown, the last ones. More than a model asks calls for at once.
const STEPS: u32 = 100;
/// Bytes of the steps that are shown: Lambda takes 6 MB, and our JSON is a text within Lambda's own, where it grows.
const LARGEST: usize = 2_000_000;
/// Who may see what is redacted elsewhere.
const RAW: &str = "dlq:raw";

#[derive(Debug, Serialize)]
struct ShowView {
    #[serde(flatten)]
    entry: EntryView,
    /// What arrived.
    payload: Value,
    /// What the agent is asked.
    input: Value,
    /// Where in this answer something was taken out, as JSON pointers.
    redacted: Vec<String>,
    transitions: Vec<Transition>,
    /// The last steps.
    journal: Vec<Value>,
    /// Whether these are all.
    journal_complete: bool,
}

#[derive(Debug, Serialize)]
struct PayloadView {
    run_id: RunId,
    payload: Value,
    input: Value,
}

impl DlqApi {
    pub(crate) async fn show(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let run = self.dead_run(principal, call).await?;
        let (payload, input) = self.asked(&run).await.map_err(|error| unavailable(&error))?;
        let steps = self.last_steps(&run).await.map_err(|error| unavailable(&error))?;
        let presets: Vec<PresetCall> = serde_json::from_value(input["overrides"]["preset_calls"].clone()).unwrap_or_default();
        let mut entry = EntryView::of(&run, self.redrive.clock.now());
        entry.failed_step = StoppedView::of(&stopped_at(&run, &steps, &presets));
        let journal = Self::brief(steps)?;
        let journal_complete = journal.len() as u64 == u64::from(run.steps);
        let mut redacted = Vec::new();
        let mut clear = |value: Value, at: &str| {
            let cleared = self.redactor.redact(value);
            redacted.extend(cleared.paths.into_iter().map(|path| format!("{at}{path}")));
            cleared.value
        };
        let payload = clear(payload, "/payload");
        let input = clear(input, "/input");
        entry.failed_step.arguments = entry.failed_step.arguments.map(|arguments| clear(arguments, "/failed_step/arguments"));
        let journal = journal.into_iter().enumerate().map(|(i, step)| clear(step, &format!("/journal/{i}"))).collect();
        let mut transitions = self.transitions(&run).await.map_err(|error| unavailable(&error))?;
        let notes =
            transitions.iter_mut().enumerate().filter_map(|(i, step)| Some((format!("/transitions/{i}/note"), step.note.as_mut()?)));
        for (at, text) in entry.messages().chain(notes) {
            let cleared = self.redactor.redact_text(text);
            if cleared != *text {
                redacted.push(at);
                *text = cleared;
            }
        }
        Reply::json(StatusCode::OK, &ShowView { entry, payload, input, redacted, transitions, journal, journal_complete })
    }

    pub(crate) async fn payload(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        call.needs_scope(self.auth, RAW)?;
        let run = self.dead_run(principal, call).await?;
        let (payload, input) = self.asked(&run).await.map_err(|error| unavailable(&error))?;
        tracing::info!(tenant = %run.tenant, run.id = %run.id, by = principal.name, "the payload of a dead run was read as it is");
        Reply::json(StatusCode::OK, &PayloadView { run_id: run.id, payload, input })
    }

    async fn dead_run(&self, principal: &Principal, call: &Call) -> Result<Run, Problem> {
        let id: RunId = call.id("id")?;
        let tenant = self.tenant(principal, call)?;
        self.run(&tenant, id).await
    }

    /// The dead run with that id.
    pub(crate) async fn run(&self, tenant: &TenantId, id: RunId) -> Result<Run, Problem> {
        let run = self.redrive.records.run(tenant, id).await.map_err(|error| unavailable(&error))?.ok_or_else(no_run)?;
        if run.state != RunState::Dead {
            let detail = format!("the run is {}, not dead; GET /v1/runs/{id} shows it", run.state.as_str());
            return Err(Problem::not_found("id", detail).of_run(id));
        }
        Ok(run)
    }

    /// The payload of its event, and what the agent is asked, which a trigger or an operator may have made of it. Null for what is gone.
    async fn asked(&self, run: &Run) -> Result<(Value, Value), JournalError> {
        let records = self.redrive.records.as_ref();
        let payload = records.event(&run.tenant, run.event).await?.map_or(Value::Null, |event| event.payload);
        let input = match records.input(run).await {
            Ok(input) => json!(input),
            // Its conversation is being deleted.
            Err(JournalError::NotFound) => Value::Null,
            Err(error) => return Err(error),
        };
        Ok((payload, input))
    }

    /// The last ones, as far back as explains where it stopped.
    pub(crate) async fn last_steps(&self, run: &Run) -> Result<Vec<Step>, JournalError> {
        let (mut steps, mut after) = (Vec::new(), run.steps.saturating_sub(STEPS));
        // A page may be shorter than what was asked for.
        while after < run.steps {
            let page = self.redrive.records.steps_after(&run.tenant, run.id, after, STEPS as usize).await?;
            let Some(last) = page.last() else { break };
            after = last.index;
            steps.extend(page);
        }
        steps.retain(|step| step.index <= run.steps);
        Ok(steps)
    }

    /// As `GET /v1/runs/{id}/steps` shows them, as many of the last as fit.
    fn brief(steps: Vec<Step>) -> Result<Vec<Value>, Problem> {
        let mut room = LARGEST;
        let mut shown = Vec::new();
        for step in steps.into_iter().rev().map(Step::in_brief) {
            let size = step.size();
            if size > room && !shown.is_empty() {
                break;
            }
            room = room.saturating_sub(size);
            shown.push(serde_json::to_value(step).map_err(|error| Problem::internal(&error))?);
        }
        shown.reverse();
        Ok(shown)
    }

    /// All of them, those that the record has no room for included.
    async fn transitions(&self, run: &Run) -> Result<Vec<Transition>, JournalError> {
        let mut archives = if run.archives == 0 { Vec::new() } else { self.redrive.records.archives(run).await? };
        // What was moved since the record was read is in the record as well.
        archives.retain(|archive| archive.index <= run.archives);
        let mut transitions: Vec<Transition> = archives.into_iter().flat_map(|archive| archive.transitions).collect();
        transitions.extend_from_slice(&run.transitions);
        Ok(transitions)
    }
}

pub(crate) fn no_run() -> Problem {
    Problem::not_found("id", "there is no such run; GET /v1/dlq lists the dead ones")
}

fn unavailable(error: &JournalError) -> Problem {
    Problem::unavailable(error)
}
