//! What spans are called and what they say: OpenTelemetry's semantic conventions, version 1.42.0, those for generative AI and for agents
//! among them, which are still in development. Nothing else in Reprise writes one of these names, so that a new version is a change here.

use serde_json::{Value, json};
use tracing::Span;

use super::trace::{Said, fail, is_content_shown, say};
use crate::domain::message::{Message, Role, ToolCall};
use crate::domain::run::Run;
use crate::domain::step::{FinishReason, Usage};
use crate::engine::ports::{ModelReply, ModelRequest};

/// The version that the names are of.
pub(crate) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.42.0";

macro_rules! names {
    ($($name:ident = $text:literal),* $(,)?) => {
        $(pub(crate) const $name: &str = $text;)*
        #[cfg(test)]
        #[expect(deprecated, reason = "those of generative AI have moved to a repository of their own, which has no release yet")]
        const OURS_AND_PUBLISHED: &[(&str, &str)] = &[$(($text, opentelemetry_semantic_conventions::attribute::$name)),*];
    };
}

names! {
    SERVICE_NAME = "service.name",
    SERVICE_VERSION = "service.version",
    FAAS_NAME = "faas.name",
    FAAS_VERSION = "faas.version",
    FAAS_INSTANCE = "faas.instance",
    CLOUD_REGION = "cloud.region",
    CLOUD_PLATFORM = "cloud.platform",
    CLOUD_PROVIDER = "cloud.provider",
    HTTP_REQUEST_METHOD = "http.request.method",
    HTTP_ROUTE = "http.route",
    HTTP_RESPONSE_STATUS_CODE = "http.response.status_code",
    MESSAGING_SYSTEM = "messaging.system",
    MESSAGING_OPERATION_NAME = "messaging.operation.name",
    MESSAGING_OPERATION_TYPE = "messaging.operation.type",
    MESSAGING_DESTINATION_NAME = "messaging.destination.name",
    MESSAGING_MESSAGE_ID = "messaging.message.id",
    ERROR_TYPE = "error.type",
    GEN_AI_OPERATION_NAME = "gen_ai.operation.name",
    GEN_AI_PROVIDER_NAME = "gen_ai.provider.name",
    GEN_AI_AGENT_NAME = "gen_ai.agent.name",
    GEN_AI_AGENT_VERSION = "gen_ai.agent.version",
    GEN_AI_CONVERSATION_ID = "gen_ai.conversation.id",
    GEN_AI_REQUEST_MODEL = "gen_ai.request.model",
    GEN_AI_RESPONSE_MODEL = "gen_ai.response.model",
    GEN_AI_RESPONSE_FINISH_REASONS = "gen_ai.response.finish_reasons",
    GEN_AI_USAGE_INPUT_TOKENS = "gen_ai.usage.input_tokens",
    GEN_AI_USAGE_OUTPUT_TOKENS = "gen_ai.usage.output_tokens",
    GEN_AI_INPUT_MESSAGES = "gen_ai.input.messages",
    GEN_AI_OUTPUT_MESSAGES = "gen_ai.output.messages",
    GEN_AI_TOOL_NAME = "gen_ai.tool.name",
    GEN_AI_TOOL_TYPE = "gen_ai.tool.type",
    GEN_AI_TOOL_CALL_ID = "gen_ai.tool.call.id",
    GEN_AI_TOOL_CALL_ARGUMENTS = "gen_ai.tool.call.arguments",
    GEN_AI_TOOL_CALL_RESULT = "gen_ai.tool.call.result",
}

/// X-Ray's id of the invocation; the conventions have no name for it.
const XRAY: &str = "aws.xray.trace_id";
/// How an attempt ended; ours.
const OUTCOME: &str = "reprise.run.outcome";
/// Most bytes of one text; collectors refuse requests of a few megabytes.
const LONGEST_TEXT: usize = 32_768;

/// What a request is about.
pub(crate) fn request(span: &Span, method: &str, route: &str) {
    say(span, HTTP_REQUEST_METHOD, method);
    say(span, HTTP_ROUTE, route);
    xray(span);
}

/// How it was answered. That it was refused is no fault of this service.
pub(crate) fn answered(span: &Span, status: u16) {
    say(span, HTTP_RESPONSE_STATUS_CODE, u32::from(status));
    if status >= 500 {
        failed(span, &status.to_string());
    }
}

/// A message, on its way or at work: `send` or `process`.
pub(crate) fn message(span: &Span, operation: &'static str, id: Option<&str>) {
    say(span, MESSAGING_SYSTEM, "aws_sqs");
    say(span, MESSAGING_DESTINATION_NAME, "tasks");
    say(span, MESSAGING_OPERATION_NAME, operation);
    say(span, MESSAGING_OPERATION_TYPE, operation);
    if let Some(id) = id {
        say(span, MESSAGING_MESSAGE_ID, id);
    }
    xray(span);
}

/// An attempt to advance a run.
pub(crate) fn invoke_agent(span: &Span, run: &Run) {
    say(span, GEN_AI_OPERATION_NAME, "invoke_agent");
    say(span, GEN_AI_AGENT_NAME, run.agent.as_str());
    say(span, GEN_AI_CONVERSATION_ID, run.conversation.to_string());
    if let Some(version) = run.agent_version() {
        say(span, GEN_AI_AGENT_VERSION, version.to_string());
    }
}

/// How an attempt ended, in a word.
pub(crate) fn ended(span: &Span, outcome: &str) {
    say(span, OUTCOME, outcome);
}

/// A call of a model.
pub(crate) fn chat(provider: &str, model: &str, request: &ModelRequest<'_>) -> Span {
    let span = tracing::error_span!(
        target: super::span::TRACED, "chat", otel.name = format_args!("chat {model}"), otel.kind = "client", provider, model
    );
    say(&span, GEN_AI_OPERATION_NAME, "chat");
    say(&span, GEN_AI_PROVIDER_NAME, provider_name(provider));
    say(&span, GEN_AI_REQUEST_MODEL, model);
    if is_content_shown() {
        say(&span, GEN_AI_INPUT_MESSAGES, messages(request.messages));
    }
    span
}

/// What a model has answered.
pub(crate) fn replied(span: &Span, reply: &ModelReply) {
    let finish = match reply.finish_reason {
        FinishReason::Stop => "stop",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::Length => "length",
        FinishReason::ContentFilter => "content_filter",
    };
    let Usage { input_tokens, output_tokens, .. } = reply.usage;
    say(span, GEN_AI_RESPONSE_MODEL, reply.model.as_str());
    say(span, GEN_AI_RESPONSE_FINISH_REASONS, Said::Texts(vec![finish.to_owned()]));
    say(span, GEN_AI_USAGE_INPUT_TOKENS, input_tokens);
    say(span, GEN_AI_USAGE_OUTPUT_TOKENS, output_tokens);
    if is_content_shown() {
        say(span, GEN_AI_OUTPUT_MESSAGES, messages(std::slice::from_ref(&reply.message)));
    }
}

/// A call of a tool.
pub(crate) fn execute_tool(call: &ToolCall, step: u32) -> Span {
    let span = tracing::error_span!(
        target: super::span::TRACED, "tool", otel.name = format_args!("execute_tool {}", call.name), otel.kind = "internal",
        tool = call.name, step
    );
    say(&span, GEN_AI_OPERATION_NAME, "execute_tool");
    say(&span, GEN_AI_TOOL_NAME, call.name.as_str());
    say(&span, GEN_AI_TOOL_TYPE, "function");
    say(&span, GEN_AI_TOOL_CALL_ID, call.id.as_str());
    if is_content_shown() {
        say(&span, GEN_AI_TOOL_CALL_ARGUMENTS, cut(call.arguments.to_string()));
    }
    span
}

/// What a tool has said, or nothing in its time.
pub(crate) fn tool_said(span: &Span, output: Option<&str>, is_error: bool) {
    match output {
        None => failed(span, "timeout"),
        Some(_) if is_error => failed(span, "tool_error"),
        Some(_) => {}
    }
    if let Some(output) = output.filter(|_| is_content_shown()) {
        say(span, GEN_AI_TOOL_CALL_RESULT, cut(output.to_owned()));
    }
}

/// Marks a span as failed, with a word for why.
pub(crate) fn failed(span: &Span, code: &str) {
    say(span, ERROR_TYPE, code);
    fail(span, code);
}

fn xray(span: &Span) {
    if let Some(id) = super::lines::said_around("xray_trace_id") {
        say(span, XRAY, id);
    }
}

/// A provider as the conventions call it; one of the operator's own is called as they call it.
fn provider_name(provider: &str) -> &str {
    match provider {
        "bedrock" | "bedrock_sigv4" | "bedrock_api" => "aws.bedrock",
        "gemini" => "gcp.gemini",
        "mistral" => "mistral_ai",
        "xai" => "x_ai",
        other => other,
    }
}

/// Messages as the conventions' JSON schema has them.
fn messages(messages: &[Message]) -> String {
    let message = |message: &Message| {
        let role = match message.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        };
        let text = message.content.as_ref().map(|text| match &message.tool_call_id {
            Some(id) => json!({"type": "tool_call_response", "id": id, "response": text}),
            None => json!({"type": "text", "content": text}),
        });
        let call = |call: &ToolCall| json!({"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments});
        let parts: Vec<Value> = text.into_iter().chain(message.tool_calls.iter().map(call)).collect();
        json!({"role": role, "parts": parts})
    };
    // The latest say most.
    let mut left = LONGEST_TEXT;
    let mut shown: Vec<String> = Vec::new();
    for message in messages.iter().rev().map(message) {
        let text = message.to_string();
        if text.len() > left {
            break;
        }
        left -= text.len();
        shown.push(text);
    }
    shown.reverse();
    format!("[{}]", shown.join(","))
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST_TEXT));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_one_of_the_published_conventions() {
        assert_eq!(SCHEMA_URL, opentelemetry_semantic_conventions::SCHEMA_URL);
        for (ours, published) in OURS_AND_PUBLISHED {
            assert_eq!(ours, published);
        }
    }

    #[test]
    fn messages_that_are_too_long_lose_the_oldest() {
        let long = Message::user("x".repeat(LONGEST_TEXT - 150));
        let shown: Vec<Value> = serde_json::from_str(&messages(&[Message::user("old"), long, Message::assistant("new")])).unwrap();
        assert_eq!(shown.len(), 2);
        assert_eq!(shown[1], json!({"role": "assistant", "parts": [{"type": "text", "content": "new"}]}));
    }
}
