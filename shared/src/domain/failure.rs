//! What can go wrong with a run, as records and answers tell it.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::clock::rfc3339_millis;

/// One thing that went wrong, told without internals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable code, see [`FailureCode`].
    pub code: Cow<'static, str>,
    /// What happened and what to do, in a sentence.
    pub message: String,
    /// When.
    #[serde(with = "rfc3339_millis")]
    pub at: Timestamp,
    /// In which attempt.
    pub attempt: u32,
    /// Which model it was that failed, as `provider::model`, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}

/// Everything that can go wrong with a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureCode {
    /// The model did not answer in time.
    ProviderTimeout,
    /// The provider said 429.
    ProviderRateLimited,
    /// The provider could not be reached, or said 5xx.
    ProviderUnavailable,
    /// The provider refused the key.
    ProviderAuth,
    /// The provider refused the request itself: trying again would give the same.
    ProviderRejected,
    /// No model was asked: each is switched off by an operator, or its breaker is open.
    NoProvider,
    /// The provider's answer could not be used: empty, cut off or garbled.
    InvalidAnswer,
    /// The model's answer ended at its limit of tokens.
    AnswerCutOff,
    /// The model or its provider refused to answer.
    AnswerRefused,
    /// The answer does not satisfy what it must look like, mended as often as it may be.
    InvalidOutput,
    /// A result is larger than the journal takes.
    ResultTooLarge,
    /// The agent's limit of steps was reached.
    StepLimit,
    /// The agent's limit of tokens was reached.
    TokenLimit,
    /// The agent's limit of working time was reached.
    TimeLimit,
    /// The agent's limit of cost was reached, or cannot be watched because a price is not known.
    CostLimit,
    /// The model asked for the same tool call too often in a row.
    RepeatedToolCall,
    /// A server that brings tools could not be asked for them.
    ToolsUnavailable,
    /// The agent is not defined in this version.
    UnknownAgent,
    /// A tool call that must not be repeated may have happened.
    UncertainToolCall,
    /// The worker that had the run vanished: killed, or cut off.
    WorkerLost,
    /// The worker had no time for even one call.
    NoTime,
    /// The store did not answer while the run was worked on.
    JournalUnavailable,
    /// The worker's own code failed.
    WorkerPanicked,
    /// Somebody asked for the end.
    CancelRequested,
}

impl FailureCode {
    /// Every code.
    pub const ALL: [Self; 24] = [
        Self::ProviderTimeout,
        Self::ProviderRateLimited,
        Self::ProviderUnavailable,
        Self::ProviderAuth,
        Self::ProviderRejected,
        Self::NoProvider,
        Self::InvalidAnswer,
        Self::AnswerCutOff,
        Self::AnswerRefused,
        Self::InvalidOutput,
        Self::ResultTooLarge,
        Self::StepLimit,
        Self::TokenLimit,
        Self::TimeLimit,
        Self::CostLimit,
        Self::RepeatedToolCall,
        Self::ToolsUnavailable,
        Self::UnknownAgent,
        Self::UncertainToolCall,
        Self::WorkerLost,
        Self::NoTime,
        Self::JournalUnavailable,
        Self::WorkerPanicked,
        Self::CancelRequested,
    ];

    /// The code of a word, if it is one of this version's.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == word)
    }

    /// The word in records and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProviderTimeout => "provider_timeout",
            Self::ProviderRateLimited => "provider_rate_limited",
            Self::ProviderUnavailable => "provider_unavailable",
            Self::ProviderAuth => "provider_auth",
            Self::ProviderRejected => "provider_rejected",
            Self::NoProvider => "no_provider",
            Self::InvalidAnswer => "invalid_answer",
            Self::AnswerCutOff => "answer_cut_off",
            Self::AnswerRefused => "answer_refused",
            Self::InvalidOutput => "invalid_output",
            Self::ResultTooLarge => "result_too_large",
            Self::StepLimit => "step_limit",
            Self::TokenLimit => "token_limit",
            Self::TimeLimit => "time_limit",
            Self::CostLimit => "cost_limit",
            Self::RepeatedToolCall => "repeated_tool_call",
            Self::ToolsUnavailable => "tools_unavailable",
            Self::UnknownAgent => "unknown_agent",
            Self::UncertainToolCall => "uncertain_tool_call",
            Self::WorkerLost => super::run::WORKER_LOST,
            Self::NoTime => "no_time",
            Self::JournalUnavailable => "journal_unavailable",
            Self::WorkerPanicked => "worker_panicked",
            Self::CancelRequested => "cancel_requested",
        }
    }
}

impl Failure {
    /// A failure of `code`.
    #[must_use]
    pub fn new(code: FailureCode, message: impl Into<String>, at: Timestamp, attempt: u32) -> Self {
        Self { code: Cow::Borrowed(code.as_str()), message: message.into(), at, attempt, provider: None }
    }

    /// The same, of that model.
    #[must_use]
    pub fn of_provider(self, provider: Option<String>) -> Self {
        Self { provider, ..self }
    }
}
