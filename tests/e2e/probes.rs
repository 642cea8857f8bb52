//! The probes of a stack that is well; `tests/runtime` shows one that is not.

use serde_json::json;
use tests::Stack;
use tests::client::{number, text};

#[test]
fn liveness_is_a_constant() {
    let stack = Stack::beside();
    assert_eq!(stack.api.get("/health").must(200), json!({"status": "healthy"}));
    assert_eq!(stack.api.get("/healthz").must(200)["status"], "ok");
}

#[test]
fn readiness_keeps_its_contract() {
    let stack = Stack::beside();
    let ready = stack.api.get("/api/production/ready").must(200);
    assert_eq!(ready["ready"], true);
    assert_eq!(ready["checks"], json!({"llm": true, "environment": true, "dependencies": true, "queue": true}));
    let queue = &ready["queueHealth"];
    assert_eq!((&queue["status"], &queue["durable"]), (&json!("pass"), &json!(true)));
    assert!(!text(queue, "message").is_empty() && number(queue, "latencyMs") < 2000, "{ready}");
    assert!(text(queue, "checkedAt").ends_with('Z') && text(&ready, "timestamp").ends_with('Z'), "{ready}");
}
