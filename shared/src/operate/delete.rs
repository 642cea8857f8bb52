//! Deleting a conversation: its runs end, then everything is removed. The mark on the conversation comes first and its record
//! goes last, so that a deletion that was cut off is finished by asking again.

use super::{CommandError, Erasure, Records};
use crate::domain::id::{ConversationId, TenantId};
use crate::domain::run::Cause;
use crate::domain::spend::Spent;
use crate::engine::ports::{ConversationWrite, JournalError, Write, WriteError};
use crate::ledger::cancelled;

/// How many runs one request removes.
const PER_REQUEST: usize = 100;
/// How often the mark is tried while runs come and go.
const TRIES: usize = 10;

/// What became of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// Nothing is left.
    All,
    /// Ask again: there is more.
    Part,
}

/// Deletes a conversation with all its runs. Its active and waiting runs are cancelled.
///
/// # Errors
/// See [`CommandError`].
pub async fn delete(records: &dyn Records, cause: Cause<'_>, tenant: &TenantId, id: ConversationId) -> Result<Deleted, CommandError> {
    close(records, cause, tenant, id).await?;
    let turns = records.turns(tenant, id, None, PER_REQUEST).await?;
    for turn in &turns {
        records.erase(tenant, Erasure::Run(turn.run_id)).await?;
    }
    if turns.len() == PER_REQUEST || !records.turns(tenant, id, None, 1).await?.is_empty() {
        return Ok(Deleted::Part);
    }
    records.erase(tenant, Erasure::Conversation(id)).await?;
    Ok(Deleted::All)
}

/// Marks it, so that it takes no run any more, and ends those that it has.
async fn close(records: &dyn Records, cause: Cause<'_>, tenant: &TenantId, id: ConversationId) -> Result<(), CommandError> {
    for _ in 0..TRIES {
        let mut conversation = records.conversation(tenant, id).await?.ok_or(CommandError::NotFound)?;
        if conversation.is_being_deleted {
            return Ok(());
        }
        conversation.version += 1;
        let ids = conversation.close(cause.at);
        let cancelled = cancelled(records, tenant, &ids, cause).await?;
        let mut writes = vec![Write::Conversation(tenant, ConversationWrite::Put(&conversation))];
        writes.extend(cancelled.iter().map(|ended| Write::Run(&ended.run, ended.guard)));
        writes.extend(Spent::together(cancelled.iter().filter_map(|ended| ended.spent)).map(|spent| Write::Spend(tenant, spent)));
        match records.write(&writes).await {
            Ok(()) => return Ok(()),
            Err(WriteError::Refused { .. }) => {}
            Err(error) => return Err(JournalError::from(error).into()),
        }
    }
    Err(JournalError::Unavailable("the conversation moved too often".into()).into())
}
