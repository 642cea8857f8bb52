//! Messages to the provider crate's shape and back.

use genai::chat::{
    ChatMessage, ChatRequest, ChatResponse, ContentPart, MessageContent, StopReason, Tool, ToolCall as ProviderCall, ToolResponse,
};

use crate::domain::message::{Message, Role, ToolCall, is_too_deep};
use crate::domain::step::{FinishReason, Usage};
use crate::engine::CallError;
use crate::engine::ports::{ModelReply, ModelRequest};

pub(super) fn request(request: &ModelRequest<'_>) -> ChatRequest {
    let tools = request
        .tools
        .iter()
        .map(|spec| Tool::new(spec.name.clone()).with_description(spec.description.clone()).with_schema(spec.parameters.clone()));
    let mut chat = ChatRequest::new(request.messages.iter().map(message).collect());
    if !request.tools.is_empty() {
        chat = chat.with_tools(tools.collect::<Vec<_>>());
    }
    chat
}

fn message(message: &Message) -> ChatMessage {
    let text = message.content.clone().unwrap_or_default();
    match message.role {
        Role::System => ChatMessage::system(text),
        Role::User => ChatMessage::user(text),
        Role::Assistant => {
            let said = message.content.iter().map(|text| ContentPart::Text(text.clone()));
            let calls = message.tool_calls.iter().map(|call| {
                ContentPart::ToolCall(ProviderCall {
                    call_id: call.id.clone(),
                    fn_name: call.name.clone(),
                    fn_arguments: call.arguments.clone(),
                    thought_signatures: None,
                })
            });
            ChatMessage::assistant(MessageContent::from_parts(said.chain(calls).collect::<Vec<_>>()))
        }
        Role::Tool => {
            let mut response = ToolResponse::new(message.tool_call_id.clone().unwrap_or_default(), text);
            if let Some(name) = &message.name {
                response = response.with_fn_name(name);
            }
            ChatMessage::from(response)
        }
    }
}

pub(super) fn reply(response: ChatResponse, provider: &str) -> Result<ModelReply, CallError> {
    let count = |tokens: Option<i32>| tokens.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    let usage = Usage {
        input_tokens: count(response.usage.prompt_tokens),
        output_tokens: count(response.usage.completion_tokens),
        ..Usage::default()
    };
    let model = response.provider_model_iden.model_name.to_string();
    let stop = response.stop_reason.clone();
    let content = response.content.joined_texts();
    let tool_calls: Vec<ToolCall> = response
        .content
        .into_tool_calls()
        .into_iter()
        .map(|call| ToolCall { id: call.call_id, name: call.fn_name, arguments: call.fn_arguments })
        .collect();
    let finish_reason = match stop {
        Some(StopReason::MaxTokens(_)) => FinishReason::Length,
        Some(StopReason::ContentFilter(_)) => FinishReason::ContentFilter,
        // Some servers say `stop` over tool calls, or nothing at all: what is there counts.
        Some(StopReason::Completed(_) | StopReason::StopSequence(_) | StopReason::ToolCall(_) | StopReason::Other(_)) | None => {
            if tool_calls.is_empty() {
                FinishReason::Stop
            } else {
                FinishReason::ToolCalls
            }
        }
    };
    if tool_calls.iter().any(|call| call.id.is_empty() || call.name.is_empty()) {
        return Err(CallError::garbled("the model sent a tool call without an id or a name"));
    }
    if tool_calls.iter().any(|call| is_too_deep(&call.arguments)) {
        return Err(CallError::garbled("the model sent tool arguments that nest too deep"));
    }
    let message = Message { content, tool_calls, ..Message::assistant("") };
    Ok(ModelReply { provider: provider.to_owned(), model, message, finish_reason, usage })
}
