//! The same key and the same request give the same run; everything else is told apart.

use serde_json::{Value, json};
use shared::engine::CallError;
use shared::fakes::Scripted;

use crate::requests::{Asked, Caller, ask, asked, get, post};
use crate::world::{Answer, scripted, world};

const EVE: Caller = Caller::Authorized("evil", "eve");

fn keyed(key: &str, body: &Value) -> Asked {
    ask(body).header("Idempotency-Key", key)
}

fn is_replay(answer: &Answer) -> bool {
    answer.headers.get("idempotency-replayed").is_some_and(|value| value == "true")
}

#[tokio::test]
async fn a_request_in_the_background_that_is_sent_again_finds_its_run_wherever_that_is() {
    let world = world();
    let body = json!({"prompt": "why?", "background": true});
    let first = world.call(keyed("k", &body)).await;
    assert_eq!((first.status, is_replay(&first)), (202, false));
    let queued = world.call(keyed("k", &body)).await;
    assert_eq!((queued.status, is_replay(&queued), queued.text("/run_id")), (202, true, first.text("/run_id")));
    assert_eq!((world.store.len(), world.queue.sent.lock().unwrap().len()), (1, 1));
    world.work().await;
    let done = world.call(keyed("k", &body)).await;
    assert_eq!((done.status, is_replay(&done), done.text("/response")), (200, true, "done"));
    assert_eq!((done.text("/run_id"), &done.body["messages"][1]["content"]), (first.text("/run_id"), &json!("done")));
    assert_eq!(world.store.len(), 1);
}

#[tokio::test]
async fn an_answer_that_got_lost_is_given_again_and_nothing_is_asked_twice() {
    let world = scripted([Scripted::Says("because".into()), Scripted::Says("paid for twice".into())]);
    let first = world.call(keyed("k", &json!({"prompt": "why?", "metadata": {"a": 1, "b": 2}}))).await;
    let other_spaces = post("/v1/agent").body("{ \"metadata\": {\"b\": 2, \"a\": 1},\n \"prompt\": \"why?\" }");
    let again = world.call(other_spaces.header("Idempotency-Key", "k")).await;
    assert_eq!((first.status, is_replay(&first), again.status, is_replay(&again)), (200, false, 200, true));
    assert_eq!(first.body, again.body);
}

#[tokio::test]
async fn a_run_that_ended_badly_says_so_each_time() {
    let world = scripted([Scripted::Fails(CallError::rejected("the provider filtered the answer"))]);
    let first = world.call(keyed("k", &json!({"prompt": "why?"}))).await;
    let again = world.call(keyed("k", &json!({"prompt": "why?"}))).await;
    assert_eq!((again.status, is_replay(&again), again.text("/code")), (502, true, "provider_rejected"));
    assert_eq!(first.text("/run_id"), again.text("/run_id"));
    let cancelled = json!({"prompt": "never mind", "background": true});
    let started = world.call(keyed("c", &cancelled)).await;
    world.call(post("/v1/runs/{id}/cancel").id(started.text("/run_id"))).await;
    // It was accepted, which is all that was asked for.
    let again = world.call(keyed("c", &cancelled)).await;
    assert_eq!((again.status, is_replay(&again), again.text("/status")), (202, true, "cancelled"));
}

#[tokio::test]
async fn a_key_with_another_request_is_refused_and_another_key_is_another_run() {
    let world = world();
    let first = world.call(keyed("k", &json!({"prompt": "why?", "background": true}))).await;
    for other in [json!({"prompt": "how?", "background": true}), json!({"prompt": "why?"})] {
        let answer = world.call(keyed("k", &other)).await;
        assert_eq!((answer.status, answer.text("/code"), answer.text("/field")), (422, "idempotency_key_reused", "Idempotency-Key"));
    }
    assert_eq!((world.store.len(), world.queue.sent.lock().unwrap().len()), (1, 1));
    let mine = world.call(keyed("K", &json!({"prompt": "why?", "background": true}))).await;
    let theirs = world.call(keyed("k", &json!({"prompt": "why?", "background": true})).from(EVE)).await;
    assert_eq!((mine.status, theirs.status, is_replay(&theirs)), (202, 202, false));
    assert_ne!(first.text("/run_id"), mine.text("/run_id"));
    assert_ne!(first.text("/run_id"), theirs.text("/run_id"));
    assert_eq!(world.store.len(), 3);
}

#[tokio::test]
async fn a_key_is_remembered_for_a_day() {
    let world = world();
    let body = json!({"prompt": "why?", "background": true});
    let first = world.call(keyed("k", &body)).await;
    world.clock.advance(std::time::Duration::from_secs(86_399));
    assert_eq!(world.call(keyed("k", &body)).await.text("/run_id"), first.text("/run_id"));
    world.clock.advance(std::time::Duration::from_secs(1));
    let later = world.call(keyed("k", &body)).await;
    assert_eq!((later.status, is_replay(&later)), (202, false));
    assert_ne!(later.text("/run_id"), first.text("/run_id"));
}

#[tokio::test]
async fn a_key_whose_run_was_deleted_starts_no_other_in_secret() {
    let world = world();
    let body = json!({"prompt": "why?"});
    let first = world.call(keyed("k", &body)).await;
    let gone = world.call(asked("DELETE", "/v1/conversations/{id}").id(first.text("/conversation_id"))).await;
    assert_eq!(gone.status, 200);
    let again = world.call(keyed("k", &body)).await;
    assert_eq!((again.status, again.text("/code"), again.text("/field")), (409, "idempotency_key_in_use", "Idempotency-Key"));
    assert_eq!(world.call(get("/v1/runs")).await.body["runs"], json!([]));
}

#[tokio::test]
async fn a_refused_request_does_not_use_its_key_up() {
    let world = world();
    let refused = world.call(keyed("k", &json!({"prompt": "why?", "agent": "nobody"}))).await;
    assert_eq!(refused.status, 400);
    assert_eq!(world.call(keyed("k", &json!({"prompt": "why?"}))).await.status, 200);
}
