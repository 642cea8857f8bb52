//! What is down is a 503 that says when to come back, and nothing is left behind half done.

use serde_json::json;
use shared::domain::state::RunState;
use shared::fakes::Scripted;

use crate::document::DOCUMENT;
use crate::requests::{OWNER, ask, get, good, post};
use crate::world::{World, scripted, world};

fn set_queue(world: &World, is_down: bool) {
    *world.queue.is_down.lock().unwrap() = is_down;
}

#[tokio::test]
async fn a_store_that_is_down_is_a_503_on_every_route_that_needs_it() {
    let mut asked = 0;
    for operation in DOCUMENT.operations() {
        let needs_store = DOCUMENT.promised().contains(&(operation.id().to_owned(), 503)) && !operation.is_probe();
        if !needs_store {
            continue;
        }
        let world = world();
        let dead = world.run_of("acme", RunState::Dead);
        world.store.set_down(true);
        *world.switches.is_down.lock().unwrap() = true;
        *world.incidents.is_down.lock().unwrap() = true;
        *world.table.is_down.lock().unwrap() = true;
        *world.jobs.is_down.lock().unwrap() = true;
        *world.letters.is_down.lock().unwrap() = true;
        let id = match operation.path {
            path if path.contains("conversations") || path.contains("history") => dead.conversation.to_string(),
            path if path.contains("events") => dead.event.to_string(),
            path if path.contains("letters") => dead.id.to_string().replace("run_", "ltr_"),
            path if path.contains("incidents") => dead.id.to_string().replace("run_", "inc_"),
            path if path.contains("/jobs/") || path.contains("/replays/") => dead.id.to_string().replace("run_", "job_"),
            path if path.contains("/chat/") => dead.id.to_string().replace("run_", "chatcmpl-"),
            _ => dead.id.to_string(),
        };
        let answer = world.call(good(&operation, id)).await;
        let problem = if operation.is_openai() { &answer.body["error"] } else { &answer.body };
        assert_eq!(
            (answer.status, problem["code"].as_str().unwrap_or_default(), &problem["retry_after"]),
            (503, "unavailable", &json!(5)),
            "{}",
            operation.id()
        );
        assert!(!answer.body.to_string().contains("switched off"), "{}: internals are told", operation.id());
        assert_eq!((world.store.get(dead.id), world.queue.take().len()), (Some(dead), 0));
        asked += 1;
    }
    assert_eq!(asked, 56);
}

#[tokio::test]
async fn a_run_that_cannot_be_sent_is_accepted_all_the_same_and_can_be_found_by_the_sweeper() {
    // In the background, and at the hand-over of a run whose caller waited.
    for (world, background) in [(world(), true), (scripted([Scripted::Hangs]), false)] {
        set_queue(&world, true);
        let answer = world.call(ask(&json!({"prompt": "why?", "background": background}))).await;
        assert_eq!((answer.status, answer.text("/status")), (202, "queued"), "{background}");
        assert!(world.queue.take().is_empty());
        let run = world.store.get(answer.text("/run_id").parse().unwrap()).unwrap();
        assert_eq!((run.state, run.due_ms.is_some()), (RunState::Queued, true), "{background}: nobody would look after it");
    }
}

#[tokio::test]
async fn an_answer_whose_run_cannot_be_sent_is_taken() {
    let world = world();
    let run = world.asking("acme");
    set_queue(&world, true);
    let request = post("/v1/runs/{id}/answer").id(run.id.to_string()).body(r#"{"question_id": "q2", "answer": "yes"}"#);
    assert_eq!(world.call(request).await.status, 202);
    assert!(world.store.get(run.id).unwrap().due_ms.is_some(), "nobody would look after it");
}

#[tokio::test]
async fn a_store_that_is_down_is_told_with_what_the_callers_key_is_good_for() {
    for (key, word) in [(Some("k"), "same Idempotency-Key"), (None, "GET /v1/runs")] {
        let world = world();
        world.store.set_down(true);
        let request = ask(&json!({"prompt": "why?"}));
        let answer = world.call(if let Some(key) = key { request.header("Idempotency-Key", key) } else { request }).await;
        assert_eq!(answer.status, 503);
        assert!(answer.text("/detail").contains(word), "{}", answer.text("/detail"));
    }
}

#[tokio::test]
async fn a_dead_letter_queue_that_is_down_is_a_503() {
    for request in [get("/v1/dlq"), post("/v1/dlq/retry-all").body(r#"{"native": true}"#)] {
        let world = world();
        set_queue(&world, true);
        assert_eq!(world.call(request.from(OWNER)).await.status, 503);
    }
}
