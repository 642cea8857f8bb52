//! A turn: what one run adds to its conversation.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::clock::rfc3339_millis;
use super::id::RunId;
use super::message::Message;
use super::run::Run;
use super::state::RunState;

/// Bytes of the longest answer that stands in its turn; a longer one stands in the journal alone. With up to 250 KB of messages
/// beside it, the turn stays below DynamoDB's 400 KB.
pub const LONGEST_IN_TURN: usize = 120_000;

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
    /// The step whose message is the answer, where that is too long to stand here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_step: Option<u32>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<TurnEnd>,
    /// When it arrived.
    #[serde(with = "rfc3339_millis")]
    pub created_at: Timestamp,
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnEnd {
    /// With an answer.
    Completed,
    /// Without: see the run.
    Failed,
    /// Without, until an operator retries the run.
    Dead,
    /// By request.
    Cancelled,
    /// By a later message, which goes on from what was said here.
    Interrupted,
    /// By a later message, which takes its place.
    RolledBack,
}

/// The reason of a cancellation by a later message that interrupts.
pub const INTERRUPTED: &str = "interrupted";
/// The reason of a cancellation by a later message that rolls back.
pub const ROLLED_BACK: &str = "rolled_back";

impl TurnEnd {
    /// How the turn of a run ends that has this record; `None` while it has not ended.
    #[must_use]
    pub fn of(run: &Run) -> Option<Self> {
        match run.state {
            RunState::Queued | RunState::Running | RunState::Waiting => None,
            RunState::Completed => Some(Self::Completed),
            RunState::Failed => Some(Self::Failed),
            RunState::Dead => Some(Self::Dead),
            RunState::Cancelled => Some(match run.transitions.last().map(|transition| transition.reason.as_str()) {
                Some(INTERRUPTED) => Self::Interrupted,
                Some(ROLLED_BACK) => Self::RolledBack,
                _ => Self::Cancelled,
            }),
        }
    }
}

impl Turn {
    /// The turn of a run that was just accepted.
    #[must_use]
    pub const fn new(run_id: RunId, messages: Vec<Message>, created_at: Timestamp) -> Self {
        Self { run_id, messages, response: None, response_step: None, ended: None, created_at }
    }

    /// What later runs read of it: question and answer; of an interrupted turn what was asked; of any other nothing.
    #[must_use]
    pub fn into_history(self) -> Vec<Message> {
        let mut messages = self.messages;
        match (self.response, self.ended) {
            // It ended with calls of its caller's own tools, which are no answer.
            (Some(response), _) if response.is_empty() => {}
            (Some(response), _) => messages.push(Message::assistant(response)),
            (None, Some(TurnEnd::Interrupted)) => {}
            (None, _) => return Vec::new(),
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_is_what_was_answered_and_what_was_interrupted() {
        let id = RunId::lower_bound(Timestamp::UNIX_EPOCH);
        let turn = Turn::new(id, vec![Message::user("why?")], Timestamp::UNIX_EPOCH);
        for (ended, expected) in [
            (None, 0),
            (Some(TurnEnd::Interrupted), 1),
            (Some(TurnEnd::RolledBack), 0),
            (Some(TurnEnd::Dead), 0),
            (Some(TurnEnd::Cancelled), 0),
        ] {
            assert_eq!(Turn { ended, ..turn.clone() }.into_history().len(), expected, "{ended:?}");
        }
        let answered = Turn { response: Some("because".into()), ended: Some(TurnEnd::Completed), ..turn };
        let called = Turn { response: Some(String::new()), ..answered.clone() };
        assert_eq!(called.into_history(), [Message::user("why?")]);
        assert_eq!(answered.into_history(), [Message::user("why?"), Message::assistant("because")]);
    }
}
