//! Runs that wait, the answers that they wait for, and the trail that they leave.

use std::time::Duration;

use serde_json::{Value, json};
use shared::domain::clock::{Clock, after};
use shared::domain::run::Run;
use shared::domain::state::RunState;
use shared::fakes::Scripted;

use crate::requests::{Asked, ask, get, post};
use crate::world::{World, scripted, world};

fn asks() -> Scripted {
    Scripted::CallsWith("ask_human", json!({"question": "May I?", "expires_in_seconds": 60}))
}

fn reply(run: &str, question: &str, text: &str) -> Asked {
    post("/v1/runs/{id}/answer").id(run).body(json!({"question_id": question, "answer": text}).to_string())
}

async fn shown(world: &World, run: &str) -> Value {
    world.call(get("/v1/runs/{id}").id(run)).await.body
}

#[tokio::test]
async fn a_run_asks_a_human_and_goes_on_with_the_answer() {
    let world = scripted([asks(), Scripted::Says("done as you said".into())]);
    let asked = world.call(ask(&json!({"prompt": "delete it"}))).await;
    assert_eq!((asked.status, asked.text("/status")), (202, "waiting"));
    let expected = json!({"for": "answer", "question_id": "q2", "question": "May I?", "expires_at": "2026-01-02T03:05:05.000Z"});
    assert_eq!(asked.body["waiting"], expected);
    let id = asked.text("/run_id");
    let run = shown(&world, id).await;
    // It holds no lease, and what is shown is the question, not the call.
    assert_eq!((&run["waiting"], &run["lease"], &run["response"]), (&expected, &json!(null), &json!(null)));
    let taken = world.call(reply(id, "q2", "yes")).await;
    assert_eq!((taken.status, taken.text("/status"), &taken.body["steps"]), (202, "queued", &json!(2)));
    world.work().await;
    let run = shown(&world, id).await;
    assert_eq!((&run["status"], &run["response"], &run["waiting"]), (&json!("completed"), &json!("done as you said"), &json!(null)));
    let steps = world.call(get("/v1/runs/{id}/steps").id(id)).await;
    assert_eq!((steps.text("/steps/1/call/name"), steps.text("/steps/1/output")), ("ask_human", "yes"));
    let trail: Vec<_> = run["transitions"].as_array().unwrap().iter().map(|it| (&it["to"], &it["reason"])).collect();
    let expected = [
        ("queued", "accepted"),
        ("running", "request"),
        ("waiting", "question"),
        ("queued", "answered"),
        ("running", "claimed"),
        ("completed", "answered"),
    ];
    assert_eq!(trail.iter().map(|(to, reason)| (to.as_str().unwrap(), reason.as_str().unwrap())).collect::<Vec<_>>(), expected);
    assert_eq!((&run["transitions"][0]["by"], &run["transitions"][3]["by"]), (&json!("ana"), &json!("ana")));
}

#[tokio::test]
async fn the_first_answer_counts_and_the_same_one_may_be_sent_again() {
    let world = scripted([asks()]);
    let asked = world.call(ask(&json!({"prompt": "delete it"}))).await;
    let id = asked.text("/run_id");
    let other = world.call(reply(id, "q1", "yes")).await;
    assert_eq!((other.status, other.text("/code"), other.text("/question_id"), other.text("/run_id")), (409, "not_asked", "q2", id));
    assert_eq!(world.call(reply(id, "q2", "yes")).await.status, 202);
    assert_eq!(world.call(reply(id, "q2", "yes")).await.status, 202, "its sender did not hear of it");
    let late = world.call(reply(id, "q2", "no")).await;
    assert_eq!((late.status, late.text("/code"), &late.body["question_id"]), (409, "not_asked", &json!(null)));
    assert_eq!(world.queue.take().len(), 1, "one message, whoever answers how often");
    assert_eq!(world.store.journal_of(id.parse().unwrap()).len(), 2);
}

#[tokio::test]
async fn an_answer_that_comes_too_late_or_unasked_is_refused() {
    let asking = scripted([asks()]);
    let asked = asking.call(ask(&json!({"prompt": "delete it"}))).await;
    asking.clock.advance(Duration::from_secs(60));
    let late = asking.call(reply(asked.text("/run_id"), "q2", "yes")).await;
    assert_eq!((late.status, late.text("/code"), &late.body["question_id"]), (409, "not_asked", &json!(null)));
    assert!(late.text("/detail").contains("expired"));
    for state in RunState::ALL {
        let world = world();
        let run = world.run_of("acme", state);
        let answer = world.call(reply(&run.id.to_string(), "q1", "yes")).await;
        assert_eq!((answer.status, answer.text("/code")), (409, "not_asked"), "{state:?}");
        assert_eq!((world.store.get(run.id), world.queue.take().len()), (Some(run), 0));
    }
}

#[tokio::test]
async fn a_run_that_waits_can_be_cancelled_and_a_time_is_shown() {
    let world = scripted([Scripted::CallsWith("wait", json!({"seconds": 3600}))]);
    let asked = world.call(ask(&json!({"prompt": "later"}))).await;
    assert_eq!(asked.body["waiting"], json!({"for": "time", "until": "2026-01-02T04:04:05.000Z"}));
    let cancelled = world.call(post("/v1/runs/{id}/cancel").id(asked.text("/run_id"))).await;
    assert_eq!((cancelled.status, cancelled.text("/status")), (200, "cancelled"));
    let run = shown(&world, asked.text("/run_id")).await;
    assert_eq!((&run["waiting"], &run["transitions"][3]["reason"]), (&json!(null), &json!("cancel_requested")));
}

#[tokio::test]
async fn every_change_and_every_failure_is_shown_though_the_record_keeps_the_latest_only() {
    let rounds = 8;
    let world = scripted((0..rounds).map(|_| asks()));
    let asked = world.call(ask(&json!({"prompt": "ask and ask"}))).await;
    let id = asked.text("/run_id");
    for round in 0..rounds {
        assert_eq!(world.call(reply(id, &format!("q{}", 2 * round + 2), "yes")).await.status, 202);
        world.work().await;
    }
    let record = world.store.get(id.parse().unwrap()).unwrap();
    assert!(record.archives > 0 && record.transitions.len() <= 10);
    let run = shown(&world, id).await;
    let trail: Vec<_> = run["transitions"].as_array().unwrap().iter().map(|it| it["to"].as_str().unwrap()).collect();
    let mut expected = vec!["queued", "running"];
    expected.extend((0..rounds).flat_map(|_| ["waiting", "queued", "running"]));
    expected.push("completed");
    assert_eq!(trail, expected);
}

#[tokio::test]
async fn who_works_on_a_run_and_what_it_cost_is_shown() {
    let world = world();
    let mut run = Run { trigger: Some("new-ticket".into()), cost_micros: Some(1_234_567), ..world.run_of("acme", RunState::Running) };
    run.lease_to("worker-1/m/1.0".into(), after(world.clock.now(), Duration::from_secs(60)), Some("m".into()));
    world.store.put(run.clone());
    let body = shown(&world, &run.id.to_string()).await;
    assert_eq!(body["lease"], json!({"owner": "worker-1/m/1.0", "until": "2026-01-02T03:05:05.000Z"}));
    assert_eq!((&body["cost_usd"], &body["trigger"], &body["event_id"]), (&json!(1.234_567), &json!("new-ticket"), &json!(run.event)));
    world.store.put(Run { cost_micros: None, ..run.clone() });
    assert_eq!(shown(&world, &run.id.to_string()).await["cost_usd"], json!(null), "a price is not known");
}
