//! A turn: what one run adds to its conversation.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::clock::rfc3339_millis;
use super::id::{ConversationId, RunId};
use super::message::Message;

/// One run's part of a conversation: written with the messages when the run is accepted, completed with the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// The run. Turns sort by it, which is the order of arrival.
    pub run_id: RunId,
    /// What was said to the agent.
    pub messages: Vec<Message>,
    /// What the agent answered; absent until the run completes, and for ever if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// When it arrived.
    #[serde(with = "rfc3339_millis")]
    pub created_at: Timestamp,
}

/// A conversation without its turns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// The run whose turn it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_run: Option<RunId>,
    /// The latest run that was accepted: the next one's id must be above it, because turns sort by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<RunId>,
    /// When it began.
    #[serde(with = "rfc3339_millis")]
    pub created_at: Timestamp,
    /// When a run of it last began or ended.
    #[serde(with = "rfc3339_millis")]
    pub updated_at: Timestamp,
}

impl Turn {
    /// The messages of a finished turn, as later runs read them. An unanswered turn is no part of the history.
    #[must_use]
    pub fn into_history(self) -> Vec<Message> {
        let Some(response) = self.response else { return Vec::new() };
        let mut messages = self.messages;
        messages.push(Message::assistant(response));
        messages
    }
}
