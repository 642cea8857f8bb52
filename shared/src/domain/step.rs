//! One journaled model call or tool call. A step holds only what it adds: the transcript is rebuilt from all of them.

use std::ops::AddAssign;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::clock::rfc3339_millis;
use super::failure::Failure;
use super::message::{Message, ToolCall};

/// Bytes of the largest step, as JSON. A step that is larger than an item of DynamoDB (400 KB) is stored in several, in one
/// transaction, which takes 4 MB.
pub const LARGEST_STEP: usize = 3_000_000;

/// One step of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its place in the journal, from 1.
    pub index: u32,
    /// When the call began.
    #[serde(with = "rfc3339_millis")]
    pub started_at: Timestamp,
    /// When its result was there.
    #[serde(with = "rfc3339_millis")]
    pub ended_at: Timestamp,
    /// What was called and what came back.
    #[serde(flatten)]
    pub body: StepBody,
}

/// What was called and what came back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StepBody {
    /// A model call.
    Model(ModelStep),
    /// A tool call.
    Tool(ToolStep),
    /// A person's leave for a tool call.
    Approval(ApprovalStep),
}

/// A model's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelStep {
    /// What it was asked for.
    #[serde(default, skip_serializing_if = "Purpose::is_act")]
    pub purpose: Purpose,
    /// Who answered, e.g. `openai`.
    pub provider: String,
    /// With which model, as the provider names it.
    pub model: String,
    /// The assistant message: a text, tool calls, or both.
    pub message: Message,
    /// Why the model stopped.
    pub finish_reason: FinishReason,
    /// What it cost.
    pub usage: Usage,
    /// Calls that failed before this one succeeded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
    /// Why the answer does not satisfy what it must look like, as the model is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// How good the answer is: this one, or for [`Purpose::Evaluate`] the one that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// The name of the try whose text was streamed; absent if nobody listened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_try: Option<String>,
}

impl ModelStep {
    /// An answer to [`Purpose::Act`] that came at the first try.
    #[must_use]
    pub const fn new(provider: String, model: String, message: Message, finish_reason: FinishReason, usage: Usage) -> Self {
        Self {
            purpose: Purpose::Act,
            provider,
            model,
            message,
            finish_reason,
            usage,
            failures: Vec::new(),
            problem: None,
            verdict: None,
            stream_try: None,
        }
    }
}

/// What a model is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To do what the run is for.
    #[default]
    Act,
    /// To say how good an answer is.
    Evaluate,
    /// To say how to make it better.
    Reflect,
}

impl Purpose {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    const fn is_act(&self) -> bool {
        matches!(self, Self::Act)
    }
}

/// How good an answer is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// From 0 to 1.
    pub score: f64,
    /// Whether it is good enough.
    pub success: bool,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issues: Vec<String>,
    /// What would make it better.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub improvements: Vec<String>,
}

/// A person's leave for a tool call. A call that was not allowed has a [`ToolStep`] that says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalStep {
    /// The id of the call.
    pub call_id: String,
    /// The tool.
    pub tool: String,
    /// Who allowed it.
    pub by: String,
}

/// A tool's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolStep {
    /// The call as the model asked for it.
    pub call: ToolCall,
    /// What the model is told.
    pub output: String,
    /// Whether the output tells of an error: the model sees it as data and goes on.
    pub is_error: bool,
    /// The whole result, where the output is only its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<String>,
    /// What it is instead of a call's result, in a replay that makes no such call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stand_in: Option<StandIn>,
}

/// What stands in for the result of a call that was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StandIn {
    /// What the same call gave in the run that is replayed.
    Recorded,
    /// An error that says that it was not made.
    Withheld,
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It had said all.
    Stop,
    /// It wants tools called.
    ToolCalls,
    /// It ran into its limit of tokens.
    Length,
    /// The provider filtered the answer.
    ContentFilter,
}

/// Tokens, as the provider counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read, cached ones included.
    pub input_tokens: u64,
    /// Tokens written, thoughts included.
    pub output_tokens: u64,
    /// Those of the tokens read that came out of the provider's cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cached_input_tokens: u64,
    /// Those of the tokens read that were put into the provider's cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_tokens: u64,
    /// Those of the tokens written that were thoughts.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reasoning_tokens: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Usage {
    /// None.
    pub const NONE: Self = Self { input_tokens: 0, output_tokens: 0, cached_input_tokens: 0, cache_write_tokens: 0, reasoning_tokens: 0 };

    /// What came on top of `earlier`.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_sub(earlier.input_tokens),
            output_tokens: self.output_tokens.saturating_sub(earlier.output_tokens),
            cached_input_tokens: self.cached_input_tokens.saturating_sub(earlier.cached_input_tokens),
            cache_write_tokens: self.cache_write_tokens.saturating_sub(earlier.cache_write_tokens),
            reasoning_tokens: self.reasoning_tokens.saturating_sub(earlier.reasoning_tokens),
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cached_input_tokens = self.cached_input_tokens.saturating_add(other.cached_input_tokens);
        self.cache_write_tokens = self.cache_write_tokens.saturating_add(other.cache_write_tokens);
        self.reasoning_tokens = self.reasoning_tokens.saturating_add(other.reasoning_tokens);
    }
}

impl Step {
    /// As lists and streams show it: of a long result the beginning, which says how much is missing.
    #[must_use]
    pub fn in_brief(mut self) -> Self {
        if let StepBody::Tool(tool) = &mut self.body {
            tool.full = None;
        }
        self
    }

    /// Its size in the journal, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        serde_json::to_vec(self).map_or(usize::MAX, |json| json.len())
    }
}

impl StepBody {
    /// The tokens that the step cost.
    #[must_use]
    pub const fn usage(&self) -> Usage {
        match self {
            Self::Model(model) => model.usage,
            Self::Tool(_) | Self::Approval(_) => Usage::NONE,
        }
    }
}
