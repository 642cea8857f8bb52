//! A run as a chat completion.

use serde::Serialize;
use serde_json::{Map, Value};
use shared::domain::event::AgentInput;
use shared::domain::id::{ConversationId, RunId};
use shared::domain::message::Message;
use shared::domain::run::Run;
use shared::domain::step::{FinishReason, ModelStep, Step, Usage};

use super::messages::CallBody;
use crate::requests::json_size;
use crate::views::{LARGEST_PAGE, fitting};

/// What a chat completion's id begins with; the rest is that of its run.
const PREFIX: &str = "chatcmpl-";

/// The id of the completion that a run is.
pub(super) fn completion_id(run: RunId) -> String {
    let run = run.to_string();
    format!("{PREFIX}{}", run.strip_prefix("run_").unwrap_or(&run))
}

/// The run that the completion with that id is.
pub(super) fn run_of(id: &str) -> Option<RunId> {
    format!("{}{}", RunId::PREFIX, id.strip_prefix(PREFIX)?).parse().ok()
}

/// A chat completion. What OpenAI's does not have is ours, and its clients let it pass.
#[derive(Debug, Serialize)]
pub(super) struct Completion {
    id: String,
    object: &'static str,
    created: i64,
    model: String,
    choices: [Choice; 1],
    usage: UsageView,
    run_id: RunId,
    conversation_id: ConversationId,
    messages: Vec<Message>,
    steps: Vec<Step>,
    metadata: Map<String, Value>,
}

#[derive(Debug, Serialize)]
struct Choice {
    index: u32,
    message: Answer,
    finish_reason: FinishReason,
    // None is computed; the field belongs to the shape.
    logprobs: Option<Value>,
}

#[derive(Debug, Serialize)]
struct Answer {
    role: &'static str,
    content: Option<String>,
    refusal: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CallBody>,
    /// As on the completion itself: some clients keep messages and nothing else.
    metadata: Map<String, Value>,
}

/// Tokens in OpenAI's words.
#[derive(Debug, Serialize)]
pub(super) struct UsageView {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptTokens,
    completion_tokens_details: CompletionTokens,
}

#[derive(Debug, Serialize)]
struct PromptTokens {
    cached_tokens: u64,
    cache_write_tokens: u64,
}

#[derive(Debug, Serialize)]
struct CompletionTokens {
    reasoning_tokens: u64,
}

impl From<Usage> for UsageView {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.input_tokens,
            completion_tokens: usage.output_tokens,
            total_tokens: usage.input_tokens.saturating_add(usage.output_tokens),
            prompt_tokens_details: PromptTokens { cached_tokens: usage.cached_input_tokens, cache_write_tokens: usage.cache_write_tokens },
            completion_tokens_details: CompletionTokens { reasoning_tokens: usage.reasoning_tokens },
        }
    }
}

impl Completion {
    /// A run that has an answer. What it was asked and its steps are shown as far as they fit beside it.
    pub(super) fn of(
        run: &Run,
        model: &str,
        input: &AgentInput,
        metadata: Map<String, Value>,
        answer: &ModelStep,
        steps: Vec<Step>,
    ) -> Self {
        let size = json_size(&answer.message);
        let mut messages = input.as_messages();
        messages.push(answer.message.clone());
        if size + json_size(&messages) > LARGEST_PAGE {
            messages.clear();
        }
        let steps = fitting(steps, LARGEST_PAGE.saturating_sub(size + json_size(&messages)));
        let Message { content, tool_calls, .. } = &answer.message;
        let message = Answer {
            role: "assistant",
            content: content.clone().filter(|text| !text.is_empty() || tool_calls.is_empty()),
            refusal: None,
            tool_calls: tool_calls.iter().map(CallBody::of).collect(),
            metadata: metadata.clone(),
        };
        Self {
            id: completion_id(run.id),
            object: "chat.completion",
            created: run.created_at.as_second(),
            model: model.to_owned(),
            choices: [Choice { index: 0, message, finish_reason: answer.finish_reason, logprobs: None }],
            usage: run.usage.into(),
            run_id: run.id,
            conversation_id: run.conversation,
            messages,
            steps,
            metadata,
        }
    }
}
