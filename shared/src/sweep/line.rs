//! Whether the line of a conversation moves on by itself, and what is done if it does not.
//!
//! The end of a run wakes the next one in the same transaction, so a line stands still only after a defect or a hand-made change
//! of the table. It would stand still for ever, and nobody would be told: therefore this look.

use crate::domain::conversation::Conversation;
use crate::domain::id::RunId;
use crate::domain::run::{Cause, Run};
use crate::domain::state::Command;
use crate::domain::task::Task;
use crate::engine::ports::{ConversationWrite, Guard, Journal, JournalError, Write};
use crate::ledger::{Change, commit};

/// What was done about a line.
pub(super) enum Repair {
    /// The run whose turn it is has not ended: its end will wake the next.
    NotNeeded,
    /// This run is queued now, and has to be sent.
    Woken(Task),
    /// The conversation is gone, so the run was cancelled.
    Cancelled,
}

/// Looks at the line that `run` waits in.
///
/// # Errors
/// [`JournalError::Lost`] when the line or a run in it has moved meanwhile.
pub(super) async fn look(journal: &dyn Journal, run: &Run, cause: Cause<'_>) -> Result<Repair, JournalError> {
    let conversation = journal.conversation(&run.tenant, run.conversation).await?;
    let Some(conversation) = conversation.filter(|conversation| !conversation.is_being_deleted) else {
        let cause = Cause { reason: "conversation_deleted", ..cause };
        let mut cancelled = run.clone();
        cancelled.apply(Command::Cancel, cause).map_err(|_| JournalError::Lost)?;
        commit(journal, Change { run: &cancelled, guard: Guard::Seen(run.seen()), step: None, response: None, cause }).await?;
        return Ok(Repair::Cancelled);
    };
    let active = match conversation.active_run {
        Some(active) => journal.run(&run.tenant, active).await?,
        None => None,
    };
    let is_at_work = active.is_some_and(|active| !active.state.has_ended() && !active.is_in_line());
    if is_at_work && conversation.line.contains(&run.id) {
        return Ok(Repair::NotNeeded);
    }
    repair(journal, run, conversation, is_at_work, cause).await
}

/// Gives the turn to the first run that really waits; one that has fallen out of the line gets its place back. All of it on
/// condition that `run` still waits.
async fn repair(
    journal: &dyn Journal,
    run: &Run,
    mut conversation: Conversation,
    is_at_work: bool,
    cause: Cause<'_>,
) -> Result<Repair, JournalError> {
    conversation.version += 1;
    conversation.updated_at = cause.at;
    let mut waiting: Vec<RunId> = conversation.line.clone();
    if !waiting.contains(&run.id) {
        let place = waiting.iter().position(|other| *other > run.id).unwrap_or(waiting.len());
        waiting.insert(place, run.id);
    }
    let still_waits = Write::Run(run, Guard::Seen(run.seen()));
    if is_at_work {
        conversation.line = waiting;
        journal.write(&[Write::Conversation(&run.tenant, ConversationWrite::Put(&conversation)), still_waits]).await?;
        return Ok(Repair::NotNeeded);
    }
    if let Some(active) = conversation.active_run.filter(|active| !waiting.contains(active)) {
        // It may wait itself, although it is its turn: then it goes first.
        waiting.insert(0, active);
    }
    for (place, id) in waiting.iter().enumerate() {
        let Some(found) = journal.run(&run.tenant, *id).await?.filter(Run::is_in_line) else { continue };
        let mut woken = found.clone();
        woken.apply(Command::Wake, cause).map_err(|_| JournalError::Lost)?;
        conversation.active_run = Some(*id);
        conversation.line = waiting[place + 1..].to_vec();
        let archive = woken.spill();
        let mut writes = vec![Write::Run(&woken, Guard::Seen(found.seen()))];
        writes.push(Write::Conversation(&run.tenant, ConversationWrite::Put(&conversation)));
        writes.extend(archive.as_ref().map(|archive| Write::Archive(&woken, archive)));
        if *id != run.id {
            writes.push(still_waits);
        }
        journal.write(&writes).await?;
        return Ok(Repair::Woken(woken.task()));
    }
    // `run` itself was read as waiting a moment ago.
    Err(JournalError::Lost)
}
