//! The fleet's counters: their names, what they mean, and how one is written as a text.
//!
//! The text of a counter is the same in the table (the name of an attribute) and in Prometheus (a sample): `runs_total{outcome="dead"}`.

use std::fmt;

/// What all names begin with.
pub const PREFIX: &str = "reprise_";

/// Upper bounds of the buckets of every histogram, in seconds, and as Prometheus writes them: from a warm answer to the longest run.
pub const BUCKETS: [(f64, &str); 14] = [
    (0.01, "0.01"),
    (0.025, "0.025"),
    (0.05, "0.05"),
    (0.1, "0.1"),
    (0.25, "0.25"),
    (0.5, "0.5"),
    (1.0, "1"),
    (2.5, "2.5"),
    (5.0, "5"),
    (10.0, "10"),
    (30.0, "30"),
    (60.0, "60"),
    (300.0, "300"),
    (900.0, "900"),
];

/// What a family of numbers is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Goes up only.
    Counter,
    /// Observations in [`BUCKETS`].
    Histogram,
    /// Goes up and down: what each function said last.
    Gauge,
}

/// A family of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Its name, without the prefix.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// For people.
    pub help: &'static str,
}

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Counter, help }
}

const fn histogram(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Histogram, help }
}

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, help }
}

/// All families that the fleet adds to.
pub const FAMILIES: [Family; 23] = [
    counter("requests_total", "Requests answered, by status; the probes are not counted"),
    histogram("request_duration_seconds", "Time until a request was answered, or its stream began"),
    counter("cold_starts_total", "Sandboxes that have begun to work"),
    counter("runs_total", "Runs that have ended, by outcome and agent; a run that is put back ends again"),
    counter("runs_bad_total", "Runs that died, or failed by our own fault and not by what they were asked"),
    histogram("run_duration_seconds", "Time from a run's acceptance to its end"),
    histogram("step_duration_seconds", "Time of a step, by kind"),
    histogram("queue_wait_seconds", "Time from a run's becoming ready to a worker's taking it up, pauses after failures left out"),
    counter("retries_total", "Attempts after the first one, by workers"),
    counter("llm_api_calls_total", "Calls of models; a model that only requests name is \"other\""),
    counter("llm_api_errors_total", "Calls of models that gave no answer that can be used, by provider and code"),
    histogram("llm_api_call_duration_seconds", "Time of a call of a model, answered or not"),
    counter("llm_tokens_total", "Tokens of calls of models, by direction"),
    counter("llm_cost_dollars_total", "Cost of calls of models whose price is known"),
    counter("reflections_total", "Answers that a reflexion judged, by whether they passed"),
    counter("reflection_failures_total", "Answers that a reflexion found wanting"),
    counter("dead_letters_total", "Runs that died (in) and dead runs that were put back or given up (out)"),
    counter("db_connection_errors_total", "Calls of the table that failed for good"),
    counter("errors_total", "What went wrong: failures of runs by code, requests that failed by status"),
    counter("sweeper_ticks_total", "Ticks of the sweeper"),
    gauge("memory_usage_bytes", "Memory in use in a sandbox, the largest of those that reported last"),
    gauge("memory_limit_bytes", "Memory that a sandbox has"),
    gauge("reported_timestamp_seconds", "When a sandbox of the function last added to these numbers"),
];

/// One number of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counter {
    name: String,
    labels: Vec<(&'static str, String)>,
}

impl Counter {
    /// The number `name`, without labels.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), labels: Vec::new() }
    }

    /// With one label more.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.labels.push((name, value.to_owned()));
        self
    }

    /// A part of a histogram.
    pub(super) fn part(&self, part: &str) -> Self {
        Self { name: format!("{}_{part}", self.name), labels: self.labels.clone() }
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for (place, (name, value)) in self.labels.iter().enumerate() {
            let value = value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
            write!(f, r#"{}{name}="{value}""#, if place == 0 { '{' } else { ',' })?;
        }
        if self.labels.is_empty() { Ok(()) } else { f.write_str("}") }
    }
}
