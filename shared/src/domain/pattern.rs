//! Event patterns as Amazon EventBridge has them, over an event's payload.
//!
//! Fields are all needed, of a field's values any will do; an array in the payload fits if one of its elements does. A
//! pattern of a nested object fits an array of objects if one object fits all of it. Two deviations: numbers are compared as
//! numbers (`300` is `300.0`), and an operator that this module does not know is refused when it is read.

use std::cmp::Ordering;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use super::wildcard::Wildcard;

mod read;
#[cfg(test)]
mod tests;

pub use read::PatternError;

/// What a JSON object must look like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pattern {
    /// All of these.
    fields: Vec<(String, Field)>,
    /// And one of these, if there are any (`$or`).
    any_of: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Field {
    /// An object within.
    Object(Pattern),
    /// A value that passes one of these.
    Values(Vec<Test>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Test {
    /// A text, a number, a truth value or null.
    Equals(Value),
    EqualsIgnoreCase(String),
    Prefix(String),
    PrefixIgnoreCase(String),
    Suffix(String),
    SuffixIgnoreCase(String),
    Wildcard(Wildcard),
    /// All of these.
    Numeric(Vec<(Comparison, Number)>),
    /// An address of this network: its first so many bits.
    Cidr(IpAddr, u8),
    Exists(bool),
    /// None of these.
    AnythingBut(Vec<Test>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Comparison {
    Less,
    LessOrEqual,
    Equal,
    Greater,
    GreaterOrEqual,
}

impl Pattern {
    /// Reads it.
    ///
    /// # Errors
    /// The first part that is no pattern, with its place.
    pub fn parse(pattern: &Value) -> Result<Self, PatternError> {
        read::pattern(pattern)
    }

    /// Whether `payload` fits. What is no object has no fields.
    #[must_use]
    pub fn matches(&self, payload: &Value) -> bool {
        let mut objects = Vec::new();
        collect(payload, &mut |value| objects.extend(value.as_object()));
        if objects.is_empty() { self.holds(&Map::new()) } else { objects.into_iter().any(|object| self.holds(object)) }
    }

    fn holds(&self, object: &Map<String, Value>) -> bool {
        let all = self.fields.iter().all(|(name, field)| field.holds(object.get(name).unwrap_or(&ABSENT)));
        all && (self.any_of.is_empty() || self.any_of.iter().any(|pattern| pattern.holds(object)))
    }
}

/// A field that is not there: no objects and no values in it, which is what an empty list has.
static ABSENT: Value = Value::Array(Vec::new());

impl Field {
    fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Object(pattern) => pattern.matches(value),
            Self::Values(tests) => {
                let mut leaves = Vec::new();
                collect(value, &mut |value| leaves.extend((!value.is_object()).then_some(value)));
                tests.iter().any(|test| match test {
                    Test::Exists(expected) => *expected != leaves.is_empty(),
                    test => leaves.iter().any(|leaf| test.holds(leaf)),
                })
            }
        }
    }
}

impl Test {
    fn holds(&self, leaf: &Value) -> bool {
        let text = leaf.as_str();
        let lower = || text.map(str::to_lowercase);
        match self {
            Self::Equals(Value::Number(expected)) => leaf.as_number().is_some_and(|n| compare(n, expected) == Some(Ordering::Equal)),
            Self::Equals(expected) => leaf == expected,
            Self::EqualsIgnoreCase(expected) => lower().is_some_and(|text| text == *expected),
            Self::Prefix(prefix) => text.is_some_and(|text| text.starts_with(prefix)),
            Self::PrefixIgnoreCase(prefix) => lower().is_some_and(|text| text.starts_with(prefix)),
            Self::Suffix(suffix) => text.is_some_and(|text| text.ends_with(suffix)),
            Self::SuffixIgnoreCase(suffix) => lower().is_some_and(|text| text.ends_with(suffix)),
            Self::Wildcard(wildcard) => text.is_some_and(|text| wildcard.matches(text)),
            Self::Numeric(bounds) => leaf.as_number().is_some_and(|n| bounds.iter().all(|(comparison, bound)| comparison.holds(n, bound))),
            Self::Cidr(network, bits) => text.and_then(|text| text.parse().ok()).is_some_and(|address| is_within(address, *network, *bits)),
            Self::Exists(expected) => *expected,
            Self::AnythingBut(tests) => !tests.iter().any(|test| test.holds(leaf)),
        }
    }
}

impl Comparison {
    fn holds(self, number: &Number, bound: &Number) -> bool {
        compare(number, bound).is_some_and(|ordering| match self {
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Equal => ordering.is_eq(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        })
    }
}

/// Exact for whole numbers; as floating-point numbers otherwise.
fn compare(a: &Number, b: &Number) -> Option<Ordering> {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    // Both shifted by all their bits are equal: the network of no bits is everything.
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => (a.to_bits() ^ n.to_bits()).checked_shr(32 - u32::from(bits)).unwrap_or(0) == 0,
        (IpAddr::V6(a), IpAddr::V6(n)) => (a.to_bits() ^ n.to_bits()).checked_shr(128 - u32::from(bits)).unwrap_or(0) == 0,
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// Gives `take` the value, or each element of the array and of the arrays in it.
fn collect<'v>(value: &'v Value, take: &mut impl FnMut(&'v Value)) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, take)),
        other => take(other),
    }
}
