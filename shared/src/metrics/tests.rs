//! What is counted of what happens, and that the log's lines are what CloudWatch reads.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::*;
use crate::domain::clock::after;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::message::Message;
use crate::domain::run::{Cause, Run};
use crate::domain::state::{Command, RunState};
use crate::domain::step::{FinishReason, ModelStep, Step, StepBody, Usage, Verdict};
use crate::engine::ports::{Guard, Write};
use crate::fakes::a_run;

fn counters(meter: &Meter) -> Vec<(String, f64)> {
    meter.take().counters.into_iter().map(|(counter, value)| (counter.to_string(), value)).collect()
}

fn value(counters: &[(String, f64)], name: &str) -> f64 {
    counters.iter().find(|(counter, _)| counter == name).map_or(0.0, |(_, value)| *value)
}

fn run() -> Run {
    a_run(&"acme".parse().unwrap(), Timestamp::UNIX_EPOCH)
}

/// The run after `commands`, and the guard of the last one.
fn moved(mut run: Run, commands: &[Command], code: FailureCode) -> (Run, Guard) {
    let mut guard = Guard::New;
    for command in commands {
        let at = after(run.updated_at, Duration::from_secs(1));
        guard = Guard::Seen(run.seen());
        if matches!(command, Command::Die | Command::Fail | Command::Release) {
            run.note(Failure::new(code, "m", at, 1));
        }
        run.apply(*command, Cause { at, by: "b", reason: code.as_str(), patience: Duration::ZERO }).unwrap();
    }
    (run, guard)
}

#[test]
fn a_run_counts_when_it_ends_and_a_dead_one_when_it_comes_and_goes() {
    let meter = Meter::default();
    let write = |commands: &[Command], code| {
        let (run, guard) = moved(run(), commands, code);
        meter.written(&[Write::Run(&run, guard)]);
        counters(&meter)
    };
    let done = write(&[Command::Claim, Command::Complete], FailureCode::NoTime);
    assert_eq!(value(&done, r#"runs_total{agent="assistant",outcome="completed"}"#), 1.0, "{done:?}");
    assert_eq!(value(&done, r#"run_duration_seconds_bucket{le="2.5"}"#), 1.0);
    let died = write(&[Command::Claim, Command::Die], FailureCode::ProviderTimeout);
    assert_eq!(value(&died, r#"dead_letters_total{direction="in"}"#), 1.0);
    assert_eq!(value(&died, r#"errors_total{error_type="provider_timeout"}"#), 1.0);
    for (command, ends) in [(Command::Retry, 0.0), (Command::Discard, 0.0)] {
        let out = write(&[Command::Claim, Command::Die, command], FailureCode::ProviderTimeout);
        assert_eq!(value(&out, r#"dead_letters_total{direction="out"}"#), 1.0);
        let ended: f64 = out.iter().filter(|(name, _)| name.starts_with("runs_total")).map(|(_, value)| value).sum();
        assert_eq!(ended, ends, "{command:?} ends nothing that had not ended");
    }
    // The sweeper writes a record whose state stays as it is.
    let (same, _) = moved(run(), &[Command::Claim, Command::Complete], FailureCode::NoTime);
    meter.written(&[Write::Run(&same, Guard::Seen(same.seen()))]);
    assert!(meter.take().is_empty());
}

#[test]
fn what_is_not_our_fault_spends_no_error_budget() {
    for (command, code, bad) in [
        (Command::Fail, FailureCode::StepLimit, 0.0),
        (Command::Fail, FailureCode::ProviderRejected, 0.0),
        (Command::Fail, FailureCode::UnknownAgent, 1.0),
        (Command::Die, FailureCode::ProviderUnavailable, 1.0),
        (Command::Complete, FailureCode::NoTime, 0.0),
    ] {
        let meter = Meter::default();
        let (run, guard) = moved(run(), &[Command::Claim, command], code);
        meter.written(&[Write::Run(&run, guard)]);
        let measured = meter.take();
        let told: Vec<_> = measured.counters.iter().map(|(counter, value)| (counter.to_string(), *value)).collect();
        let of_agent = &measured.points[&Dimension::Agent("assistant".into())];
        assert_eq!(of_agent["RunsBad"].values, [(bad, 1)], "{command:?} {code:?}");
        assert_eq!(value(&told, "runs_bad_total"), bad, "{command:?} {code:?}");
    }
}

#[test]
fn waiting_for_a_worker_is_measured_and_a_pause_after_a_failure_is_not() {
    let meter = Meter::default();
    meter.claimed(&run(), 1, after(Timestamp::UNIX_EPOCH, Duration::from_secs(7)));
    let first = counters(&meter);
    assert_eq!((value(&first, "queue_wait_seconds_sum"), value(&first, "retries_total")), (7.0, 0.0));
    let (paused, _) = moved(run(), &[Command::Claim, Command::Release], FailureCode::ProviderTimeout);
    meter.claimed(&paused, 2, after(paused.updated_at, Duration::from_secs(30)));
    let second = counters(&meter);
    assert_eq!((value(&second, "queue_wait_seconds_count"), value(&second, "retries_total")), (0.0, 1.0));
}

#[test]
fn a_reflexion_counts_each_answer_that_it_judges() {
    let meter = Meter::default();
    let step = |success| {
        let model = ModelStep::new("p".into(), "m".into(), Message::assistant("a"), FinishReason::Stop, Usage::NONE);
        let verdict = Some(Verdict { score: 0.0, success, issues: Vec::new(), improvements: Vec::new() });
        let body = StepBody::Model(ModelStep { verdict, ..model });
        Step { index: 1, started_at: Timestamp::UNIX_EPOCH, ended_at: Timestamp::UNIX_EPOCH, body }
    };
    meter.written(&[Write::Step(&run(), &step(true)), Write::Step(&run(), &step(false))]);
    let counted = counters(&meter);
    assert_eq!(value(&counted, r#"reflections_total{status="success"}"#), 1.0);
    assert_eq!(value(&counted, "reflection_failures_total"), 1.0);
    assert_eq!(value(&counted, r#"step_duration_seconds_count{kind="model"}"#), 2.0);
}

#[test]
fn a_model_that_only_a_request_names_has_no_name_of_its_own() {
    let meter = Meter::default();
    let end = ModelEnd::Failed(FailureCode::ProviderRateLimited);
    meter.model_call(&ModelCall { provider: "openai", model: None, took: Duration::from_secs(1), end });
    let counted = counters(&meter);
    assert_eq!(value(&counted, r#"llm_api_calls_total{model="openai::other"}"#), 1.0);
    assert_eq!(value(&counted, r#"llm_api_errors_total{provider="openai",code="provider_rate_limited"}"#), 1.0);
}

#[test]
fn every_counter_has_a_family() {
    let meter = everything();
    for (counter, _) in counters(&meter) {
        let name = counter.split('{').next().unwrap_or_default();
        let is_known = catalogue::FAMILIES.iter().any(|family| match family.kind {
            catalogue::Kind::Counter => family.name == name,
            catalogue::Kind::Histogram => ["_bucket", "_sum", "_count"].iter().any(|part| name.strip_suffix(part) == Some(family.name)),
            catalogue::Kind::Gauge => false,
        });
        assert!(is_known, "{counter}");
    }
}

/// One of each.
fn everything() -> Meter {
    let meter = Meter::default();
    meter.cold_start();
    meter.request(503, Duration::from_millis(20));
    meter.memory(50.0);
    meter.budget(12.5);
    meter.store_error();
    meter.claimed(&run(), 2, Timestamp::UNIX_EPOCH);
    let usage = Usage { input_tokens: 3, output_tokens: 4, ..Usage::NONE };
    let end = ModelEnd::Answered { usage, cost_micros: Some(5) };
    meter.model_call(&ModelCall { provider: "openai", model: Some("m"), took: Duration::from_secs(1), end });
    let (done, guard) = moved(run(), &[Command::Claim, Command::Complete], FailureCode::NoTime);
    meter.written(&[Write::Run(&done, guard)]);
    let day = Some(Duration::from_secs(86_400));
    meter.tick(&Gauges {
        canary_age: day,
        canary_latency: day,
        stuck_runs: Some(0),
        breakers_open: Some(0),
        dead_runs: Some(0),
        queue_depth: Some(0),
        backup_age: day,
    });
    meter
}

#[cfg(feature = "metrics")]
#[test]
fn each_line_is_one_that_cloudwatch_reads() {
    let meter = everything();
    (0..500u64).for_each(|n| meter.request(200, Duration::from_micros(n * n)));
    let of = Instance { stack: "s".into(), function: "agent-api".into() };
    let text = String::from_utf8(lines(&meter.take(), &of, Timestamp::from_millisecond(1_700_000_000_123).unwrap())).unwrap();
    let mut sets_seen = Vec::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["_aws"]["Timestamp"], 1_700_000_000_123_i64);
        let directives = line["_aws"]["CloudWatchMetrics"].as_array().unwrap();
        assert_eq!(directives.len(), 1);
        assert_eq!(directives[0]["Namespace"], "Reprise");
        let sets = directives[0]["Dimensions"].as_array().unwrap();
        assert_eq!(sets[0], serde_json::json!(["Stack"]), "everything counts for the whole stack");
        for set in sets.iter().map(|set| set.as_array().unwrap()) {
            assert!(set.len() <= 30 && set.iter().all(|name| line[name.as_str().unwrap()].is_string()), "{line}");
        }
        sets_seen.push(sets.last().unwrap().to_string());
        let metrics = directives[0]["Metrics"].as_array().unwrap();
        assert!((1..=100).contains(&metrics.len()));
        for metric in metrics {
            let unit = metric["Unit"].as_str().unwrap_or("None");
            assert!(["Count", "Milliseconds", "Seconds", "Percent", "None"].contains(&unit), "{metric}");
            let value = &line[metric["Name"].as_str().unwrap()];
            let (values, counts) = (&value["Values"], &value["Counts"]);
            let is_list = values.as_array().is_some_and(|values| {
                (1..=100).contains(&values.len()) && counts.as_array().is_some_and(|counts| counts.len() == values.len())
            });
            assert!(value.is_number() || is_list, "{metric}: {value}");
        }
    }
    sets_seen.sort_unstable();
    let sets = [r#"["Stack","Agent"]"#, r#"["Stack","Function"]"#, r#"["Stack","Provider"]"#, r#"["Stack"]"#];
    assert_eq!(sets_seen, sets);
    let requests: Value =
        text.lines().filter(|line| line.contains("RequestMs")).map(|line| serde_json::from_str(line).unwrap()).next().unwrap();
    assert_eq!((&requests["Requests"], &requests["RequestErrors"]), (&501.into(), &1.into()));
    let counts: u64 = requests["RequestMs"]["Counts"].as_array().unwrap().iter().filter_map(Value::as_u64).sum();
    assert_eq!(counts, 501, "none is lost where there are more than fit");
}

#[test]
fn states_that_a_run_passes_on_its_way_end_nothing() {
    let meter = Meter::default();
    let (claimed, guard) = moved(run(), &[Command::Claim], FailureCode::NoTime);
    meter.written(&[Write::Run(&claimed, guard)]);
    assert_eq!(claimed.state, RunState::Running);
    assert!(meter.take().is_empty());
}
