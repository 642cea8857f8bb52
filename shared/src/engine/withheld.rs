//! Replays without side effects: a call that would change something outside, or wait for a person, is not made. What it gave in the
//! run that is replayed stands in for it; where that run made no such call, the model is told so.

use std::collections::HashMap;

use super::ports::JournalError;
use super::{Engine, Stop, waits};
use crate::domain::agent::Agent;
use crate::domain::message::ToolCall;
use crate::domain::run::Run;
use crate::domain::step::{StandIn, StepBody, ToolStep};
use crate::domain::transcript::Transcript;

impl Engine {
    /// Whether the call is not made because the run is a replay without side effects.
    pub(super) fn is_withheld(&self, run: &Run, agent: &Agent, transcript: &Transcript, call: &ToolCall) -> bool {
        run.replay.as_ref().is_some_and(|replay| replay.withholds)
            && self.refusal(agent, transcript, call, 0).is_none()
            && (waits(agent, transcript, call) || self.tools.traits(&call.name).is_some_and(|traits| traits.side_effects))
    }

    /// The result that stands in for a call.
    pub(super) async fn withheld(&self, run: &Run, transcript: &Transcript, call: ToolCall) -> Result<ToolStep, Stop> {
        let place = transcript.times_made(&call);
        if let Some(recorded) = self.recorded(run, &call, place).await? {
            return Ok(ToolStep { call, stand_in: Some(StandIn::Recorded), ..recorded });
        }
        let output = format!(
            "error: `{}` was not called: this is a replay without side effects, and the run that it replays made no such call",
            call.name
        );
        Ok(ToolStep { call, output, is_error: true, full: None, stand_in: Some(StandIn::Withheld) })
    }

    /// What that call gave in the run that is replayed, the same call made `place` times before.
    async fn recorded(&self, run: &Run, call: &ToolCall, place: usize) -> Result<Option<ToolStep>, Stop> {
        let Some(of) = run.replay.as_ref().and_then(|replay| replay.of) else { return Ok(None) };
        // A run that was deleted since has nothing to say.
        let Some(original) = self.journal.run(&run.tenant, of).await? else { return Ok(None) };
        let steps = match self.journal.steps(&original).await {
            Err(JournalError::NotFound) => return Ok(None),
            steps => steps?,
        };
        // As the model made them: the step of a call that waited does not keep all of its arguments.
        let mut asked = HashMap::new();
        let calls = steps.into_iter().filter(|step| step.index > original.redriven.start.steps).filter_map(|step| match step.body {
            StepBody::Model(model) => {
                asked.extend(model.message.tool_calls.into_iter().map(|call| (call.id.clone(), call)));
                None
            }
            StepBody::Tool(tool) => {
                let made = asked.get(&tool.call.id).unwrap_or(&tool.call);
                (made.name == call.name && made.arguments == call.arguments).then_some(tool)
            }
            StepBody::Approval(_) => None,
        });
        Ok(calls.into_iter().nth(place))
    }
}
