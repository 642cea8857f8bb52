//! `/metrics` for Prometheus: what the fleet has counted ([`shared::metrics`]) and what can be read off shared state now. All or none: half
//! of them would look like zeros. Every sandbox of this function answers the same, so one target stands for the whole fleet.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jiff::Timestamp;
use shared::domain::clock::between;
use shared::heartbeat::{Depth, Marks};
use shared::metrics::catalogue::{BUCKETS, FAMILIES, Family, Kind, PREFIX};
use shared::metrics::fleet::Sums;

use crate::checks::Check;
use crate::survey::Survey;

/// Series that are there from the start: a rate sees only what rises above a value that it has seen before, so of a series that begins with its
/// first failure it would see none.
const ZEROS: [(&str, &str); 7] = [
    ("requests_total", r#",status="200""#),
    ("requests_total", r#",status="500""#),
    ("requests_total", r#",status="503""#),
    ("retries_total", ""),
    ("db_connection_errors_total", ""),
    ("dead_letters_total", r#",direction="in""#),
    ("dead_letters_total", r#",direction="out""#),
];

/// The text, or the first thing that could not be read.
pub(crate) fn text(survey: &Survey, sums: &Check<Vec<Sums>>) -> Result<String, String> {
    let (tasks, dead) = (survey.tasks.found.as_ref()?, survey.dead_letters.found.as_ref()?);
    let marks = survey.table.found.as_ref()?;
    let configured = survey.environment.as_ref()?;
    let mut text = String::new();
    gauge(&mut text, "reprise_build_info", "The version of this function", [(format!(r#"version="{}""#, env!("CARGO_PKG_VERSION")), 1.0)]);
    gauge(&mut text, "reprise_agents", "Agents of this deployment", [(String::new(), number(configured.agents as u64))]);
    let active = [(String::new(), number(tasks.in_flight))];
    gauge(&mut text, "reprise_active_agents", "Runs that workers have in hand, or that pause after a failure: messages in flight", active);
    let depths = [("tasks", tasks), ("dead_letters", dead)].into_iter().flat_map(|(queue, depth)| depth_samples(queue, *depth));
    gauge(&mut text, "reprise_queue_messages", "Messages on a queue, as SQS counts them: approximately", depths);
    gauge(&mut text, "reprise_heartbeat_age_seconds", "Time since a part last gave a sign of life", ages(marks, survey.at));
    let latency = marks.arrived.map(|arrived| (String::new(), between(arrived.sent_at, arrived.at).as_secs_f64()));
    gauge(&mut text, "reprise_canary_latency_seconds", "How long the last canary waited for a worker", latency);
    let open = survey.board.iter().map(|board| {
        let open = board.breakers.values().filter(|breaker| breaker.is_in_trouble(survey.at));
        (String::new(), number(open.count() as u64))
    });
    gauge(
        &mut text,
        "reprise_breakers_open",
        "Models whose circuit breaker keeps calls away, or did so until five minutes ago and nobody has seen them well since",
        open,
    );
    fleet(&mut text, sums.as_ref()?);
    Ok(text)
}

fn depth_samples(queue: &str, depth: Depth) -> Vec<(String, f64)> {
    let states = [("waiting", depth.waiting), ("in_flight", depth.in_flight), ("delayed", depth.delayed)];
    states.map(|(state, messages)| (format!(r#"queue="{queue}",state="{state}""#), number(messages))).into()
}

fn ages(marks: &Marks, now: Timestamp) -> impl Iterator<Item = (String, f64)> {
    let signs = [("worker", marks.arrived.map(|arrived| arrived.at)), ("sweeper", marks.swept_at)];
    signs.into_iter().filter_map(move |(of, at)| Some((format!(r#"of="{of}""#), between(at?, now).as_secs_f64())))
}

/// Read when it is asked for; goes up and down.
fn gauge(text: &mut String, name: &str, help: &str, samples: impl IntoIterator<Item = (String, f64)>) {
    head(text, name, help, "gauge");
    for (labels, value) in samples {
        sample(text, name, &labels, value);
    }
}

/// What the fleet has counted, by function: its shards are one.
fn fleet(text: &mut String, sums: &[Sums]) {
    let mut numbers: BTreeMap<(&str, String), f64> = BTreeMap::new();
    for Sums { function, numbers: of_shard } in sums {
        for (counter, value) in of_shard {
            let (name, labels) = counter.strip_suffix('}').and_then(|counter| counter.split_once('{')).unwrap_or((counter, ""));
            let labels = if labels.is_empty() { String::new() } else { format!(",{labels}") };
            let number = numbers.entry((name, format!(r#"function="{function}"{labels}"#))).or_default();
            let is_gauge = FAMILIES.iter().any(|family| family.kind == Kind::Gauge && family.name == name);
            *number = if is_gauge { number.max(*value) } else { *number + value };
        }
    }
    for function in sums.iter().map(|sums| &sums.function) {
        for (name, labels) in ZEROS {
            numbers.entry((name, format!(r#"function="{function}"{labels}"#))).or_default();
        }
    }
    for family in &FAMILIES {
        let name = format!("{PREFIX}{}", family.name);
        match family.kind {
            Kind::Counter | Kind::Gauge => {
                head(text, &name, family.help, if family.kind == Kind::Gauge { "gauge" } else { "counter" });
                for ((_, labels), value) in numbers.iter().filter(|((of, _), _)| *of == family.name) {
                    sample(text, &name, labels, *value);
                }
            }
            Kind::Histogram => histogram(text, &name, family, &numbers),
        }
    }
}

/// The table holds each observation in its own bucket; Prometheus wants each bucket with all below it.
fn histogram(text: &mut String, name: &str, family: &Family, numbers: &BTreeMap<(&str, String), f64>) {
    head(text, name, family.help, "histogram");
    let count = format!("{}_count", family.name);
    let all: BTreeSet<&String> = numbers.keys().filter(|(of, _)| *of == count).map(|(_, labels)| labels).collect();
    let value =
        |part: &str, labels: String| numbers.get(&(format!("{}_{part}", family.name).as_str(), labels)).copied().unwrap_or_default();
    for labels in all {
        let mut so_far = 0.0;
        for bound in BUCKETS.iter().map(|(_, bound)| *bound).chain(["+Inf"]) {
            let of_bucket = format!(r#"{labels},le="{bound}""#);
            so_far += value("bucket", of_bucket.clone());
            sample(text, &format!("{name}_bucket"), &of_bucket, so_far);
        }
        sample(text, &format!("{name}_sum"), labels, value("sum", labels.clone()));
        // The last bucket and the count are one number in Prometheus; two attributes of one update never differ.
        sample(text, &format!("{name}_count"), labels, so_far);
    }
}

fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    let _infallible = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn sample(text: &mut String, name: &str, labels: &str, value: f64) {
    let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let _infallible = writeln!(text, "{name}{labels} {value}");
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(function: &str, numbers: &[(&str, f64)]) -> Sums {
        Sums { function: function.into(), numbers: numbers.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect() }
    }

    #[test]
    fn shards_are_one_and_buckets_hold_all_below_them() {
        let bucket = |le: &str| format!(r#"request_duration_seconds_bucket{{le="{le}"}}"#);
        let first = sums(
            "agent-api",
            &[
                (r#"requests_total{status="200"}"#, 2.0),
                (&bucket("0.01"), 1.0),
                (&bucket("+Inf"), 1.0),
                ("request_duration_seconds_sum", 1000.5),
                ("request_duration_seconds_count", 2.0),
                ("memory_usage_bytes", 7.0),
            ],
        );
        let second = sums("agent-api", &[(r#"requests_total{status="200"}"#, 3.0), ("memory_usage_bytes", 5.0)]);
        let mut text = String::new();
        fleet(&mut text, &[first, second]);
        for line in [
            r#"reprise_requests_total{function="agent-api",status="200"} 5"#,
            r#"reprise_request_duration_seconds_bucket{function="agent-api",le="0.01"} 1"#,
            r#"reprise_request_duration_seconds_bucket{function="agent-api",le="900"} 1"#,
            r#"reprise_request_duration_seconds_bucket{function="agent-api",le="+Inf"} 2"#,
            r#"reprise_request_duration_seconds_sum{function="agent-api"} 1000.5"#,
            r#"reprise_request_duration_seconds_count{function="agent-api"} 2"#,
            r#"reprise_memory_usage_bytes{function="agent-api"} 7"#,
            "# TYPE reprise_requests_total counter",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
