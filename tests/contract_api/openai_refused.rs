//! Bad bodies of `POST /v1/chat/completions`: each names the parameter, nothing is recorded, and the document refuses the same.

use serde_json::{Value, json};

use crate::document::DOCUMENT;
use crate::openai::{ROUTES, body};
use crate::requests::post;
use crate::world::world;

fn fits_the_document(body: &Value) -> bool {
    DOCUMENT.validator(&DOCUMENT.0["components"]["schemas"]["ChatRequest"]).is_valid(body)
}

async fn refused(body: &Value, status: u16, param: &str) -> String {
    let world = world();
    let answer = world.call(post(ROUTES[0]).body(body.to_string())).await;
    assert_eq!((answer.status, answer.text("/error/param")), (status, param), "{body}: {}", answer.body);
    assert_eq!(answer.text("/error/type"), "invalid_request_error");
    assert!(answer.text("/error/message").len() <= 400, "{body}: what was sent is echoed");
    world.assert_untouched(&body.to_string());
    answer.text("/error/code").to_owned()
}

fn saying(message: Value) -> Value {
    json!({"model": "assistant", "messages": [{"role": "user", "content": "so"}, message]})
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_by_name() {
    let part = |kind: &str| saying(json!({"role": "user", "content": [{"type": kind}]}));
    for (param, body) in [
        ("n", body("x", &json!({"n": 2}))),
        ("logprobs", body("x", &json!({"logprobs": true}))),
        ("top_logprobs", body("x", &json!({"top_logprobs": 2}))),
        ("logit_bias", body("x", &json!({"logit_bias": {"1": 1}}))),
        ("frequency_penalty", body("x", &json!({"frequency_penalty": 0.1}))),
        ("presence_penalty", body("x", &json!({"presence_penalty": 0.1}))),
        ("modalities", body("x", &json!({"modalities": ["audio"]}))),
        ("audio", body("x", &json!({"audio": {"voice": "x", "format": "mp3"}}))),
        ("functions", body("x", &json!({"functions": []}))),
        ("function_call", body("x", &json!({"function_call": "none"}))),
        ("prediction", body("x", &json!({"prediction": {}}))),
        ("service_tier", body("x", &json!({"service_tier": "flex"}))),
        ("verbosity", body("x", &json!({"verbosity": "high"}))),
        ("web_search_options", body("x", &json!({"web_search_options": {}}))),
        ("moderation", body("x", &json!({"moderation": {}}))),
        ("prompt_cache_key", body("x", &json!({"prompt_cache_key": "x"}))),
        ("stream_options.include_obfuscation", body("x", &json!({"stream": true, "stream_options": {"include_obfuscation": true}}))),
        ("messages[1].content[0]", part("image_url")),
        ("messages[1].content[0]", part("input_audio")),
        ("messages[1].content[0]", part("file")),
        ("messages[1].audio", saying(json!({"role": "assistant", "audio": {"id": "a"}}))),
        ("tools[0].type", body("x", &json!({"tools": [{"type": "custom", "custom": {"name": "x"}}]}))),
        ("tool_choice", body("x", &json!({"tool_choice": {"type": "allowed_tools"}}))),
    ] {
        assert_eq!(refused(&body, 400, param).await, "unsupported_parameter", "{body}");
        // What parts and choices may be, only words say there.
        assert!(param.starts_with("messages[1].content") || param == "tool_choice" || !fits_the_document(&body), "{body}");
    }
    assert_eq!(refused(&body("x", &json!({"temprature": 1})), 400, "temprature").await, "unknown_parameter");
    assert_eq!(refused(&body("x", &json!({"chat_id": "c"})), 400, "chat_id").await, "unknown_parameter");
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_name_and_by_the_document() {
    let tool = |function: Value| body("x", &json!({"tools": [{"type": "function", "function": function}]}));
    let format = |format: Value| body("x", &json!({ "response_format": format }));
    let call = |call: Value| saying(json!({"role": "assistant", "tool_calls": [call]}));
    let table = [
        ("model", json!({"messages": [{"role": "user", "content": "x"}]})),
        ("model", body("x", &json!({"model": null}))),
        ("model", body("x", &json!({"model": 7}))),
        ("messages", json!({"model": "assistant"})),
        ("messages", body("x", &json!({"messages": "x"}))),
        ("messages", body("x", &json!({"messages": []}))),
        ("messages[1]", saying(json!("x"))),
        ("messages[1]", saying(json!(["user", "x"]))),
        ("messages[1].role", saying(json!({"role": "robot", "content": "x"}))),
        ("messages[1].role", saying(json!({"role": {"user": null}, "content": "x"}))),
        ("messages[1].weight", saying(json!({"role": "user", "content": "x", "weight": 1}))),
        ("messages[1].content", saying(json!({"role": "user", "content": 7}))),
        ("messages[1].tool_calls[0]", call(json!({"type": "function", "function": {"name": "f", "arguments": "{}"}}))),
        ("messages[1].tool_calls[0].function", call(json!({"id": "a", "type": "function", "function": {"name": "f"}}))),
        (
            "messages[1].tool_calls[0].function.arguments",
            call(json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": {}}})),
        ),
        ("stream", body("x", &json!({"stream": "yes"}))),
        ("temperature", body("x", &json!({"temperature": 2.1}))),
        ("temperature", body("x", &json!({"temperature": -0.1}))),
        ("temperature", body("x", &json!({"temperature": "hot"}))),
        ("top_p", body("x", &json!({"top_p": 1.1}))),
        ("max_tokens", body("x", &json!({"max_tokens": 0}))),
        ("max_tokens", body("x", &json!({"max_tokens": -1}))),
        ("max_completion_tokens", body("x", &json!({"max_completion_tokens": 0}))),
        ("stop", body("x", &json!({"stop": ["a", "b", "c", "d", "e"]}))),
        ("stop", body("x", &json!({"stop": [7]}))),
        ("seed", body("x", &json!({"seed": "x"}))),
        ("reasoning_effort", body("x", &json!({"reasoning_effort": "maximal"}))),
        ("metadata", body("x", &json!({"metadata": "x"}))),
        ("conversation_id", body("x", &json!({"conversation_id": "x"}))),
        ("multitask_strategy", body("x", &json!({"multitask_strategy": "queue"}))),
        ("user", body("x", &json!({"user": 7}))),
        ("tools", body("x", &json!({"tools": {}}))),
        ("tools[0].function", body("x", &json!({"tools": [{"type": "function"}]}))),
        ("tools[0].function", tool(json!({}))),
        ("tools[0].function.name", tool(json!({"name": "a b"}))),
        ("tools[0].function.name", tool(json!({"name": ""}))),
        ("tools[0].function.parameters", tool(json!({"name": "f", "parameters": []}))),
        ("tools[0].function.kind", tool(json!({"name": "f", "kind": "x"}))),
        ("response_format", format(json!("json"))),
        ("response_format.type", format(json!({"type": "xml"}))),
        ("response_format.json_schema", format(json!({"type": "json_schema", "json_schema": {"schema": {}}}))),
        ("response_format.json_schema.schema", format(json!({"type": "json_schema", "json_schema": {"name": "x", "schema": []}}))),
    ];
    for (param, body) in table {
        assert_eq!(refused(&body, 400, param).await, "invalid_request", "{body}");
        assert!(!fits_the_document(&body), "the document takes what the function refuses: {body}");
    }
}

#[tokio::test]
async fn what_a_schema_cannot_say_is_refused_all_the_same() {
    let system = json!({"model": "assistant", "messages": [{"role": "system", "content": "x"}]});
    let schema =
        |schema: Value| body("x", &json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}));
    let tools = json!({"tools": [{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "f"}}]});
    for (param, body) in [
        ("body", json!([])),
        ("messages", system),
        ("messages[0].content", body(" \n", &json!({}))),
        ("messages[1].tool_call_id", saying(json!({"role": "tool", "content": "x"}))),
        ("messages[1].tool_call_id", saying(json!({"role": "tool", "content": "x", "tool_call_id": "nobody's"}))),
        ("messages[1].content", saying(json!({"role": "assistant"}))),
        ("messages[1].tool_calls", saying(json!({"role": "user", "content": "x", "tool_calls": []}))),
        ("model", body("x", &json!({"model": "assistant/gpt"}))),
        ("model", body("x", &json!({"model": "assistant/ollama::x1"}))),
        ("model", body("x", &json!({"model": format!("assistant/script::{}", "x".repeat(301))}))),
        ("stream_options", body("x", &json!({"stream_options": {"include_usage": true}}))),
        ("max_tokens", body("x", &json!({"max_tokens": 5, "max_completion_tokens": 6}))),
        ("tool_choice", body("x", &json!({"tool_choice": "maybe"}))),
        ("tool_choice", body("x", &json!({"tool_choice": {"type": "function", "function": {"name": "nobody's"}}}))),
        ("tools[1].function.name", body("x", &tools)),
        ("stop", body("x", &json!({"stop": ""}))),
        ("response_format.json_schema", body("x", &json!({"response_format": {"type": "json_schema"}}))),
        (
            "response_format.json_schema.name",
            body("x", &json!({"response_format": {"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}})),
        ),
        ("response_format.json_schema.schema", schema(json!({"type": "strin"}))),
        ("response_format.json_schema.schema", schema(json!({"$ref": "#/$defs/nope"}))),
        ("response_format.json_schema.schema", schema(json!({"$ref": "http://127.0.0.1:1/s.json"}))),
        ("response_format.json_schema.schema", schema(json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}))),
        ("metadata.tools", body("x", &json!({"metadata": {"tools": "clock"}}))),
        ("metadata.tool_calls[0]", body("x", &json!({"metadata": {"tool_calls": [7]}}))),
    ] {
        refused(&body, 400, param).await;
    }
    let too_long = json!({"metadata": {"a": "x".repeat(16_000)}});
    for (param, body) in [
        ("messages[0].content", body(&"x".repeat(100_001), &json!({}))),
        ("messages", saying(json!({"role": "user", "content": "x".repeat(150_000)}))),
        ("metadata", body("x", &too_long)),
        (
            "tools[0].function.parameters",
            body(
                "x",
                &json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"description": "x".repeat(60_000)}}}]}),
            ),
        ),
    ] {
        assert_eq!(refused(&body, 413, param).await, "too_large");
    }
}

#[tokio::test]
async fn null_is_the_same_as_not_given_and_defaults_pass() {
    let names = [
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "metadata",
        "modalities",
        "moderation",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
        "conversation_id",
        "multitask_strategy",
    ];
    let nulls: Value = names.iter().map(|name| ((*name).to_owned(), Value::Null)).collect::<serde_json::Map<_, _>>().into();
    let defaults = json!({
        "n": 1, "frequency_penalty": 0, "presence_penalty": 0, "logit_bias": {}, "logprobs": false, "top_logprobs": 0, "tools": [],
        "modalities": ["text"], "service_tier": "auto", "verbosity": "medium", "store": false, "stream": false, "metadata": {},
        "response_format": {"type": "text"}, "temperature": 1, "top_p": 1, "stop": [],
    });
    for more in [nulls, defaults] {
        assert_eq!(world().call(post(ROUTES[0]).body(body("why?", &more).to_string())).await.status, 200, "{more}");
    }
}
