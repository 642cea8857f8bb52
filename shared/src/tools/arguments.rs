//! The arguments of a call, checked against the tool's JSON Schema before it is made.

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// How many problems the model is told of at once.
const MOST_PROBLEMS: usize = 5;
/// Characters of one of them: they may repeat what the model wrote.
const LONGEST_PROBLEM: usize = 300;

/// A tool's schema, ready for use.
pub(super) struct ArgumentSchema(Validator);

impl ArgumentSchema {
    /// Nothing outside of the schema is fetched, and no pattern of it can take more than linear time: it may come from a server of
    /// others.
    pub(super) fn of(schema: &Value) -> Result<Self, String> {
        let options = jsonschema::options().with_pattern_options(PatternOptions::regex());
        options.build(schema).map(Self).map_err(|error| error.to_string())
    }

    /// What is wrong with the arguments, with the path of each.
    pub(super) fn check(&self, arguments: &Value) -> Result<(), String> {
        let problems: Vec<String> = self
            .0
            .iter_errors(arguments)
            .take(MOST_PROBLEMS)
            .map(|error| {
                let path = error.instance_path().to_string();
                let problem = error.to_string();
                let end = problem.char_indices().nth(LONGEST_PROBLEM).map_or(problem.len(), |(end, _)| end);
                format!("arguments{path}: {}", &problem[..end])
            })
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    }
}
