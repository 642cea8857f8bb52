//! The calls of a run: a model with retries and back-off, a tool with its time-out.

use std::time::Duration;

use super::ports::{ModelReply, ModelRequest};
use super::{Engine, Hold, Stop, Window, check_answer};
use crate::domain::agent::Agent;
use crate::domain::clock::{after, between};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::message::ToolCall;
use crate::domain::run::Run;
use crate::domain::step::{LARGEST_STEP, ModelStep, ToolStep};
use crate::domain::transcript::Transcript;

/// Tries of one model call within one invocation: enough to outlive a hiccup, few enough that a real outage goes to the
/// queue's longer back-off while no function waits for it.
const TRIES: u32 = 3;
/// The first back-off of a model call; doubled per try, drawn with full jitter.
const BACKOFF: Duration = Duration::from_millis(500);
/// A provider that asks for a longer pause is waited for on the queue, not in a running function.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Less than this is no time for a call whose caller waits: what is cut is paid for and made again (ADR 0014).
const SHORTEST_CALL: Duration = Duration::from_secs(1);
/// Nor is less than this part of what the call may take: most calls need it.
const SHORTEST_PART: u32 = 6;

/// Why a call failed, in the engine's terms. Whether it may be tried again is in the type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// Another try may succeed.
    Retryable {
        /// What happened.
        code: FailureCode,
        /// For people.
        message: String,
        /// How long the provider asks us to wait.
        retry_after: Option<Duration>,
    },
    /// Another try would give the same.
    Terminal {
        /// What happened.
        code: FailureCode,
        /// For people.
        message: String,
    },
}

impl CallError {
    /// A failure worth another try.
    #[must_use]
    pub fn retryable(code: FailureCode, message: impl Into<String>, retry_after: Option<Duration>) -> Self {
        Self::Retryable { code, message: message.into(), retry_after }
    }

    /// An answer that cannot be used; the next one may be.
    #[must_use]
    pub fn garbled(message: impl Into<String>) -> Self {
        Self::retryable(FailureCode::InvalidAnswer, message, None)
    }

    /// A request that the provider will never take.
    #[must_use]
    pub fn rejected(message: impl Into<String>) -> Self {
        Self::Terminal { code: FailureCode::ProviderRejected, message: message.into() }
    }
}

impl Engine {
    /// Asks the model, trying again where that may help. The step tells of the tries that failed.
    pub(super) async fn call_model(
        &self,
        run: &mut Run,
        agent: &Agent,
        transcript: &Transcript,
        window: Window,
        hold: &dyn Hold,
    ) -> Result<ModelStep, Stop> {
        let mut request = ModelRequest {
            target: agent.models.first().cloned(),
            tools: self.tools.specs(&agent.tools),
            sampling: agent.sampling.clone(),
            effort: agent.effort,
            output: agent.output.as_ref(),
            ..ModelRequest::new(transcript.messages(), format!("{}:{}", run.id, transcript.steps() + 1))
        };
        let mut failures: Vec<Failure> = Vec::new();
        loop {
            let (timeout, is_cut) = self.time_for_call(window, self.limits.model_timeout).ok_or(Stop::Deadline)?;
            let answered = self.under_lease(run, hold, timeout, self.model.ask(&request)).await?;
            let error = match answered.map(|reply| reply.and_then(usable)) {
                Some(Ok(reply)) => {
                    let step = ModelStep::new(reply.provider, reply.model, reply.message, reply.finish_reason, reply.usage);
                    return Ok(ModelStep { failures, ..step });
                }
                Some(Err(error)) => error,
                None if is_cut => return Err(Stop::Deadline),
                None => CallError::retryable(
                    FailureCode::ProviderTimeout,
                    format!("the model did not answer within {} s", timeout.as_secs()),
                    None,
                ),
            };
            let (code, message, retry_after) = match error {
                CallError::Terminal { code, message } => return Err(Stop::Terminal(self.failure(run, code, message))),
                CallError::Retryable { code, message, retry_after } => (code, message, retry_after),
            };
            if code == FailureCode::InvalidAnswer {
                // A provider that honours the key would give the same useless answer again.
                request.key.push('\'');
            }
            let failure = self.failure(run, code, message);
            tracing::warn!(run.id = %run.id, step = transcript.steps() + 1, code = code.as_str(), "model call failed");
            failures.push(failure.clone());
            let pause = retry_after.unwrap_or_else(|| jittered(BACKOFF, failures.len()));
            let least = if window.cut_calls { shortest(self.limits.model_timeout) } else { self.limits.model_timeout };
            let has_time = between(after(self.clock.now(), pause), window.deadline) >= least;
            if failures.len() >= TRIES as usize || pause > LONGEST_PAUSE || !has_time {
                return Err(Stop::Attempt(failure, retry_after));
            }
            self.under_lease(run, hold, pause, std::future::pending::<()>()).await?;
        }
    }

    /// Calls a tool. Its errors are data for the model, not failures of the run.
    pub(super) async fn call_tool(
        &self,
        run: &mut Run,
        agent: &Agent,
        call: ToolCall,
        window: Window,
        hold: &dyn Hold,
    ) -> Result<ToolStep, Stop> {
        let Some(tool) = self.tools.get(&call.name).filter(|_| agent.tool(&call.name).is_some()) else {
            let names: Vec<_> = agent.tools.iter().map(|tool| tool.name.as_str()).collect();
            let output = format!("error: no tool is named `{}`; there are: {}", call.name, names.join(", "));
            return Ok(ToolStep { call, output, is_error: true });
        };
        // A tool is never cut at the deadline: its effect may have happened.
        let window = Window { cut_calls: false, ..window };
        let (timeout, _) = self.time_for_call(window, tool.timeout()).ok_or(Stop::Deadline)?;
        let key = format!("{}:{}", run.id, run.steps + 1); // the step that this will be
        let result = self.under_lease(run, hold, timeout, tool.call(&call.arguments, &key)).await?;
        let (output, is_error) = match result {
            Some(Ok(output)) if output.len() > LARGEST_STEP / 2 => {
                (format!("error: the result has {} bytes; at most {} can be kept", output.len(), LARGEST_STEP / 2), true)
            }
            Some(Ok(output)) => (output, false),
            Some(Err(message)) => (format!("error: {message}"), true),
            None if tool.is_idempotent() => (format!("error: no result within {} s", timeout.as_secs()), true),
            None => {
                let message = format!("the tool `{}` did not answer within {} s; its effect is unknown", call.name, timeout.as_secs());
                return Err(Stop::Uncertain(self.failure(run, FailureCode::UncertainToolCall, message)));
            }
        };
        Ok(ToolStep { call, output, is_error })
    }

    /// How long a call may take now, and whether the deadline and not the call's own limit says so.
    fn time_for_call(&self, window: Window, limit: Duration) -> Option<(Duration, bool)> {
        let left = between(self.clock.now(), window.deadline);
        if left >= limit {
            return Some((limit, false));
        }
        (window.cut_calls && left >= shortest(limit)).then_some((left, true))
    }
}

/// The least time that a call is begun with while its caller waits, if it may take `limit`.
fn shortest(limit: Duration) -> Duration {
    (limit / SHORTEST_PART).max(SHORTEST_CALL)
}

fn usable(reply: ModelReply) -> Result<ModelReply, CallError> {
    check_answer(reply.finish_reason, reply.message.content.as_deref(), reply.message.tool_calls.len())?;
    Ok(reply)
}

/// Full jitter: anything from nothing to `base` doubled per failure.
pub(super) fn jittered(base: Duration, failures: usize) -> Duration {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX).min(10);
    base.saturating_mul(1 << doublings).mul_f64(fastrand::f64())
}
