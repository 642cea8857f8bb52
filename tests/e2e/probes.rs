//! The probes of a stack that is well; `tests/runtime` shows one that is not.

use std::time::Duration;

use serde_json::json;
use tests::client::{list, number, text};
use tests::{Stack, wait_for};

/// A tick of the sweeper and what it sends: a minute, and room.
const TICK: Duration = Duration::from_secs(100);

#[test]
fn liveness_is_a_constant() {
    let stack = Stack::beside();
    assert_eq!(stack.api.get("/health").must(200), json!({"status": "healthy"}));
    assert_eq!(stack.api.get("/healthz").must(200), json!({"status": "ok", "environment": stack.name, "detail": null}));
    assert_eq!(stack.api.get("/live").must(200)["alive"], true);
}

#[test]
fn readiness_keeps_its_contract() {
    let stack = Stack::beside();
    let ready = stack.api.get("/api/production/ready").must(200);
    assert_eq!(ready["ready"], true);
    let queue = &ready["queueHealth"];
    assert_eq!(ready["checks"], json!({"llm": true, "environment": true, "dependencies": true, "queue": true, "queueDetails": queue}));
    assert_eq!((&queue["status"], &queue["durable"]), (&json!("pass"), &json!(true)));
    assert!(!text(queue, "message").is_empty() && number(queue, "latencyMs") < 2000, "{ready}");
    assert!(text(queue, "checkedAt").ends_with('Z') && text(&ready, "timestamp").ends_with('Z'), "{ready}");
    assert_eq!(stack.api.get("/ready").must(200), json!({"status": "ready", "database": "connected", "workflow": true}));
    let short = stack.api.get("/readyz").must(200);
    assert_eq!((&short["status"], &short["environment"]), (&json!("ready"), &json!(stack.name)));
}

#[test]
fn health_is_told_by_part() {
    let stack = Stack::beside();
    let detailed = stack.api.get("/health/detailed").must(200);
    let names: Vec<_> = list(&detailed, "indicators").iter().map(|indicator| text(indicator, "name")).collect();
    assert_eq!(names, ["database", "event_queue", "dlq", "provider:openai", "worker", "sweeper"]);
    let health = stack.api.get("/api/production/health").must(200);
    assert!(number(&health["metrics"], "totalWorkflows") >= 1, "{health}");
}

#[test]
fn a_canary_of_the_sweeper_reaches_a_worker_and_the_heartbeat_shows_it() {
    let stack = Stack::beside();
    let heartbeat = wait_for("a heartbeat", TICK, || {
        let answer = stack.api.get("/api/production/queue/heartbeat");
        // Tests beside this one kill workers and stop leases: a warning tells the truth then.
        let said = answer.json();
        if said["worker"]["latestHeartbeatAt"].is_string() { Ok(said) } else { Err(answer.body) }
    });
    assert!(number(&heartbeat["worker"], "latestHeartbeatAgeMs") < 120_000, "{heartbeat}");
    assert!(heartbeat["queueDepths"]["tasks"]["waiting"].is_u64(), "{heartbeat}");
    let metrics = stack.api.get("/metrics");
    assert_eq!(metrics.status, 200);
    assert!(metrics.body.lines().any(|line| line.starts_with("reprise_heartbeat_age_seconds{of=\"worker\"} ")), "{}", metrics.body);
}
