//! What an agent's answers must look like, and the examples of them.

use serde::Deserialize;
use serde_json::Value;

use super::{At, Checks, filled};
use crate::domain::definition::{Example, OutputSchema};

/// Bytes of the longest schema: it is sent with every model call.
const LONGEST_SCHEMA: usize = 32_000;
/// Examples at most, and their bytes together: they are sent with every model call too.
const MOST_EXAMPLES: usize = 32;
const LONGEST_EXAMPLES: usize = 64_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutputFile {
    #[serde(default, deserialize_with = "filled")]
    name: Option<At<String>>,
    schema: At<Value>,
    #[serde(default, deserialize_with = "filled")]
    repairs: Option<At<u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExampleFile {
    input: At<String>,
    output: At<Value>,
}

impl OutputFile {
    pub(super) fn read(&self, checks: &mut Checks) -> OutputSchema {
        let name = self.name.as_ref().map_or_else(|| "answer".to_owned(), |at| word(checks, at, "output.name"));
        let repairs = self.repairs.as_ref().map_or(2, |at| checks.within(at, "output.repairs", 0, 5));
        OutputSchema { name, schema: schema(checks, &self.schema, "output.schema"), repairs }
    }
}

/// A JSON Schema that stands for itself.
pub(super) fn schema(checks: &mut Checks, at: &At<Value>, field: &str) -> Value {
    if !at.value.is_object() {
        checks.refuse(at, field, "must be a JSON Schema as a map, e.g. {type: object, properties: {…}}");
    } else if at.value.to_string().len() > LONGEST_SCHEMA {
        checks.refuse(at, field, format!("has more than {LONGEST_SCHEMA} bytes as JSON"));
    } else if let Err(error) = jsonschema::validator_for(&at.value) {
        let place = error.instance_path().to_string();
        let problem = if place.is_empty() { error.to_string() } else { format!("at {place}: {error}") };
        checks.refuse(at, field, format!("is no valid JSON Schema: {problem}"));
    }
    at.value.clone()
}

/// What OpenAI takes for a name.
fn word(checks: &mut Checks, at: &At<String>, field: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if at.value.is_empty() || at.value.len() > 64 || !at.value.chars().all(fits) {
        checks.refuse(at, field, format!("must be 1 to 64 of a-z, A-Z, 0-9, `-` and `_`; it is `{}`", at.value));
    }
    at.value.clone()
}

/// Examples are answers as the model is to give them: where these have a schema, so do the examples.
pub(super) fn examples(checks: &mut Checks, files: &[ExampleFile], output: Option<&OutputSchema>) -> Vec<Example> {
    let validator = output.and_then(|output| jsonschema::validator_for(&output.schema).ok());
    let (mut examples, mut bytes): (Vec<Example>, usize) = (Vec::new(), 0);
    for (i, file) in files.iter().enumerate() {
        let field = |name: &str| format!("examples[{i}].{name}");
        let input = checks.text(&file.input, &field("input"), LONGEST_EXAMPLES);
        let (text, value) = match &file.output.value {
            Value::String(text) => (text.clone(), serde_json::from_str(text).ok()),
            Value::Null => {
                checks.refuse(&file.output, &field("output"), "must not be empty");
                continue;
            }
            other => (other.to_string(), Some(other.clone())),
        };
        if text.trim().is_empty() {
            checks.refuse(&file.output, &field("output"), "must not be empty");
        }
        if let Some(validator) = &validator {
            let problem = match &value {
                None => Some("it is no JSON".to_owned()),
                Some(value) => validator.validate(value).err().map(|error| error.to_string()),
            };
            if let Some(problem) = problem {
                checks.refuse(&file.output, &field("output"), format!("does not satisfy the agent's output.schema: {problem}"));
            }
        }
        let before = bytes;
        bytes += input.len() + text.len();
        if i == MOST_EXAMPLES {
            checks.refuse(&file.input, &format!("examples[{i}]"), format!("is one too many; at most {MOST_EXAMPLES} are sent along"));
        } else if bytes > LONGEST_EXAMPLES && before <= LONGEST_EXAMPLES {
            checks.refuse(&file.input, &format!("examples[{i}]"), format!("makes more than {LONGEST_EXAMPLES} bytes of examples"));
        }
        examples.push(Example { input, output: text });
    }
    examples
}
