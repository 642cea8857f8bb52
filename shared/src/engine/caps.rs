//! The agent's limits on one run. Each ends the run with its own name: trying again would give the same.

use super::{Engine, Stop};
use crate::domain::agent::Agent;
use crate::domain::failure::FailureCode;
use crate::domain::run::Run;
use crate::domain::transcript::{Next, Transcript};

impl Engine {
    /// Whether the next call may be made. What is finished is never refused.
    pub(super) fn check_caps(&self, run: &Run, agent: &Agent, transcript: &Transcript, next: &Next) -> Result<(), Stop> {
        let (caps, name) = (&agent.caps, &agent.name);
        let over = |code, message: String| Err(Stop::Terminal(self.failure(run, code, message)));
        let start = run.redriven.start;
        let tokens = run.usage.input_tokens.saturating_add(run.usage.output_tokens).saturating_sub(start.tokens);
        self.measure_budget(run, agent, tokens);
        if matches!(next, Next::Ended(_) | Next::Failed(..)) {
            return Ok(());
        }
        if transcript.steps_since_start() >= caps.steps {
            return over(FailureCode::StepLimit, format!("the agent `{name}` used its {} steps without an answer", caps.steps));
        }
        if caps.tokens.is_some_and(|most| tokens >= most) {
            return over(FailureCode::TokenLimit, format!("the agent `{name}` used {tokens} tokens without an answer"));
        }
        if run.working_time(self.clock.now()).as_secs() >= caps.wall_seconds {
            return over(FailureCode::TimeLimit, format!("the agent `{name}` had {} s and no answer", caps.wall_seconds));
        }
        match (caps.cost_micros, run.cost_micros.map(|cost| cost.saturating_sub(start.cost_micros))) {
            (Some(_), None) => {
                let message = "the price of a model that it called is not known, so its limit of cost cannot be watched".to_owned();
                return over(FailureCode::CostLimit, message);
            }
            (Some(most), Some(cost)) if cost >= most => {
                return over(FailureCode::CostLimit, format!("the agent `{name}` used {cost} millionths of a dollar without an answer"));
            }
            _ => {}
        }
        if let Next::Tool(call) = next
            && transcript.repeats_of(call) >= caps.identical_tool_calls
        {
            let message = format!("the model asked {} times in a row for the same call of `{}`", caps.identical_tool_calls + 1, call.name);
            return over(FailureCode::RepeatedToolCall, message);
        }
        Ok(())
    }
}
