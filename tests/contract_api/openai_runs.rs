//! What a request of OpenAI's clients makes of a run: the model is asked as they say, tools are theirs or the agent's.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use shared::config::ApiAuth;
use shared::domain::message::Message;
use shared::domain::step::{FinishReason, Usage};
use shared::engine::CallError;
use shared::engine::ports::{Model, ModelReply, ModelRequest};
use shared::fakes::{MemoryStore, Scripted};

use crate::openai::{chat, header};
use crate::requests::{ask, get};
use crate::world::{World, scripted, world, world_with};

/// Answers with an empty object, and remembers what it was asked with all that belongs to it.
#[derive(Default)]
struct Listens(Mutex<Vec<Value>>);

#[async_trait]
impl Model for Listens {
    async fn ask(&self, request: &ModelRequest<'_>) -> Result<ModelReply, CallError> {
        let tools: Vec<_> = request.tools.iter().map(|tool| tool.name.as_str()).collect();
        let heard = json!({
            "target": request.target, "tools": tools, "tool_choice": request.tool_choice, "parallel": request.parallel_tool_calls,
            "sampling": request.sampling, "effort": request.effort, "output": request.output,
        });
        self.0.lock().unwrap().push(heard);
        Ok(reply(Message::assistant("{}"), FinishReason::Stop))
    }
}

fn reply(message: Message, finish_reason: FinishReason) -> ModelReply {
    let usage = Usage { cached_input_tokens: 3, reasoning_tokens: 2, input_tokens: 10, output_tokens: 5, ..Usage::default() };
    ModelReply { provider: "script".into(), model: "m".into(), message, finish_reason, usage }
}

/// What the model is asked by a request with these parameters.
async fn heard(more: Value) -> Value {
    let model = Arc::new(Listens::default());
    let world = World::build(Arc::new(MemoryStore::default()), model.clone(), ApiAuth::Iam);
    let answer = world.call(chat("why?", &more)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let mut heard = model.0.lock().unwrap();
    assert_eq!(heard.len(), 1);
    heard.remove(0)
}

fn tool(name: &str) -> Value {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    json!({"type": "function", "function": {"name": name, "description": "the weather", "parameters": parameters, "strict": true}})
}

#[tokio::test]
async fn the_model_is_asked_as_the_request_says() {
    let asked = heard(json!({
        "model": "assistant/backup::gpt-4o-mini", "temperature": 0.5, "top_p": 0.9, "max_completion_tokens": 77, "stop": "END", "seed": 7,
        "reasoning_effort": "low", "response_format": {"type": "json_schema", "json_schema": {"name": "thing", "schema": {"type": "object"}}}
    }))
    .await;
    assert_eq!(asked["target"], "backup::gpt-4o-mini");
    assert_eq!(asked["sampling"], json!({"temperature": 0.5, "top_p": 0.9, "max_output_tokens": 77, "stop": ["END"], "seed": 7}));
    assert_eq!(
        (&asked["effort"], &asked["output"]["name"], &asked["output"]["schema"]),
        (&json!("low"), &json!("thing"), &json!({"type": "object"}))
    );
    let asked =
        heard(json!({"max_tokens": 5, "stop": ["a", "b"], "response_format": {"type": "json_object"}, "reasoning_effort": "max"})).await;
    assert_eq!(asked["sampling"], json!({"max_output_tokens": 5, "stop": ["a", "b"]}));
    assert_eq!((&asked["effort"], &asked["output"]["schema"]["type"]), (&json!("xhigh"), &json!("object")));
    let asked = heard(json!({})).await;
    assert_eq!(
        (&asked["target"], &asked["sampling"], &asked["output"]),
        (&json!("script::m"), &json!({}), &json!(null)),
        "as the deployment and the agent have it"
    );
}

#[tokio::test]
async fn the_callers_tools_are_offered_and_the_agents_own_only_by_name() {
    let own = heard(json!({})).await;
    assert!(own["tools"].as_array().unwrap().contains(&json!("clock")), "{own}");
    for (more, tools, choice) in [
        (json!({"tools": [tool("weather")]}), json!(["weather"]), json!(null)),
        (json!({"tools": [tool("weather")], "metadata": {"tools": ["clock"]}}), json!(["clock", "weather"]), json!(null)),
        (json!({"metadata": {"tools": ["clock"]}}), json!(["clock"]), json!(null)),
        (json!({"metadata": {"tools": []}}), json!([]), json!(null)),
        (json!({"tools": [tool("weather")], "tool_choice": "none"}), json!(["weather"]), json!("none")),
        (json!({"tools": [tool("weather")], "tool_choice": "required"}), json!(["weather"]), json!("required")),
        (
            json!({"tools": [tool("weather")], "tool_choice": {"type": "function", "function": {"name": "weather"}}}),
            json!(["weather"]),
            json!({"tool": "weather"}),
        ),
    ] {
        let asked = heard(more.clone()).await;
        assert_eq!((&asked["tools"], &asked["tool_choice"]), (&tools, &choice), "{more}");
    }
    let asked = heard(json!({"tools": [tool("weather")], "parallel_tool_calls": false})).await;
    assert_eq!(asked["parallel"], false);
}

#[tokio::test]
async fn a_call_of_the_callers_tool_ends_the_run_and_its_result_begins_the_next() {
    let world = scripted([Scripted::Calls(vec!["weather", "weather"]), Scripted::Says("sunny".into())]);
    let tools = json!({"tools": [tool("weather")]});
    let wants = world.call(chat("how is it?", &tools)).await;
    let choice = &wants.body["choices"][0];
    assert_eq!((wants.status, &choice["finish_reason"], &choice["message"]["content"]), (200, &json!("tool_calls"), &json!(null)));
    let calls = choice["message"]["tool_calls"].as_array().unwrap();
    assert_eq!(calls.len(), 2, "at the same time");
    assert_eq!(calls[0], json!({"id": "call-1-0", "type": "function", "function": {"name": "weather", "arguments": "{\"n\":1}"}}));
    let run = world.call(get("/v1/runs/{id}").id(wants.text("/run_id"))).await;
    assert_eq!(run.text("/status"), "completed");
    // What the client says then: all of it, with the results.
    let result = |call: &Value| json!({"role": "tool", "tool_call_id": call["id"], "content": "sun"});
    let messages = json!([{"role": "user", "content": "how is it?"}, choice["message"], result(&calls[0]), result(&calls[1])]);
    world.clock.advance(Duration::from_secs(1));
    let answer = world.call(chat("", &json!({"messages": messages, "tools": [tool("weather")]}))).await;
    assert_eq!((answer.status, answer.text("/choices/0/message/content"), answer.text("/choices/0/finish_reason")), (200, "sunny", "stop"));
}

/// Answers with a part of an answer, or mends what does not fit.
struct Says(Mutex<Vec<(&'static str, FinishReason)>>);

#[async_trait]
impl Model for Says {
    async fn ask(&self, _: &ModelRequest<'_>) -> Result<ModelReply, CallError> {
        let (text, why) = self.0.lock().unwrap().remove(0);
        Ok(reply(Message::assistant(text), why))
    }
}

fn says(all: impl IntoIterator<Item = (&'static str, FinishReason)>) -> World {
    world_with(Says(Mutex::new(all.into_iter().collect())))
}

#[tokio::test]
async fn an_incomplete_answer_is_shown_with_its_finish_reason_and_its_run_is_no_success() {
    for (why, word, code) in
        [(FinishReason::Length, "length", "answer_cut_off"), (FinishReason::ContentFilter, "content_filter", "answer_refused")]
    {
        let world = says([("once upon", why)]);
        let answer = world.call(chat("tell!", &json!({}))).await;
        let (text, reason) = (answer.text("/choices/0/message/content"), answer.text("/choices/0/finish_reason"));
        assert_eq!((answer.status, text, reason), (200, "once upon", word));
        let run = world.call(get("/v1/runs/{id}").id(answer.text("/run_id"))).await;
        assert_eq!((run.text("/status"), run.text("/error/code")), ("failed", code));
    }
}

#[tokio::test]
async fn an_answer_that_does_not_fit_its_schema_is_mended_or_no_answer() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]});
    let format = json!({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": true}}});
    let stop = FinishReason::Stop;
    let mended = says([("nothing of it", stop), (r#"{"a": 7}"#, stop)]).call(chat("a?", &format)).await;
    assert_eq!((mended.status, mended.text("/choices/0/message/content")), (200, r#"{"a": 7}"#));
    assert_eq!(mended.body["usage"]["completion_tokens"], 10, "both calls were paid for");
    assert_eq!(mended.body["usage"]["prompt_tokens_details"]["cached_tokens"], 6);
    assert_eq!(mended.body["usage"]["completion_tokens_details"]["reasoning_tokens"], 4);
    let never = says([("no", stop); 4]).call(chat("a?", &format)).await;
    assert_eq!((never.status, header(&never, "x-should-retry")), (502, Some("false")));
}

#[tokio::test]
async fn calls_that_the_caller_asks_for_are_made_first_and_their_results_are_told() {
    let calls = json!(["clock", {"name": "wait", "args": {"seconds": 1}}, "nonsense", {"name": "clock", "args": {"timezone": "Nowhere"}}]);
    let metadata = json!({"tools": ["clock"], "tool_calls": calls, "ticket": "A-17"});
    let chatted = world().call(chat("why?", &json!({"metadata": metadata}))).await;
    let asked = world().call(ask(&json!({"prompt": "why?", "metadata": metadata}))).await;
    for answer in [chatted, asked] {
        assert_eq!((answer.status, answer.text("/metadata/ticket")), (200, "A-17"), "{}", answer.body);
        let results = answer.body["metadata"]["tool_results"].as_array().unwrap();
        let told: Vec<_> = results.iter().map(|it| (it["name"].as_str().unwrap(), it["status"].as_str().unwrap())).collect();
        assert_eq!(told, [("clock", "ok"), ("wait", "skipped"), ("nonsense", "missing"), ("clock", "error")]);
        assert!(results[0]["output"].as_str().unwrap().contains("2026"), "{}", results[0]);
        assert_eq!(results[1]["reason"], "not-allowed");
        assert!(results[3]["error"].is_string());
    }
}
