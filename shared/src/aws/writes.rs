//! Each conditional write of the journal as the items of a transaction. The conditions are those that [`crate::engine::ports::Write`]
//! states; since the table of states is applied to the record that they compare, the store enforces it.

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};

use super::chunks::step_items;
use super::expression::Expression;
use super::items::{
    Item, Key, Table, archive_item, conversation_item, conversation_of, event_item, input_item, json_text, key_item, key_of, n, run_item,
    s, turn_item,
};
use super::transact::Refused;
use super::unavailable;
use crate::domain::clock::rfc3339_millis;
use crate::domain::id::TenantId;
use crate::domain::run::Run;
use crate::domain::spend::Spend;
use crate::domain::state::RunState;
use crate::domain::step::Step;
use crate::domain::turn::TurnEnd;
use crate::engine::ports::{Answer, ConversationWrite, Found, Guard, JournalError, Mark, Write, WriteError};

/// How often marks change between a window that counts and one that is over while they are written. Each is a race with another
/// writer at the end of a window.
const MARK_TRIES: usize = 5;

/// The lease with this number is held.
pub(super) fn if_held(expression: Expression, lease_no: u64) -> Expression {
    expression.if_is("state", s(RunState::Running.as_str())).if_is("lease_no", n(lease_no))
}

fn guarded(guard: Guard) -> Expression {
    let expression = Expression::default();
    match guard {
        Guard::New => expression.if_absent("pk"),
        Guard::Held { lease_no, steps } => if_held(expression, lease_no).if_is("steps", n(steps)),
        Guard::Seen(seen) => expression
            .if_is("state", s(seen.state.as_str()))
            .if_is("epoch", n(seen.epoch))
            .if_is("lease_no", n(seen.lease_no))
            .if_is("lease_until_ms", n(seen.lease_until_ms))
            .if_is("steps", n(seen.steps))
            .if_as("due_ms", seen.due_ms.map(n)),
    }
}

fn time(at: jiff::Timestamp) -> AttributeValue {
    s(rfc3339_millis::format(at))
}

impl Table {
    /// All of these or none: one call, unless it collides or is throttled.
    pub(super) async fn write_all(&self, writes: &[Write<'_>]) -> Result<(), WriteError> {
        if writes.is_empty() {
            return Ok(());
        }
        // Marks whose window is over, but which the table has not removed yet.
        let mut over = vec![false; writes.len()];
        for _ in 0..MARK_TRIES {
            let (mut items, mut written_by) = (Vec::new(), Vec::new());
            for (index, write) in writes.iter().enumerate() {
                let of_write = self.items_of(write, over[index]).map_err(unknown)?;
                written_by.resize(written_by.len() + of_write.len(), index);
                items.extend(of_write);
            }
            let (index, item) = match self.transact(items).await {
                Ok(()) => return Ok(()),
                Err(Refused::Condition(place, item)) => (written_by[place], item),
                Err(Refused::Error(error)) => return Err(unknown(error)),
            };
            match (&writes[index], &item) {
                (Write::Mark(_, mark), Some(item)) if is_over(item, mark) != over[index] => over[index] = !over[index],
                (write, _) => return Err(WriteError::Refused { index, found: found(write, item).map_err(unknown)? }),
            }
        }
        Err(WriteError::Unavailable("a mark changed too often".into()))
    }

    /// The items of one write. `is_over` is about a mark alone.
    fn items_of(&self, write: &Write<'_>, is_over: bool) -> Result<Vec<TransactWriteItem>, JournalError> {
        Ok(vec![match write {
            Write::Run(run, guard) => self.put(run_item(run)?, guarded(*guard))?,
            Write::Progress(run, step) => self.progress(run, step)?,
            Write::Step(run, step) => return step_items(run, step)?.into_iter().map(|item| self.put_new(item)).collect(),
            Write::Archive(run, archive) => self.put_new(archive_item(run, archive)?)?,
            Write::Input(run, input) => self.put_new(input_item(run, input)?)?,
            Write::Event(tenant, event) => self.put_new(event_item(tenant, event)?)?,
            Write::Turn(run, turn) => self.put_new(turn_item(run, turn)?)?,
            Write::Ask(run, messages) => {
                let asked = Expression::default().if_there("pk").set("messages", s(json_text(messages)?));
                self.update(Key::turn(&run.tenant, run.conversation, run.id), asked)?
            }
            Write::EndTurn(run, end, answer) => self.end_turn(run, *end, *answer)?,
            Write::Conversation(tenant, write) => self.conversation_write(tenant, *write)?,
            Write::Key(tenant, key) => {
                let now = n(key.created_at.as_second());
                self.put_or_tell(key_item(tenant, key)?, Expression::default().any(|e| e.if_absent("pk").if_at_most("expires_at", now)))?
            }
            Write::Spend(tenant, spent) => {
                self.update(Key::spend(tenant, spent.day, spent.shard), adds(Expression::default(), spent.spend))?
            }
            Write::Mark(tenant, mark) => self.mark(tenant, mark, is_over)?,
        }])
    }

    fn progress(&self, run: &Run, step: &Step) -> Result<TransactWriteItem, JournalError> {
        let usage = serde_dynamo::to_attribute_value(run.usage).map_err(unavailable)?;
        let expression = if_held(Expression::default(), run.lease_no)
            .if_is("steps", n(step.index.saturating_sub(1)))
            .set("steps", n(step.index))
            .set("usage", usage)
            .set("attempts", n(run.attempts))
            .set("updated_at", time(run.updated_at))
            .set_or_remove("cost_micros", run.cost_micros.map(n))
            .set_or_remove("abandoned", run.abandoned.then_some(AttributeValue::Bool(true)));
        self.update(Key::run(&run.tenant, run.id), expression)
    }

    fn end_turn(&self, run: &Run, end: TurnEnd, answer: Option<Answer<'_>>) -> Result<TransactWriteItem, JournalError> {
        let end = serde_dynamo::to_attribute_value(end).map_err(unavailable)?;
        let ended = Expression::default().if_there("pk").set("ended", end);
        let ended = match answer {
            None => ended,
            Some(Answer::Text(text)) => ended.set("response", s(text)),
            Some(Answer::InStep(step)) => ended.set("response_step", n(step)),
        };
        self.update(Key::turn(&run.tenant, run.conversation, run.id), ended)
    }

    fn conversation_write(&self, tenant: &TenantId, write: ConversationWrite<'_>) -> Result<TransactWriteItem, JournalError> {
        let of = |run: &Run| Key::conversation(tenant, run.conversation);
        let touched = |run: &Run| Expression::default().count("version").set("updated_at", time(run.updated_at));
        match write {
            ConversationWrite::Open(new) => self.put_or_tell(conversation_item(tenant, new)?, Expression::default().if_absent("pk")),
            ConversationWrite::TakeFree(run) => {
                // What is false or empty is not written, so its attribute is absent.
                let free = touched(run).if_there("pk").if_absent("active_run").if_absent("is_being_deleted");
                let free = free.any(|e| e.if_absent("last_run").if_below("last_run", s(run.id)));
                self.update_or_tell(of(run), free.set("active_run", s(run.id)).set("last_run", s(run.id)))
            }
            ConversationWrite::LeaveAlone(run, spend) => {
                let alone = adds(touched(run), spend).if_is("active_run", s(run.id)).if_absent("line").remove("active_run");
                self.update_or_tell(of(run), alone)
            }
            ConversationWrite::Put(new) => {
                let before = Expression::default().if_is("version", n(new.version.saturating_sub(1)));
                self.put_or_tell(conversation_item(tenant, new)?, before)
            }
        }
    }

    /// Counts a mark up, or begins its next window where the last one is over.
    fn mark(&self, tenant: &TenantId, mark: &Mark, is_over: bool) -> Result<TransactWriteItem, JournalError> {
        let (now, expires_at, limit) = (n(mark.now.as_second()), n(mark.expires_at), n(mark.limit));
        let expression = if is_over {
            Expression::default().set("count", n(1)).set("expires_at", expires_at).if_at_most("expires_at", now)
        } else {
            let counts = |e: Expression| e.if_above("expires_at", now).if_below("count", limit);
            Expression::default().count("count").set_once("expires_at", expires_at).any(|e| e.if_absent("pk").all(counts))
        };
        self.update_or_tell(Key::mark(tenant, &mark.key), expression)
    }
}

/// Adds what is not nothing.
fn adds(expression: Expression, spend: Spend) -> Expression {
    spend.parts().into_iter().filter(|(_, more)| *more > 0).fold(expression, |sum, (name, more)| sum.add(name, n(more)))
}

/// Whether the window of the mark that is there has ended.
fn is_over(item: &Item, mark: &Mark) -> bool {
    let expires_at = item.get("expires_at").and_then(|at| at.as_n().ok()?.parse::<i64>().ok());
    expires_at.is_some_and(|at| at <= mark.now.as_second())
}

/// What is there instead, where that is of use.
fn found(write: &Write<'_>, item: Option<Item>) -> Result<Found, JournalError> {
    Ok(match (write, item) {
        (Write::Conversation(..), Some(item)) => Found::Conversation(Box::new(conversation_of(item)?)),
        (Write::Key(..), Some(item)) => Found::Key(key_of(item)?),
        _ => Found::Nothing,
    })
}

/// An error of a write, of which nobody knows what became.
fn unknown(error: JournalError) -> WriteError {
    match error {
        JournalError::Unavailable(cause) => WriteError::Unavailable(cause),
        JournalError::Lost | JournalError::NotFound => WriteError::Unavailable(Box::new(error)),
    }
}
