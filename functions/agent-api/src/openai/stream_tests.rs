//! Streams of chunks, from the request to the last event, over the engine with a scripted model and a clock that waits for nobody.

use std::sync::Arc;
use std::time::Duration;

use lambda_http::aws_lambda_events::apigw::ApiGatewayProxyRequestContext;
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, Response};
use serde_json::{Value, json};
use shared::config::ApiAuth;
use shared::domain::failure::FailureCode;
use shared::domain::state::RunState;
use shared::engine::CallError;
use shared::fakes::{MemoryQueue, MemoryStore, Scripted, ScriptedModel, TokioClock, engine};
use shared::http::respond;
use shared::intake::Intake;

use crate::AgentApi;

struct World {
    store: Arc<MemoryStore>,
    api: AgentApi,
}

/// What a client has read.
#[derive(Debug)]
struct Heard {
    status: u16,
    headers: Vec<(String, String)>,
    /// The chunks, or the one error.
    chunks: Vec<Value>,
    beats: usize,
    is_done: bool,
}

fn world(script: impl IntoIterator<Item = Scripted>) -> World {
    let (store, clock) = (Arc::new(MemoryStore::default()), Arc::new(TokioClock::from("2026-01-02T03:04:05Z".parse().unwrap())));
    let engine = engine(store.clone(), Arc::new(MemoryQueue::default()), Arc::new(ScriptedModel::new(script)), clock.clone());
    let intake = Arc::new(Intake { engine, records: store.clone(), patience: Duration::from_secs(100) });
    let switches = Arc::new(shared::fakes::MemoryBreakers::default());
    World {
        api: AgentApi {
            intake,
            records: store.clone(),
            events: store.clone(),
            contents: store.clone(),
            switches,
            providers: vec!["script".into()],
            aliases: [].into(),
            clock,
            auth: ApiAuth::None,
        },
        store,
    }
}

impl World {
    async fn ask(&self, more: &Value, key: Option<&str>) -> Heard {
        let mut body = json!({"model": "assistant", "messages": [{"role": "user", "content": "why?"}], "stream": true});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let mut context = ApiGatewayProxyRequestContext::default();
        context.resource_path = Some("/v1/chat/completions".into());
        let mut request = Request::new(Body::Text(body.to_string()));
        *request.method_mut() = "POST".parse().unwrap();
        request.extensions_mut().insert(RequestContext::ApiGatewayV1(context));
        if let Some(key) = key {
            request.headers_mut().insert("idempotency-key", key.parse().unwrap());
        }
        Heard::of(respond(&self.api, request).await)
    }
}

impl Heard {
    fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let Body::Text(text) = body else { panic!("no text") };
        let headers = parts.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        let mut heard = Self { status: parts.status.as_u16(), headers, chunks: vec![], beats: 0, is_done: false };
        if heard.header("content-type") == Some("application/json") {
            heard.chunks.push(serde_json::from_str(&text).unwrap());
            return heard;
        }
        assert_eq!(heard.header("content-type"), Some("text/event-stream"));
        for event in text.split_terminator("\n\n") {
            match event.strip_prefix("data: ") {
                Some("[DONE]") => heard.is_done = true,
                Some(chunk) => heard.chunks.push(serde_json::from_str(chunk).unwrap()),
                None if event == ": keep-alive" => heard.beats += 1,
                None => panic!("{event}"),
            }
        }
        heard
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    fn texts(&self) -> Vec<&str> {
        self.chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0/delta/content")?.as_str()).collect()
    }

    fn last(&self, at: &str) -> Option<&str> {
        self.chunks.last().and_then(|chunk| chunk.pointer(at)?.as_str())
    }
}

fn tells(parts: &[&str]) -> Scripted {
    Scripted::Tells(parts.iter().map(|part| (*part).to_owned()).collect())
}

fn breaks(parts: &[&str]) -> Scripted {
    let error = CallError::retryable(FailureCode::ProviderUnavailable, "the provider broke off", None);
    Scripted::Breaks(parts.iter().map(|part| (*part).to_owned()).collect(), error)
}

fn fails(code: FailureCode) -> Scripted {
    Scripted::Fails(CallError::retryable(code, "the provider has its troubles", None))
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_told_as_it_comes() {
    let world = world([tells(&["no", "on"])]);
    let heard = world.ask(&json!({"stream_options": {"include_usage": true}}), None).await;
    assert_eq!((heard.status, heard.texts().concat(), heard.is_done), (200, "noon".to_owned(), true), "{heard:#?}");
    let first = &heard.chunks[0];
    assert_eq!((&first["object"], &first["choices"][0]["delta"]["role"]), (&json!("chat.completion.chunk"), &json!("assistant")));
    assert_eq!(heard.header("x-reprise-run-id"), first["run_id"].as_str());
    let usage = heard.chunks.last().unwrap();
    assert_eq!((&usage["choices"], &usage["usage"]["total_tokens"]), (&json!([]), &json!(15)));
    assert_eq!(heard.chunks[heard.chunks.len() - 2]["choices"][0]["finish_reason"], "stop");
    let run = world.store.get(first["run_id"].as_str().unwrap().parse().unwrap()).unwrap();
    assert_eq!(run.state, RunState::Completed);
}

#[tokio::test(start_paused = true)]
async fn what_fails_before_the_first_word_has_a_status_of_its_own() {
    let limited = || fails(FailureCode::ProviderRateLimited);
    let question = || Scripted::CallsWith("ask_human", json!({"question": "May I?"}));
    for (script, key, status, code, retry) in [
        (vec![Scripted::Fails(CallError::rejected("no"))], None, 502, "provider_rejected", "false"),
        (vec![limited(), limited(), limited()], None, 429, "rate_limit_exceeded", "false"),
        (vec![limited(), limited(), limited()], Some("k"), 429, "rate_limit_exceeded", "true"),
        (vec![question()], None, 409, "question_open", "false"),
    ] {
        let heard = world(script).ask(&json!({}), key).await;
        assert_eq!((heard.status, heard.last("/error/code"), heard.header("x-should-retry")), (status, Some(code), Some(retry)));
        assert_eq!(heard.header("x-reprise-run-id"), heard.last("/error/run_id"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_thinks_for_long_is_waited_for_with_signs_of_life() {
    let heard = world([Scripted::Hangs, Scripted::Hangs, Scripted::Hangs]).ask(&json!({}), None).await;
    assert_eq!((heard.status, heard.is_done), (200, false), "its status was due");
    assert!(heard.beats > 1, "{heard:#?}");
    assert!(heard.last("/error/run_id").is_some() && heard.last("/error/message").unwrap().contains("GET /v1/runs/"));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_breaks_off_is_not_noticed_if_it_says_the_same_again() {
    let heard = world([breaks(&["no"]), tells(&["noo", "n"])]).ask(&json!({}), None).await;
    assert_eq!((heard.texts().concat(), heard.is_done), ("noon".to_owned(), true), "{heard:#?}");
    let world = world([breaks(&["no"]), tells(&["midday"])]);
    let heard = world.ask(&json!({}), None).await;
    assert_eq!((heard.texts().concat(), heard.last("/error/code")), ("no".to_owned(), Some("answer_restarted")));
    let run = world.store.get(heard.last("/error/run_id").unwrap().parse().unwrap()).unwrap();
    assert_eq!(run.state, RunState::Completed, "the run goes on without its reader");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_sent_again_tells_the_same_and_starts_nothing() {
    let world = world([tells(&["no", "on"]), tells(&["paid for twice"])]);
    let first = world.ask(&json!({}), Some("k")).await;
    let again = world.ask(&json!({}), Some("k")).await;
    assert_eq!((again.texts().concat(), again.header("idempotency-replayed")), (first.texts().concat(), Some("true")));
    assert_eq!((world.store.len(), again.header("x-reprise-run-id")), (1, first.header("x-reprise-run-id")));
}

#[tokio::test(start_paused = true)]
async fn a_draft_that_does_not_fit_its_schema_is_never_told() {
    let schema = json!({"type": "object", "required": ["a"]});
    let format = json!({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}});
    let heard = world([tells(&["A is ", "7"]), tells(&["{\"a\"", ":7}"])]).ask(&format, None).await;
    assert_eq!((heard.texts().concat(), heard.is_done), ("{\"a\":7}".to_owned(), true));
}

#[tokio::test(start_paused = true)]
async fn the_callers_tools_are_called_by_the_caller() {
    let tools = json!({"tools": [{"type": "function", "function": {"name": "weather"}}]});
    let heard = world([Scripted::Calls(vec!["weather", "weather"])]).ask(&tools, None).await;
    let calls: Vec<_> = heard.chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0/delta/tool_calls/0")).collect();
    assert_eq!(calls.iter().map(|call| call["index"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(heard.last("/choices/0/finish_reason"), Some("tool_calls"));
}
