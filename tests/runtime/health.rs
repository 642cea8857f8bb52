//! The probes, with dependencies that are not there or do not answer.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::runtime_api::{Full, Mute, closed};

use crate::aws;
use crate::function::{Function, get};

/// Status and body of the function's next answer.
#[track_caller]
fn answer(function: &Function, route: &str) -> (u64, Value) {
    let _ = function.api.must_hear("next");
    function.api.invoke(get(route));
    let said = function.api.must_hear("response");
    let response: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    let body =
        response["body"].as_str().and_then(|body| serde_json::from_str(body).ok()).unwrap_or_else(|| panic!("no JSON in {response}"));
    (response["statusCode"].as_u64().unwrap_or_default(), body)
}

/// How many failed probes the function has told CloudWatch of; each answer's line stands there before the answer is sent.
#[track_caller]
fn told_failed(function: &Function) -> usize {
    let printed = function.printed();
    let lines = printed.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let told: Vec<_> = lines.filter(|line| !line["_aws"].is_null()).collect();
    assert!(told.iter().all(|line| line["ProbesFailed"] == 1 && line["Stack"].is_string()), "{told:?}");
    told.len()
}

/// Model, environment, table, queues.
fn checks(ready: &Value) -> [bool; 4] {
    ["llm", "environment", "dependencies", "queue"].map(|name| ready["checks"][name] == true)
}

#[test]
fn liveness_answers_without_a_single_connection() {
    let (aws, model) = (Mute::start(), Mute::start());
    let (endpoint, base_url) = (format!("http://{}", aws.address), format!("http://{}/v1/", model.address));
    let function = Function::start("health", &[("AWS_ENDPOINT_URL", Some(&endpoint)), ("MODEL_BASE_URL", Some(&base_url))]);
    for _ in 0..3 {
        assert_eq!(answer(&function, "/health"), (200, json!({"status": "healthy"})));
        assert_eq!(answer(&function, "/healthz"), (200, json!({"status": "ok", "environment": "unknown", "detail": null})));
        assert_eq!(answer(&function, "/live").0, 200);
    }
    assert_eq!((aws.connections(), model.connections()), (0, 0));
    assert_eq!(told_failed(&function), 0);
}

#[test]
fn liveness_needs_neither_region_nor_credentials_nor_configuration() {
    let missing = ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "TABLE_NAME", "TASK_QUEUE_URL", "DLQ_URL", "MODEL"];
    let function = Function::start("health", &missing.map(|variable| (variable, None)));
    assert_eq!(answer(&function, "/health"), (200, json!({"status": "healthy"})));
}

#[test]
fn readiness_says_within_two_seconds_which_dependency_hangs() {
    let (aws, model) = (Mute::start(), Mute::start());
    let (endpoint, base_url) = (format!("http://{}", aws.address), format!("http://{}/v1/", model.address));
    let function = Function::start("health", &[("AWS_ENDPOINT_URL", Some(&endpoint)), ("MODEL_BASE_URL", Some(&base_url))]);
    // The second one finds the clients built and may not be slower for it.
    for _ in 0..2 {
        let begun = Instant::now();
        let (status, ready) = answer(&function, "/api/production/ready");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        assert_eq!((status, &ready["ready"]), (503, &json!(false)), "{ready}");
        assert_eq!(checks(&ready), [true, true, false, false], "{ready}");
        assert_eq!((&ready["queueHealth"]["status"], &ready["queueHealth"]["durable"]), (&json!("fail"), &json!(true)), "{ready}");
        let problems = ready["problems"].to_string();
        assert!(problems.contains("dependencies: ") && problems.contains("queue: "), "{ready}");
    }
    assert!(aws.connections() > 0);
    for route in ["/ready", "/readyz", "/health/detailed", "/metrics", "/api/production/health", "/api/production/queue/heartbeat"] {
        let begun = Instant::now();
        assert_eq!(answer(&function, route).0, 503, "{route}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{route}: {:?}", begun.elapsed());
    }
    // Liveness does not suffer from it.
    assert_eq!(answer(&function, "/health").0, 200);
    assert_eq!(told_failed(&function), 8, "each probe that failed, and no other");
}

/// The indicators of what is asked, and those of them that are well.
const ASKED: [&str; 4] = ["database", "event_queue", "dlq", "provider:openai"];

fn well(detailed: &Value) -> Vec<&str> {
    let indicators = detailed["indicators"].as_array().unwrap_or_else(|| panic!("no indicators in {detailed}"));
    let is_well = |indicator: &&Value| indicator["status"] == "healthy" && ASKED.iter().any(|name| indicator["name"] == *name);
    indicators.iter().filter(is_well).filter_map(|indicator| indicator["name"].as_str()).collect()
}

#[test]
fn each_dependency_that_hangs_alone_is_told_within_two_seconds_and_hides_no_other() {
    let (taking, full) = (Mute::start(), Full::start());
    for (hangs, aws, model, expected) in [
        ("nothing", None, &taking.address, &ASKED[..]),
        ("the table", Some("DynamoDB_20120810."), &taking.address, &ASKED[1..]),
        ("the tasks queue", Some("/tasks\""), &taking.address, &["database", "dlq", "provider:openai"]),
        ("the dead-letter queue", Some("/tasks-dlq\""), &taking.address, &["database", "event_queue", "provider:openai"]),
        ("the way to the provider", None, &full.address, &ASKED[..3]),
    ] {
        let (endpoint, base_url) = (format!("http://{}", aws::start(aws)), format!("http://{model}/v1/"));
        let function = Function::start("health", &[("AWS_ENDPOINT_URL", Some(&endpoint)), ("MODEL_BASE_URL", Some(&base_url))]);
        assert_eq!(answer(&function, "/health").0, 200, "it has started");
        for _ in 0..2 {
            let begun = Instant::now();
            let (_, detailed) = answer(&function, "/health/detailed");
            assert!(begun.elapsed() < Duration::from_secs(2), "{hangs} hangs: {:?}: {detailed}", begun.elapsed());
            assert_eq!(well(&detailed), expected, "{hangs} hangs: {detailed}");
        }
    }
}

#[test]
fn a_provider_without_an_address_of_its_own_is_not_asked_and_says_so() {
    let endpoint = format!("http://{}", aws::start(None));
    let function = Function::start("health", &[("AWS_ENDPOINT_URL", Some(&endpoint)), ("MODEL_BASE_URL", Some(""))]);
    let (_, detailed) = answer(&function, "/health/detailed");
    let known = json!({"name": "provider:openai", "status": "healthy", "message": "not asked: known from calls only", "latency_ms": null});
    assert!(detailed["indicators"].as_array().is_some_and(|indicators| indicators.contains(&known)), "{detailed}");
}

#[test]
fn readiness_says_that_nothing_is_reachable() {
    let base_url = format!("http://{}/v1/", closed());
    let function = Function::start("health", &[("MODEL_BASE_URL", Some(&base_url))]);
    let (status, ready) = answer(&function, "/api/production/ready");
    assert_eq!((status, checks(&ready)), (503, [false, true, false, false]), "{ready}");
    assert!(ready["problems"].to_string().contains("llm: "), "{ready}");
}

#[test]
fn readiness_says_that_a_variable_is_missing() {
    let function = Function::start("health", &[("TABLE_NAME", None)]);
    let (status, ready) = answer(&function, "/api/production/ready");
    assert_eq!((status, &ready["checks"]["environment"]), (503, &json!(false)), "{ready}");
    assert!(ready["problems"].to_string().contains("TABLE_NAME"), "{ready}");
}
