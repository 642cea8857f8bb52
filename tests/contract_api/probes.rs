//! The probes' answers are as promised, whoever asks, and name no tenant's runs to another one.

use std::time::Duration;

use serde_json::json;
use shared::domain::clock::{Clock, after};
use shared::domain::run::Run;
use shared::domain::state::RunState;

use crate::document::DOCUMENT;
use crate::requests::{ANA, Caller, OWNER, get};
use crate::world::{Answer, World, world};

/// Every answer of every probe.
pub(crate) async fn all() -> Vec<Answer> {
    let mut answers = Vec::new();
    for operation in DOCUMENT.operations().into_iter().filter(|operation| operation.is_probe()) {
        // Nobody signs a probe of a load balancer.
        let well = world().call(get(operation.path).from(Caller::Nobody)).await;
        assert_eq!(well.status, 200, "{}", operation.id());
        let unwell = world().unwell().call(get(operation.path)).await;
        let is_told = DOCUMENT.promised().contains(&(operation.id().to_owned(), 503));
        assert_eq!(unwell.status, if is_told { 503 } else { 200 }, "{}", operation.id());
        answers.extend([well, unwell]);
    }
    assert_eq!(answers.len(), 20);
    answers
}

#[tokio::test]
async fn what_another_probe_found_says_how_old_it_is() {
    let world = world();
    let _first = world.call(get("/api/production/ready")).await;
    world.clock.advance(Duration::from_secs(2));
    for operation in DOCUMENT.operations().into_iter().filter(|operation| operation.is_probe()) {
        let answer = world.call(get(operation.path)).await;
        let promises = operation.body["responses"]["200"]["headers"].get("age").is_some();
        assert_eq!(answer.headers.get("age").map(|age| age.to_str().unwrap()), promises.then_some("2"), "{}", operation.id());
    }
}

/// A run of each of two tenants that a worker has, and that somebody has to look at so many seconds from now.
fn leased(world: &World, due: i64) -> Vec<Run> {
    let now = world.clock.now();
    let lease = |tenant: &str| Run {
        lease_owner: Some("w1".into()),
        lease_until_ms: after(now, Duration::from_secs(60)).as_millisecond(),
        renewals: 3,
        due_ms: Some(now.as_millisecond() + due * 1_000),
        ..world.run_of(tenant, RunState::Running)
    };
    ["acme", "other"].map(lease).into()
}

#[tokio::test]
async fn a_lease_that_is_held_is_named_to_whom_it_belongs_and_is_no_warning() {
    for (caller, named) in [(ANA, 1), (OWNER, 2), (Caller::Nobody, 0), (Caller::Authorized("evil", "eve"), 0)] {
        let world = world();
        let runs = leased(&world, 60);
        let answer = world.due(runs).call(get("/api/production/queue/heartbeat").from(caller)).await;
        assert_eq!((answer.status, answer.text("/status/status")), (200, "pass"));
        let leases = answer.body["leases"].as_array().unwrap();
        assert_eq!((leases.len(), leases.iter().all(|lease| lease["renewCount"] == 3)), (named, true), "{leases:?}");
    }
}

#[tokio::test]
async fn a_stale_lease_is_told_to_everybody_and_named_to_whom_it_belongs() {
    for (caller, named) in [(ANA, 1), (OWNER, 2), (Caller::Nobody, 0), (Caller::Authorized("evil", "eve"), 0)] {
        let world = world();
        let runs = leased(&world, -600);
        let answer = world.due(runs).call(get("/api/production/queue/heartbeat").from(caller)).await;
        assert_eq!(
            (answer.status, answer.text("/status/status"), &answer.body["status"]["details"]["staleLeases"]),
            (503, "warn", &json!(2))
        );
        assert_eq!(answer.body["leases"].as_array().map(Vec::len), Some(named));
    }
}
