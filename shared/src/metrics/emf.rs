//! What was measured, as lines in CloudWatch's embedded metric format: on Lambda whatever stands on standard output in it becomes a
//! metric, without a call. One line for each value of a dimension that was met; each line counts for the stack as a whole as well.

use std::time::SystemTime;

use jiff::Timestamp;
use metrique_writer_core::format::Format;
use metrique_writer_core::unit::{NegativeScale, Unit as EmfUnit};
use metrique_writer_core::value::{MetricFlags, Observation, Value, ValueWriter};
use metrique_writer_core::{Entry, EntryWriter};
use metrique_writer_format_emf::Emf;

use super::measured::{Dimension, Measured, Points, Unit};
use super::report::Instance;

/// The namespace of all metrics.
const NAMESPACE: &str = "Reprise";
/// The dimension that every metric has.
const STACK: &str = "Stack";

/// The lines, each with its line feed. A line that cannot be written is left out, and the log says so.
#[must_use]
pub fn lines(measured: &Measured, of: &Instance, at: Timestamp) -> Vec<u8> {
    let mut text = Vec::new();
    for (dimension, metrics) in &measured.points {
        let of_dimension = match dimension {
            Dimension::Stack => None,
            Dimension::Function => Some(("Function", of.function.as_str())),
            Dimension::Agent(name) => Some(("Agent", name.as_str())),
            Dimension::Kind(kind) => Some(("Kind", *kind)),
            Dimension::Provider(name) => Some(("Provider", name.as_str())),
        };
        let mut sets = vec![vec![STACK.to_owned()]];
        sets.extend(of_dimension.map(|(name, _)| vec![STACK.to_owned(), name.to_owned()]));
        let line = Line { at, stack: &of.stack, of_dimension, metrics: metrics.iter() };
        if let Err(error) = Emf::all_validations(NAMESPACE.to_owned(), sets).format(&line, &mut text) {
            tracing::warn!(%error, "a line of metrics could not be written");
        }
    }
    text
}

struct Line<'a, M> {
    at: Timestamp,
    stack: &'a str,
    of_dimension: Option<(&'static str, &'a str)>,
    metrics: M,
}

impl<'m, M: Iterator<Item = (&'m &'static str, &'m Points)> + Clone> Entry for Line<'_, M> {
    fn write<'a>(&'a self, writer: &mut impl EntryWriter<'a>) {
        writer.timestamp(SystemTime::from(self.at));
        writer.value(STACK, self.stack);
        if let Some((name, value)) = self.of_dimension {
            writer.value(name, value);
        }
        for (name, points) in self.metrics.clone() {
            writer.value(*name, points);
        }
    }
}

impl Value for Points {
    fn write(&self, writer: impl ValueWriter) {
        let unit = match self.unit {
            Unit::Count => EmfUnit::Count,
            Unit::Milliseconds => EmfUnit::Second(NegativeScale::Milli),
            Unit::Seconds => EmfUnit::Second(NegativeScale::One),
            Unit::Percent => EmfUnit::Percent,
            Unit::None => EmfUnit::None,
        };
        let each = self.values.iter().map(|(value, count)| match count {
            1 => Observation::Floating(*value),
            #[expect(clippy::cast_precision_loss, reason = "the crate divides it again, and counts are far below 2^53")]
            count => Observation::Repeated { total: value * *count as f64, occurrences: *count },
        });
        writer.metric(each, unit, [], MetricFlags::empty());
    }
}
