//! `/v1/chat/completions` and `/v1/models` as OpenAI's clients see them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shared::config::ApiAuth;
use shared::domain::failure::FailureCode;
use shared::domain::state::RunState;
use shared::engine::CallError;
use shared::fakes::{MemoryStore, Scripted, ScriptedModel};

use crate::requests::{Asked, Caller, ask, get, post};
use crate::world::{Answer, World, scripted, world};

/// The addresses of chat completions.
pub(crate) const ROUTES: [&str; 3] = ["/v1/chat/completions", "/v1/agent/chat/completions", "/chat/completions"];

/// A request with that user message and these other parameters.
pub(crate) fn body(content: &str, more: &Value) -> Value {
    let mut body = json!({"model": "assistant", "messages": [{"role": "user", "content": content}]});
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

fn chat_at(route: &str, content: &str, more: &Value) -> Asked {
    post(route).body(body(content, more).to_string())
}

pub(crate) fn chat(content: &str, more: &Value) -> Asked {
    chat_at(ROUTES[0], content, more)
}

pub(crate) fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name).map(|value| value.to_str().unwrap())
}

/// Each answer that the document promises of these routes.
pub(crate) async fn all() -> Vec<Answer> {
    let mut answers = Vec::new();
    let none = json!({});
    let limited = || Scripted::Fails(CallError::retryable(FailureCode::ProviderRateLimited, "no room", None));
    for route in ROUTES {
        answers.push(world().call(chat_at(route, "why?", &none)).await);
        answers.push(world().call(chat_at(route, "why?", &json!({"n": 2}))).await);
        answers.push(world().call(chat_at(route, "why?", &none).from(Caller::Nobody)).await);
        answers.push(world().call(chat_at(route, "why?", &json!({"model": "gpt-4o"}))).await);
        answers.push(world().call(chat_at(route, &"x".repeat(100_001), &none)).await);
        answers.push(scripted([Scripted::Fails(CallError::rejected("no"))]).call(chat_at(route, "why?", &none)).await);
        answers.push(scripted([limited(), limited(), limited()]).call(chat_at(route, "why?", &none)).await);
        answers.push(scripted([Scripted::Hangs]).call(chat_at(route, "why?", &none)).await);
        let busy = world();
        let first = busy.call(ask(&json!({"prompt": "why?", "background": true}))).await;
        let second = json!({"conversation_id": first.text("/conversation_id"), "multitask_strategy": "reject"});
        answers.push(busy.call(chat_at(route, "and?", &second)).await);
        let keyed = world();
        keyed.call(chat_at(route, "why?", &none).header("Idempotency-Key", "k")).await;
        answers.push(keyed.call(chat_at(route, "and?", &none).header("Idempotency-Key", "k")).await);
        let down = world();
        down.store.set_down(true);
        answers.push(down.call(chat_at(route, "why?", &none)).await);
    }
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 400, 401, 404, 413, 502, 429, 504, 409, 422, 503].repeat(ROUTES.len()));
    answers.extend(retrieved().await);
    for request in [get("/v1/models"), get("/v1/models/{id}").id("assistant")] {
        answers.push(world().call(request.clone()).await);
        answers.push(world().call(request.from(Caller::Nobody)).await);
    }
    answers.push(world().call(get("/v1/models/{id}").id("gpt-4o")).await);
    answers
}

/// Completions that are looked at again.
async fn retrieved() -> Vec<Answer> {
    let mut answers = Vec::new();
    let again = |id: &str| get("/v1/chat/completions/{id}").id(id);
    let of_run = |run: &str| run.replace("run_", "chatcmpl-");
    let limited = || Scripted::Fails(CallError::retryable(FailureCode::ProviderRateLimited, "no room", None));
    for (script, status) in [
        (vec![], 200),
        (vec![Scripted::Fails(CallError::rejected("no"))], 502),
        (vec![limited(), limited(), limited()], 429),
        (vec![Scripted::Hangs], 504),
    ] {
        let world = scripted(script);
        let first = world.call(chat("why?", &json!({}))).await;
        let run = header(&first, "x-reprise-run-id").unwrap();
        let answer = world.call(again(&of_run(run))).await;
        assert_eq!((first.status, answer.status), (status, status));
        if status == 200 {
            assert_eq!(answer.body, first.body, "the same completion");
            world.store.set_down(true);
            answers.push(world.call(again(&of_run(run))).await);
        }
        answers.push(answer);
    }
    let world = world();
    let cancelled = world.run_of("acme", RunState::Cancelled);
    answers.push(world.call(again(&of_run(&cancelled.id.to_string()))).await);
    answers.push(world.call(again("chatcmpl-none")).await);
    answers.push(world.call(again(&of_run("run_01KAM3Q5T0ZJ8Y6W4V2N1M0K9H"))).await);
    answers.push(world.call(again(&of_run(&cancelled.id.to_string())).from(Caller::Authorized("evil", "eve"))).await);
    answers.push(world.call(again("chatcmpl-none").from(Caller::Nobody)).await);
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [503, 200, 502, 429, 504, 409, 404, 404, 404, 401]);
    answers
}

#[tokio::test]
async fn an_answer_has_all_that_openais_clients_read_and_the_run_behind_it() {
    let world = scripted([Scripted::Calls(vec!["clock"]), Scripted::Says("noon".into())]);
    let answer = world.call(chat("when?", &json!({"metadata": {"ticket": "A-17"}, "user": "u-1"}))).await;
    let run = answer.text("/run_id");
    assert_eq!(answer.text("/id").strip_prefix("chatcmpl-"), run.strip_prefix("run_"));
    assert_eq!(header(&answer, "x-reprise-run-id"), Some(run));
    assert_eq!(
        (answer.text("/object"), answer.text("/model"), &answer.body["created"]),
        ("chat.completion", "assistant", &json!(1_767_323_045))
    );
    let choice = json!([{
        "index": 0, "finish_reason": "stop", "logprobs": null,
        "message": {"role": "assistant", "content": "noon", "refusal": null, "metadata": {"ticket": "A-17", "user": "u-1"}}
    }]);
    assert_eq!(answer.body["choices"], choice);
    let usage = json!({
        "prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30,
        "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}
    });
    assert_eq!(answer.body["usage"], usage, "that of all calls");
    assert_eq!(answer.body["metadata"], json!({"ticket": "A-17", "user": "u-1"}));
    assert_eq!(answer.body["messages"], json!([{"role": "user", "content": "when?"}, {"role": "assistant", "content": "noon"}]));
    let steps = answer.body["steps"].as_array().unwrap();
    assert_eq!(steps.iter().map(|step| step["kind"].as_str().unwrap()).collect::<Vec<_>>(), ["model", "tool", "model"]);
    let shown = world.call(get("/v1/runs/{id}").id(run)).await;
    assert_eq!((shown.text("/status"), shown.text("/response")), ("completed", "noon"));
}

#[tokio::test]
async fn a_system_prompt_and_a_history_are_shown_to_the_model_behind_the_agents_own_instructions() {
    let model = Arc::new(ScriptedModel::default());
    let world = World::build(Arc::new(MemoryStore::default()), model.clone(), ApiAuth::Iam);
    let messages = json!([
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "wh"}, {"type": "text", "text": "en?"}]},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "a", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Rome\"}"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "sunny"},
    ]);
    // The last one is a tool's result: there is no question.
    assert_eq!(world.call(post(ROUTES[0]).body(json!({"model": "assistant", "messages": messages}).to_string())).await.status, 200);
    let asked = model.asked.lock().unwrap()[0].clone();
    let shown: Vec<_> = asked[1..].iter().map(|message| serde_json::to_value(message).unwrap()).collect();
    let call = json!({"role": "assistant", "tool_calls": [{"id": "a", "name": "weather", "arguments": {"city": "Rome"}}]});
    let expected = [
        json!({"role": "system", "content": "be brief"}),
        json!({"role": "user", "content": "when?"}),
        call,
        json!({"role": "tool", "content": "sunny", "tool_call_id": "a"}),
    ];
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn one_message_goes_on_with_its_conversation_and_more_take_its_place() {
    for place in ["conversation_id", "metadata"] {
        let model = Arc::new(ScriptedModel::default());
        let world = World::build(Arc::new(MemoryStore::default()), model.clone(), ApiAuth::Iam);
        let first = world.call(chat("one", &json!({}))).await;
        let id = first.text("/conversation_id");
        let named = if place == "metadata" { json!({"metadata": {"conversation_id": id}}) } else { json!({"conversation_id": id}) };
        world.clock.advance(Duration::from_secs(1));
        let second = world.call(chat("two", &named)).await;
        assert_eq!((second.text("/conversation_id"), &second.body["metadata"]), (id, &json!({})));
        let mut replaced = named.clone();
        replaced["messages"] = json!([{"role": "assistant", "content": "mine"}, {"role": "user", "content": "three"}]);
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(world.call(chat("", &replaced)).await.status, 200);
        let asked: Vec<Vec<String>> =
            model.asked.lock().unwrap().iter().map(|all| all[1..].iter().map(|it| it.content.clone().unwrap()).collect()).collect();
        assert_eq!(asked, [vec!["one"], vec!["one", "done", "two"], vec!["mine", "three"]]);
    }
}

#[tokio::test]
async fn the_run_behind_a_request_that_was_not_answered_in_time_is_waited_for_with_its_key() {
    let world = scripted([Scripted::Hangs, Scripted::Says("at last".into())]);
    let keyed = || chat("why?", &json!({})).header("Idempotency-Key", "k");
    let late = world.call(keyed()).await;
    assert_eq!((late.status, late.text("/error/code"), header(&late, "x-should-retry")), (504, "run_not_finished", Some("true")));
    let run = late.text("/error/run_id");
    assert_eq!((header(&late, "x-reprise-run-id"), header(&late, "retry-after")), (Some(run), Some("1")));
    world.work().await;
    let again = world.call(keyed()).await;
    assert_eq!((again.status, again.text("/run_id"), header(&again, "idempotency-replayed")), (200, run, Some("true")));
    assert_eq!(again.text("/choices/0/message/content"), "at last");
    assert_eq!(world.store.len(), 1);
}

#[tokio::test]
async fn a_client_is_told_not_to_ask_again_where_that_starts_a_second_run_or_finds_the_same_end() {
    let none = json!({});
    let rejected = || Scripted::Fails(CallError::rejected("no"));
    for (script, key, status, word) in [
        (Scripted::Hangs, None, 504, "false"),
        (Scripted::Hangs, Some("k"), 504, "true"),
        (rejected(), None, 502, "false"),
        (rejected(), Some("k"), 502, "false"),
    ] {
        let request = chat("why?", &none);
        let answer = scripted([script]).call(if let Some(key) = key { request.header("Idempotency-Key", key) } else { request }).await;
        assert_eq!((answer.status, header(&answer, "x-should-retry")), (status, Some(word)), "{key:?}");
        assert_eq!(answer.text("/error/type"), "server_error");
    }
    let down = world();
    down.store.set_down(true);
    assert_eq!(header(&down.call(chat("why?", &none)).await, "x-should-retry"), Some("false"), "it may be recorded");
    let keyed = down.call(chat("why?", &none).header("Idempotency-Key", "k")).await;
    assert_eq!(header(&keyed, "x-should-retry"), None, "by its status, which says yes");
}

#[tokio::test]
async fn a_provider_that_fails_is_the_exception_that_it_would_be_without_us() {
    for (code, status, kind, shown) in [
        (FailureCode::ProviderRateLimited, 429, "rate_limit_error", "rate_limit_exceeded"),
        (FailureCode::ProviderTimeout, 504, "server_error", "provider_timeout"),
        (FailureCode::ProviderUnavailable, 503, "server_error", "run_not_finished"),
    ] {
        let fails = || Scripted::Fails(CallError::retryable(code, "the provider has its troubles", None));
        let world = scripted([fails(), fails(), fails(), fails()]);
        let answer = world.call(chat("why?", &json!({}))).await;
        assert_eq!((answer.status, answer.text("/error/type"), answer.text("/error/code")), (status, kind, shown));
        assert!(answer.text("/error/message").contains("the provider has its troubles"));
        assert!(answer.text("/error/message").contains(answer.text("/error/run_id")), "where to look for it");
        assert!(header(&answer, "retry-after").is_some());
    }
}

#[tokio::test]
async fn a_question_to_a_person_is_told_with_where_to_answer_it() {
    let question = json!({"question": "May I?", "expires_in_seconds": 3600});
    let world = scripted([Scripted::CallsWith("ask_human", question), Scripted::Says("thanks".into())]);
    let keyed = || chat("may you?", &json!({})).header("Idempotency-Key", "k");
    let asked = world.call(keyed()).await;
    assert_eq!((asked.status, asked.text("/error/code"), header(&asked, "x-should-retry")), (409, "question_open", Some("false")));
    assert!(asked.text("/error/message").contains("May I?"), "{}", asked.text("/error/message"));
    let question = asked.text("/error/question_id");
    let answer = json!({"question_id": question, "answer": "yes"});
    let taken = world.call(post("/v1/runs/{id}/answer").id(asked.text("/error/run_id")).body(answer.to_string())).await;
    assert_eq!(taken.status, 202);
    world.work().await;
    assert_eq!(world.call(keyed()).await.text("/choices/0/message/content"), "thanks");
}

#[tokio::test]
async fn the_agents_are_the_models() {
    let world = world();
    let models = world.call(get("/v1/models")).await;
    let names: Vec<_> = models.body["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect();
    assert!(names.contains(&"assistant".to_owned()) && names.contains(&"triage".to_owned()), "{names:?}");
    for name in names {
        let model = world.call(get("/v1/models/{id}").id(&name)).await;
        assert_eq!((model.text("/id"), model.text("/owned_by")), (name.as_str(), "reprise"));
    }
    let unknown = world.call(chat("why?", &json!({"model": "gpt-4o"}))).await;
    assert_eq!((unknown.text("/error/code"), unknown.text("/error/param")), ("model_not_found", "model"));
    assert!(unknown.text("/error/message").contains("assistant"), "which there are");
    world.assert_untouched("an unknown model");
}

#[tokio::test]
async fn another_tenants_conversation_is_no_conversation() {
    let world = world();
    let first = world.call(chat("one", &json!({}))).await;
    let named = json!({"conversation_id": first.text("/conversation_id")});
    let answer = world.call(chat("two", &named).from(Caller::Authorized("evil", "eve"))).await;
    assert_eq!((answer.status, answer.text("/error/param")), (404, "conversation_id"));
    assert_eq!(world.run_of("acme", RunState::Queued).tenant.as_str(), "acme");
}

#[tokio::test]
async fn a_name_that_clients_have_built_in_stands_for_an_agent() {
    let world = world();
    let answer = world.call(chat("why?", &json!({"model": "ollama/llama3", "metadata": {"ticket": "A-17"}}))).await;
    assert_eq!((answer.status, answer.text("/model"), answer.text("/choices/0/message/metadata/ticket")), (200, "ollama/llama3", "A-17"));
    let run = world.call(get("/v1/runs/{id}").id(answer.text("/run_id"))).await;
    assert_eq!(run.text("/agent"), "assistant");
    // What came with an answer may be sent back with it.
    let said = answer.body["choices"][0]["message"].clone();
    let again = json!({"messages": [{"role": "user", "content": "why?"}, said, {"role": "user", "content": "and?"}]});
    assert_eq!(world.call(chat("", &again)).await.status, 200);
    assert_eq!(world.call(chat("why?", &json!({"model": "ollama/llama4"}))).await.status, 400);
}
