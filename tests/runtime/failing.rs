//! What an invocation that goes wrong leaves behind: a report, and a process that takes the next one.

use serde_json::{Value, json};

use crate::function::{Function, get};

fn batch(messages: &[(&str, &str)]) -> Value {
    let record = |(id, body): &(&str, &str)| {
        json!({
            "messageId": id, "receiptHandle": format!("receipt-{id}"), "body": body,
            "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "0", "SenderId": "test", "ApproximateFirstReceiveTimestamp": "0"},
            "messageAttributes": {}, "md5OfBody": "", "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:tasks", "awsRegion": "us-east-1",
        })
    };
    json!({"Records": messages.iter().map(record).collect::<Vec<_>>()})
}

#[test]
fn an_event_that_is_no_event_is_reported_and_the_next_one_is_served() {
    for (name, garbage) in [("queue-consumer", json!({"Records": 7})), ("health", json!("nothing")), ("agent-api", json!({"a": []}))] {
        let mut function = Function::start(name, &[]);
        let _ = function.api.must_hear("next");
        function.api.invoke(garbage);
        let report = function.api.must_hear("error");
        assert!(report.contains("errorMessage"), "{report}");
        let _ = function.api.must_hear("next");
        assert!(function.is_alive());
    }
}

#[test]
fn each_message_of_a_batch_that_cannot_be_worked_on_is_named() {
    let function = Function::start("queue-consumer", &[]);
    let _ = function.api.must_hear("next");
    // Two are poison; the third is good, but the table is not there.
    let good = r#"{"v":1,"tenant":"local","run":"run_01K00000000000000000000000","epoch":1}"#;
    function.api.invoke(batch(&[("one", "poison"), ("two", ""), ("three", good)]));
    let response: Value = serde_json::from_str(&function.api.must_hear("response")).unwrap();
    let failed: Vec<_> = response["batchItemFailures"].as_array().unwrap().iter().map(|item| item["itemIdentifier"].clone()).collect();
    assert_eq!(failed, ["one", "two", "three"], "{response}");
    let _ = function.api.must_hear("next");
}

#[test]
fn a_store_that_is_not_there_is_a_503_without_internals() {
    for (name, route) in [("agent-api", "/v1/runs"), ("dlq-redrive", "/v1/dlq"), ("operator-api", "/v1/incidents")] {
        let function = Function::start(name, &[]);
        let _ = function.api.must_hear("next");
        function.api.invoke(get(route));
        let response: Value = serde_json::from_str(&function.api.must_hear("response")).unwrap();
        assert_eq!(response["statusCode"], 503, "{response}");
        let body = response["body"].as_str().unwrap();
        assert!(body.contains(r#""code":"unavailable""#) && !body.contains("127.0.0.1") && !body.contains("Error"), "{body}");
    }
}

#[test]
fn the_release_profile_lets_a_panic_be_caught() {
    // cargo-lambda sets `panic = "abort"` where a profile says nothing: a panic would kill the sandbox and report nothing.
    let manifest = include_str!("../../Cargo.toml");
    let release = manifest.split("[profile.release]").nth(1).unwrap().split("\n[").next().unwrap();
    assert!(release.lines().any(|line| line.trim() == r#"panic = "unwind""#), "{release}");
    assert!(!manifest.contains(r#"panic = "abort""#));
}
