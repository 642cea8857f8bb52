//! The bodies of requests, and their limits.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shared::domain::conversation::WhenBusy;
use shared::domain::definition::Effort;
use shared::domain::event::{AGENT_REQUEST, AgentInput, EventMeta};
use shared::domain::id::ConversationId;
use shared::domain::idempotency::RequestKey;
use shared::domain::message::{DEEPEST_JSON, Message, Role, ToolCall, is_too_deep};
use shared::domain::template::LONGEST_PROMPT;
use shared::http::{Call, Object, Problem, Word};
use shared::intake::{AgentRequest, NewEvent};
use shared::operate::NewAnswer;

use crate::metadata;
use crate::overrides::{self, CapsBody};

/// Bytes as JSON of all messages and of the metadata. With a prompt they are one DynamoDB item (400 KB).
const LONGEST_MESSAGES: usize = 150_000;
const LONGEST_METADATA: usize = 16_000;
/// Bytes as JSON of an event's payload: an event with what came of it is one item.
const LONGEST_PAYLOAD: usize = 200_000;
/// Characters of an event's type, source and ids.
const LONGEST_NAME: usize = 255;
/// Bytes as JSON of a human's answer.
const LONGEST_ANSWER: usize = 100_000;

/// The body of `POST /v1/agent`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgentBody {
    prompt: String,
    #[serde(default)]
    conversation_id: Option<String>,
    #[serde(default)]
    agent: Option<String>,
    #[serde(default)]
    messages: Option<Vec<Object<MessageBody>>>,
    #[serde(default)]
    metadata: Map<String, Value>,
    #[serde(default)]
    pub(crate) background: bool,
    #[serde(default)]
    pub(crate) stream: bool,
    #[serde(default)]
    multitask_strategy: Word<WhenBusy>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    reasoning_effort: Option<Word<Effort>>,
    #[serde(default)]
    caps: Option<Object<CapsBody>>,
}

/// A [`Message`], read strictly.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageBody {
    role: Word<Role>,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    tool_calls: Vec<Object<ToolCall>>,
    #[serde(default)]
    tool_call_id: Option<String>,
}

/// The body of `POST /v1/runs/{id}/answer`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnswerBody {
    question_id: String,
    #[serde(default)]
    answer: Option<String>,
    #[serde(default)]
    approved: Option<bool>,
}

/// The body of `POST /v1/events`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventBody {
    #[serde(rename = "type")]
    kind: String,
    source: String,
    payload: Value,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    correlation_id: Option<String>,
    #[serde(default)]
    causation_id: Option<String>,
    #[serde(default)]
    trace_id: Option<String>,
}

impl AgentBody {
    pub(crate) fn into_request(self, key: Option<RequestKey>) -> Result<AgentRequest, Problem> {
        if self.prompt.trim().is_empty() {
            return Err(Problem::invalid("prompt", "must not be empty"));
        }
        check_prompt(&self.prompt, "prompt")?;
        let messages: Option<Vec<Message>> = self.messages.map(|all| all.into_iter().map(|Object(message)| message.into()).collect());
        if let Some(messages) = &messages {
            check_messages(messages)?;
        }
        check_metadata(&self.metadata)?;
        let conversation = self.conversation_id.as_deref().map(conversation_id).transpose()?;
        let mut overrides = overrides::overrides(self.model.as_deref(), self.reasoning_effort, self.caps)?;
        metadata::steer(&self.metadata, &mut overrides)?;
        let input = AgentInput { prompt: self.prompt, messages, metadata: self.metadata, overrides };
        Ok(AgentRequest { agent: self.agent, conversation, input, when_busy: self.multitask_strategy.0, key })
    }
}

impl From<MessageBody> for Message {
    fn from(body: MessageBody) -> Self {
        let MessageBody { role: Word(role), content, name, tool_calls, tool_call_id } = body;
        Self { role, content, name, tool_calls: tool_calls.into_iter().map(|Object(call)| call).collect(), tool_call_id }
    }
}

impl AnswerBody {
    pub(crate) fn into_answer(self) -> Result<NewAnswer, Problem> {
        let text = self.answer.unwrap_or_default();
        if text.trim().is_empty() && self.approved.is_none() {
            return Err(Problem::invalid("answer", "must not be empty"));
        }
        if json_size(&text) > LONGEST_ANSWER {
            return Err(Problem::too_large("answer", LONGEST_ANSWER));
        }
        Ok(NewAnswer { question_id: self.question_id, text, approved: self.approved })
    }
}

impl EventBody {
    pub(crate) fn into_event(self, call: &Call) -> Result<NewEvent, Problem> {
        let name = |field: &str, text: &str| {
            let is_one = (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
            let detail = format!("must be 1 to {LONGEST_NAME} visible ASCII characters");
            if is_one { Ok(()) } else { Err(Problem::invalid(field, detail)) }
        };
        name("type", &self.kind)?;
        name("source", &self.source)?;
        if self.kind == AGENT_REQUEST {
            return Err(Problem::invalid("type", format!("`{AGENT_REQUEST}` is what POST /v1/agent records")));
        }
        let ids = [
            ("id", &self.id),
            ("correlation_id", &self.correlation_id),
            ("causation_id", &self.causation_id),
            ("trace_id", &self.trace_id),
        ];
        for (field, id) in ids {
            id.as_ref().map_or(Ok(()), |id| name(field, id))?;
        }
        if is_too_deep(&self.payload) {
            return Err(Problem::invalid("payload", format!("must not nest deeper than {DEEPEST_JSON} levels")));
        }
        if json_size(&self.payload) > LONGEST_PAYLOAD {
            return Err(Problem::too_large("payload", LONGEST_PAYLOAD));
        }
        // Its sender's id and its source name an event, as in CloudEvents: sent again, it is the same one.
        let named = self.id.as_ref().map(|id| call.key_of(&format!("event of {}", self.source), id)).transpose()?;
        Ok(NewEvent {
            keys: call.request_key()?.into_iter().chain(named).collect(),
            kind: self.kind,
            source: self.source,
            payload: self.payload,
            client_id: self.id,
            meta: EventMeta { trace_id: self.trace_id, correlation_id: self.correlation_id, causation_id: self.causation_id },
        })
    }
}

/// Refuses a question that is too long.
pub(crate) fn check_prompt(prompt: &str, field: &str) -> Result<(), Problem> {
    if json_size(prompt) > LONGEST_PROMPT { Err(Problem::too_large(field, LONGEST_PROMPT)) } else { Ok(()) }
}

/// Refuses metadata that is too deep or too long.
pub(crate) fn check_metadata(metadata: &Map<String, Value>) -> Result<(), Problem> {
    if metadata.values().any(is_too_deep) {
        return Err(Problem::invalid("metadata", format!("must not nest deeper than {DEEPEST_JSON} levels")));
    }
    if json_size(metadata) > LONGEST_METADATA { Err(Problem::too_large("metadata", LONGEST_METADATA)) } else { Ok(()) }
}

/// Reads a conversation's id.
pub(crate) fn conversation_id(text: &str) -> Result<ConversationId, Problem> {
    text.parse().map_err(|error| Problem::invalid("conversation_id", error))
}

/// Refuses messages that are too long or do not fit together.
pub(crate) fn check_messages(messages: &[Message]) -> Result<(), Problem> {
    if json_size(messages) > LONGEST_MESSAGES {
        return Err(Problem::too_large("messages", LONGEST_MESSAGES));
    }
    let mut called: Vec<&str> = Vec::new();
    for (i, message) in messages.iter().enumerate() {
        let invalid = |field: &str, detail: &str| Err(Problem::invalid(&format!("messages[{i}].{field}"), detail));
        match message.role {
            Role::Assistant => {
                if message.content.is_none() && message.tool_calls.is_empty() {
                    return invalid("content", "an assistant message needs content or tool_calls");
                }
                if message.tool_calls.iter().any(|call| is_too_deep(&call.arguments)) {
                    return invalid("tool_calls", "arguments nest too deep");
                }
                called.extend(message.tool_calls.iter().map(|call| call.id.as_str()));
            }
            Role::Tool => match &message.tool_call_id {
                Some(id) if called.contains(&id.as_str()) => {}
                Some(_) => return invalid("tool_call_id", "answers no tool call of an earlier assistant message"),
                None => return invalid("tool_call_id", "a tool message needs the id of the call that it answers"),
            },
            Role::System | Role::User => {}
        }
        if message.role != Role::Assistant && message.content.is_none() {
            return invalid("content", "must not be absent");
        }
    }
    Ok(())
}

/// Bytes of a value as JSON.
pub(crate) fn json_size(value: &(impl Serialize + ?Sized)) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |json| json.len())
}
