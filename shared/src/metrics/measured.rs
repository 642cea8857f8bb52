//! What was measured since the last report.

use std::collections::BTreeMap;

use super::catalogue::{BUCKETS, Counter};

/// Values of one metric that one line of the log can hold.
const MOST_VALUES: usize = 100;

/// The unit of a metric, as CloudWatch knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// How many.
    Count,
    /// Time.
    Milliseconds,
    /// Longer times.
    Seconds,
    /// Of a hundred.
    Percent,
    /// Anything else.
    None,
}

/// What a metric is told apart by, besides the stack.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dimension {
    /// By nothing.
    Stack,
    /// By the function that measures.
    Function,
    /// By the run's agent.
    Agent(String),
    /// By what a step is.
    Kind(&'static str),
    /// By the provider that was asked.
    Provider(String),
}

/// The values of one metric, and how often each came.
#[derive(Debug, Clone, PartialEq)]
pub struct Points {
    /// Theirs.
    pub unit: Unit,
    /// Each value with its number.
    pub values: Vec<(f64, u64)>,
}

impl Points {
    /// A value more. Where there are too many, the nearest stands in for it: percentiles hardly move.
    fn add(&mut self, value: f64) {
        if self.unit == Unit::Count {
            match self.values.first_mut() {
                Some((sum, _)) => *sum += value,
                None => self.values.push((value, 1)),
            }
            return;
        }
        let is_full = self.values.len() >= MOST_VALUES;
        let distance = |known: f64| (known - value).abs();
        let nearest = self.values.iter_mut().min_by(|(a, _), (b, _)| distance(*a).total_cmp(&distance(*b)));
        match nearest {
            Some((known, count)) if is_full || distance(*known) == 0.0 => *count += 1,
            _ => self.values.push((value, 1)),
        }
    }
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    /// What goes to CloudWatch: by dimension, then by name.
    pub points: BTreeMap<Dimension, BTreeMap<&'static str, Points>>,
    /// What goes to the fleet's counters.
    pub counters: BTreeMap<Counter, f64>,
}

impl Measured {
    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty() && self.counters.is_empty()
    }

    /// A value of a metric.
    pub(super) fn point(&mut self, dimension: &Dimension, name: &'static str, unit: Unit, value: f64) {
        let of_dimension = self.points.entry(dimension.clone()).or_default();
        of_dimension.entry(name).or_insert_with(|| Points { unit, values: Vec::new() }).add(value);
    }

    /// More of a counter.
    pub(super) fn count(&mut self, counter: Counter, more: f64) {
        *self.counters.entry(counter).or_default() += more;
    }

    /// One observation of a histogram: its bucket, its sum, its number. Buckets are not cumulative here, so that one observation
    /// touches three numbers and not all of them.
    pub(super) fn observe(&mut self, of: &Counter, seconds: f64) {
        let bound = BUCKETS.iter().find(|(bound, _)| seconds <= *bound).map_or("+Inf", |(_, text)| text);
        self.count(of.part("bucket").with("le", bound), 1.0);
        self.count(of.part("sum"), seconds);
        self.count(of.part("count"), 1.0);
    }
}
