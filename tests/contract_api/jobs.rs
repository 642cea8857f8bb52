//! Bulk actions on dead runs: asked for, tried dry, looked at, ended; and what is refused.

use std::time::Duration;

use serde_json::{Value, json};
use shared::domain::run::Run;
use shared::domain::state::RunState;

use crate::requests::{Asked, Caller, get, post};
use crate::world::{Answer, World, world};

pub(crate) const NO_JOB: &str = "job_01KAM3Q5T0C4Q9V7X2R8M6N1PZ";

const EVE: Caller = Caller::Authorized("evil", "eve");

fn bulk(what: &str, body: &Value) -> Asked {
    post(&format!("/v1/dlq/{what}")).body(body.to_string())
}

/// What leads to every answer of these routes that is not a refusal of all routes.
pub(crate) async fn all() -> Vec<Answer> {
    let world = world();
    let dead = world.run_of("acme", RunState::Dead);
    let mut answers = Vec::new();
    for (what, body) in [
        ("retry", json!({"ids": [dead.id], "rate": 5, "canary": 1, "reason": "fixed"})),
        ("retry-all", json!({"rate": 5})),
        ("discard", json!({"filter": {"code": "provider_unavailable"}, "reason": "old"})),
    ] {
        let job = world.call(bulk(what, &body).header("Idempotency-Key", "k")).await;
        assert_eq!((job.status, job.text("/status"), job.text("/created_by")), (202, "queued", "ana"));
        let again = world.call(bulk(what, &body).header("Idempotency-Key", "k")).await;
        assert_eq!((again.text("/job_id"), again.headers["idempotency-replayed"].to_str().unwrap()), (job.text("/job_id"), "true"));
        let mut other = body.clone();
        other["rate"] = json!(7);
        let reused = world.call(bulk(what, &other).header("Idempotency-Key", "k")).await;
        assert_eq!((reused.status, reused.text("/code")), (422, "idempotency_key_reused"));
        let mut dry = body.clone();
        dry["dry_run"] = json!(true);
        let dry = world.call(bulk(what, &dry)).await;
        assert_eq!((dry.status, dry.text("/would/0/run_id")), (200, &*dead.id.to_string()));
        let refused = world.call(bulk(what, &json!({"rate": 0, "reason": "x", "all": true}))).await;
        // Ids of one millisecond are in no order.
        world.clock.advance(Duration::from_millis(1));
        answers.extend([job, again, reused, dry, refused]);
    }
    assert_eq!(world.jobs.sent.lock().unwrap().len(), 3, "one message each, none for what was asked for twice");
    assert_eq!(world.store.get(dead.id), Some(dead), "nothing is done before a worker does it");
    let list = world.call(get("/v1/dlq/jobs").query("limit", "2")).await;
    assert_eq!(list.body["jobs"].as_array().map(Vec::len), Some(2));
    let next = world.call(get("/v1/dlq/jobs").query("cursor", list.text("/next_cursor"))).await;
    assert_eq!((next.body["jobs"].as_array().map(Vec::len), &next.body["next_cursor"]), (Some(1), &Value::Null));
    // Of what was asked for in one millisecond either may be the first.
    let jobs = list.body["jobs"].as_array().into_iter().chain(next.body["jobs"].as_array()).flatten();
    let id = jobs.clone().find(|job| job["reason"] == "fixed").unwrap()["job_id"].as_str().unwrap().to_owned();
    let job = world.call(get("/v1/dlq/jobs/{id}").id(&id)).await;
    assert_eq!((job.text("/kind"), job.text("/reason"), &job.body["canary"]["size"]), ("retry", "fixed", &json!(1)));
    let results = world.call(get("/v1/dlq/jobs/{id}/results").id(&id)).await;
    assert_eq!(results.body, json!({"results": [], "next_cursor": null}));
    let cancel = |id: &str| post("/v1/dlq/jobs/{id}/cancel").id(id).body(r#"{"reason": "no"}"#);
    let cancelled = world.call(cancel(&id)).await;
    assert_eq!((cancelled.status, cancelled.text("/status"), cancelled.text("/cancelled_by")), (202, "cancelling", "ana"));
    let ended = {
        let mut jobs = world.jobs.jobs.lock().unwrap();
        let job = jobs.values_mut().next().unwrap();
        job.end(shared::domain::job::JobStatus::Cancelled, job.created_at);
        job.id.to_string()
    };
    let too_late = world.call(cancel(&ended)).await;
    assert_eq!((too_late.status, too_late.text("/code")), (409, "already_ended"));
    answers.extend([list, next, job, results, cancelled, too_late]);
    answers.push(world.call(get("/v1/dlq/jobs/{id}").id(NO_JOB)).await);
    answers.push(world.call(get("/v1/dlq/jobs/{id}/results").id(NO_JOB)).await);
    answers.push(world.call(cancel(NO_JOB)).await);
    answers
}

#[tokio::test]
async fn a_bulk_action_says_which_runs_it_means_or_is_refused() {
    let (world, run) = (world(), "run_01KAM3Q5T0ZJ8Y6W4V2N1M0K9H");
    for (what, body, field) in [
        ("retry", json!({}), "filter"),
        ("retry", json!({"filter": {}}), "filter"),
        ("retry", json!({"all": false}), "filter"),
        ("retry", json!({"ids": []}), "ids"),
        ("retry", json!({"ids": [run], "all": true}), "all"),
        ("retry", json!({"ids": [run], "filter": {"code": "x"}}), "filter"),
        ("retry", json!({"filter": {"cod": "x"}}), "filter"),
        ("retry", json!({"all": true, "canary": 0}), "canary"),
        ("retry", json!({"all": true, "canary": {"size": 1, "timeout_seconds": 0}}), "canary.timeout_seconds"),
        ("retry", json!({"all": true, "rate": 501}), "rate"),
        ("retry", json!({"all": true, "concurrency": 101}), "concurrency"),
        ("retry", json!({"all": true, "from": "middle"}), "from"),
        ("retry", json!({"all": true, "model": "gpt"}), "model"),
        ("retry", json!({"all": true, "model": "opanai::gpt-4o"}), "model"),
        ("retry", json!({"all": true, "agent": "tirage"}), "agent"),
        ("retry", json!({"all": true, "agent": "", "dry_run": true}), "agent"),
        ("retry", json!({"all": true, "agent": "triage", "from": "failed_step"}), "from"),
        ("retry", json!({"filter": {"text": ""}}), "filter.text"),
        ("retry", json!({"filter": {"code": "x".repeat(256)}}), "filter.code"),
        ("retry", json!({"filter": {"min_attempts": 0}}), "filter"),
        ("discard", json!({"filter": {"text": ""}, "reason": "old"}), "filter.text"),
        ("discard", json!({"filter": {"tenant": "acme"}, "reason": "old"}), "filter"),
        ("retry", json!({"all": true, "native": true}), "native"),
        ("retry", json!({"all": true, "reason": "x".repeat(501)}), "reason"),
        ("retry", json!({"everything": true}), "everything"),
        ("retry-all", json!({"ids": [run]}), "ids"),
        ("retry-all", json!({"filter": {"code": "x"}}), "filter"),
        ("discard", json!({"all": true}), "reason"),
        ("discard", json!({"all": true, "reason": " "}), "reason"),
    ] {
        let refused = world.call(bulk(what, &body)).await;
        assert_eq!((refused.status, refused.text("/field")), (400, field), "{what} {body}");
    }
    assert!(world.jobs.jobs.lock().unwrap().is_empty());
}

#[tokio::test]
async fn another_tenants_job_is_not_found_and_its_dead_are_not_selected() {
    let world = world();
    world.run_of("acme", RunState::Dead);
    let job = world.call(bulk("retry", &json!({"all": true}))).await;
    let id = job.text("/job_id");
    for request in [get("/v1/dlq/jobs/{id}"), get("/v1/dlq/jobs/{id}/results"), post("/v1/dlq/jobs/{id}/cancel")] {
        assert_eq!(world.call(request.id(id).from(EVE)).await.status, 404);
    }
    assert_eq!(world.call(get("/v1/dlq/jobs").from(EVE)).await.body["jobs"], json!([]));
    let dry = world.call(bulk("retry", &json!({"all": true, "dry_run": true})).from(EVE)).await;
    assert_eq!(dry.body["count"], 0);
    for tenant in ["acme", "*"] {
        let body = json!({"filter": {"tenant": tenant, "code": "provider_unavailable"}});
        assert_eq!(world.call(bulk("retry", &body).from(EVE)).await.status, 403, "{tenant}");
    }
}

#[tokio::test]
async fn a_dry_run_tells_what_is_refused_and_what_makes_a_failure_likely_and_changes_nothing() {
    let world: World = world();
    let dead = world.run_of("acme", RunState::Dead);
    let guarded = world.run_of("acme", RunState::Dead);
    let mut run = Run { steps: 2, ..guarded.clone() };
    run.redriven.count = 3;
    run.failures.last_mut().unwrap().provider = Some("script::m".into());
    world.store.put(run.clone());
    let disable = post("/v1/providers/disable").body(r#"{"name": "script", "reason": "incident"}"#).from(crate::requests::OWNER);
    assert_eq!(world.call(disable).await.status, 200);
    let writes = world.store.writes();
    let dry = world.call(bulk("retry", &json!({"all": true, "dry_run": true}))).await;
    assert_eq!((&dry.body["count"], dry.text("/would/0/run_id")), (&json!(2), &*dead.id.to_string()));
    assert_eq!((dry.text("/refused/0/run_id"), dry.text("/refused/0/code")), (&*run.id.to_string(), "loop_guard"));
    assert!(dry.text("/warnings/0").contains("script is switched off") && dry.text("/warnings/0").contains("incident"));
    let forced = world.call(bulk("retry", &json!({"all": true, "dry_run": true, "force": true, "from": "start"}))).await;
    assert_eq!((forced.body["would"].as_array().map(Vec::len), forced.text("/would/1/from")), (Some(2), "start"));
    assert_eq!((world.store.writes(), world.jobs.sent.lock().unwrap().len(), world.jobs.jobs.lock().unwrap().len()), (writes, 0, 0));
}
