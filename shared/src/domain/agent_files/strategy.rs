//! How an agent comes to its answer.

use serde::Deserialize;
use serde_json::Value;

use super::output::schema;
use super::short::Short;
use super::{At, Checks, filled};
use crate::domain::definition::{Evaluation, ModelRef, Reflexion, Rule, Scale, Strategy};

/// Bytes of the longest instructions for an evaluation.
const LONGEST_INSTRUCTIONS: usize = 8_000;
/// Texts in one demand of a rule.
const MOST_TEXTS: usize = 64;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StrategyFile {
    reflexion: ReflexionFile,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReflexionFile {
    #[serde(default, deserialize_with = "filled")]
    max_iterations: Option<At<u32>>,
    #[serde(default, deserialize_with = "filled")]
    threshold: Option<At<f64>>,
    #[serde(default, deserialize_with = "filled")]
    scale: Option<Scale>,
    #[serde(default, deserialize_with = "filled")]
    evaluation: Option<At<Short<EvaluationFile>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EvaluationFile {
    #[serde(default, deserialize_with = "filled")]
    rule: Option<At<RuleFile>>,
    #[serde(default, deserialize_with = "filled")]
    model: Option<JudgeFile>,
    #[serde(default, deserialize_with = "filled")]
    schema: Option<At<Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JudgeFile {
    #[serde(default, deserialize_with = "filled")]
    instructions: Option<At<String>>,
    #[serde(default, deserialize_with = "filled")]
    model: Option<At<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    #[serde(default)]
    contains: Vec<At<String>>,
    #[serde(default)]
    any_of: Vec<At<String>>,
    #[serde(default)]
    none_of: Vec<At<String>>,
    #[serde(default, deserialize_with = "filled")]
    min_chars: Option<At<u32>>,
    #[serde(default, deserialize_with = "filled")]
    max_chars: Option<At<u32>>,
}

pub(super) fn read(checks: &mut Checks, at: &At<Short<StrategyFile>>) -> Strategy {
    match &at.value {
        Short::Text(text) => match text.as_str() {
            "single" => Strategy::Single,
            "react" => Strategy::React,
            "reflexion" => Strategy::Reflexion(ReflexionFile::default().read(checks)),
            other => {
                checks.refuse(at, "strategy", format!("must be single, react, reflexion or {{reflexion: {{…}}}}; it is `{other}`"));
                Strategy::default()
            }
        },
        Short::Map(file) => Strategy::Reflexion(file.reflexion.read(checks)),
    }
}

impl ReflexionFile {
    fn read(&self, checks: &mut Checks) -> Reflexion {
        let field = |name: &str| format!("strategy.reflexion.{name}");
        Reflexion {
            max_iterations: self.max_iterations.as_ref().map_or(3, |at| checks.within(at, &field("max_iterations"), 1, 10)),
            threshold: self.threshold.as_ref().map_or(0.8, |at| checks.share(at, &field("threshold"), 0.0, 1.0)),
            scale: self.scale.unwrap_or(Scale::Scalar),
            evaluation: self.evaluation.as_ref().map_or_else(a_model, |at| evaluation(checks, at, &field("evaluation"))),
        }
    }
}

fn a_model() -> Evaluation {
    Evaluation::Model { instructions: None, model: None }
}

fn evaluation(checks: &mut Checks, at: &At<Short<EvaluationFile>>, field: &str) -> Evaluation {
    match &at.value {
        Short::Text(text) if text == "model" => a_model(),
        Short::Map(EvaluationFile { rule: Some(at), model: None, schema: None }) => {
            Evaluation::Rule(rule(checks, at, &format!("{field}.rule")))
        }
        Short::Map(EvaluationFile { rule: None, model: Some(file), schema: None }) => Evaluation::Model {
            instructions: file
                .instructions
                .as_ref()
                .map(|at| checks.text(at, &format!("{field}.model.instructions"), LONGEST_INSTRUCTIONS).trim_end().to_owned()),
            model: file.model.as_ref().and_then(|at| model(checks, at, &format!("{field}.model.model"))),
        },
        Short::Map(EvaluationFile { rule: None, model: None, schema: Some(at) }) => {
            Evaluation::Schema(schema(checks, at, &format!("{field}.schema")))
        }
        Short::Text(_) | Short::Map(_) => {
            checks.refuse(at, field, "must be model, or a map with one of rule, model and schema");
            a_model()
        }
    }
}

fn rule(checks: &mut Checks, at: &At<RuleFile>, field: &str) -> Rule {
    let file = &at.value;
    let mut texts = |listed: &[At<String>], name: &str| -> Vec<String> {
        let field = format!("{field}.{name}");
        if let Some(one_too_many) = listed.get(MOST_TEXTS) {
            checks.refuse(one_too_many, &field, format!("has more than {MOST_TEXTS} texts"));
        }
        listed.iter().enumerate().map(|(i, at)| checks.text(at, &format!("{field}[{i}]"), 1_000)).collect()
    };
    let (contains, any_of, none_of) = (texts(&file.contains, "contains"), texts(&file.any_of, "any_of"), texts(&file.none_of, "none_of"));
    let mut chars = |at: &Option<At<u32>>, name: &str| at.as_ref().map(|at| checks.within(at, &format!("{field}.{name}"), 1, 1_000_000));
    let (min_chars, max_chars) = (chars(&file.min_chars, "min_chars"), chars(&file.max_chars, "max_chars"));
    if let (Some(least), Some(most), Some(at)) = (min_chars, max_chars, &file.max_chars)
        && least > most
    {
        checks.refuse(at, &format!("{field}.max_chars"), format!("must not be below min_chars, {least}; it is {most}"));
    }
    let rule = Rule { contains, any_of, none_of, min_chars, max_chars };
    if rule == Rule::default() {
        checks.refuse(at, field, "demands nothing; give it one of contains, any_of, none_of, min_chars, max_chars");
    }
    rule
}

/// A model of a provider.
pub(super) fn model(checks: &mut Checks, at: &At<String>, field: &str) -> Option<ModelRef> {
    let read: Result<ModelRef, _> = at.value.parse();
    let problem = match &read {
        Ok(model) if model.provider.chars().any(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'))) => {
            Some("names a provider with other letters than a-z, 0-9, `_` and `-`")
        }
        Ok(model) if model.model.chars().any(|c| c.is_whitespace() || c.is_control()) => Some("names a model with spaces in it"),
        Ok(_) => None,
        Err(problem) => Some(*problem),
    };
    if let Some(problem) = problem {
        checks.refuse(at, field, format!("{problem}; it is `{}`", at.value));
    }
    read.ok()
}
