//! Where a run stopped: what was to be done next when it died.

use serde_json::Value;

use crate::domain::message::ToolCall;
use crate::domain::overrides::PresetCall;
use crate::domain::run::Run;
use crate::domain::step::{Purpose, Step, StepBody};
use crate::domain::transcript::PRESET;

/// The step that was not finished.
#[derive(Debug, Clone, PartialEq)]
pub struct Stopped {
    /// The number that it would have had.
    pub index: u32,
    /// What it was.
    pub at: StoppedAt,
}

/// What was to be called.
#[derive(Debug, Clone, PartialEq)]
pub enum StoppedAt {
    /// A model: the one that failed last, if that is known.
    Model(Option<String>),
    /// A tool.
    Tool(ToolCall),
    /// One of them: that stands in the journal, which was not read.
    Unknown,
}

impl Stopped {
    /// As much as the record tells, without its journal.
    #[must_use]
    pub fn by_record(run: &Run) -> Self {
        let failure = run.failures.last();
        let provider = failure.and_then(|failure| failure.provider.clone());
        let at = if provider.is_some() { StoppedAt::Model(provider) } else { StoppedAt::Unknown };
        Self { index: run.steps.saturating_add(1), at }
    }
}

/// Where `run` stopped, by its journal: a tool call that the model asked for and that has no result, else the next question to the
/// model. `steps` are the last ones, as far back as the model's latest answer; `presets` are calls that the request asked for.
#[must_use]
pub fn stopped_at(run: &Run, steps: &[Step], presets: &[PresetCall]) -> Stopped {
    let steps: Vec<&Step> = steps.iter().filter(|step| step.index > run.redriven.start.steps).collect();
    let asked = steps.iter().rposition(|step| matches!(&step.body, StepBody::Model(model) if model.purpose == Purpose::Act));
    let (calls, since) = match asked.and_then(|place| Some((place, steps.get(place)?))) {
        Some((place, Step { body: StepBody::Model(model), .. })) => (model.message.tool_calls.clone(), place + 1),
        _ => (presets.iter().enumerate().map(preset).collect(), 0),
    };
    let mut pending = calls;
    for step in steps.iter().skip(since) {
        if let StepBody::Tool(tool) = &step.body
            && let Some(place) = pending.iter().position(|call| call.id == tool.call.id)
        {
            pending.remove(place);
        }
    }
    let provider = run.failures.last().and_then(|failure| failure.provider.clone());
    let at = pending.into_iter().next().map_or(StoppedAt::Model(provider), StoppedAt::Tool);
    Stopped { index: run.steps.saturating_add(1), at }
}

fn preset((place, call): (usize, &PresetCall)) -> ToolCall {
    ToolCall { id: format!("{PRESET}{}", place + 1), name: call.name.clone(), arguments: Value::clone(&call.args) }
}
