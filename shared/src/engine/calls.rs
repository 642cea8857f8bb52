//! The model calls of a run, with retries and back-off.

use std::time::Duration;

use super::ports::{ModelReply, ModelRequest};
use super::{Engine, Hold, Stop, Window};
use crate::domain::clock::{after, between};
use crate::domain::definition::ModelRef;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::run::Run;
use crate::domain::step::{FinishReason, ModelStep};

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
    /// Asks a model, trying again where that may help. The step tells of the tries that failed.
    pub(super) async fn call_model(
        &self,
        run: &mut Run,
        mut request: ModelRequest<'_>,
        models: &[ModelRef],
        window: Window,
        hold: &dyn Hold,
    ) -> Result<ModelStep, Stop> {
        request.target = models.first().cloned();
        let mut failures: Vec<Failure> = Vec::new();
        loop {
            let (timeout, is_cut) = self.time_for_call(window, self.limits.model_timeout).ok_or(Stop::Deadline)?;
            request.sink.begin();
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
            tracing::warn!(run.id = %run.id, step = run.steps + 1, code = code.as_str(), "model call failed");
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

    /// How long a call may take now, and whether the deadline and not the call's own limit says so.
    pub(super) fn time_for_call(&self, window: Window, limit: Duration) -> Option<(Duration, bool)> {
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

/// A reply with neither text nor calls is no answer, unless the provider says why it ended: a failure to be retried, never a success.
fn usable(reply: ModelReply) -> Result<ModelReply, CallError> {
    let said = reply.message.content.as_deref().is_some_and(|text| !text.trim().is_empty()) || !reply.message.tool_calls.is_empty();
    match reply.finish_reason {
        FinishReason::Length | FinishReason::ContentFilter => Ok(reply),
        FinishReason::Stop | FinishReason::ToolCalls if said => Ok(reply),
        FinishReason::Stop | FinishReason::ToolCalls => Err(CallError::garbled("the model answered with neither text nor tool calls")),
    }
}

/// Full jitter: anything from nothing to `base` doubled per failure.
pub(super) fn jittered(base: Duration, failures: usize) -> Duration {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX).min(10);
    base.saturating_mul(1 << doublings).mul_f64(fastrand::f64())
}
