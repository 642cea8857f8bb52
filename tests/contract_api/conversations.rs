//! A conversation takes turns, shows them, and can be deleted.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shared::config::ApiAuth;
use shared::domain::conversation::LONGEST_LINE;
use shared::domain::message::Role;
use shared::domain::state::RunState;
use shared::fakes::{MemoryStore, ScriptedModel};

use crate::requests::{Asked, ask, asked, get, post};
use crate::world::{Answer, World, world};

fn show(conversation: &str) -> Asked {
    get("/v1/conversations/{id}").id(conversation)
}

fn delete(conversation: &str) -> Asked {
    asked("DELETE", "/v1/conversations/{id}").id(conversation)
}

async fn say(world: &World, conversation: Option<&str>, prompt: &str, strategy: Option<&str>) -> Answer {
    world.clock.advance(Duration::from_millis(1));
    let mut body = json!({"prompt": prompt, "background": true});
    if let Some(conversation) = conversation {
        body["conversation_id"] = json!(conversation);
    }
    if let Some(strategy) = strategy {
        body["multitask_strategy"] = json!(strategy);
    }
    world.call(ask(&body)).await
}

fn column(answer: &Answer, field: &str) -> Vec<Value> {
    answer.body["turns"].as_array().unwrap().iter().map(|turn| turn[field].clone()).collect()
}

#[tokio::test]
async fn messages_that_come_at_once_are_answered_one_by_one_in_order_of_arrival() {
    let world = world();
    let first = say(&world, None, "one", None).await;
    let conversation = first.text("/conversation_id");
    let second = say(&world, Some(conversation), "two", None).await;
    let third = say(&world, Some(conversation), "three", Some("enqueue")).await;
    for waiting in [&second, &third] {
        assert_eq!((waiting.status, waiting.text("/status"), waiting.text("/waiting/for")), (202, "waiting", "turn"));
    }
    let shown = world.call(show(conversation)).await;
    assert_eq!(
        (shown.text("/active_run"), &shown.body["line"]),
        (first.text("/run_id"), &json!([second.body["run_id"], third.body["run_id"]]))
    );
    assert_eq!(column(&shown, "status"), [json!(null), json!(null), json!(null)]);
    assert_eq!(world.queue.sent.lock().unwrap().len(), 1, "only whose turn it is");
    world.work().await;
    let shown = world.call(show(conversation)).await;
    assert_eq!((&shown.body["active_run"], &shown.body["line"]), (&json!(null), &json!([])));
    assert_eq!(column(&shown, "status"), [json!("completed"), json!("completed"), json!("completed")]);
    assert_eq!(column(&shown, "run_id"), [&first, &second, &third].map(|answer| answer.body["run_id"].clone()));
}

#[tokio::test]
async fn a_caller_who_waits_gets_the_answer_when_the_turn_has_come() {
    // Its turn does not come while this caller waits: nobody works on the first.
    let world = world();
    let first = say(&world, None, "one", None).await;
    world.clock.advance(Duration::from_millis(1));
    let body = json!({"prompt": "two", "conversation_id": first.text("/conversation_id")});
    let second = world.call(ask(&body).header("Idempotency-Key", "k")).await;
    assert_eq!((second.status, second.text("/status"), second.text("/waiting/for")), (202, "waiting", "turn"));
    world.work().await;
    let again = world.call(ask(&body).header("Idempotency-Key", "k")).await;
    assert_eq!((again.status, again.text("/run_id"), again.text("/response")), (200, second.text("/run_id"), "done"));
}

#[tokio::test]
async fn a_message_may_be_refused_interrupt_or_take_the_place_of_what_is_going_on() {
    for (strategy, told, history) in
        [("interrupt", "interrupted", &["one", "two", "stop that"][..]), ("rollback", "rolled_back", &["stop that"])]
    {
        let model = Arc::new(ScriptedModel::default());
        let world = World::build(Arc::new(MemoryStore::default()), model.clone(), ApiAuth::Iam);
        let first = say(&world, None, "one", None).await;
        let conversation = first.text("/conversation_id");
        let second = say(&world, Some(conversation), "two", None).await;
        let refused = say(&world, Some(conversation), "not now", Some("reject")).await;
        assert_eq!(
            (refused.status, refused.text("/code"), refused.text("/field"), &refused.body["retry_after"]),
            (409, "conversation_busy", "conversation_id", &json!(2))
        );
        let last = say(&world, Some(conversation), "stop that", Some(strategy)).await;
        assert_eq!((last.status, last.text("/status")), (202, "queued"));
        world.work().await;
        let shown = world.call(show(conversation)).await;
        assert_eq!(column(&shown, "status"), [json!(told), json!(told), json!("completed")]);
        let ended = world.call(get("/v1/runs/{id}").id(second.text("/run_id"))).await;
        assert_eq!((ended.text("/status"), ended.text("/transitions/1/reason")), ("cancelled", told));
        let run = world.call(get("/v1/runs/{id}").id(last.text("/run_id"))).await;
        assert_eq!(run.text("/status"), "completed");
        let asked = model.asked.lock().unwrap().clone();
        let said = asked[0].iter().filter(|message| message.role == Role::User).map(|message| message.content.clone().unwrap());
        assert_eq!((asked.len(), said.collect::<Vec<_>>()), (1, history.iter().map(|text| (*text).to_owned()).collect()), "{strategy}");
    }
}

#[tokio::test]
async fn a_line_is_bounded_for_messages_and_for_retries() {
    let world = world();
    let first = say(&world, None, "one", None).await;
    let conversation = first.text("/conversation_id");
    for _ in 0..LONGEST_LINE {
        assert_eq!(say(&world, Some(conversation), "more", None).await.status, 202);
    }
    let full = say(&world, Some(conversation), "too much", None).await;
    assert_eq!((full.status, full.text("/code"), full.text("/field")), (409, "conversation_full", "conversation_id"));
    let mut dead = world.run_of("acme", RunState::Dead);
    dead.conversation = conversation.parse().unwrap();
    world.store.put(dead.clone());
    let refused = world.call(post("/v1/dlq/{id}/retry").id(dead.id.to_string())).await;
    assert_eq!((refused.status, refused.text("/code")), (409, "conversation_full"));
    assert_eq!(world.store.get(dead.id), Some(dead));
    assert_eq!(world.queue.take().len(), 1, "only the first run is on the queue");
}

#[tokio::test]
async fn a_dead_run_lets_the_next_one_go_and_lines_up_when_it_is_put_back() {
    let world = world();
    let first = say(&world, None, "one", None).await;
    let conversation = first.text("/conversation_id");
    let mut dead = world.run_of("acme", RunState::Dead);
    dead.conversation = conversation.parse().unwrap();
    world.store.put(dead.clone());
    let retried = world.call(post("/v1/dlq/{id}/retry").id(dead.id.to_string())).await;
    assert_eq!((retried.status, retried.text("/status"), &retried.body["epoch"]), (202, "waiting", &json!(1)));
    assert_eq!(world.queue.sent.lock().unwrap().len(), 1, "it waits for its turn");
    world.work().await;
    let shown = world.call(get("/v1/runs/{id}").id(dead.id.to_string())).await;
    assert_eq!((shown.text("/status"), shown.text("/response")), ("completed", "done"));
}

#[tokio::test]
async fn a_deleted_conversation_is_really_gone() {
    let world = world();
    let answered = world.call(ask(&json!({"prompt": "our secret"}))).await;
    let conversation = answered.text("/conversation_id");
    let queued = say(&world, Some(conversation), "another secret", None).await;
    let waiting = say(&world, Some(conversation), "a third", None).await;
    let other = say(&world, None, "not in it", None).await;
    let deleted = world.call(delete(conversation)).await;
    assert_eq!((deleted.status, &deleted.body["deleted"], deleted.text("/conversation_id")), (200, &json!(true), conversation));
    for request in [show(conversation), delete(conversation)] {
        let answer = world.call(request).await;
        assert_eq!((answer.status, answer.text("/field")), (404, "id"));
    }
    assert_eq!(say(&world, Some(conversation), "still there?", None).await.status, 404);
    for run in [&answered, &queued, &waiting] {
        assert_eq!(world.call(get("/v1/runs/{id}").id(run.text("/run_id"))).await.status, 404);
    }
    let tables = world.store.tables();
    assert_eq!((tables.runs.len(), tables.turns.len(), tables.events.len(), tables.conversations.len()), (1, 1, 1, 1));
    assert!(tables.steps.values().all(Vec::is_empty), "{:?}", tables.steps);
    assert!(!format!("{tables:?}").contains("secret"));
    assert_eq!(tables.runs.keys().next().unwrap().to_string(), other.text("/run_id"));
    // The message of the run that was queued finds nothing.
    world.work().await;
    assert_eq!(world.store.len(), 1);
}

/// A deletion that takes longer than one request.
pub(crate) async fn more_than_one_request_deletes() -> Answer {
    let world = world().with_patience(Duration::ZERO);
    let first = say(&world, None, "one", None).await;
    let conversation = first.text("/conversation_id");
    for _ in 0..100 {
        assert_eq!(say(&world, Some(conversation), "more", None).await.status, 202);
        world.work().await;
    }
    let part = world.call(delete(conversation)).await;
    assert_eq!((part.status, &part.body["deleted"]), (202, &json!(false)));
    assert_eq!(world.call(show(conversation)).await.status, 404, "what is left is shown to nobody");
    assert_eq!(say(&world, Some(conversation), "still there?", None).await.status, 404);
    let rest = world.call(delete(conversation)).await;
    assert_eq!((rest.status, &rest.body["deleted"]), (200, &json!(true)));
    assert!(world.store.tables().turns.is_empty());
    part
}
