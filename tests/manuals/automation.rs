//! Automation's "Production Monitoring Runbook": readiness, the queue's heartbeat, health.

use serde_json::json;

use crate::line::{Line, World, ours, verbatim};

const SCRIPT: &str = r##"#!/usr/bin/env bash
set -euo pipefail
API_BASE="${API_BASE:-http://localhost:5000}"

payload=$(curl -sS "$API_BASE/api/production/ready")
queue=$(jq -r '.checks.queue' <<<"$payload")
message=$(jq -r '.queueHealth.message // ""' <<<"$payload")

if [[ "$queue" != "true" ]]; then
  echo "Queue readiness failed: ${message:-unknown reason}" >&2
  exit 1
fi

echo "Queue ready (latency: $(jq '.queueHealth.latencyMs' <<<"$payload") ms)""##;

pub(crate) fn lines() -> Vec<Line> {
    vec![
        verbatim("curl -sS http://$HOST:$PORT/api/production/ready | jq '{ready: .ready, queue: .checks.queue, message: .queueHealth.message}'")
            .json(|said| *said == json!({"ready": true, "queue": true, "message": "SQS connection healthy"})),
        verbatim("curl -sS http://$HOST:$PORT/api/production/queue/heartbeat | jq '{status: .status.status, message: .status.message, latestHeartbeatAt: .worker.latestHeartbeatAt, queueHealth: .queueHealth.status}'")
            .after(World::beats)
            .json(|said| said["status"] == "pass" && said["latestHeartbeatAt"].is_string() && said["queueHealth"] == "pass"),
        verbatim("curl -sS http://$HOST:$PORT/api/production/health | jq '{status, queue: .checks.queue, metrics: .metrics}'")
            .json(|said| said["status"] == "healthy" && said["queue"]["status"] == "pass" && said["metrics"]["totalWorkflows"].as_u64() > Some(0)),
        verbatim(SCRIPT).says("Queue ready (latency: "),
        // It goes on until somebody ends it.
        ours(
            r#"watch -n5 'curl -sS http://localhost:5000/api/production/queue/heartbeat | jq "{status: .status.status, latestHeartbeat: .worker.latestHeartbeatAt, depth: (.queueDepths | to_entries)}"'"#,
            r#"timeout 4 watch -n5 'curl -sS http://localhost:5000/api/production/queue/heartbeat | jq "{status: .status.status, latestHeartbeat: .worker.latestHeartbeatAt, depth: (.queueDepths | to_entries)}"'; [ $? = 124 ]"#,
        )
        .says("\"status\": \"pass\""),
        verbatim(
            r#"curl -fsS "${API_ORIGIN:-http://localhost:5000}/api/production/ready" \
    | jq '{ready: .ready, queueReady: .checks.queue, queueMessage: .checks.queueDetails.message}'"#,
        )
        .json(|said| *said == json!({"ready": true, "queueReady": true, "queueMessage": "SQS connection healthy"})),
        verbatim(
            r#"curl -fsS "${API_ORIGIN:-http://localhost:5000}/api/production/queue/heartbeat" \
    | jq '{status: .status.status, message: .status.message, latestHeartbeatAt: .worker.latestHeartbeatAt, queueDepths: .queueDepths}'"#,
        )
        .json(|said| said["status"] == "pass" && said["queueDepths"]["tasks"]["waiting"].is_u64()),
        verbatim(
            r#"curl -fsSL "${API_ORIGIN:-http://localhost:5000}/api/production/ready" \
    | jq -e 'select(.checks.queue == true) | .ready == true' >/dev/null"#,
        ),
        verbatim(r#"curl -fsS "$APP_URL/api/production/queue/heartbeat" | jq -e '.status.status == "pass"'"#).says("true"),
        // The paths that dashboards read.
        ours("status.status", "curl -sS http://localhost:5000/api/production/queue/heartbeat | jq -e .status.status").json(|said| said == "pass"),
        ours("worker.latestHeartbeatAgeMs", "curl -sS http://localhost:5000/api/production/queue/heartbeat | jq .worker.latestHeartbeatAgeMs")
            .json(|said| said.as_u64().is_some_and(|age| age < 120_000)),
        ours("queueDepths.*.waiting", "curl -sS http://localhost:5000/api/production/queue/heartbeat | jq '[.queueDepths[].waiting]'")
            .json(|said| said.as_array().is_some_and(|depths| depths.len() == 3 && depths.iter().all(serde_json::Value::is_u64))),
        ours("queueDepths.*.delayed", "curl -sS http://localhost:5000/api/production/queue/heartbeat | jq '[.queueDepths[].delayed]'")
            .json(|said| said.as_array().is_some_and(|depths| depths.len() == 3 && depths.iter().all(serde_json::Value::is_u64))),
        ours("metrics.totalWorkflows", "curl -sS http://localhost:5000/api/production/health | jq .metrics.totalWorkflows")
            .json(|said| said.as_u64() > Some(0)),
    ]
}
