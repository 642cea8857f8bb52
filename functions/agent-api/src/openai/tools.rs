//! The caller's own tools, and whether the model may call them.

use serde::Deserialize;
use serde_json::{Value, json};
use shared::domain::message::{DEEPEST_JSON, is_too_deep};
use shared::domain::overrides::{ClientTool, ToolChoice};
use shared::http::{Object, Problem};

use super::bad_request;
use crate::requests::json_size;

/// Tools of one request, as many as OpenAI takes.
const MOST_TOOLS: usize = 128;
/// Bytes as JSON of all tools; with messages and metadata they are one DynamoDB item (400 KB).
const LONGEST_TOOLS: usize = 60_000;

/// A tool of the caller's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ToolBody {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    function: Option<Object<Function>>,
    #[serde(default)]
    custom: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Function {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    parameters: Option<Value>,
    // The provider is told the schema as it is; whether it holds its model to it is the provider's own.
    #[serde(default, rename = "strict")]
    _strict: Option<bool>,
}

/// Whether `name` can be that of a function or a schema.
pub(super) fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// Refuses a schema that is too deep or too long.
pub(super) fn check_schema(schema: &Value, at: &str, most: usize) -> Result<(), Problem> {
    if is_too_deep(schema) {
        return Err(Problem::invalid(at, format!("must not nest deeper than {DEEPEST_JSON} levels")));
    }
    if json_size(schema) > most {
        return Err(Problem::too_large(at, most));
    }
    Ok(())
}

/// Reads the tools.
pub(super) fn read(tools: Vec<Object<ToolBody>>) -> Result<Vec<ClientTool>, Problem> {
    if tools.len() > MOST_TOOLS {
        return Err(Problem::invalid("tools", format!("must not be more than {MOST_TOOLS}")));
    }
    let mut read: Vec<ClientTool> = Vec::with_capacity(tools.len());
    for (place, Object(tool)) in tools.into_iter().enumerate() {
        let at = format!("tools[{place}]");
        let tool = tool.read(&at)?;
        if read.iter().any(|other| other.name == tool.name) {
            return Err(Problem::invalid(&format!("{at}.function.name"), "another tool has this name"));
        }
        read.push(tool);
    }
    if json_size(&read) > LONGEST_TOOLS {
        return Err(Problem::too_large("tools", LONGEST_TOOLS));
    }
    Ok(read)
}

impl ToolBody {
    fn read(self, at: &str) -> Result<ClientTool, Problem> {
        if self.kind != "function" || self.custom.is_some() {
            let field = format!("{at}.type");
            return Err(bad_request("unsupported_parameter", format!("{field}: only tools of type `function` are supported")).about(&field));
        }
        let Object(function) = self.function.ok_or_else(|| Problem::invalid(&format!("{at}.function"), "must not be absent"))?;
        if !is_name(&function.name) {
            return Err(Problem::invalid(&format!("{at}.function.name"), "must be 1 to 64 letters, digits, `_` or `-`"));
        }
        let parameters = function.parameters.unwrap_or_else(|| json!({"type": "object", "properties": {}}));
        if !parameters.is_object() {
            return Err(Problem::invalid(&format!("{at}.function.parameters"), "must be a JSON Schema, an object"));
        }
        check_schema(&parameters, &format!("{at}.function.parameters"), LONGEST_TOOLS)?;
        Ok(ClientTool { name: function.name, description: function.description.unwrap_or_default(), parameters })
    }
}

/// Reads whether a tool may, must or must not be called.
pub(super) fn choice(choice: &Value, tools: &[ClientTool]) -> Result<ToolChoice, Problem> {
    let invalid = |detail: &str| Err(Problem::invalid("tool_choice", detail));
    let named = match choice {
        Value::String(word) => match word.as_str() {
            "none" => return Ok(ToolChoice::None),
            "auto" => return Ok(ToolChoice::Auto),
            "required" => return Ok(ToolChoice::Required),
            _ => return invalid("must be none, auto, required or an object that names a function"),
        },
        Value::Object(named) => named,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            return invalid("must be none, auto, required or an object that names a function");
        }
    };
    match named.get("type").and_then(Value::as_str) {
        Some("function") => match named.get("function").and_then(|function| function["name"].as_str()) {
            Some(name) if tools.iter().any(|tool| tool.name == name) => Ok(ToolChoice::Tool(name.to_owned())),
            Some(_) => invalid("names a function that is not among `tools`"),
            None => invalid("must name a function"),
        },
        Some(kind @ ("allowed_tools" | "custom")) => {
            Err(bad_request("unsupported_parameter", format!("tool_choice: `{kind}` is not supported")).about("tool_choice"))
        }
        _ => invalid("must be none, auto, required or an object that names a function"),
    }
}
