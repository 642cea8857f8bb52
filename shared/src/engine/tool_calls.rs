//! The tool calls of a run: which of them are made at the same time, each with its time-out, each journaled as soon as it is done.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use jiff::Timestamp;
use tracing::Instrument as _;

use super::ports::ToolSpec;
use super::{Engine, Hold, Stop, Window};
use crate::domain::agent::Agent;
use crate::domain::clock::between;
use crate::domain::failure::FailureCode;
use crate::domain::message::ToolCall;
use crate::domain::run::Run;
use crate::domain::step::{Step, StepBody, ToolStep};
use crate::domain::transcript::Transcript;
use crate::domain::waiting::Waiting;
use crate::telemetry::semconv;
use crate::tools::{Doubt, ToolContext, ToolResult, ToolTraits};

/// How long the servers of an agent's tools may take to list them; known tools take no time.
const LISTING_TIMEOUT: Duration = Duration::from_secs(10);
/// How much longer than its calls a round of them may take.
const GRACE: Duration = Duration::from_secs(1);

/// A call that is to be made.
struct Planned {
    call: ToolCall,
    /// The number of its place among all calls; those of one answer are journaled as they end.
    step: u32,
    key: String,
    traits: ToolTraits,
}

impl Engine {
    /// What the model is told of the agent's tools. A server that cannot list its own is a failure of the attempt: a model that does not
    /// know its tools would answer without them.
    pub(super) async fn tool_specs(&self, run: &mut Run, agent: &Agent, window: Window, hold: &dyn Hold) -> Result<Vec<ToolSpec>, Stop> {
        if agent.tools.is_empty() {
            return Ok(Vec::new());
        }
        let timeout = between(self.clock.now(), window.deadline).min(LISTING_TIMEOUT);
        let names: Vec<String> = agent.tools.iter().map(|tool| tool.name.clone()).collect();
        let problem = match self.under_lease(run, hold, timeout, self.tools.specs(&names)).await? {
            Some(Ok(specs)) => return Ok(specs),
            Some(Err(error)) => error.to_string(),
            None if timeout < LISTING_TIMEOUT => return Err(Stop::Deadline),
            None => format!("the agent's tools could not be listed within {} s", LISTING_TIMEOUT.as_secs()),
        };
        Err(Stop::Attempt(self.failure(run, FailureCode::ToolsUnavailable, problem), None))
    }

    /// Makes the next call, and beside it those that may be made at the same time. Errors of tools are data for the model, not
    /// failures of the run. What is done is journaled at once, whatever becomes of the others.
    pub(super) async fn call_tools(
        &self,
        run: &mut Run,
        agent: &Agent,
        transcript: &mut Transcript,
        window: Window,
        hold: &dyn Hold,
    ) -> Result<Option<String>, Stop> {
        let mut planned = Vec::new();
        for call in self.next_calls(run, agent, transcript) {
            let beside = planned.iter().filter(|other: &&Planned| other.call.name == call.name).count();
            match self.refusal(agent, transcript, &call, u32::try_from(beside).unwrap_or(u32::MAX)) {
                Some(problem) => {
                    let now = self.clock.now();
                    let tool = ToolStep { call, output: format!("error: {problem}"), is_error: true, full: None, stand_in: None };
                    let done = self.write_step(run, transcript, now, StepBody::Tool(tool)).await?;
                    if done.is_some() || planned.is_empty() {
                        return Ok(done);
                    }
                }
                None => {
                    let traits = self.tools.traits(&call.name).unwrap_or(ToolTraits::harmless(Duration::ZERO));
                    let step = transcript.number_of(&call);
                    planned.push(Planned { call, step, key: format!("{}:{step}", run.id), traits });
                }
            }
        }
        self.make(run, transcript, planned, window, hold).await
    }

    /// The pending calls that may be made at the same time: those that can be made again without harm, up to the agent's limit; any other
    /// call is made alone, so that at most one call is in doubt when its worker dies.
    fn next_calls(&self, run: &Run, agent: &Agent, transcript: &Transcript) -> Vec<ToolCall> {
        let left = agent.caps.steps.saturating_sub(transcript.steps_since_start());
        let most = agent.parallel_tool_calls.min(left).max(1) as usize;
        let mut calls: Vec<ToolCall> = Vec::new();
        for call in transcript.pending() {
            let is_twin = calls.iter().any(|other| other.id == call.id || (other.name == call.name && other.arguments == call.arguments));
            let is_ready = !waits(agent, transcript, call) && !self.is_withheld(run, agent, transcript, call);
            let goes_along = self.tools.is_idempotent(&call.name) && is_ready && !is_twin;
            if calls.is_empty() || goes_along {
                calls.push(call.clone());
            }
            if !goes_along || calls.len() >= most {
                break;
            }
        }
        calls
    }

    /// Why a call is not made at all; `beside` calls of the same tool are about to be.
    pub(super) fn refusal(&self, agent: &Agent, transcript: &Transcript, call: &ToolCall, beside: u32) -> Option<String> {
        let Some(allowed) = agent.tool(&call.name).filter(|_| self.tools.traits(&call.name).is_some()) else {
            let names: Vec<_> = agent.tools.iter().map(|tool| tool.name.as_str()).collect();
            return Some(format!("no tool is named `{}`; there are: {}", call.name, names.join(", ")));
        };
        let most = allowed.max_calls.filter(|most| transcript.calls_of(&call.name) + beside >= *most)?;
        Some(format!("the tool `{}` may be called {most} times in a run, and was", call.name))
    }

    async fn make(
        &self,
        run: &mut Run,
        transcript: &mut Transcript,
        planned: Vec<Planned>,
        window: Window,
        hold: &dyn Hold,
    ) -> Result<Option<String>, Stop> {
        // A tool is never cut at the deadline: its effect may have happened.
        let window = Window { cut_calls: false, ..window };
        let longest = planned.iter().map(|planned| planned.traits.timeout).max().unwrap_or_default();
        let (longest, _) = self.time_for_call(window, longest).ok_or(Stop::Deadline)?;
        let (tenant, id) = (run.tenant.clone(), run.id);
        let mut calls: FuturesUnordered<_> = planned
            .iter()
            .map(|planned| {
                let (tenant, doubt) = (&tenant, Doubt::default());
                async move {
                    let context = ToolContext { key: &planned.key, tenant, run: id, doubt: &doubt };
                    let around = semconv::execute_tool(&planned.call, planned.step);
                    let (began, result) = (self.clock.now(), self.within(planned, &context).instrument(around.clone()).await);
                    let said = result.as_ref().map(|result| result.output.as_str());
                    semconv::tool_said(&around, said, result.as_ref().is_some_and(|result| result.is_error));
                    (planned, began, result)
                }
            })
            .collect();
        let mut done = None;
        // Each round ends one of them. The last step of a run may be among them: then there is no lease any more.
        while !calls.is_empty()
            && let Some((planned, started_at, result)) = self.under_lease(run, hold, longest + GRACE, calls.next()).await?.flatten()
        {
            let (output, is_error, full) = match result {
                Some(ToolResult { is_uncertain: true, .. }) if !planned.traits.idempotent => {
                    let message =
                        format!("the answer of the tool `{}` did not come or broke off; its effect is unknown", planned.call.name);
                    return Err(Stop::Uncertain(self.failure(run, FailureCode::UncertainToolCall, message)));
                }
                Some(ToolResult { output, is_error, full, .. }) => (output, is_error, full),
                None if planned.traits.idempotent => {
                    (format!("error: no result within {} s", planned.traits.timeout.as_secs()), true, None)
                }
                None => {
                    let (tool, seconds) = (&planned.call.name, planned.traits.timeout.as_secs());
                    let message = format!("the tool `{tool}` did not answer within {seconds} s; its effect is unknown");
                    return Err(Stop::Uncertain(self.failure(run, FailureCode::UncertainToolCall, message)));
                }
            };
            let tool = ToolStep { call: planned.call.clone(), output, is_error, full, stand_in: None };
            done = self.write_step(run, transcript, started_at, StepBody::Tool(tool)).await?;
            // Whoever reads along hears of this one now, not when the others are done.
            if let Some(live) = hold.live() {
                live.come_to(transcript.steps() + 1, run);
            }
        }
        Ok(done)
    }

    /// The result, or nothing within the tool's time.
    async fn within(&self, planned: &Planned, context: &ToolContext<'_>) -> Option<ToolResult> {
        use futures_util::future::{Either, select};
        let call = std::pin::pin!(self.tools.call(&planned.call.name, &planned.call.arguments, context));
        match select(call, self.clock.sleep(planned.traits.timeout)).await {
            Either::Left((result, _)) => Some(result),
            Either::Right(_) => None,
        }
    }

    /// Journals a tool's result.
    async fn write_step(
        &self,
        run: &mut Run,
        transcript: &mut Transcript,
        started_at: Timestamp,
        body: StepBody,
    ) -> Result<Option<String>, Stop> {
        let step = Step { index: transcript.steps() + 1, started_at, ended_at: self.clock.now(), body };
        self.finish_step(run, transcript, step).await
    }
}

/// What the run waits for before or instead of this call.
pub(super) fn wait_for(agent: &Agent, transcript: &Transcript, call: &ToolCall, step: u32, now: Timestamp) -> Result<Waiting, String> {
    if needs_leave(agent, transcript, call) { Ok(Waiting::approval(call, step, now)) } else { Waiting::of(call, step, now) }
}

/// Whether a person has to allow this call, and has not yet.
fn needs_leave(agent: &Agent, transcript: &Transcript, call: &ToolCall) -> bool {
    agent.tool(&call.name).is_some_and(|tool| tool.approval) && !transcript.is_approved(call)
}

/// Whether the run waits for somebody before or instead of this call.
pub(super) fn waits(agent: &Agent, transcript: &Transcript, call: &ToolCall) -> bool {
    needs_leave(agent, transcript, call) || Waiting::is_caused_by(&call.name)
}
