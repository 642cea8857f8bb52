//! Messages of a conversation, in the flat shape that clients send and receive.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions.
    System,
    /// The person or program that asks.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

/// One message. `content` is absent on an assistant message that only calls tools.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The name of a participant or tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the assistant asks tools to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// On a tool message: the call that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

/// One request of the model to a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// The provider's id, unique within its message.
    pub id: String,
    /// The tool.
    pub name: String,
    /// What the model passes: usually a JSON object.
    #[serde(default)]
    pub arguments: Value,
}

impl Message {
    fn text(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: Some(content.into()), name: None, tool_calls: Vec::new(), tool_call_id: None }
    }

    /// Instructions.
    #[must_use]
    pub fn system(content: impl Into<String>) -> Self {
        Self::text(Role::System, content)
    }

    /// A question.
    #[must_use]
    pub fn user(content: impl Into<String>) -> Self {
        Self::text(Role::User, content)
    }

    /// An answer.
    #[must_use]
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::text(Role::Assistant, content)
    }

    /// The result of `call`.
    #[must_use]
    pub fn tool(call: &ToolCall, output: impl Into<String>) -> Self {
        Self { name: Some(call.name.clone()), tool_call_id: Some(call.id.clone()), ..Self::text(Role::Tool, output) }
    }
}

/// How deep JSON of others may nest. The journal wraps it in a few levels of its own, and a reader gives up at 128.
pub const DEEPEST_JSON: usize = 64;

/// Whether `value` nests deeper than [`DEEPEST_JSON`].
#[must_use]
pub fn is_too_deep(value: &Value) -> bool {
    fn exceeds(value: &Value, left: usize) -> bool {
        match value {
            Value::Array(items) => left == 0 || items.iter().any(|item| exceeds(item, left - 1)),
            Value::Object(fields) => left == 0 || fields.values().any(|field| exceeds(field, left - 1)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
    }
    exceeds(value, DEEPEST_JSON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_may_nest_so_deep_and_no_deeper() {
        let nested = |depth: usize| (0..depth).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        assert!(!is_too_deep(&nested(DEEPEST_JSON)));
        assert!(is_too_deep(&nested(DEEPEST_JSON + 1)));
    }
}
