//! `/metrics`: the numbers that can be read off shared state, for Prometheus. All or none: half of them would look like zeros.

use std::fmt::Write as _;

use jiff::Timestamp;
use shared::domain::clock::between;
use shared::heartbeat::{Depth, Marks};

use crate::survey::Survey;

/// The text, or the first thing that could not be read.
pub(crate) fn text(survey: &Survey) -> Result<String, String> {
    let (tasks, dead) = (survey.tasks.found.as_ref()?, survey.dead_letters.found.as_ref()?);
    let marks = survey.table.found.as_ref()?;
    let configured = survey.environment.as_ref()?;
    let mut text = String::new();
    family(&mut text, "reprise_build_info", "The version of this function", [(format!(r#"version="{}""#, env!("CARGO_PKG_VERSION")), 1.0)]);
    family(&mut text, "reprise_agents", "Agents of this deployment", [(String::new(), number(configured.agents as u64))]);
    let depths = [("tasks", tasks), ("dead_letters", dead)].into_iter().flat_map(|(queue, depth)| depth_samples(queue, *depth));
    family(&mut text, "reprise_queue_messages", "Messages on a queue, as SQS counts them: approximately", depths);
    family(&mut text, "reprise_heartbeat_age_seconds", "Time since a part last gave a sign of life", ages(marks, survey.at));
    let latency = marks.arrived.map(|arrived| (String::new(), between(arrived.sent_at, arrived.at).as_secs_f64()));
    family(&mut text, "reprise_canary_latency_seconds", "How long the last canary waited for a worker", latency);
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

/// All are gauges: they are read when they are asked for, and go up and down.
fn family(text: &mut String, name: &str, help: &str, samples: impl IntoIterator<Item = (String, f64)>) {
    let _infallible = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n");
    for (labels, value) in samples {
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _infallible = writeln!(text, "{name}{labels} {value}");
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
fn number(count: u64) -> f64 {
    count as f64
}
