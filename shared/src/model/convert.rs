//! Messages to the provider crate's shape and back.

use std::collections::{BTreeSet, HashMap};

use genai::chat::{
    ChatMessage, ChatRequest, ContentPart, MessageContent, StopReason, StreamEnd, Tool, ToolCall as ProviderCall, ToolResponse,
};
use serde_json::{Map, Value};

use super::aside::Found;
use super::options::{Abilities, Names, Said};
use crate::domain::failure::FailureCode;
use crate::domain::message::{Message, Role, ToolCall, is_too_deep};
use crate::domain::step::{FinishReason, Usage};
use crate::engine::CallError;
use crate::engine::ports::{ModelReply, ModelRequest};

pub(super) fn request(request: &ModelRequest<'_>, said: &Said, can: Abilities) -> ChatRequest {
    let mut messages: Vec<ChatMessage> = Vec::with_capacity(request.messages.len() + 1);
    if let Some(instruction) = &said.instruction {
        messages.push(ChatMessage::system(instruction.as_str()));
    }
    let mut after_result = false;
    for message in request.messages {
        let is_result = message.role == Role::Tool;
        match messages.last_mut().filter(|_| is_result && after_result && can.joins_results) {
            Some(last) => last.content.push(ContentPart::ToolResponse(result(message, &said.names))),
            None => messages.push(said_message(message, &said.names)),
        }
        after_result = is_result;
    }
    let chat = ChatRequest::new(messages);
    if !said.tools {
        return chat;
    }
    let tools = request.tools.iter().map(|spec| {
        Tool::new(said.names.there(&spec.name)).with_description(spec.description.as_str()).with_schema(spec.parameters.clone())
    });
    chat.with_tools(tools.collect::<Vec<_>>())
}

fn said_message(message: &Message, names: &Names) -> ChatMessage {
    let text = message.content.clone().unwrap_or_default();
    match message.role {
        Role::System => ChatMessage::system(text),
        Role::User => ChatMessage::user(text),
        Role::Assistant => {
            let said = message.content.iter().map(|text| ContentPart::Text(text.clone()));
            let calls = message.tool_calls.iter().map(|call| {
                ContentPart::ToolCall(ProviderCall {
                    call_id: call.id.clone(),
                    fn_name: names.there(&call.name).to_owned(),
                    fn_arguments: call.arguments.clone(),
                    thought_signatures: None,
                })
            });
            ChatMessage::assistant(MessageContent::from_parts(said.chain(calls).collect::<Vec<_>>()))
        }
        Role::Tool => ChatMessage::from(result(message, names)),
    }
}

fn result(message: &Message, names: &Names) -> ToolResponse {
    let response = ToolResponse::new(message.tool_call_id.clone().unwrap_or_default(), message.content.clone().unwrap_or_default());
    match &message.name {
        Some(name) => response.with_fn_name(names.there(name)),
        None => response,
    }
}

/// The whole answer, from the end of its stream. `arguments` are those of each call as they came, by its id.
pub(super) fn reply(
    end: StreamEnd,
    found: Found,
    arguments: &HashMap<String, String>,
    names: &Names,
    can: Abilities,
) -> Result<ModelReply, CallError> {
    let usage = end.captured_usage.map(|usage| counted(&usage, &found, can)).unwrap_or_default();
    let Some(stop) = end.captured_stop_reason else {
        return Err(CallError::retryable(
            FailureCode::ProviderUnavailable,
            "the model's answer broke off before it said why it ends",
            None,
        ));
    };
    let content = end.captured_content.unwrap_or_default();
    let mut text = content.joined_texts();
    let mut tool_calls: Vec<ToolCall> = content
        .into_tool_calls()
        .into_iter()
        .map(|call| ToolCall { id: call.call_id, name: names.here(call.fn_name), arguments: call.fn_arguments })
        .collect();
    for call in &mut tool_calls {
        mend(call, arguments.get(&call.id));
    }
    let mut finish_reason = finish(&stop, !tool_calls.is_empty())?;
    if !found.refusal.is_empty() {
        text = text.filter(|text| !text.is_empty()).or(Some(found.refusal));
        finish_reason = FinishReason::ContentFilter;
    } else if found.is_filtered {
        finish_reason = FinishReason::ContentFilter;
    }
    let mut ids = BTreeSet::new();
    if tool_calls.iter().any(|call| call.id.is_empty() || call.name.is_empty() || !ids.insert(call.id.as_str())) {
        return Err(CallError::garbled("the model sent a tool call without a name or an id of its own"));
    }
    if tool_calls.iter().any(|call| is_too_deep(&call.arguments)) {
        return Err(CallError::garbled("the model sent tool arguments that nest too deep"));
    }
    let message = Message { content: text, tool_calls, ..Message::assistant("") };
    // The caller knows who was asked.
    Ok(ModelReply { provider: String::new(), model: found.model.unwrap_or_default(), message, finish_reason, usage })
}

/// Nothing at all means no arguments. What is no JSON stays as it came, for the tool to refuse: the crate makes an empty object of
/// it for Bedrock, which would be a call that the model did not ask for.
fn mend(call: &mut ToolCall, came: Option<&String>) {
    let came = came.map(String::as_str).unwrap_or_default();
    let is_blank = call.arguments.as_str().is_some_and(|text| text.trim().is_empty()) || call.arguments.is_null();
    if is_blank {
        call.arguments = Value::Object(Map::new());
    } else if call.arguments.as_object().is_some_and(Map::is_empty) && !came.trim().is_empty() {
        call.arguments = serde_json::from_str(came).unwrap_or_else(|_| Value::String(came.to_owned()));
    }
}

fn finish(stop: &StopReason, has_calls: bool) -> Result<FinishReason, CallError> {
    Ok(match (stop, stop.raw()) {
        (StopReason::MaxTokens(_), _) => FinishReason::Length,
        (StopReason::ContentFilter(_), _) | (_, "guardrail_intervened" | "content_filtered") => FinishReason::ContentFilter,
        (_, "error" | "insufficient_system_resource") => {
            return Err(CallError::retryable(FailureCode::ProviderUnavailable, "the provider failed in the middle of the answer", None));
        }
        (_, "malformed_model_output" | "malformed_tool_use" | "MALFORMED_FUNCTION_CALL") => {
            return Err(CallError::garbled("the provider could not read what its model said"));
        }
        // Some servers say `stop` over tool calls: what is there counts.
        (StopReason::Completed(_) | StopReason::StopSequence(_) | StopReason::ToolCall(_) | StopReason::Other(_), _) => {
            if has_calls {
                FinishReason::ToolCalls
            } else {
                FinishReason::Stop
            }
        }
    })
}

fn counted(usage: &genai::chat::Usage, found: &Found, can: Abilities) -> Usage {
    let count = |tokens: Option<i32>| tokens.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    let (read, written) = (usage.prompt_tokens_details.as_ref(), usage.completion_tokens_details.as_ref());
    let thoughts = count(written.and_then(|details| details.reasoning_tokens));
    let mut counted = Usage {
        input_tokens: count(usage.prompt_tokens),
        output_tokens: count(usage.completion_tokens),
        cached_input_tokens: count(read.and_then(|details| details.cached_tokens)),
        cache_write_tokens: count(read.and_then(|details| details.cache_creation_tokens)),
        reasoning_tokens: if thoughts > 0 { thoughts } else { found.thoughts.unwrap_or(0) },
    };
    if can.counts_cache_apart {
        counted.input_tokens += counted.cached_input_tokens + counted.cache_write_tokens;
    }
    counted
}
