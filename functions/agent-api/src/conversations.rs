//! `/v1/conversations/{id}`: show, delete; and its messages alone, at `/v1/agent/history/{id}`.

use std::collections::VecDeque;

use lambda_http::http::StatusCode;
use shared::domain::clock::after;
use shared::domain::id::ConversationId;
use shared::domain::principal::Principal;
use shared::domain::step::{Step, StepBody};
use shared::domain::turn::Turn;
use shared::http::{Call, Problem, Reply};
use shared::operate::{self, CommandError, Deleted};

use crate::requests::json_size;
use crate::views::{ConversationView, DeletedView, LARGEST_PAGE};
use crate::{AgentApi, unavailable};

/// How many turns are read at once.
const TURNS_AT_ONCE: usize = 100;

impl AgentApi {
    pub(crate) async fn conversation(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let id: ConversationId = call.id("id")?;
        let mut query = call.query();
        let after = query.take("cursor", "must be a next_cursor of this list")?;
        let limit = query.limit()?;
        query.finish()?;
        let found = self.records.conversation(&principal.tenant, id).await.map_err(unavailable)?;
        // Its user has asked for its end: what is left of it is nobody's to see.
        let conversation = found.filter(|conversation| !conversation.is_being_deleted).ok_or_else(no_conversation)?;
        let turns = self.records.turns(&principal.tenant, id, after, limit).await.map_err(unavailable)?;
        let turns = self.with_answers(principal, turns).await?;
        Reply::json(StatusCode::OK, &ConversationView::of(conversation, turns))
    }

    /// What a later message would go on from, the youngest part of it where all is too long for one answer.
    pub(crate) async fn history(&self, principal: &Principal, id: ConversationId) -> Result<Reply, Problem> {
        let found = self.records.conversation(&principal.tenant, id).await.map_err(unavailable)?;
        found.filter(|conversation| !conversation.is_being_deleted).ok_or_else(no_conversation)?;
        let (mut messages, mut after, mut bytes) = (VecDeque::new(), None, 0);
        loop {
            let turns = self.records.turns(&principal.tenant, id, after, TURNS_AT_ONCE).await.map_err(unavailable)?;
            let Some(last) = turns.last().map(|turn| turn.run_id) else { break };
            after = Some(last);
            for turn in turns {
                for message in self.with_answer(principal, turn).await?.into_history() {
                    bytes += json_size(&message);
                    messages.push_back(message);
                }
            }
            while bytes > LARGEST_PAGE
                && let Some(oldest) = messages.pop_front()
            {
                bytes -= json_size(&oldest);
            }
        }
        Reply::json(StatusCode::OK, &messages)
    }

    /// The turn with its answer, if that stands in the journal alone.
    async fn with_answer(&self, principal: &Principal, mut turn: Turn) -> Result<Turn, Problem> {
        if let Some(step) = turn.response_step {
            let found = self.records.steps_after(&principal.tenant, turn.run_id, step.saturating_sub(1), 1).await;
            turn.response = found.map_err(unavailable)?.into_iter().next().and_then(said_in);
        }
        Ok(turn)
    }

    /// As many of the turns as fit into one answer of ours, at least one, with the answers that stand in the journal alone.
    async fn with_answers(&self, principal: &Principal, turns: Vec<Turn>) -> Result<Vec<Turn>, Problem> {
        let (mut complete, mut bytes) = (Vec::with_capacity(turns.len()), 0);
        for turn in turns {
            let turn = self.with_answer(principal, turn).await?;
            bytes += serde_json::to_vec(&turn).map_or(LARGEST_PAGE, |json| json.len());
            if bytes > LARGEST_PAGE && !complete.is_empty() {
                break;
            }
            complete.push(turn);
        }
        Ok(complete)
    }

    /// Goes on as long as a caller waits; whoever asks again goes on from there.
    pub(crate) async fn delete(&self, principal: &Principal, id: ConversationId) -> Result<Reply, Problem> {
        let deadline = after(self.clock.now(), self.intake.patience);
        let mut has_begun = false;
        loop {
            let cause = self.cause(principal, "conversation_deleted");
            match operate::delete(self.records.as_ref(), cause, &principal.tenant, id).await {
                Ok(Deleted::All) => break,
                Ok(Deleted::Part) if self.clock.now() >= deadline => {
                    return Reply::json(StatusCode::ACCEPTED, &DeletedView { conversation_id: id, deleted: false });
                }
                Ok(Deleted::Part) => has_begun = true,
                // Somebody else has done the rest.
                Err(CommandError::NotFound) if has_begun => break,
                Err(CommandError::NotFound) => return Err(no_conversation()),
                Err(CommandError::Journal(error)) => return Err(unavailable(error)),
                Err(
                    error @ (CommandError::WrongState(_)
                    | CommandError::ConversationFull
                    | CommandError::NotAsked
                    | CommandError::OtherAnswer
                    | CommandError::NotAgain(_)),
                ) => {
                    return Err(Problem::internal(&error));
                }
            }
        }
        Reply::json(StatusCode::OK, &DeletedView { conversation_id: id, deleted: true })
    }
}

fn no_conversation() -> Problem {
    Problem::not_found("id", "there is no such conversation, or it was deleted")
}

/// What a model said in a step.
fn said_in(step: Step) -> Option<String> {
    match step.body {
        StepBody::Model(model) => model.message.content,
        StepBody::Tool(_) | StepBody::Approval(_) => None,
    }
}
