//! `/metrics` for Prometheus: what the fleet has counted ([`shared::metrics`]) and what can be read off shared state now. All or none: half
//! of them would look like zeros. Every sandbox of this function answers the same, so one target stands for the whole fleet.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use shared::domain::clock::between;
use shared::heartbeat::{Depth, Marks};
use shared::metrics::catalogue::{BUCKETS, FAMILIES, Family, Kind, PREFIX};
use shared::metrics::fleet::Sums;

use crate::checks::Check;
use crate::heartbeat::{Pulse, Verdict};

/// Who answers requests that are counted, and who works on runs.
const ANSWERING: [&str; 3] = ["agent-api", "operator-api", "dlq-redrive"];
const WORKING: [&str; 2] = ["agent-api", "queue-consumer"];
/// Counters of every function, of those that answer, of those that work, of each agent that they have met, of each provider.
const OF_ALL: [(&str, &str); 4] = [
    ("retries_total", ""),
    ("db_connection_errors_total", ""),
    ("dead_letters_total", r#",direction="in""#),
    ("dead_letters_total", r#",direction="out""#),
];
const OF_ANSWERING: [u16; 5] = [200, 500, 502, 503, 504];
const OF_WORKING: [&str; 2] = ["runs_bad_total", "reflection_failures_total"];
const OUTCOMES: [&str; 3] = ["completed", "failed", "dead"];
const CODES: [&str; 4] = ["provider_timeout", "provider_unavailable", "provider_rate_limited", "provider_auth"];
/// How long what a sandbox said of its memory is true: it may be gone, and nobody takes its word back.
const WORD: Duration = Duration::from_secs(300);

/// The text, or the first thing that could not be read.
pub(crate) fn text(pulse: &Pulse<'_>, sums: &Check<Vec<Sums>>) -> Result<String, String> {
    let survey = pulse.survey;
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
    let verdict = pulse.verdict();
    let verdicts = Verdict::ALL.map(|one| (format!(r#"status="{}""#, one.word()), number(u64::from(one == verdict))));
    gauge(&mut text, "reprise_heartbeat_status", "What the heartbeat of the queue says: the status that is 1", verdicts);
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
    let providers: Vec<&str> = survey.models.iter().flatten().map(|model| model.provider.as_str()).collect();
    fleet(&mut text, sums.as_ref()?, &providers, survey.at);
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
fn fleet(text: &mut String, sums: &[Sums], providers: &[&str], now: Timestamp) {
    let mut numbers: BTreeMap<(&str, String), f64> = BTreeMap::new();
    for Sums { function, numbers: of_shard } in sums {
        let told_at = of_shard.get("reported_timestamp_seconds").copied().unwrap_or_default();
        let is_fresh = now.as_duration().as_secs_f64() - told_at < WORD.as_secs_f64();
        for (counter, value) in of_shard.iter().filter(|(name, _)| is_fresh || !name.starts_with("memory_")) {
            let (name, labels) = counter.strip_suffix('}').and_then(|counter| counter.split_once('{')).unwrap_or((counter, ""));
            let labels = if labels.is_empty() { String::new() } else { format!(",{labels}") };
            let number = numbers.entry((name, format!(r#"function="{function}"{labels}"#))).or_default();
            let is_gauge = FAMILIES.iter().any(|family| family.kind == Kind::Gauge && family.name == name);
            *number = if is_gauge { number.max(*value) } else { *number + value };
        }
    }
    for (name, labels) in zeros(&numbers, sums, providers) {
        numbers.entry((name, labels)).or_default();
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

/// Series that are there from the start: a rate sees only what rises above a value that it has seen before, so of a series that begins with its
/// first failures it would see none of them.
fn zeros(numbers: &BTreeMap<(&str, String), f64>, sums: &[Sums], providers: &[&str]) -> Vec<(&'static str, String)> {
    let mut zeros = Vec::new();
    for function in sums.iter().map(|sums| sums.function.as_str()).collect::<BTreeSet<_>>() {
        let mut zero = |name: &'static str, labels: &str| zeros.push((name, format!(r#"function="{function}"{labels}"#)));
        OF_ALL.iter().for_each(|(name, labels)| zero(name, labels));
        if ANSWERING.contains(&function) {
            OF_ANSWERING.iter().for_each(|status| zero("requests_total", &format!(r#",status="{status}""#)));
        }
        if !WORKING.contains(&function) {
            continue;
        }
        OF_WORKING.iter().for_each(|name| zero(name, ""));
        for provider in providers {
            CODES.iter().for_each(|code| zero("llm_api_errors_total", &format!(r#",provider="{provider}",code="{code}""#)));
        }
        let begin = format!(r#"function="{function}",agent="#);
        let runs = numbers.keys().filter(|(name, labels)| *name == "runs_total" && labels.starts_with(&begin));
        for (agent, _) in runs.filter_map(|(_, labels)| labels[begin.len()..].rsplit_once(",outcome=")) {
            OUTCOMES.iter().for_each(|outcome| zero("runs_total", &format!(r#",agent={agent},outcome="{outcome}""#)));
        }
    }
    zeros
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
        fleet(&mut text, &[first, second], &[], Timestamp::UNIX_EPOCH);
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

    #[test]
    fn failures_begin_at_zero_where_they_can_happen() {
        let worker = sums("queue-consumer", &[(r#"runs_total{agent="helper",outcome="completed"}"#, 2.0)]);
        let mut text = String::new();
        fleet(&mut text, &[worker, sums("sweeper", &[])], &["openai"], Timestamp::UNIX_EPOCH);
        for line in [
            r#"reprise_runs_total{function="queue-consumer",agent="helper",outcome="completed"} 2"#,
            r#"reprise_runs_total{function="queue-consumer",agent="helper",outcome="dead"} 0"#,
            r#"reprise_runs_bad_total{function="queue-consumer"} 0"#,
            r#"reprise_llm_api_errors_total{function="queue-consumer",provider="openai",code="provider_timeout"} 0"#,
            r#"reprise_db_connection_errors_total{function="sweeper"} 0"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("reprise_requests_total{"), "neither answers requests: {text}");
    }

    #[test]
    fn what_a_sandbox_said_of_its_memory_is_forgotten() {
        let said = |bytes, at| sums("agent-api", &[("memory_usage_bytes", bytes), ("reported_timestamp_seconds", at)]);
        let mut text = String::new();
        fleet(&mut text, &[said(9.0, 1_000.0), said(5.0, 1_200.0)], &[], Timestamp::from_second(1_301).unwrap());
        assert!(text.contains("reprise_memory_usage_bytes{function=\"agent-api\"} 5\n"), "{text}");
        assert!(text.contains("reprise_reported_timestamp_seconds{function=\"agent-api\"} 1200\n"), "{text}");
    }
}
