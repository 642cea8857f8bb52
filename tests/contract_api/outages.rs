//! What is down is a 503 that says when to come back, and nothing is left behind half done.

use serde_json::json;
use shared::domain::state::RunState;
use shared::fakes::Scripted;

use crate::document::DOCUMENT;
use crate::requests::{OWNER, ask, get, post};
use crate::world::{World, scripted, world};

fn set_queue(world: &World, is_down: bool) {
    *world.queue.is_down.lock().unwrap() = is_down;
}

#[tokio::test]
async fn a_store_that_is_down_is_a_503_on_every_route_that_needs_it() {
    let mut asked = 0;
    for operation in DOCUMENT.operations() {
        // Readiness looks by itself, and the move of the dead letters is the queue's own.
        let needs_store =
            DOCUMENT.promised().contains(&(operation.id().to_owned(), 503)) && !["ready", "retryAll"].contains(&operation.id());
        if !needs_store {
            continue;
        }
        let world = world();
        let dead = world.run_of("acme", RunState::Dead);
        world.store.set_down(true);
        let request = if operation.method == "GET" { get(operation.path) } else { post(operation.path) };
        let id = if operation.path.contains("conversations") { dead.conversation.to_string() } else { dead.id.to_string() };
        let answer = world.call(request.id(id).body(r#"{"prompt": "why?"}"#)).await;
        assert_eq!(
            (answer.status, answer.text("/code"), &answer.body["retry_after"]),
            (503, "unavailable", &json!(5)),
            "{}",
            operation.id()
        );
        assert!(!answer.body.to_string().contains("switched off"), "{}: internals are told", operation.id());
        assert_eq!((world.store.get(dead.id), world.queue.take().len()), (Some(dead), 0));
        asked += 1;
    }
    assert_eq!(asked, 8);
}

#[tokio::test]
async fn a_run_that_cannot_be_queued_is_withdrawn() {
    // In the background, and at the hand-over of a run whose caller waited.
    for (world, background) in [(world(), true), (scripted([Scripted::Hangs]), false)] {
        set_queue(&world, true);
        let answer = world.call(ask(&json!({"prompt": "why?", "background": background}))).await;
        assert_eq!((answer.status, answer.text("/code")), (503, "unavailable"));
        set_queue(&world, false);
        let list = world.call(get("/v1/runs")).await;
        assert_eq!((list.text("/runs/0/status"), list.text("/runs/0/error/code")), ("cancelled", "queue_unavailable"), "{background}");
        assert_eq!(world.call(get("/v1/runs").query("status", "queued")).await.body["runs"], json!([]));
        // Its conversation is free for the second try.
        let conversation = list.text("/runs/0/conversation_id");
        let again = world.call(ask(&json!({"prompt": "why?", "background": true, "conversation_id": conversation}))).await;
        assert_eq!(again.status, 202);
    }
}

#[tokio::test]
async fn a_dead_letter_queue_that_is_down_is_a_503() {
    for request in [get("/v1/dlq"), post("/v1/dlq/retry-all")] {
        let world = world();
        set_queue(&world, true);
        assert_eq!(world.call(request.from(OWNER)).await.status, 503);
    }
}
