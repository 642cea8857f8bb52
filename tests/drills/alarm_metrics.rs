//! Everything that an alarm or the dashboard reads is measured: an alarm on a metric that nobody emits is never on.
//!
//! Runs before the drills of alarms (by its name), whose series would hide a name that nobody writes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use tests::client::text;
use tests::cloudwatch::{CloudWatch, dimensions};
use tests::{Stack, wait_for};

/// Two ticks of the sweeper, which takes up to seventy seconds each.
const LIMIT: Duration = Duration::from_secs(180);

/// What a healthy stack at a desk does not emit, and why an alarm on it is no mistake.
const NOT_HERE: [(&str, &str); 11] = [
    ("ConsumedReadCapacityUnits", "DynamoDB emits it; the emulator does not measure units"),
    ("ConsumedWriteCapacityUnits", "DynamoDB emits it; the emulator does not measure units"),
    ("ReadThrottleEvents", "DynamoDB emits it when it throttles; the emulator does so for injected faults"),
    ("WriteThrottleEvents", "DynamoDB emits it when it throttles; the emulator does so for injected faults"),
    ("StoreErrors", "emitted when a call of the table has failed for good"),
    ("RunCapUsedPercent", "emitted where a run's agent has caps"),
    ("Reflections", "emitted where an agent looks at its answer again; none of infra/agents does"),
    ("ReflectionFailures", "emitted where an agent looks at its answer again; none of infra/agents does"),
    ("Retries", "emitted by a second attempt"),
    ("DeadLettersIn", "emitted when a run dies"),
    ("DeadLettersOut", "emitted when a dead run is put back"),
];

type Metric = (String, String, BTreeMap<String, String>);

#[test]
fn all_that_alarms_and_the_dashboard_read_is_measured() {
    let stack = Stack::alone();
    let cloudwatch = CloudWatch::new(&stack.emulator);
    let mut read = BTreeSet::new();
    for alarm in cloudwatch.alarms().values() {
        read.extend(of_alarm(alarm));
    }
    let of_alarms = read.len();
    read.extend(of_dashboard(&cloudwatch.dashboard(&stack.name)));
    assert!(of_alarms > 40 && read.len() > of_alarms + 20, "the rule looks at what it should: {of_alarms} and {}", read.len());
    // A run with a tool, answered at once and from the queue, and one request of each function.
    for background in [false, true] {
        let _ = stack.api.post("/v1/agent", &json!({"prompt": "What time is it in Berlin?", "background": background}));
    }
    for path in ["/v1/dlq", "/v1/incidents", "/health/detailed"] {
        let _ = stack.api.get(path);
    }
    // And a probe that fails.
    {
        let _broken = stack.reconfigure("health", &[("TABLE_NAME", "gone")]);
        assert_eq!(stack.api.get("/ready").status, 503);
    }
    wait_for("all metrics that are read", LIMIT, || {
        let there = cloudwatch.metrics();
        let missing: Vec<_> = read.iter().filter(|metric| !there.contains(*metric) && !is_not_here(metric)).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("nobody emits {missing:#?}")) }
    });
    let read_names: BTreeSet<_> = read.iter().map(|metric| metric.1.as_str()).collect();
    for (name, why) in NOT_HERE {
        assert!(read_names.contains(name), "nothing reads {name} any more ({why})");
    }
}

fn is_not_here(metric: &Metric) -> bool {
    NOT_HERE.iter().any(|(name, _)| *name == metric.1)
}

fn of_alarm(alarm: &Value) -> Vec<Metric> {
    if alarm["AlarmRule"].is_string() {
        return Vec::new();
    }
    let Some(queries) = alarm["Metrics"].as_array() else {
        return vec![(text(alarm, "Namespace"), text(alarm, "MetricName"), dimensions(alarm))];
    };
    let metrics = queries.iter().map(|query| &query["MetricStat"]["Metric"]).filter(|metric| !metric.is_null());
    metrics.map(|metric| (text(metric, "Namespace"), text(metric, "MetricName"), dimensions(metric))).collect()
}

/// The metrics of all widgets; a search is left to whoever looks at it.
fn of_dashboard(dashboard: &Value) -> Vec<Metric> {
    let widgets = dashboard["widgets"].as_array().into_iter().flatten();
    let rows = widgets.filter_map(|widget| widget["properties"]["metrics"].as_array()).flatten();
    rows.filter(|row| row[0].is_string()).map(of_row).collect()
}

fn of_row(row: &Value) -> Metric {
    let words: Vec<String> = row.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let [namespace, name, dimensions @ ..] = &words[..] else { panic!("{row} names no metric") };
    assert!(dimensions.len().is_multiple_of(2) && !words.iter().any(|word| word.starts_with('.')), "{row} is written out");
    (namespace.clone(), name.clone(), dimensions.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
}
