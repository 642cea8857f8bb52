//! What a good answer is, as a score from 0 to 1.

use std::collections::BTreeMap;
use std::str::FromStr;

use agent_files::domain::definition::Rule;
use serde_json::Value;

/// How an answer is scored against the one that was expected.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Metric {
    /// The same text, but for case and white space.
    Exact,
    /// The expected text is in it, but for case and white space.
    Contains,
    /// How many words both have, as the harmonic mean of both shares.
    F1,
    /// The share of the expected fields that it has, as JSON.
    Json,
    /// The share of the rule's demands that it meets; what was expected does not count.
    Rule(Rule),
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "exact" => Ok(Self::Exact),
            "contains" => Ok(Self::Contains),
            "f1" => Ok(Self::F1),
            "json" => Ok(Self::Json),
            rule if rule.starts_with('{') => {
                let known = ["contains", "any_of", "none_of", "min_chars", "max_chars"];
                let fields: BTreeMap<String, Value> = serde_json::from_str(rule).map_err(|error| format!("no JSON: {error}"))?;
                if let Some(unknown) = fields.keys().find(|field| !known.contains(&field.as_str())) {
                    return Err(format!("a rule has no field `{unknown}`; it has {}", known.join(", ")));
                }
                let rule: Rule = serde_json::from_str(rule).map_err(|error| error.to_string())?;
                if rule == Rule::default() { Err("the rule demands nothing".into()) } else { Ok(Self::Rule(rule)) }
            }
            _ => Err("must be exact, contains, f1, json, or a rule as JSON, e.g. {\"contains\":[\"Berlin\"]}".into()),
        }
    }
}

impl Metric {
    /// As it is written.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Exact => "exact".into(),
            Self::Contains => "contains".into(),
            Self::F1 => "f1".into(),
            Self::Json => "json".into(),
            Self::Rule(rule) => serde_json::to_string(rule).unwrap_or_default(),
        }
    }

    pub(crate) fn score(&self, expected: &str, answer: &str) -> f64 {
        match self {
            Self::Exact => whole(plain(expected) == plain(answer)),
            Self::Contains => whole(plain(answer).contains(&plain(expected))),
            Self::F1 => f1(expected, answer),
            Self::Json => json(expected, answer),
            Self::Rule(rule) => met(rule, answer),
        }
    }
}

fn whole(is_good: bool) -> f64 {
    if is_good { 1.0 } else { 0.0 }
}

fn plain(text: &str) -> String {
    text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn f1(expected: &str, answer: &str) -> f64 {
    let words = |text: &str| -> Vec<String> {
        text.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let (expected, answer) = (words(expected), words(answer));
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    for word in &expected {
        *left.entry(word).or_default() += 1;
    }
    let common = answer
        .iter()
        .filter(|word| {
            left.get_mut(word.as_str()).is_some_and(|n| {
                *n > 0 && {
                    *n -= 1;
                    true
                }
            })
        })
        .count();
    if expected.is_empty() && answer.is_empty() { 1.0 } else { share(2 * common, expected.len() + answer.len()) }
}

fn json(expected: &str, answer: &str) -> f64 {
    let (Ok(expected), Ok(answer)) = (serde_json::from_str::<Value>(expected), serde_json::from_str::<Value>(answer)) else { return 0.0 };
    match &expected {
        Value::Object(fields) if !fields.is_empty() => {
            share(fields.iter().filter(|(name, value)| answer.get(name.as_str()) == Some(value)).count(), fields.len())
        }
        other => whole(*other == answer),
    }
}

fn met(rule: &Rule, answer: &str) -> f64 {
    let (text, chars) = (answer.to_lowercase(), answer.chars().count());
    let has = |part: &String| text.contains(&part.to_lowercase());
    let mut demands: Vec<bool> = rule.contains.iter().map(has).collect();
    demands.extend(rule.none_of.iter().map(|part| !has(part)));
    if !rule.any_of.is_empty() {
        demands.push(rule.any_of.iter().any(has));
    }
    demands.extend(rule.min_chars.map(|least| chars >= least as usize));
    demands.extend(rule.max_chars.map(|most| chars <= most as usize));
    share(demands.iter().filter(|met| **met).count(), demands.len())
}

/// `part` of `all`, which are few.
#[expect(clippy::cast_precision_loss, reason = "counts of rows, words and fields")]
pub(crate) fn share(part: usize, all: usize) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_scores_what_it_says() {
        let rule = r#"{"contains":["noon"],"none_of":["sorry"],"any_of":["berlin","paris"],"max_chars":20}"#;
        for (metric, expected, answer, score) in [
            ("exact", "High  priority", " high priority\n", 1.0),
            ("exact", "high", "high!", 0.0),
            ("contains", "high", "It is HIGH.", 1.0),
            ("contains", "high", "low", 0.0),
            ("f1", "the cat sat", "The cat, the mat", 4.0 / 7.0),
            ("f1", "a a", "a", 2.0 / 3.0),
            ("f1", "x", "y", 0.0),
            ("json", r#"{"a":1,"b":[2]}"#, r#"{"b":[2],"a":1,"c":3}"#, 1.0),
            ("json", r#"{"a":1,"b":2}"#, r#"{"a":1}"#, 0.5),
            ("json", "[1]", "[1]", 1.0),
            ("json", "[1]", "none", 0.0),
            (rule, "", "Noon in Berlin", 1.0),
            (rule, "", "Sorry, noon in a city nobody knows", 0.25),
        ] {
            let metric: Metric = metric.parse().unwrap();
            assert!(
                (metric.score(expected, answer) - score).abs() < 1e-9,
                "{metric:?} {expected} {answer}: {}",
                metric.score(expected, answer)
            );
            assert_eq!(metric.name().parse::<Metric>().unwrap(), metric);
        }
    }

    #[test]
    fn a_metric_that_is_none_is_refused() {
        for (text, says) in [("good", "must be exact"), ("{}", "demands nothing"), (r#"{"has":[]}"#, "no field `has`"), ("{", "no JSON")] {
            let error = text.parse::<Metric>().unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
