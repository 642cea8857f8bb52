//! Calls over a real connection, to a server that says what a test tells it to.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Providers, SecretError, SecretStore};
use crate::config::{ModelsConfig, ProviderConfig, Secret, Timeouts};
use crate::domain::definition::{Effort, OutputSchema, Sampling};
use crate::domain::message::{Message, ToolCall};
use crate::domain::overrides::ToolChoice;
use crate::domain::step::FinishReason;
use crate::engine::CallError;
use crate::engine::ports::{Model, ModelReply, ModelRequest, Sink, ToolSpec};
use crate::fakes::FixedClock;

/// What a request gets: the status and headers, then the parts of the body; after the last one the connection is kept open for
/// as long as `hangs` says so, or closed.
struct Script {
    head: &'static str,
    parts: Vec<String>,
    hangs: bool,
}

const SSE: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n";

fn says(events: &[&str]) -> Script {
    Script { head: SSE, parts: events.iter().map(|event| format!("data: {event}\n\n")).collect(), hangs: false }
}

fn answers(head: &'static str, body: &str) -> Script {
    Script { head, parts: vec![body.to_owned()], hangs: false }
}

/// Bodies and the keys of the requests that were made.
type Asked = Arc<Mutex<Vec<(Value, String)>>>;

fn serve(scripts: Vec<Script>) -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/", listener.local_addr().unwrap());
    let asked = Asked::default();
    let seen = asked.clone();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for script in scripts {
            let (mut stream, _) = listener.accept().unwrap();
            seen.lock().unwrap().push(read_request(&mut stream));
            write!(stream, "{}\r\n", script.head).unwrap();
            for part in script.parts {
                stream.write_all(part.as_bytes()).unwrap();
                stream.flush().unwrap();
            }
            if script.hangs {
                open.push(stream);
            }
        }
        std::thread::sleep(Duration::from_secs(60));
    });
    (url, asked)
}

fn read_request(stream: &mut TcpStream) -> (Value, String) {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        let read = stream.read(&mut part).unwrap();
        bytes.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let header = |name: &str| {
            head.lines().find_map(|line| line.to_lowercase().strip_prefix(&format!("{name}: ")).map(str::to_owned)).unwrap_or_default()
        };
        if body.len() >= header("content-length").parse::<usize>().unwrap_or(0) {
            let key = [header("authorization"), header("x-api-key"), header("idempotency-key")].join("|");
            return (serde_json::from_str(body).unwrap_or_default(), key);
        }
    }
}

/// Another key at each read.
#[derive(Default)]
struct Keys(AtomicUsize);

#[async_trait]
impl SecretStore for Keys {
    async fn read(&self, name: &str) -> Result<Secret, SecretError> {
        match name {
            "missing" => Err(SecretError::Missing),
            _ => Ok(Secret::new(format!("key-{}\n", self.0.fetch_add(1, Ordering::SeqCst) + 1))),
        }
    }
}

struct World {
    model: Providers,
    clock: Arc<FixedClock>,
    heard: Heard,
}

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Sink for Heard {
    fn text(&self, part: &str) {
        self.0.lock().unwrap().push(part.to_owned());
    }
}

async fn world(protocol: &str, url: &str) -> World {
    let clock = Arc::new(FixedClock::at("2026-11-22T07:00:00Z"));
    let provider = ProviderConfig {
        name: "here".into(),
        base_url: Some(url.into()),
        secret: Some("a".into()),
        timeouts: Timeouts { first_token: Duration::from_millis(400), between_tokens: Duration::from_millis(200), ..Timeouts::default() },
        ..ProviderConfig::of_protocol(protocol)
    };
    let config = ModelsConfig { chain: vec!["here::big".parse().unwrap()], providers: vec![provider] };
    let store: Arc<dyn SecretStore> = Arc::new(Keys::default());
    let model = Providers::new(&config, &store, clock.clone()).await.unwrap();
    World { model, clock, heard: Heard::default() }
}

impl World {
    async fn ask(&self, change: impl FnOnce(&mut ModelRequest<'_>)) -> Result<ModelReply, CallError> {
        let messages = [Message::system("Be brief."), Message::user("Why?")];
        let mut request = ModelRequest { sink: &self.heard, ..ModelRequest::new(&messages, "run_1:1".into()) };
        change(&mut request);
        self.model.ask(&request).await
    }

    async fn fails(&self) -> &'static str {
        match self.ask(|_| {}).await.unwrap_err() {
            CallError::Retryable { code, .. } => code.as_str(),
            CallError::Terminal { code, .. } => code.as_str(),
        }
    }
}

fn clock_tool() -> ToolSpec {
    ToolSpec { name: "clock".into(), description: "the time".into(), parameters: json!({"type": "object", "properties": {}}) }
}

const ROLE: &str = r#"{"model":"big-2026-11","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null}}]}"#;
const STOP: &str = r#"{"model":"big-2026-11","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

fn word(text: &str) -> String {
    json!({"model": "big-2026-11", "choices": [{"index": 0, "delta": {"content": text}}]}).to_string()
}

#[tokio::test]
async fn an_answer_is_heard_as_it_comes_and_is_whole_at_the_end() {
    let usage = r#"{"choices":[],"usage":{"prompt_tokens":20,"completion_tokens":9,"prompt_tokens_details":{"cached_tokens":16},"completion_tokens_details":{"reasoning_tokens":4}}}"#;
    let (url, asked) = serve(vec![says(&[ROLE, &word("Because "), &word("of ☃."), STOP, usage, "[DONE]"])]);
    let w = world("openai", &url).await;
    let reply = w.ask(|_| {}).await.unwrap();
    assert_eq!(reply.message, Message::assistant("Because of ☃."));
    assert_eq!(*w.heard.0.lock().unwrap(), ["Because ", "of ☃."]);
    assert_eq!((reply.provider.as_str(), reply.model.as_str(), reply.finish_reason), ("here", "big-2026-11", FinishReason::Stop));
    let usage = reply.usage;
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.cached_input_tokens, usage.reasoning_tokens), (20, 9, 16, 4));
    let (body, key) = asked.lock().unwrap()[0].clone();
    assert_eq!((body["model"].as_str(), body["stream"].as_bool()), (Some("big"), Some(true)));
    assert_eq!(key, "bearer key-1||run_1:1");
}

#[tokio::test]
async fn tool_calls_are_put_together_from_their_parts() {
    let part = |index: u32, id: Option<&str>, name: Option<&str>, arguments: &str| {
        let call = json!({"index": index, "id": id, "function": {"name": name, "arguments": arguments}});
        let call = if id.is_none() { json!({"index": index, "function": {"arguments": arguments}}) } else { call };
        json!({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}).to_string()
    };
    let stop = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#;
    let (a, b) = (part(0, Some("c1"), Some("clock"), ""), part(0, None, None, r#"{"timezone":"#));
    let (c, d) = (part(0, None, None, r#""UTC"}"#), part(1, Some("c2"), Some("clock"), ""));
    let (url, _) = serve(vec![says(&[ROLE, &a, &b, &c, &d, stop, "[DONE]"])]);
    let reply = world("openai", &url).await.ask(|request| request.tools = vec![clock_tool()]).await.unwrap();
    assert_eq!(reply.finish_reason, FinishReason::ToolCalls);
    let call = |id: &str, arguments: Value| ToolCall { id: id.into(), name: "clock".into(), arguments };
    assert_eq!(reply.message.tool_calls, [call("c1", json!({"timezone": "UTC"})), call("c2", json!({}))]);
}

#[tokio::test]
async fn what_is_no_whole_answer_is_a_failure_and_never_an_answer() {
    let error = r#"{"error":{"message":"internal","type":"server_error"}}"#;
    let whole = r#"{"model":"big","choices":[{"message":{"role":"assistant","content":"Because."},"finish_reason":"stop"}]}"#;
    let json = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
    for (script, code) in [
        (answers(json, error), "provider_unavailable"),
        (answers(json, whole), "provider_unavailable"), // no stream, though one was asked for
        (answers(json, ""), "provider_unavailable"),
        (says(&[ROLE, &word("Beca")]), "provider_unavailable"),           // cut
        (says(&[ROLE, &word("Beca"), "[DONE]"]), "provider_unavailable"), // no reason to end
        (says(&[ROLE, &word("Beca"), error]), "provider_unavailable"),
        (says(&[ROLE, &word("Beca"), "{\"choices"]), "invalid_answer"),
        (says(&[ROLE, &word("Beca"), r#"{"error":{"code":429}}"#]), "provider_rate_limited"),
        (says(&[ROLE, r#"{"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}"#, "[DONE]"]), "provider_unavailable"),
        (answers("HTTP/1.1 500 Oops\r\nconnection: close\r\n", "<html>"), "provider_unavailable"),
        (answers("HTTP/1.1 400 Bad\r\nconnection: close\r\n", error), "provider_rejected"),
        (answers("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\nconnection: close\r\n", ""), "provider_rejected"),
    ] {
        let about = format!("{:?}", (script.head, &script.parts));
        let (url, _) = serve(vec![script]);
        assert_eq!(world("openai", &url).await.fails().await, code, "{about}");
    }
}

#[tokio::test]
async fn a_provider_that_is_silent_is_given_up_by_phase() {
    let hangs = |parts: Vec<String>| Script { head: SSE, parts, hangs: true };
    for (script, phase) in [
        (hangs(vec![]), "first"),
        (hangs(vec![": still thinking\n\n".into()]), "first"),
        (hangs(vec![format!("data: {}\n\n", word("Beca"))]), "further"),
    ] {
        let (url, _) = serve(vec![script]);
        match world("openai", &url).await.ask(|_| {}).await.unwrap_err() {
            CallError::Retryable { code, message, .. } => {
                assert_eq!(code.as_str(), "provider_timeout");
                assert!(message.contains(phase), "{message}");
            }
            CallError::Terminal { message, .. } => panic!("{message}"),
        }
    }
}

#[tokio::test]
async fn a_pause_that_the_provider_asks_for_is_told() {
    let head = "HTTP/1.1 429 No\r\nretry-after: Sun, 22 Nov 2026 07:00:09 GMT\r\nconnection: close\r\n";
    let (url, _) = serve(vec![answers(head, "{}")]);
    let error = world("openai", &url).await.ask(|_| {}).await.unwrap_err();
    assert!(matches!(error, CallError::Retryable { retry_after: Some(pause), .. } if pause == Duration::from_secs(9)), "{error:?}");
}

#[tokio::test]
async fn a_refusal_is_no_success() {
    let refusal = r#"{"choices":[{"index":0,"delta":{"refusal":"I cannot."}}]}"#;
    let filtered = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"content_filter"}]}"#;
    for (events, text) in [(vec![ROLE, refusal, STOP, "[DONE]"], Some("I cannot.")), (vec![ROLE, filtered, "[DONE]"], None)] {
        let (url, _) = serve(vec![says(&events)]);
        let reply = world("openai", &url).await.ask(|_| {}).await.unwrap();
        assert_eq!((reply.finish_reason, reply.message.content.as_deref()), (FinishReason::ContentFilter, text));
    }
}

#[tokio::test]
async fn a_refused_key_is_read_again_once_in_a_while() {
    let no = || answers("HTTP/1.1 401 No\r\nconnection: close\r\n", "{}");
    let (url, asked) = serve(vec![no(), no(), says(&[ROLE, &word("Yes."), STOP, "[DONE]"])]);
    let w = world("openai", &url).await;
    assert_eq!(w.fails().await, "provider_auth", "it was read just now");
    w.clock.advance(Duration::from_secs(31));
    assert_eq!(w.ask(|_| {}).await.unwrap().message.content.as_deref(), Some("Yes."));
    let keys: Vec<_> = asked.lock().unwrap().iter().map(|(_, key)| key.clone()).collect();
    assert_eq!(keys, ["bearer key-1||run_1:1", "bearer key-1||run_1:1", "bearer key-2||run_1:1"]);
}

#[tokio::test]
async fn a_provider_that_cannot_be_there_stops_the_function_and_names_the_field() {
    let store: Arc<dyn SecretStore> = Arc::new(Keys::default());
    let clock = Arc::new(FixedClock::at("2026-11-22T07:00:00Z"));
    let with = |provider: ProviderConfig| ModelsConfig { chain: vec!["here::big".parse().unwrap()], providers: vec![provider] };
    let here = ProviderConfig { name: "here".into(), ..ProviderConfig::of_protocol("openai") };
    for (provider, problem) in [
        (ProviderConfig { protocol: "smoke".into(), ..here.clone() }, "`here`: there is no protocol `smoke`"),
        (ProviderConfig { secret: Some("missing".into()), ..here.clone() }, "the secret of the provider `here` does not exist"),
    ] {
        let error = Providers::new(&with(provider), &store, clock.clone()).await.err().unwrap();
        assert!(error.name == "PROVIDERS" && error.problem.starts_with(problem), "{error}");
    }
}

/// One round of `change` with a provider that speaks `protocol`: the body of the request, or the refusal.
async fn body_of(protocol: &str, change: impl FnOnce(&mut ModelRequest<'_>)) -> Result<Value, String> {
    let (url, asked) = serve(vec![answers("HTTP/1.1 500 No\r\nconnection: close\r\n", "")]);
    match world(protocol, &url).await.ask(change).await {
        Err(CallError::Terminal { message, .. }) => Err(message),
        _ => Ok(asked.lock().unwrap()[0].0.clone()),
    }
}

#[tokio::test]
async fn an_option_reaches_the_provider_or_is_refused_by_name() {
    let sampling = || Sampling { temperature: Some(0.5), top_p: Some(0.9), max_output_tokens: Some(77), stop: vec![], seed: Some(5) };
    let all = |request: &mut ModelRequest<'_>| {
        request.sampling = Sampling { stop: vec!["END".into()], ..sampling() };
        request.effort = Some(Effort::Low);
        request.tools = vec![clock_tool()];
        request.tool_choice = Some(ToolChoice::Tool("clock".into()));
        request.parallel_tool_calls = Some(false);
    };
    let openai = body_of("openai", all).await.unwrap();
    assert_eq!(openai["stop"], json!(["END"]));
    assert_eq!((&openai["temperature"], &openai["top_p"], &openai["seed"]), (&json!(0.5), &json!(0.9), &json!(5)));
    assert_eq!((&openai["max_tokens"], &openai["reasoning_effort"]), (&json!(77), &json!("low")));
    assert_eq!(openai["tool_choice"]["function"]["name"], "clock");
    assert_eq!(openai["parallel_tool_calls"], false);
    let anthropic = body_of("anthropic", all).await.unwrap();
    assert_eq!((&anthropic["stop_sequences"], &anthropic["max_tokens"]), (&json!(["END"]), &json!(77)));
    assert_eq!(anthropic["tool_choice"], json!({"type": "tool", "name": "clock", "disable_parallel_tool_use": true}));
    assert_eq!(anthropic["seed"], Value::Null);
    assert!(body_of("openai_resp", all).await.unwrap_err().contains("`stop`"));
    assert!(body_of("bedrock_api", all).await.unwrap_err().contains("`tool_choice`"));
    let one_call = |request: &mut ModelRequest<'_>| {
        request.tools = vec![clock_tool()];
        request.parallel_tool_calls = Some(false);
    };
    assert!(body_of("bedrock_api", one_call).await.unwrap_err().contains("`parallel_tool_calls`"));
    let bedrock = body_of("bedrock_api", |request| request.sampling = sampling()).await.unwrap();
    assert_eq!(bedrock["inferenceConfig"], json!({"maxTokens": 77, "temperature": 0.5, "topP": 0.9}));
    let none = |request: &mut ModelRequest<'_>| {
        request.tools = vec![clock_tool()];
        request.tool_choice = Some(ToolChoice::None);
    };
    assert_eq!(body_of("bedrock_api", none).await.unwrap()["toolConfig"], Value::Null);
    assert_eq!(body_of("openai", none).await.unwrap()["tool_choice"], "none");
}

#[tokio::test]
async fn an_output_schema_is_said_in_the_providers_way_or_in_words() {
    let output = OutputSchema {
        name: "why".into(),
        schema: json!({"type": "object", "properties": {}, "required": [], "additionalProperties": false}),
        repairs: 1,
    };
    let paths = [("openai", "/response_format/type"), ("openai_resp", "/text/format/type"), ("anthropic", "/output_config/format/type")];
    for (protocol, path) in paths {
        // A value of its own, since the request borrows it.
        let output: &'static OutputSchema = Box::leak(Box::new(output.clone()));
        let body = body_of(protocol, |request| request.output = Some(output)).await.unwrap();
        assert_eq!(body.pointer(path).and_then(Value::as_str), Some("json_schema"), "{protocol}: {body}");
    }
    let output: &'static OutputSchema = Box::leak(Box::new(output));
    let body = body_of("bedrock_api", |request| request.output = Some(output)).await.unwrap();
    assert!(body["system"].to_string().contains("JSON Schema"), "{body}");
}

#[tokio::test]
async fn results_of_one_answers_calls_go_back_in_one_message_where_they_must() {
    let call = |id: &str| ToolCall { id: id.into(), name: "clock".into(), arguments: json!({}) };
    let asked = Message { content: None, tool_calls: vec![call("a"), call("b")], ..Message::assistant("") };
    let messages = [Message::user("Why?"), asked, Message::tool(&call("a"), "1"), Message::tool(&call("b"), "2")];
    let messages: &'static [Message] = Box::leak(Box::new(messages));
    let with = |request: &mut ModelRequest<'_>| {
        request.messages = messages;
        request.tools = vec![clock_tool()];
    };
    for (protocol, expected) in [("openai", 4), ("anthropic", 3), ("bedrock_api", 3)] {
        let body = body_of(protocol, with).await.unwrap();
        assert_eq!(body["messages"].as_array().unwrap().len(), expected, "{protocol}: {body}");
    }
}

#[tokio::test]
async fn a_tool_named_web_search_is_ours_on_every_protocol() {
    let call = ToolCall { id: "a".into(), name: "web_search".into(), arguments: json!({}) };
    let asked = Message { content: None, tool_calls: vec![call.clone()], ..Message::assistant("") };
    let messages: &'static [Message] = Box::leak(Box::new([Message::user("Why?"), asked, Message::tool(&call, "1")]));
    let search = |name: &str| ToolSpec { name: name.into(), ..clock_tool() };
    let with = |request: &mut ModelRequest<'_>| {
        request.messages = messages;
        request.tools = vec![search("web_search"), search("web_search_tool")];
        request.tool_choice = Some(ToolChoice::Tool("web_search".into()));
    };
    let openai = body_of("openai", with).await.unwrap();
    assert_eq!(openai["tools"][0]["function"]["name"], "web_search");
    let anthropic = body_of("anthropic", with).await.unwrap();
    let name = "web_search_tool_";
    assert_eq!((&anthropic["tools"][0]["name"], &anthropic["tools"][0]["type"]), (&json!(name), &Value::Null));
    assert_eq!(anthropic["tools"][0]["input_schema"], clock_tool().parameters);
    assert_eq!(anthropic["tools"][1]["name"], "web_search_tool");
    assert_eq!((&anthropic["messages"][1]["content"][0]["name"], &anthropic["tool_choice"]["name"]), (&json!(name), &json!(name)));
    let responses = body_of("openai_resp", with).await.unwrap();
    assert_eq!((&responses["tools"][0]["type"], &responses["tools"][0]["name"]), (&json!("function"), &json!(name)));
    assert_eq!(responses["tool_choice"]["name"], name);
    assert!(!responses.to_string().contains(r#""web_search""#), "{responses}");
}

#[tokio::test]
async fn a_call_of_a_renamed_tool_comes_back_with_its_own_name() {
    let events = [
        json!({"type": "message_start", "message": {"id": "m", "model": "big", "usage": {"input_tokens": 1, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "a", "name": "web_search_tool", "input": {}}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": r#"{"query":"x"}"#}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}}),
        json!({"type": "message_stop"}),
    ];
    let parts = events.iter().map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default())).collect();
    let (url, _) = serve(vec![Script { head: SSE, parts, hangs: false }]);
    let search = ToolSpec { name: "web_search".into(), ..clock_tool() };
    let reply = world("anthropic", &url).await.ask(|request| request.tools = vec![search]).await.unwrap();
    assert_eq!(reply.message.tool_calls, [ToolCall { id: "a".into(), name: "web_search".into(), arguments: json!({"query": "x"}) }]);
}

#[tokio::test]
async fn an_answer_may_be_any_object_where_the_caller_says_so() {
    let output: &'static OutputSchema = Box::leak(Box::new(OutputSchema::any_object()));
    let with = |request: &mut ModelRequest<'_>| request.output = Some(output);
    for (protocol, path) in [("openai", "/response_format"), ("openai_resp", "/text/format")] {
        let body = body_of(protocol, with).await.unwrap();
        assert_eq!(body.pointer(path), Some(&json!({"type": "json_object"})), "{protocol}: {body}");
        assert!(body.to_string().contains("JSON value"), "{protocol}: {body}");
    }
    let body = body_of("anthropic", with).await.unwrap();
    assert!(body["output_config"].is_null() && body["system"].to_string().contains("JSON Schema"), "{body}");
}

#[tokio::test]
async fn a_schema_that_is_not_strict_is_not_made_so() {
    let person =
        |schema: Value| -> &'static OutputSchema { Box::leak(Box::new(OutputSchema { name: "person".into(), schema, repairs: 1 })) };
    let optional = json!({"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}, "required": ["name"]});
    let map = json!({"type": "object", "additionalProperties": {"type": "integer"}});
    let tagged = json!({"type": "object", "properties": {"tags": {"type": "object"}}, "required": ["tags"], "additionalProperties": false});
    for schema in [optional, map, tagged] {
        let with = |request: &mut ModelRequest<'_>| {
            request.output = Some(person(schema.clone()));
            request.tools = vec![clock_tool()];
            request.parallel_tool_calls = Some(false);
        };
        let openai = body_of("openai", with).await.unwrap();
        let said = json!({"type": "json_schema", "json_schema": {"name": "person", "schema": schema, "strict": false}});
        assert_eq!((&openai["response_format"], &openai["parallel_tool_calls"]), (&said, &json!(false)));
        let responses = body_of("openai_resp", with).await.unwrap();
        let said = json!({"type": "json_schema", "name": "person", "schema": schema, "strict": false});
        assert_eq!(responses["text"]["format"], said);
        let anthropic = body_of("anthropic", with).await.unwrap();
        assert!(anthropic["output_config"].is_null() && anthropic["system"].to_string().contains("JSON Schema"), "{anthropic}");
        assert_eq!(anthropic["tool_choice"]["disable_parallel_tool_use"], true);
    }
    let strict = json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "required": ["b", "a"], "additionalProperties": false});
    let body = body_of("openai", |request| request.output = Some(person(strict))).await.unwrap();
    assert_eq!(body.pointer("/response_format/json_schema/strict"), Some(&json!(true)), "{body}");
}
