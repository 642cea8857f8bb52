//! What a call to the world outside may take and how it may fail. `route` makes those of models, `tool_calls` those of tools.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::ports::{ModelReply, Sink};
use super::{Engine, Window};
use crate::domain::clock::between;
use crate::domain::failure::FailureCode;
use crate::domain::step::FinishReason;

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
    /// How long a call may take now, and whether the deadline and not the call's own limit says so.
    pub(super) fn time_for_call(&self, window: Window, limit: Duration) -> Option<(Duration, bool)> {
        let left = between(self.clock.now(), window.deadline);
        if left >= limit {
            return Some((limit, false));
        }
        (window.cut_calls && left >= shortest(limit)).then_some((left, true))
    }

    /// How long a try of a model may take now, if so many `others` may be asked after it. Where the caller waits, silence must leave
    /// them their time; if there is not enough for two, this one has it all.
    pub(super) fn time_for_try(&self, window: Window, others: u32) -> Option<TryTime> {
        let limit = self.limits.model_timeout;
        let (whole, is_cut) = self.time_for_call(window, limit)?;
        let (left, least) = (between(self.clock.now(), window.deadline), shortest(limit));
        let is_shared = window.cut_calls && others > 0 && left >= least * 2;
        let silent = if is_shared { (left / (others + 1)).max(least).min(whole) } else { whole };
        Some(TryTime { silent, whole, is_cut })
    }
}

/// What one try of a model may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TryTime {
    /// As long as nothing is heard of it.
    pub(super) silent: Duration,
    /// At most.
    pub(super) whole: Duration,
    /// Whether the deadline and not the limit of a call says what is most.
    pub(super) is_cut: bool,
}

/// Notes whether a try has said anything yet: a model that speaks does not hang.
pub(super) struct Heard<'a> {
    sink: &'a dyn Sink,
    is_heard: AtomicBool,
}

impl<'a> Heard<'a> {
    /// Hears for `sink`.
    pub(super) fn new(sink: &'a dyn Sink) -> Self {
        Self { sink, is_heard: AtomicBool::new(false) }
    }

    /// Whether the try that began last has said anything.
    pub(super) fn is_heard(&self) -> bool {
        self.is_heard.load(Ordering::Relaxed)
    }
}

impl Sink for Heard<'_> {
    fn begin(&self) {
        self.is_heard.store(false, Ordering::Relaxed);
        self.sink.begin();
    }

    fn text(&self, part: &str) {
        self.is_heard.store(true, Ordering::Relaxed);
        self.sink.text(part);
    }
}

/// The least time that a call is begun with while its caller waits, if it may take `limit`.
pub(super) fn shortest(limit: Duration) -> Duration {
    (limit / SHORTEST_PART).max(SHORTEST_CALL)
}

/// A reply with neither text nor calls is no answer, unless the provider says why it ended, or the request named texts that end it
/// (`may_be_empty`): a failure to be retried, never a success.
pub(super) fn usable(mut reply: ModelReply, may_be_empty: bool) -> Result<ModelReply, CallError> {
    let said = reply.message.content.as_deref().is_some_and(|text| !text.trim().is_empty()) || !reply.message.tool_calls.is_empty();
    match reply.finish_reason {
        FinishReason::Length | FinishReason::ContentFilter => Ok(reply),
        FinishReason::Stop | FinishReason::ToolCalls if said => Ok(reply),
        FinishReason::Stop if may_be_empty => {
            reply.message.content.get_or_insert_default();
            Ok(reply)
        }
        FinishReason::Stop | FinishReason::ToolCalls => Err(CallError::garbled("the model answered with neither text nor tool calls")),
    }
}

/// Full jitter: anything from nothing to `base` doubled per failure.
pub(super) fn jittered(base: Duration, failures: usize) -> Duration {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX).min(10);
    base.saturating_mul(1 << doublings).mul_f64(fastrand::f64())
}
