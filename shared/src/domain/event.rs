//! What arrived. Immutable, and the only place that holds a run's input: the run's own record stays small.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::clock::rfc3339_millis;
use super::id::{EventId, RunId};
use super::message::Message;
use super::overrides::Overrides;

/// The `type` of the event that `POST /v1/agent` records.
pub const AGENT_REQUEST: &str = "agent.request";
/// The `source` of that event.
pub const API: &str = "api";

/// One event, with what came of it. The payload of an [`AGENT_REQUEST`] is an [`AgentInput`].
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
    /// The id that its sender gave it, if any: the same `source` and id are the same event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// What it says, as it came.
    pub payload: Value,
    /// The run of an [`AGENT_REQUEST`].
    #[serde(default, rename = "run_id", skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// What the triggers made of it.
    #[serde(default)]
    pub matches: Vec<Match>,
}

/// What one trigger made of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Match {
    /// The trigger.
    pub trigger: String,
    /// Its agent.
    pub agent: String,
    /// What came of it.
    pub outcome: MatchOutcome,
    /// The run that was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
}

/// What came of a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchOutcome {
    /// A run was started.
    Started,
    /// The trigger has seen the same within its window.
    Duplicate,
    /// The trigger has started as many runs as it may within its window.
    RateLimited,
}

impl Event {
    /// What an agent is asked by an [`AGENT_REQUEST`].
    ///
    /// # Errors
    /// When the payload is none.
    pub fn agent_input(&self) -> Result<AgentInput, serde_json::Error> {
        AgentInput::deserialize(&self.payload)
    }
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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AgentInput {
    /// The question; empty if the last of the messages is what the agent goes on from.
    #[serde(default)]
    pub prompt: String,
    /// Messages that take the place of the stored history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<Vec<Message>>,
    /// The caller's own data, given back unread.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// What this request changes of the agent's definition.
    #[serde(default, skip_serializing_if = "is_default")]
    pub overrides: Overrides,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl AgentInput {
    /// What is said to the agent, as the conversation keeps it.
    #[must_use]
    pub fn as_messages(&self) -> Vec<Message> {
        let mut messages = self.messages.clone().unwrap_or_default();
        if !self.prompt.is_empty() {
            messages.push(Message::user(&self.prompt));
        }
        messages
    }
}
