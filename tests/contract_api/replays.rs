//! Replays: asked for, tried dry, carried out, looked at, ended; and what is refused.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shared::domain::clock::{Clock, after};
use shared::domain::job::JobKind;
use shared::jobs::{Kinds, Worker};
use shared::replay::ReplayWork;

use crate::jobs::NO_JOB;
use crate::requests::{Asked, Caller, ask, get, post};
use crate::world::{Answer, World, world};

const EVE: Caller = Caller::Authorized("evil", "eve");

fn replay(body: &Value) -> Asked {
    post("/v1/replays").body(body.to_string())
}

/// A world with a question that was answered, an event that started two runs, and one that nobody heard.
async fn eventful() -> World {
    let world = world();
    world.call(ask(&json!({"prompt": "why?"}))).await;
    let payload = json!({"ticket": {"id": "T-1", "priority": "urgent"}, "customer": {"is_new": true}});
    for (kind, payload) in [("ticket.opened", payload), ("nothing.special", json!(null))] {
        world.clock.advance(Duration::from_secs(1));
        world.call(post("/v1/events").body(json!({"type": kind, "source": "crm/eu", "payload": payload}).to_string())).await;
    }
    world.work().await;
    world.clock.advance(Duration::from_secs(1));
    world
}

/// What the worker of jobs does with all messages that were sent, and then the consumer with the runs.
async fn work_off(world: &World) {
    let kinds = Kinds::from([(JobKind::Replay, Arc::new(ReplayWork(world.replayer.clone())) as Arc<dyn shared::jobs::Work>)]);
    let (store, queue, records) = (world.jobs.clone(), world.jobs.clone(), world.store.clone());
    let worker = Worker { store, queue, records, kinds, clock: world.clock.clone() };
    while let Some((message, delay)) = world.jobs.take_first() {
        world.clock.advance(delay);
        let until = after(world.clock.now(), Duration::from_secs(20));
        worker.take_up(&message, until).await.expect("the store is there");
    }
    world.work().await;
}

/// What leads to every answer of these routes that is not a refusal of all routes.
pub(crate) async fn all() -> Vec<Answer> {
    let world = eventful().await;
    let body = json!({"all": true, "rate": 5, "reason": "a new prompt"});
    let plan = world.call(replay(&json!({"all": true, "dry_run": true}))).await;
    assert_eq!((plan.status, &plan.body["events"], &plan.body["would_start"]), (200, &json!(3), &json!(3)), "{}", plan.body);
    let job = world.call(replay(&body).header("Idempotency-Key", "k")).await;
    assert_eq!((job.status, job.text("/kind"), job.text("/selection")), (202, "replay", "all"));
    let again = world.call(replay(&body).header("Idempotency-Key", "k")).await;
    assert_eq!((again.text("/job_id"), again.headers["idempotency-replayed"].to_str().unwrap()), (job.text("/job_id"), "true"));
    let reused = world.call(replay(&json!({"all": true})).header("Idempotency-Key", "k")).await;
    assert_eq!((reused.status, reused.text("/code")), (422, "idempotency_key_reused"));
    let refused = world.call(replay(&json!({"all": true, "model": "opanai::m"}))).await;
    assert_eq!((refused.status, refused.text("/field")), (400, "model"));
    let id = job.text("/job_id").to_owned();
    let other = world.call(replay(&json!({"filter": {"type": "ticket.opened"}, "model": "openai::gpt-4o-mini", "concurrency": 3}))).await;
    assert_eq!((other.text("/options/model"), other.text("/selection/filter/type")), ("openai::gpt-4o-mini", "ticket.opened"));
    let cancel = |id: &str| post("/v1/replays/{id}/cancel").id(id).body(r#"{"reason": "no"}"#);
    let cancelled = world.call(cancel(other.text("/job_id"))).await;
    assert_eq!((cancelled.status, cancelled.text("/status")), (202, "cancelling"));
    work_off(&world).await;
    let too_late = world.call(cancel(&id)).await;
    assert_eq!((too_late.status, too_late.text("/code")), (409, "already_ended"));
    let shown = world.call(get("/v1/replays/{id}").id(&id)).await;
    assert_eq!((shown.text("/status"), &shown.body["counts"]["done"]), ("completed", &json!(3)));
    let list = world.call(get("/v1/replays").query("limit", "1")).await;
    // Of what was asked for in one millisecond either may be the first.
    assert_eq!(list.text("/jobs/0/job_id"), other.text("/job_id").max(&id), "newest first");
    let first = world.call(get("/v1/replays/{id}/results").id(&id).query("limit", "2")).await;
    let rest = world.call(get("/v1/replays/{id}/results").id(&id).query("cursor", first.text("/next_cursor"))).await;
    let mut answers = vec![plan, job, again, reused, refused, other, cancelled, too_late, shown, list];
    for page in [&first, &rest] {
        for result in page.body["results"].as_array().unwrap() {
            assert_eq!((&result["outcome"], &result["difference"]["same_answer"]), (&json!("done"), &json!(true)), "{result}");
            let new = world.call(get("/v1/runs/{id}").id(result["new"]["run_id"].as_str().unwrap())).await;
            assert_eq!((new.text("/replay"), &new.body["replay_of"]), (&*id, &result["old"]["run_id"]));
            answers.push(new);
        }
    }
    answers.extend([first, rest]);
    for request in [get("/v1/replays/{id}"), get("/v1/replays/{id}/results"), cancel(NO_JOB)] {
        answers.push(world.call(request.id(NO_JOB)).await);
    }
    answers
}

#[tokio::test]
async fn a_replay_says_what_it_is_about_or_is_refused() {
    let (world, run, event) = (world(), "run_01KAM3Q5T0ZJ8Y6W4V2N1M0K9H", "evt_01KAM3Q5T07YPB3GZ5X1QD8E2R");
    for (body, field) in [
        (json!({}), "runs"),
        (json!({"runs": [run], "all": true}), "runs"),
        (json!({"runs": []}), "runs"),
        (json!({"runs": [event]}), "runs[0]"),
        (json!({"events": []}), "events"),
        (json!({"events": vec![event; 1_001]}), "events"),
        (json!({"filter": {}}), "filter"),
        (json!({"filter": {"typ": "x"}}), "filter.typ"),
        (json!({"filter": {"since": "yesterday"}}), "filter.since"),
        (json!({"filter": {"status": "done"}}), "filter.status"),
        (json!({"all": false}), "all"),
        (json!({"all": true, "model": "gpt"}), "model"),
        (json!({"all": true, "agent": "nobody"}), "agent"),
        (json!({"all": true, "rate": 0}), "rate"),
        (json!({"all": true, "rate": 501}), "rate"),
        (json!({"all": true, "concurrency": 101}), "concurrency"),
        (json!({"all": true, "reason": "x".repeat(501)}), "reason"),
        (json!({"everything": true}), "everything"),
    ] {
        let refused = world.call(replay(&body)).await;
        assert_eq!((refused.status, refused.text("/field")), (400, field), "{}", body.to_string().chars().take(200).collect::<String>());
        assert!(!refused.body.to_string().contains("yesterday"));
    }
    assert!(world.jobs.jobs.lock().unwrap().is_empty() && world.store.writes() == 0);
}

#[tokio::test]
async fn another_tenants_events_runs_and_replays_are_not_found() {
    let world = eventful().await;
    let run = world.call(get("/v1/runs").query("limit", "1")).await.text("/runs/0/run_id").to_owned();
    let job = world.call(replay(&json!({"all": true}))).await;
    let id = job.text("/job_id");
    for request in [get("/v1/replays/{id}"), get("/v1/replays/{id}/results"), post("/v1/replays/{id}/cancel")] {
        assert_eq!(world.call(request.id(id).from(EVE)).await.status, 404);
    }
    assert_eq!(world.call(get("/v1/replays").from(EVE)).await.body["jobs"], json!([]));
    assert_eq!(world.call(get("/v1/dlq/jobs")).await.body["jobs"], json!([]), "a replay is no bulk action on dead runs");
    let dry = world.call(replay(&json!({"all": true, "dry_run": true})).from(EVE)).await;
    assert_eq!((&dry.body["events"], &dry.body["would_start"]), (&json!(0), &json!(0)));
    let named = world.call(replay(&json!({"runs": [run], "dry_run": true})).from(EVE)).await;
    assert_eq!((&named.body["would_start"], named.text("/would_skip/0/detail")), (&json!(0), "there is no such run"));
}
