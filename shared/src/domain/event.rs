//! What arrived. Immutable, and the only place that holds a run's input: the run's own record stays small.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::clock::rfc3339_millis;
use super::id::EventId;
use super::message::Message;

/// The `type` of the event that `POST /v1/agent` records.
pub const AGENT_REQUEST: &str = "agent.request";

/// One event. The payload of an [`AGENT_REQUEST`] is an [`AgentInput`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// What kind of thing arrived, e.g. [`AGENT_REQUEST`].
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it came from, e.g. `api`.
    pub source: String,
    /// Who sent it.
    pub principal: String,
    /// How it relates to others.
    pub meta: EventMeta,
    /// When it arrived.
    #[serde(with = "rfc3339_millis")]
    pub created_at: Timestamp,
    /// What it says.
    pub input: AgentInput,
}

/// Ids that tie events together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventMeta {
    /// The trace that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The story that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The event that caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
}

/// What an agent is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentInput {
    /// The question.
    pub prompt: String,
    /// Messages that take the place of the stored history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<Vec<Message>>,
    /// The caller's own data, given back unread.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

impl AgentInput {
    /// What is said to the agent, as the conversation keeps it.
    #[must_use]
    pub fn as_messages(&self) -> Vec<Message> {
        let mut messages = self.messages.clone().unwrap_or_default();
        messages.push(Message::user(&self.prompt));
        messages
    }
}
