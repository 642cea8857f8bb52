//! `/v1/conversations/{id}`: show, delete.

use lambda_http::http::StatusCode;
use shared::domain::clock::after;
use shared::domain::id::ConversationId;
use shared::domain::principal::Principal;
use shared::domain::turn::Turn;
use shared::http::{Call, Problem, Reply};
use shared::operate::{self, CommandError, Deleted};

use crate::views::{ConversationView, DeletedView, LARGEST_PAGE, answer_in};
use crate::{AgentApi, unavailable};

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

    /// As many of the turns as fit into one answer of ours, at least one, with the answers that stand in the journal alone.
    async fn with_answers(&self, principal: &Principal, turns: Vec<Turn>) -> Result<Vec<Turn>, Problem> {
        let (mut complete, mut bytes) = (Vec::with_capacity(turns.len()), 0);
        for mut turn in turns {
            if let Some(step) = turn.response_step {
                let found = self.records.steps_after(&principal.tenant, turn.run_id, step.saturating_sub(1), 1).await;
                turn.response = found.map_err(unavailable)?.into_iter().next().and_then(answer_in);
            }
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
                    | CommandError::OtherAnswer),
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
