//! Conversations.

use jiff::Timestamp;
use serde::Serialize;
use shared::domain::clock::rfc3339_millis;
use shared::domain::conversation::Conversation;
use shared::domain::id::{ConversationId, RunId};
use shared::domain::message::Message;
use shared::domain::turn::{Turn, TurnEnd};

use super::SpendView;

/// A conversation with a page of its turns.
#[derive(Debug, Serialize)]
pub(crate) struct ConversationView {
    conversation_id: ConversationId,
    active_run: Option<RunId>,
    line: Vec<RunId>,
    #[serde(with = "rfc3339_millis")]
    created_at: Timestamp,
    #[serde(with = "rfc3339_millis")]
    updated_at: Timestamp,
    /// What its runs have used that have ended.
    spend: SpendView,
    turns: Vec<TurnView>,
    next_cursor: Option<RunId>,
}

#[derive(Debug, Serialize)]
struct TurnView {
    run_id: RunId,
    /// How it ended.
    status: Option<TurnEnd>,
    #[serde(with = "rfc3339_millis")]
    created_at: Timestamp,
    messages: Vec<Message>,
    response: Option<String>,
}

/// What became of a deletion.
#[derive(Debug, Serialize)]
pub(crate) struct DeletedView {
    pub(crate) conversation_id: ConversationId,
    pub(crate) deleted: bool,
}

impl ConversationView {
    pub(crate) fn of(conversation: Conversation, turns: Vec<Turn>) -> Self {
        let next_cursor = turns.last().map(|turn| turn.run_id).filter(|run| Some(*run) < conversation.last_run);
        let is_going_on = |run: RunId| conversation.active_run == Some(run) || conversation.line.contains(&run);
        let turns = turns.into_iter().map(|turn| TurnView {
            run_id: turn.run_id,
            // A dead run that was put back goes on; its turn hears of it when it ends again.
            status: turn.ended.filter(|_| !is_going_on(turn.run_id)),
            created_at: turn.created_at,
            messages: turn.messages,
            response: turn.response,
        });
        Self {
            turns: turns.collect(),
            spend: conversation.spend.into(),
            conversation_id: conversation.id,
            active_run: conversation.active_run,
            created_at: conversation.created_at,
            updated_at: conversation.updated_at,
            line: conversation.line,
            next_cursor,
        }
    }
}
