//! `reprise health`: it believes no probe that answers with an error.

use std::net::TcpListener;

use serde_json::Value;

use crate::support::{Stub, reprise, stderr, stdout};

const READY: &str = r#"{"ready":true,"checks":{"llm":true,"queue":true},"queueHealth":{"message":"fine"}}"#;
const DETAILED: &str = r#"{"status":"healthy","indicators":[{"name":"database","status":"healthy","latency_ms":1.5,"message":null}]}"#;

fn stub(health: (u16, &str), ready: (u16, &str), metrics: (u16, &str), detailed: (u16, &str)) -> Stub {
    Stub::of(&[
        ("GET /health", health.0, health.1),
        ("GET /api/production/ready", ready.0, ready.1),
        ("GET /metrics", metrics.0, metrics.1),
        ("GET /health/detailed", detailed.0, detailed.1),
    ])
}

const ALIVE: (u16, &str) = (200, r#"{"status":"healthy"}"#);
const METRICS: (u16, &str) = (200, "# HELP reprise_x\nreprise_x 1\n");

#[test]
fn a_healthy_deployment_is_0_in_the_shape_that_scripts_know() {
    let output = stub(ALIVE, (200, READY), METRICS, (200, DETAILED)).reprise(&["health", "--detailed", "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&report["status"], &report["checks"]["api"]["status"]), (&"healthy".into(), &"healthy".into()));
    assert_eq!((&report["checks"]["readiness"]["status"], &report["checks"]["metrics"]["status"]), (&"ready".into(), &"available".into()));
    assert_eq!((&report["checks"]["api"]["status_code"], &report["database"]["status"]), (&200.into(), &"healthy".into()));
    assert!(report["timestamp"].as_f64().unwrap() > 1e9 && report["checks"]["api"]["response_time"].is_f64(), "{report}");
}

#[test]
fn any_probe_that_is_not_well_is_1() {
    let sick = r#"{"title":"Internal Server Error"}"#;
    let degraded = r#"{"status":"degraded","indicators":[{"name":"dlq","status":"degraded","message":"312 in DLQ"}]}"#;
    for (name, probes) in [
        ("three errors", stub((500, sick), (500, sick), (500, sick), (500, sick))),
        ("a 200 that says it is not healthy", stub((200, r#"{"status":"unhealthy"}"#), (200, READY), METRICS, (200, DETAILED))),
        ("healthy words over an error", stub((503, ALIVE.1), (200, READY), METRICS, (200, DETAILED))),
        ("not ready", stub(ALIVE, (503, r#"{"ready":false,"checks":{"queue":false}}"#), METRICS, (200, DETAILED))),
        ("a 200 that is not ready", stub(ALIVE, (200, r#"{"ready":false}"#), METRICS, (200, DETAILED))),
        ("no readiness at all", stub(ALIVE, (404, "{}"), METRICS, (200, DETAILED))),
        ("no metrics", stub(ALIVE, (200, READY), (500, ""), (200, DETAILED))),
        ("degraded", stub(ALIVE, (200, READY), METRICS, (200, degraded))),
        ("unhealthy details over a 200", stub(ALIVE, (200, READY), METRICS, (200, r#"{"status":"unhealthy"}"#))),
    ] {
        let output = probes.reprise(&["health", "--detailed"]);
        assert_eq!(output.status.code(), Some(1), "{name}: {}", stdout(&output));
        assert!(stdout(&output).ends_with("\nunhealthy\n"), "{name}: {}", stdout(&output));
    }
}

#[test]
fn a_probe_that_a_deployment_does_not_have_is_skipped_and_said_so() {
    let output = stub(ALIVE, (200, READY), (404, "{}"), (404, "{}")).reprise(&["health", "--detailed"]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    assert_eq!(stdout(&output).matches("skipped").count(), 2, "{}", stdout(&output));
    let names: Vec<String> =
        stdout(&output).lines().skip(1).take(4).filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect();
    assert_eq!(names, ["api", "readiness", "metrics", "detailed"]);
}

#[test]
fn where_nothing_answers_it_could_not_be_asked() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = reprise(&["health", "--format", "json", "--url", &format!("http://{free}")]);
    assert_eq!(output.status.code(), Some(2));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert!(report["status"] == "unhealthy" && report["checks"]["api"]["error"].as_str().unwrap().contains("no answer"), "{report}");
}

#[test]
fn a_probe_that_refuses_who_asks_is_neither_healthy_nor_unhealthy_but_an_outage_beside_it_is() {
    let no = (403, r#"{"message":"User is not authorized to access this resource"}"#);
    for (name, probes, code, word) in [
        ("wrong credentials", stub(no, no, no, no), 2, "unknown"),
        ("only the details are refused", stub(ALIVE, (200, READY), METRICS, no), 2, "unknown"),
        ("the token is no longer good", stub((401, "{}"), (200, READY), METRICS, (200, DETAILED)), 2, "unknown"),
        ("an outage beside it", stub(ALIVE, (503, r#"{"ready":false}"#), no, no), 1, "unhealthy"),
    ] {
        let output = probes.reprise(&["health", "--detailed"]);
        assert_eq!(output.status.code(), Some(code), "{name}: {}", stdout(&output));
        assert!(stdout(&output).ends_with(&format!("\n{word}\n")) && stdout(&output).contains("refused"), "{name}: {}", stdout(&output));
        assert!(stderr(&output).contains("credentials"), "{name}: {}", stderr(&output));
    }
}
