//! How a transition is written with all that belongs to it: the run's archive, its turn, and the conversation, which lets the
//! next run go in the same transaction. The store only knows conditional writes ([`Write`]); the order of things is here, once.

use crate::domain::conversation::{Conversation, Entered, Left};
use crate::domain::event::AgentInput;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::{RunId, TenantId};
use crate::domain::revival::Revival;
use crate::domain::run::{Archive, Cause, Run};
use crate::domain::spend::Spent;
use crate::domain::state::Command;
use crate::domain::step::Step;
use crate::domain::task::Task;
use crate::domain::turn::{LONGEST_IN_TURN, TurnEnd};
use crate::engine::ports::{Answer, ConversationWrite, Found, Guard, Journal, JournalError, Write, WriteError};

/// How often a change is computed anew because its conversation has moved meanwhile. Each time somebody else has got on.
const TRIES: usize = 20;

/// The reason of the transition of a run that was next in its conversation.
const ITS_TURN: &str = "its_turn";

/// One change of a run.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// The record after it.
    pub run: &'a Run,
    /// What it was computed from.
    pub guard: Guard,
    /// A step that belongs to it: the last one, or what the run waited for.
    pub step: Option<&'a Step>,
    /// The answer, if the run ends with one, and the step that it is from.
    pub response: Option<(&'a str, u32)>,
    /// Who does it: also wakes the next run of the conversation.
    pub cause: Cause<'a>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// The record as it stands now.
    pub run: Run,
    /// The next run of the conversation, whose turn it is now: it has to be sent.
    pub next: Option<Task>,
}

/// Writes a change. A run that has ended leaves its conversation.
///
/// # Errors
/// [`JournalError::Lost`] when the run is not any more as the change was computed from.
pub async fn commit(journal: &dyn Journal, change: Change<'_>) -> Result<Committed, JournalError> {
    let mut run = change.run.clone();
    let archive = run.spill();
    let end = TurnEnd::of(&run);
    let spent = end.and_then(|_| run.count_spend());
    let mut base = vec![Write::Run(&run, change.guard)];
    base.extend(archive.as_ref().map(|archive| Write::Archive(&run, archive)));
    base.extend(change.step.map(|step| Write::Step(&run, step)));
    base.extend(spent.map(|spent| Write::Spend(&run.tenant, spent)));
    let spend = spent.map(|spent| spent.spend).unwrap_or_default();
    let Some(end) = end else {
        journal.write(&base).await?;
        return Ok(Committed { run, next: None });
    };
    let answer = change.response.map(|(text, step)| if text.len() > LONGEST_IN_TURN { Answer::InStep(step) } else { Answer::Text(text) });
    // As if it were alone in its conversation, which it nearly always is; else the refusal says how the conversation stands.
    let turn = Write::EndTurn(&run, end, answer);
    let alone = [base.clone(), vec![turn, Write::Conversation(&run.tenant, ConversationWrite::LeaveAlone(&run, spend))]].concat();
    let mut found = match journal.write(&alone).await {
        Ok(()) => return Ok(Committed { run, next: None }),
        Err(WriteError::Refused { index, found }) if index + 1 == alone.len() => found,
        Err(WriteError::Refused { index, .. }) if index == base.len() => Found::Nothing,
        Err(error) => return Err(error.into()),
    };
    for _ in 0..TRIES {
        let Found::Conversation(mut conversation) = found else {
            // It is being deleted, or never was one: no reason to lose the end of the run.
            journal.write(&base).await?;
            return Ok(Committed { run, next: None });
        };
        conversation.spend += spend;
        let next = leave(journal, &mut conversation, &run, change.cause).await?;
        let woken = next.as_ref().map(|next| next.spilled());
        let mut writes = [base.clone(), vec![turn, Write::Conversation(&run.tenant, ConversationWrite::Put(&conversation))]].concat();
        if let (Some(next), Some((woken, archive))) = (&next, &woken) {
            writes.push(Write::Run(woken, next.guard));
            writes.extend(archive.as_ref().map(|archive| Write::Archive(woken, archive)));
        }
        match journal.write(&writes).await {
            Ok(()) => {
                let next = next.map(|next| next.run.task());
                return Ok(Committed { run, next });
            }
            // The conversation or the next run has moved: look again.
            Err(WriteError::Refused { index, .. }) if index > base.len() => {
                found = journal
                    .conversation(&run.tenant, run.conversation)
                    .await?
                    .map_or(Found::Nothing, |found| Found::Conversation(Box::new(found)));
            }
            Err(WriteError::Refused { index, .. }) if index == base.len() => found = Found::Nothing,
            Err(error) => return Err(error.into()),
        }
    }
    Err(JournalError::Unavailable("the conversation moved too often".into()))
}

/// A run that was changed, with what its change is conditional on.
struct Changed {
    run: Run,
    guard: Guard,
}

impl Changed {
    fn spilled(&self) -> (Run, Option<Archive>) {
        let mut run = self.run.clone();
        let archive = run.spill();
        (run, archive)
    }
}

/// Takes `run` out of its conversation and wakes the next one that is really waiting.
async fn leave(
    journal: &dyn Journal,
    conversation: &mut Conversation,
    run: &Run,
    cause: Cause<'_>,
) -> Result<Option<Changed>, JournalError> {
    conversation.version += 1;
    let mut left = conversation.leave(run.id, cause.at);
    // Each round shortens the line.
    while let Left::Next(id) = left {
        if let Some(mut next) = journal.run(&run.tenant, id).await?.filter(Run::is_in_line) {
            let guard = Guard::Seen(next.seen());
            if next.apply(Command::Wake, Cause { reason: ITS_TURN, ..cause }).is_ok() {
                return Ok(Some(Changed { run: next, guard }));
            }
        }
        left = conversation.leave(id, cause.at);
    }
    Ok(None)
}

/// Puts a dead run back as `revival` wants it: to the queue, or, if its conversation is busy, to the end of the line there.
///
/// # Errors
/// [`JournalError::Lost`] when the run has moved, [`JournalError::NotFound`] when its conversation is being deleted, and it with
/// that; `Ok(None)` when the line is full.
pub async fn revive(journal: &dyn Journal, dead: &Run, cause: Cause<'_>, revival: &Revival) -> Result<Option<Committed>, JournalError> {
    let asks = revival.input.as_ref().map(AgentInput::as_messages);
    for _ in 0..TRIES {
        let mut conversation = journal.conversation(&dead.tenant, dead.conversation).await?;
        if conversation.as_ref().is_some_and(|conversation| conversation.is_being_deleted) {
            return Err(JournalError::NotFound);
        }
        let entered = conversation.as_mut().map_or(Entered::Active, |conversation| {
            conversation.version += 1;
            conversation.enter(dead.id, cause.at)
        });
        let command = match entered {
            Entered::Active => Command::Retry,
            Entered::InLine => Command::LineUp,
            Entered::Full => return Ok(None),
        };
        let mut run = dead.clone();
        run.revive(command, cause, revival).map_err(|_| JournalError::Lost)?;
        if command == Command::LineUp {
            run.waiting = Some(crate::domain::waiting::Waiting::Turn);
        }
        let archive = run.spill();
        let mut writes = vec![Write::Run(&run, Guard::Seen(dead.seen()))];
        writes.extend(archive.as_ref().map(|archive| Write::Archive(&run, archive)));
        writes.extend(revival.input.as_ref().map(|input| Write::Input(&run, input)));
        // The turn goes with its conversation.
        let place = writes.len();
        if let Some(conversation) = &conversation {
            writes.push(Write::Conversation(&run.tenant, ConversationWrite::Put(conversation)));
            writes.extend(asks.as_deref().map(|messages| Write::Ask(&run, messages)));
        }
        match journal.write(&writes).await {
            Ok(()) => return Ok(Some(Committed { next: None, run })),
            Err(WriteError::Refused { index, .. }) if index == place => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(JournalError::Unavailable("the conversation moved too often".into()))
}

/// A run that a later message or a deletion ends.
pub(crate) struct Cancelled {
    /// As it is after its end.
    pub(crate) run: Run,
    /// What its write is conditional on.
    pub(crate) guard: Guard,
    /// What it had used. Of runs that only waited that is nothing, so that the ends of a whole line still fit into one transaction.
    pub(crate) spent: Option<Spent>,
}

/// The runs of a conversation that a later message or a deletion ends, each as it is after its end, with its guard.
///
/// # Errors
/// When the store cannot be reached.
pub(crate) async fn cancelled(
    journal: &dyn Journal,
    tenant: &TenantId,
    ids: &[RunId],
    cause: Cause<'_>,
) -> Result<Vec<Cancelled>, JournalError> {
    let mut runs = Vec::with_capacity(ids.len());
    for id in ids {
        let Some(mut run) = journal.run(tenant, *id).await? else { continue };
        let guard = Guard::Seen(run.seen());
        if run.apply(Command::Cancel, cause).is_ok() {
            let message = format!("cancelled by {}: {}", cause.by, cause.reason);
            run.note(Failure::new(FailureCode::CancelRequested, message, cause.at, run.attempts));
            let spent = run.count_spend();
            runs.push(Cancelled { run, guard, spent });
        }
    }
    Ok(runs)
}
