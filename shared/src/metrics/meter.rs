//! Recording, by meaning.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::catalogue::Counter;
use super::measured::{Dimension, Measured, Unit};
use crate::domain::breaker;
use crate::domain::failure::FailureCode;
use crate::domain::step::Usage;

/// Collects what a sandbox measures. Cheap, never waits, never fails.
#[derive(Debug, Default)]
pub struct Meter {
    measured: Mutex<Measured>,
}

/// A call of a model.
#[derive(Debug, Clone, Copy)]
pub struct ModelCall<'a> {
    /// Whom.
    pub provider: &'a str,
    /// What of theirs; absent if only a request names it, because anybody may name anything.
    pub model: Option<&'a str>,
    /// How long it took.
    pub took: Duration,
    /// How it ended.
    pub end: ModelEnd,
}

/// How a call of a model ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelEnd {
    /// With an answer.
    Answered {
        /// Its tokens.
        usage: Usage,
        /// Its cost in millionths of a US dollar, if the price is known.
        cost_micros: Option<u64>,
    },
    /// Without one.
    Failed(FailureCode),
}

#[expect(clippy::cast_precision_loss, reason = "metrics have no other numbers, and counts are far below 2^53")]
pub(super) fn number(count: u64) -> f64 {
    count as f64
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

impl Meter {
    /// What was measured since this was last asked.
    #[must_use]
    pub fn take(&self) -> Measured {
        std::mem::take(&mut *self.measured.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The function's sandbox is new.
    pub fn cold_start(&self) {
        self.measure(|m| {
            m.point(&Dimension::Function, "ColdStarts", Unit::Count, 1.0);
            m.count(Counter::new("cold_starts_total"), 1.0);
        });
    }

    /// A sandbox uses so much of its memory.
    pub fn memory(&self, percent: f64) {
        self.measure(|m| m.point(&Dimension::Function, "MemoryUsedPercent", Unit::Percent, percent));
    }

    /// A request was answered.
    pub fn request(&self, status: u16, took: Duration) {
        self.measure(|m| {
            let (text, is_error) = (status.to_string(), status >= 500);
            for (name, counts) in [("Requests", true), ("RequestErrors", is_error), ("RequestsThrottled", status == 429)] {
                // A zero is a value too: an alarm on a share of nothing has no data otherwise.
                m.point(&Dimension::Function, name, Unit::Count, f64::from(u8::from(counts)));
            }
            m.point(&Dimension::Function, "RequestMs", Unit::Milliseconds, millis(took));
            m.count(Counter::new("requests_total").with("status", &text), 1.0);
            m.observe(&Counter::new("request_duration_seconds"), took.as_secs_f64());
            if is_error {
                m.count(Counter::new("errors_total").with("error_type", &format!("http_{status}")), 1.0);
            }
        });
    }

    /// A model was asked.
    pub fn model_call(&self, call: &ModelCall<'_>) {
        let dimension = Dimension::Provider(call.provider.to_owned());
        let of_provider = |name: &str| Counter::new(name).with("provider", call.provider);
        let of_model = format!("{}::{}", call.provider, call.model.unwrap_or("other"));
        self.measure(|m| {
            let failed = match call.end {
                ModelEnd::Answered { .. } => None,
                ModelEnd::Failed(code) => Some(code),
            };
            let is_limited = failed == Some(FailureCode::ProviderRateLimited);
            // What is wrong with a request is no failure of its provider, as for its breaker.
            let is_an_error = failed.is_some_and(breaker::counts);
            for (name, counts) in [("ModelCalls", true), ("ModelErrors", is_an_error), ("ModelRateLimited", is_limited)] {
                m.point(&dimension, name, Unit::Count, f64::from(u8::from(counts)));
            }
            m.point(&dimension, "ModelMs", Unit::Milliseconds, millis(call.took));
            m.count(Counter::new("llm_api_calls_total").with("model", &of_model), 1.0);
            m.observe(&of_provider("llm_api_call_duration_seconds"), call.took.as_secs_f64());
            match call.end {
                ModelEnd::Answered { usage, cost_micros } => {
                    for (name, direction, tokens) in
                        [("InputTokens", "input", usage.input_tokens), ("OutputTokens", "output", usage.output_tokens)]
                    {
                        m.point(&dimension, name, Unit::Count, number(tokens));
                        m.count(of_provider("llm_tokens_total").with("direction", direction), number(tokens));
                    }
                    if let Some(micros) = cost_micros {
                        m.point(&dimension, "CostUsd", Unit::None, number(micros) / 1e6);
                        m.count(of_provider("llm_cost_dollars_total"), number(micros) / 1e6);
                    }
                }
                ModelEnd::Failed(code) => {
                    m.count(of_provider("llm_api_errors_total").with("code", code.as_str()), 1.0);
                }
            }
        });
    }

    /// A run has used so much of what its agent lets it use, in tokens or money.
    pub fn budget(&self, percent: f64) {
        self.measure(|m| m.point(&Dimension::Stack, "RunCapUsedPercent", Unit::Percent, percent));
    }

    /// A call of the table failed for good.
    pub fn store_error(&self) {
        self.measure(|m| {
            m.point(&Dimension::Stack, "StoreErrors", Unit::Count, 1.0);
            m.count(Counter::new("db_connection_errors_total"), 1.0);
        });
    }

    /// Does what is to be done in one piece.
    pub(super) fn measure(&self, record: impl FnOnce(&mut Measured)) {
        record(&mut self.measured.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
