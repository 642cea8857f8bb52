//! Messages as OpenAI's clients write them, and as the journal keeps them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::domain::message::{Message, Role, ToolCall};
use shared::http::{Object, Problem, Word};

use super::bad_request;

/// One message of a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageBody {
    role: Word<ChatRole>,
    #[serde(default)]
    content: Option<Value>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<Object<CallBody>>>,
    #[serde(default)]
    tool_call_id: Option<String>,
    // What clients send back of an answer, always empty in ours.
    #[serde(default)]
    annotations: Option<Vec<Value>>,
    #[serde(default)]
    audio: Option<Value>,
    #[serde(default)]
    function_call: Option<Value>,
    // What they send back of ours; it told them something, and tells us nothing.
    #[serde(default, rename = "metadata")]
    _metadata: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ChatRole {
    System,
    Developer,
    User,
    Assistant,
    Tool,
}

/// A tool call, in requests and in answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallBody {
    id: String,
    #[serde(rename = "type", default = "function")]
    kind: String,
    // Absent on calls of another type, which are refused by that.
    #[serde(default)]
    function: Option<FunctionBody>,
    #[serde(default, skip_serializing)]
    custom: Option<Value>,
    // Clients that put streamed calls together keep their place.
    #[serde(default, rename = "index", skip_serializing)]
    _index: Option<u32>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FunctionBody {
    name: String,
    /// JSON as a text.
    arguments: String,
}

fn function() -> String {
    "function".to_owned()
}

/// Reads all messages.
pub(super) fn read(messages: Vec<Object<MessageBody>>) -> Result<Vec<Message>, Problem> {
    messages.into_iter().enumerate().map(|(place, Object(message))| message.read(&format!("messages[{place}]"))).collect()
}

impl MessageBody {
    fn read(self, at: &str) -> Result<Message, Problem> {
        let refuse = |field: &str, detail: &str| {
            let field = format!("{at}.{field}");
            Err(bad_request("unsupported_parameter", format!("{field}: {detail}")).about(&field))
        };
        if self.audio.is_some() {
            return refuse("audio", "audio is not supported");
        }
        if self.function_call.is_some() {
            return refuse("function_call", "use tool_calls");
        }
        if self.annotations.is_some_and(|all| !all.is_empty()) {
            return refuse("annotations", "annotations are not supported");
        }
        let role = match self.role.0 {
            ChatRole::System | ChatRole::Developer => Role::System,
            ChatRole::User => Role::User,
            ChatRole::Assistant => Role::Assistant,
            ChatRole::Tool => Role::Tool,
        };
        if role != Role::Assistant && self.tool_calls.is_some() {
            return Err(Problem::invalid(&format!("{at}.tool_calls"), "only an assistant message has tool_calls"));
        }
        let content = self.content.map(|content| text(&content, &format!("{at}.content"))).transpose()?;
        let calls = self.tool_calls.unwrap_or_default().into_iter().enumerate();
        let tool_calls = calls.map(|(place, Object(call))| call.read(&format!("{at}.tool_calls[{place}]"))).collect::<Result<_, _>>()?;
        Ok(Message { role, content: content.or(self.refusal), name: self.name, tool_calls, tool_call_id: self.tool_call_id })
    }
}

/// A text, or parts that are texts.
fn text(content: &Value, at: &str) -> Result<String, Problem> {
    let parts = match content {
        Value::String(text) => return Ok(text.clone()),
        Value::Array(parts) => parts,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            return Err(Problem::invalid(at, "must be a text or a list of parts"));
        }
    };
    let mut joined = String::new();
    for (place, part) in parts.iter().enumerate() {
        let at = format!("{at}[{place}]");
        let field = match part["type"].as_str() {
            Some("text") => "text",
            Some("refusal") => "refusal",
            Some(kind @ ("image_url" | "input_audio" | "file")) => {
                return Err(
                    bad_request("unsupported_parameter", format!("{at}: parts of type `{kind}` are not supported; send text")).about(&at)
                );
            }
            _ => return Err(Problem::invalid(&format!("{at}.type"), "must be `text`")),
        };
        joined.push_str(part[field].as_str().ok_or_else(|| Problem::invalid(&format!("{at}.{field}"), "must be a text"))?);
    }
    Ok(joined)
}

impl CallBody {
    fn read(self, at: &str) -> Result<ToolCall, Problem> {
        if self.kind != "function" || self.custom.is_some() {
            let field = format!("{at}.type");
            return Err(bad_request("unsupported_parameter", format!("{field}: only calls of functions are supported")).about(&field));
        }
        let function = self.function.ok_or_else(|| Problem::invalid(&format!("{at}.function"), "must not be absent"))?;
        // A model may write arguments that are no JSON; they stay the text that they are.
        let arguments = if function.arguments.is_empty() {
            json!({})
        } else {
            serde_json::from_str(&function.arguments).unwrap_or(Value::String(function.arguments))
        };
        Ok(ToolCall { id: self.id, name: function.name, arguments })
    }

    /// A call as the answer shows it.
    pub(super) fn of(call: &ToolCall) -> Self {
        let arguments = match &call.arguments {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let function = Some(FunctionBody { name: call.name.clone(), arguments });
        Self { id: call.id.clone(), kind: self::function(), function, custom: None, _index: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(message: Value) -> Result<Message, (u16, Option<String>)> {
        let body: Object<MessageBody> = serde_json::from_value(message).unwrap();
        read(vec![body]).map(|mut all| all.remove(0)).map_err(|problem| (problem.status(), problem.field().map(str::to_owned)))
    }

    #[test]
    fn messages_are_what_the_journal_keeps() {
        for (message, expected) in [
            (json!({"role": "user", "content": "why?", "name": "ana"}), Message { name: Some("ana".into()), ..Message::user("why?") }),
            (json!({"role": "developer", "content": "be brief"}), Message::system("be brief")),
            (json!({"role": "user", "content": [{"type": "text", "text": "wh"}, {"type": "text", "text": "y?"}]}), Message::user("why?")),
            (json!({"role": "assistant", "content": null, "refusal": "I will not"}), Message::assistant("I will not")),
            (json!({"role": "assistant", "content": "so", "refusal": null, "audio": null, "annotations": []}), Message::assistant("so")),
        ] {
            assert_eq!(read_one(message), Ok(expected));
        }
    }

    #[test]
    fn a_tool_call_comes_back_as_it_was_sent() {
        for arguments in [r#"{"city":"Rome"}"#, "no JSON", "[1]"] {
            let call = json!({"id": "a", "type": "function", "function": {"name": "weather", "arguments": arguments}});
            let message = read_one(json!({"role": "assistant", "content": null, "tool_calls": [call]})).unwrap();
            assert_eq!(serde_json::to_value(CallBody::of(&message.tool_calls[0])).unwrap(), call);
        }
    }

    #[test]
    fn what_is_no_text_is_refused_by_name() {
        let part = |part: Value| json!({"role": "user", "content": [{"type": "text", "text": "x"}, part]});
        for (message, field) in [
            (part(json!({"type": "image_url", "image_url": {"url": "https://example.com/x.png"}})), "messages[0].content[1]"),
            (part(json!({"type": "input_audio", "input_audio": {}})), "messages[0].content[1]"),
            (part(json!({"type": "file", "file": {}})), "messages[0].content[1]"),
            (part(json!({"type": "smell"})), "messages[0].content[1].type"),
            (part(json!({"type": "text", "text": 7})), "messages[0].content[1].text"),
            (json!({"role": "user", "content": 7}), "messages[0].content"),
            (json!({"role": "user", "content": "x", "tool_calls": []}), "messages[0].tool_calls"),
            (json!({"role": "assistant", "audio": {"id": "a"}}), "messages[0].audio"),
            (json!({"role": "assistant", "function_call": {}}), "messages[0].function_call"),
            (json!({"role": "assistant", "tool_calls": [{"id": "a", "type": "custom", "custom": {}}]}), "messages[0].tool_calls[0].type"),
        ] {
            assert_eq!(read_one(message.clone()), Err((400, Some(field.to_owned()))), "{message}");
        }
    }
}
