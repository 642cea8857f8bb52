//! The JSON Schemas that editors read (`infra/agents/schema`) say what the reader says: each text of these tests is judged by both.

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::Value;

use super::tests::{AGENT, file};
use super::{PRICES, TOOLS_FILE, compile};

const AGENT_SCHEMA: &str = include_str!("../../../../infra/agents/schema/agent.schema.json");
const TOOLS_SCHEMA: &str = include_str!("../../../../infra/agents/schema/tools.schema.json");
const PRICES_SCHEMA: &str = include_str!("../../../../infra/agents/schema/prices.schema.json");

/// What no schema can know: other files, other fields, what a text or a filter says, and numbers to the last digit.
const ONLY_THE_READER: [&str; 30] = [
    "no tool is named",
    "listed twice",
    "must be the file's name",
    "there is no `",
    "stands here twice",
    "unclosed",
    "unsupported tag",
    "six decimals",
    "at most 32000 are allowed",
    "at most 128 are allowed",
    "calls no tools",
    "not be below min_chars",
    "does not satisfy the agent's output.schema",
    "may have one `*`, at its end",
    "once",
    r#"["high"]"#,
    "no operator",
    "~0",
    "{{/a/json/pointer}}",
    "not closed",
    "has a price already",
    "example.com",
    "defined above",
    "`allow_private` is for a host that is named",
    "not in the document",
    "holds itself",
    "application/json",
    "cookie",
    "`{x}`",
    "none.yaml",
];

static AGENT_VALIDATOR: LazyLock<Validator> = LazyLock::new(|| validator(AGENT_SCHEMA));
static TOOLS_VALIDATOR: LazyLock<Validator> = LazyLock::new(|| validator(TOOLS_SCHEMA));
static PRICES_VALIDATOR: LazyLock<Validator> = LazyLock::new(|| validator(PRICES_SCHEMA));

fn validator(schema: &str) -> Validator {
    let schema: Value = serde_json::from_str(schema).unwrap_or_else(|error| panic!("{error}"));
    jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{error}"))
}

/// Whether the schema for `file` takes the text; none if that is no YAML at all.
pub(super) fn takes(file: &str, text: &str) -> Option<Result<(), String>> {
    let value: Value = serde_saphyr::from_str(text).ok()?;
    let validator = match file {
        PRICES => &PRICES_VALIDATOR,
        TOOLS_FILE => &TOOLS_VALIDATOR,
        _ => &AGENT_VALIDATOR,
    };
    Some(validator.validate(&value).map_err(|error| format!("{}: {error}", error.instance_path())))
}

/// What the reader has refused, the schema refuses too, unless it cannot know.
pub(super) fn agrees_to_refuse(file: &str, text: &str, refusal: &str) {
    let knows = !ONLY_THE_READER.iter().any(|says| refusal.contains(says));
    if let Some(verdict) = takes(file, text) {
        assert!(verdict.is_err() || !knows, "the schema takes what is refused:\n{text}\n{refusal}");
    }
}

/// What the reader has taken, the schema takes too.
pub(super) fn agrees_to_take(file: &str, text: &str) {
    assert_eq!(takes(file, text), Some(Ok(())), "the schema refuses what is taken:\n{text}");
}

#[test]
fn the_files_of_this_project_name_their_schema_and_fit_it() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/agents");
    for file in crate::agent_folder::read(&folder).unwrap().iter().filter(|file| file.name.ends_with(".yaml") && !file.name.contains('/')) {
        let schema = file.text.lines().next().unwrap().strip_prefix("# yaml-language-server: $schema=").unwrap_or_default();
        assert!(folder.join(schema).is_file() && !schema.is_empty(), "{} names no schema in its first line", file.name);
        agrees_to_take(&file.name, &file.text);
    }
}

#[test]
fn the_agent_in_the_readme_holds() {
    let readme = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let yaml = readme.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    agrees_to_take("reviewer.yaml", yaml);
    let files = [file("reviewer.yaml", yaml), file("prompts/reviewer.md", "Read."), file("assistant.yaml", AGENT)];
    assert!(compile(&files).is_ok(), "{:?}", compile(&files));
}
