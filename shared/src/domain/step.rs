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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StepBody {
    /// A model call.
    Model(ModelStep),
    /// A tool call.
    Tool(ToolStep),
}

/// A model's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelStep {
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
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
    }
}

impl Step {
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
            Self::Tool(_) => Usage { input_tokens: 0, output_tokens: 0 },
        }
    }
}
