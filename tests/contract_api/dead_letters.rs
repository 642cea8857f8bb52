//! Dead runs, and messages that are none of ours.

use serde_json::{Value, json};
use shared::domain::clock::Clock;
use shared::domain::failure::FailureCode;
use shared::domain::id::LetterId;
use shared::domain::message::{Message, ToolCall};
use shared::domain::revival::Redriven;
use shared::domain::run::Run;
use shared::domain::state::RunState;
use shared::domain::step::{FinishReason, ModelStep, Step, StepBody, Usage};
use shared::letters::{Sighting, seen};

use crate::requests::{ANA, Asked, Caller, OWNER, get, post};
use crate::world::{Answer, World, world};

const NO_RUN: &str = "run_01KAM3Q5T0ZJ8Y6W4V2N1M0K9H";
/// No letter has it.
pub(crate) const NO_LETTER: &str = "ltr_01KAM3Q5T0ZJ8Y6W4V2N1M0K9H";

fn retry(run: &Run, body: &Value) -> Asked {
    post("/v1/dlq/{id}/retry").id(run.id.to_string()).body(body.to_string())
}

fn discard(id: &str) -> Asked {
    post("/v1/dlq/{id}/discard").id(id).body(r#"{"reason": "spam"}"#)
}

fn show(run: &Run) -> Asked {
    get("/v1/dlq/{id}").id(run.id.to_string())
}

/// One answer of each kind of each route about dead runs.
pub(crate) async fn all() -> Vec<Answer> {
    let world = world();
    let dead = world.run_of("acme", RunState::Dead);
    let list = world.call(get("/v1/dlq")).await;
    assert_eq!((&list.body["count"], list.text("/entries/0/run_id")), (&json!(1), &*dead.id.to_string()));
    assert_eq!(list.text("/entries/0/error/code"), FailureCode::ProviderUnavailable.as_str());
    let stats = world.call(get("/v1/dlq/stats")).await;
    assert_eq!((&stats.body["groups"][0]["count"], stats.text("/groups/0/run_id")), (&json!(1), &*dead.id.to_string()));
    let shown = world.call(show(&dead)).await;
    let payload = get("/v1/dlq/{id}/payload").from(OWNER).query("tenant", "acme");
    let raw = world.call(payload.clone().id(dead.id.to_string())).await;
    assert_eq!((shown.status, raw.text("/input/prompt")), (200, "why?"));
    let none = [world.call(get("/v1/dlq/{id}").id(NO_RUN)).await, world.call(payload.id(NO_RUN)).await];
    let mut answers = vec![list, stats, shown, raw, world.call(retry(&dead, &json!({"dry_run": true}))).await];
    answers.extend(none);
    let retried = world.call(post("/v1/dlq/{id}/retry").id(dead.id.to_string())).await;
    assert_eq!((retried.status, &retried.body["epoch"]), (202, &json!(2)));
    assert_eq!(world.queue.take().first().map(|(task, _)| (task.run, task.epoch)), Some((dead.id, 2)));
    // Queued: its message may have been lost, so it is sent again under a new epoch.
    let again = world.call(retry(&dead, &Value::Null)).await;
    assert_eq!((again.status, &again.body["epoch"]), (202, &json!(3)));
    let completed = world.run_of("acme", RunState::Completed);
    for refused in [retry(&completed, &json!({})), discard(&completed.id.to_string())] {
        let refused = world.call(refused).await;
        assert_eq!((refused.status, refused.text("/code")), (409, "not_dead"));
        answers.push(refused);
    }
    let large = world.call(retry(&world.run_of("acme", RunState::Dead), &json!({"input": {"prompt": "x".repeat(150_001)}}))).await;
    assert_eq!((large.status, large.text("/field")), (413, "input"));
    let given_up = world.call(discard(&world.run_of("acme", RunState::Dead).id.to_string())).await;
    assert_eq!(given_up.text("/status"), "cancelled");
    let unknown = [world.call(post("/v1/dlq/{id}/retry").id(NO_RUN)).await, world.call(discard(NO_RUN)).await];
    let all = world.call(post("/v1/dlq/retry-all").body(r#"{"native": true, "rate": 10}"#).from(OWNER)).await;
    assert_eq!(all.text("/status"), "started");
    answers.extend([retried, again, large, given_up, all, too_many().await]);
    answers.extend(unknown);
    answers
}

async fn too_many() -> Answer {
    let world = world();
    for _ in 0..=20_000 {
        world.run_of("acme", RunState::Dead);
    }
    let answer = world.call(get("/v1/dlq").query("sort", "-tokens")).await;
    assert_eq!((answer.status, answer.text("/field")), (422, "sort"));
    assert_eq!(world.call(get("/v1/dlq")).await.body["entries"].as_array().unwrap().len(), 20, "in the order of their death it works");
    answer
}

async fn poison(world: &World, body: &str) -> String {
    let sighting = Sighting { body, message_id: "m-1", sent_at: Some(world.clock.now()), is_delivery: true, ..Sighting::default() };
    seen(world.letters.as_ref(), &sighting, world.clock.now()).await.unwrap();
    LetterId::of(body).to_string()
}

fn decide(what: &str, id: &str, body: &Value) -> Asked {
    post(&format!("/v1/dlq/letters/{{id}}/{what}")).id(id).body(body.to_string()).from(OWNER)
}

/// One answer of each kind of each route about letters.
pub(crate) async fn letters() -> Vec<Answer> {
    let world = world();
    let (one, other) = (poison(&world, "order 4711 of ana@example.com").await, poison(&world, "{}").await);
    let list = world.call(get("/v1/dlq/letters").from(OWNER)).await;
    assert_eq!(list.body["letters"].as_array().unwrap().len(), 2);
    let shown = world.call(get("/v1/dlq/letters/{id}").id(&one).from(OWNER)).await;
    assert_eq!((shown.text("/body"), shown.text("/body_preview")), ("order 4711 of [redacted]", "order 4711 of [redacted]"));
    let why = json!({"reason": "the sender is mended"});
    let moved = world.call(decide("move", &one, &why)).await;
    assert_eq!((moved.text("/status"), moved.text("/decisions/0/by")), ("moved", "arn:aws:iam::123456789012:user/ops"));
    assert_eq!(*world.letters.sent.lock().unwrap(), ["order 4711 of ana@example.com"], "as it is, not as it is shown");
    let discarded = world.call(decide("discard", &other, &why)).await;
    assert_eq!(discarded.text("/status"), "discarded");
    let mut answers = vec![list, shown, moved, discarded];
    for what in ["move", "discard"] {
        let refused = world.call(decide(what, &one, &why)).await;
        assert_eq!((refused.status, refused.text("/code")), (409, "not_open"));
        answers.push(refused);
        answers.push(world.call(decide(what, NO_LETTER, &why)).await);
        answers.push(world.call(decide(what, &one, &json!({"reason": " "}))).await);
        assert_eq!(answers.last().unwrap().text("/field"), "reason");
    }
    answers.push(world.call(decide("move", &one, &json!({"reason": "r", "body": "x".repeat(1_048_577)}))).await);
    let unfit = world.call(decide("move", &one, &json!({"reason": "r", "body": "{\"v\": 2}"}))).await;
    assert_eq!((unfit.status, unfit.text("/field")), (400, "body"));
    answers.push(world.call(get("/v1/dlq/letters/{id}").id(NO_LETTER).from(OWNER)).await);
    let closed = world.call(get("/v1/dlq/letters").query("status", "all").from(OWNER)).await;
    assert_eq!(closed.body["letters"].as_array().unwrap().len(), 2);
    assert_eq!(world.call(get("/v1/dlq/letters").from(OWNER)).await.body["letters"], json!([]), "none is open");
    answers
}

/// Parameters of lists that are none.
pub(crate) fn bad_parameters() -> Vec<(&'static str, &'static str, &'static [&'static str])> {
    let cursors: &[&str] =
        &["x", "", "0", NO_RUN, "-died_at~0", "-died_at~x~run_01KAM3Q5T0ZJ8Y6W4V2N1M0K9H", "tokens~1~run_01KAM3Q5T0ZJ8Y6W4V2N1M0K9H"];
    let times: &[&str] = &["yesterday", "", "2026-01-02"];
    vec![
        ("/v1/dlq", "cursor", cursors),
        ("/v1/dlq", "sort", &["", "age", "DIED_AT", "--died_at"]),
        ("/v1/dlq", "since", times),
        ("/v1/dlq", "until", times),
        ("/v1/dlq", "min_attempts", &["-1", "x", "1.5"]),
        ("/v1/dlq", "fingerprint", &["", "0A1B2C3D4E5F", "0a1b2c3d4e5"]),
        ("/v1/dlq", "code", &[""]),
        ("/v1/dlq", "tenant", &["", "a#b", "**"]),
        ("/v1/dlq/stats", "max_attempts", &["many"]),
        ("/v1/dlq/stats", "since", times),
    ]
}

#[tokio::test]
async fn a_list_is_filtered_and_paged_by_what_the_query_says() {
    let world = world();
    for _ in 0..25 {
        world.run_of("acme", RunState::Dead);
    }
    for (name, value, count) in [
        ("code", "provider_unavailable", 25),
        ("code", "provider_timeout", 0),
        ("agent", "assistant", 25),
        ("agent", "other", 0),
        ("text", "DOES NOT", 25),
        ("source", "elsewhere", 0),
        ("min_attempts", "2", 0),
        ("until", "2026-01-02T03:04:05Z", 0),
        ("since", "2026-01-02T03:04:05Z", 25),
    ] {
        let (mut cursor, mut found) = (None::<String>, 0);
        loop {
            let request = get("/v1/dlq").query(name, value).query("limit", "10");
            let page = world.call(if let Some(cursor) = &cursor { request.query("cursor", cursor) } else { request }).await;
            found += page.body["entries"].as_array().unwrap().len();
            cursor = page.body["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(found, count, "{name}={value}");
        assert_eq!(world.call(get("/v1/dlq/stats").query(name, value)).await.body["count"], count, "{name}={value}");
    }
}

#[tokio::test]
async fn only_operators_look_at_the_dead_of_others() {
    let world = world();
    let theirs = world.run_of("other", RunState::Dead);
    for tenant in ["other", "*"] {
        for route in ["/v1/dlq", "/v1/dlq/stats"] {
            assert_eq!(world.call(get(route).query("tenant", tenant).from(ANA)).await.status, 403);
            assert_eq!(world.call(get(route).query("tenant", tenant).from(OWNER)).await.body["count"], 1, "{route} {tenant}");
        }
    }
    assert_eq!(world.call(get("/v1/dlq").query("tenant", "acme").from(ANA)).await.body["count"], 0, "one's own");
    assert_eq!(world.call(show(&theirs).query("tenant", "other").from(ANA)).await.status, 403);
    assert_eq!(world.call(show(&theirs).from(OWNER)).await.status, 404);
    assert_eq!(world.call(show(&theirs).query("tenant", "other").from(OWNER)).await.text("/tenant"), "other");
    assert_eq!(world.call(retry(&theirs, &json!({})).query("tenant", "other").from(OWNER)).await.status, 202);
    for letters in [get("/v1/dlq/letters"), get("/v1/dlq/letters/{id}").id(NO_LETTER)] {
        assert_eq!(world.call(letters.from(ANA)).await.status, 403);
    }
}

#[tokio::test]
async fn the_payload_as_it_is_needs_a_scope_where_an_authorizer_speaks() {
    let world = world();
    let dead = world.run_of("acme", RunState::Dead);
    let raw = get("/v1/dlq/{id}/payload").id(dead.id.to_string());
    for (caller, status) in [
        (ANA, 403),
        (Caller::Scoped("acme", "ana", ""), 403),
        (Caller::Scoped("acme", "ana", "dlq dlq:rawer"), 403),
        (Caller::Scoped("acme", "ana", "runs dlq:raw"), 200),
        (Caller::Scoped("acme", "ana", "dlq:raw,runs"), 200),
        (Caller::Scoped("evil", "eve", "dlq:raw"), 404),
    ] {
        assert_eq!(world.call(raw.clone().from(caller)).await.status, status, "{caller:?}");
    }
}

#[tokio::test]
async fn one_dead_run_is_shown_with_what_explains_it_and_without_secrets() {
    let world = world();
    let mut dead = world.run_of("acme", RunState::Dead);
    let arguments = json!({"q": "x", "api_key": "abc"});
    let call = ToolCall { id: "c".into(), name: "track".into(), arguments };
    let message = Message { content: None, tool_calls: vec![call], ..Message::assistant("") };
    let body = StepBody::Model(ModelStep::new("script".into(), "m".into(), message, FinishReason::ToolCalls, Usage::default()));
    world.store.put_step(dead.id, Step { index: 1, started_at: dead.created_at, ended_at: dead.created_at, body });
    dead.steps = 1;
    dead.failures.last_mut().unwrap().message = "401: ana@example.com, password=\"two words\" is wrong".into();
    world.store.put(dead.clone());
    let shown = world.call(show(&dead)).await;
    let failed = json!({"index": 2, "kind": "tool", "name": "track", "arguments": {"q": "x", "api_key": "[redacted]"}});
    assert_eq!((&shown.body["failed_step"], &shown.body["journal_complete"]), (&failed, &json!(true)));
    let places = ["/failed_step/arguments/api_key", "/journal/0/message/tool_calls/0/arguments/api_key"];
    assert_eq!(shown.body["redacted"], json!([places[0], places[1], "/error/message", "/failures/0/message"]));
    for place in places {
        assert_eq!(shown.text(place), "[redacted]");
    }
    let told = "401: [redacted], password=\"[redacted]\" is wrong";
    let (list, stats) = (world.call(get("/v1/dlq")).await, world.call(get("/v1/dlq/stats")).await);
    let messages = [shown.text("/error/message"), list.text("/entries/0/failures/0/message"), stats.text("/groups/0/message")];
    assert_eq!(messages, [told; 3], "what a provider says may have secrets in it");
    assert_eq!(shown.text("/transitions/0/reason"), "accepted");
    let would = world.call(retry(&dead, &json!({"dry_run": true}))).await;
    assert_eq!((would.text("/would/action"), &would.body["would"]["step"]), ("resume", &failed));
    assert_eq!(world.store.get(dead.id), Some(dead), "nothing was done");
}

#[tokio::test]
async fn a_retry_changes_what_it_is_told_to_and_says_why() {
    let world = world();
    let dead = world.run_of("acme", RunState::Dead);
    let body = json!({"model": "backup::m", "agent": "triage", "input": {"prompt": "how?"}, "reason": "INC-7"});
    let dry = json!({"model": "backup::m", "input": {"prompt": "how?"}, "dry_run": true});
    let would = world.call(retry(&dead, &dry)).await;
    assert_eq!((would.text("/would/action"), would.text("/would/model")), ("start_over", "backup::m"));
    assert_eq!(world.call(retry(&dead, &body)).await.status, 202);
    let run = world.store.get(dead.id).unwrap();
    assert_eq!((run.agent.as_str(), run.redriven.model.as_ref().map(ToString::to_string)), ("triage", Some("backup::m".into())));
    assert_eq!(run.transitions.last().unwrap().note.as_deref(), Some("INC-7; its agent was `assistant`"));
    assert_eq!((run.redriven.input_no, run.redriven.count), (1, 1));
}

#[tokio::test]
async fn what_a_retry_cannot_do_is_refused_with_the_name_of_the_field() {
    let world = world();
    let dead = world.run_of("acme", RunState::Dead);
    for (body, field) in [
        (json!({"from": "middle"}), "from"),
        (json!({"from": "failed_step", "agent": "triage"}), "from"),
        (json!({"model": "m"}), "model"),
        (json!({"model": "opanai::m"}), "model"),
        (json!({"agent": ""}), "agent"),
        (json!({"agent": "tirage"}), "agent"),
        (json!({"agent": "tirage", "dry_run": true}), "agent"),
        (json!({"input": {"prompt": ""}}), "input.prompt"),
        (json!({"input": {"promt": "x"}}), "input.promt"),
        (json!({"reason": "x".repeat(501)}), "reason"),
        (json!({"forced": true}), "forced"),
    ] {
        let refused = world.call(retry(&dead, &body)).await;
        assert_eq!((refused.status, refused.text("/field")), (400, field), "{body}");
    }
    assert_eq!((world.store.writes(), world.queue.take().len()), (0, 0));
}

#[tokio::test]
async fn a_run_that_was_put_back_too_often_needs_force_in_earnest_and_in_a_dry_run() {
    let world = world();
    let dead = world.run_of("acme", RunState::Dead);
    let dead = Run { redriven: Redriven { count: 3, ..Redriven::default() }, ..dead };
    world.store.put(dead.clone());
    for dry_run in [true, false] {
        let refused = world.call(retry(&dead, &json!({"dry_run": dry_run}))).await;
        assert_eq!((refused.status, refused.text("/code")), (409, "loop_guard"));
    }
    assert_eq!(world.call(retry(&dead, &json!({"force": true}))).await.status, 202);
}
