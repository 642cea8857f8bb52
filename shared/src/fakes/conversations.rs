//! Conversations of the store in memory: when they may be written, and what that does.

use super::store::Tables;
use crate::domain::conversation::Conversation;
use crate::domain::id::TenantId;
use crate::engine::ports::{ConversationWrite, Found};

impl Tables {
    pub(super) fn allows_conversation(&self, tenant: &TenantId, write: ConversationWrite<'_>) -> Result<(), Found> {
        let (id, allowed): (_, fn(&Conversation, ConversationWrite<'_>) -> bool) = match write {
            ConversationWrite::Open(conversation) => (conversation.id, |_, _| false),
            ConversationWrite::TakeFree(run) => (run.conversation, |stored, write| {
                let ConversationWrite::TakeFree(run) = write else { return false };
                stored.active_run.is_none() && !stored.is_being_deleted && stored.last_run.is_none_or(|last| last < run.id)
            }),
            ConversationWrite::LeaveAlone(run, _) => (run.conversation, |stored, write| {
                let ConversationWrite::LeaveAlone(run, _) = write else { return false };
                stored.active_run == Some(run.id) && stored.line.is_empty()
            }),
            ConversationWrite::Put(conversation) => (conversation.id, |stored, write| {
                let ConversationWrite::Put(new) = write else { return false };
                stored.version + 1 == new.version
            }),
        };
        match self.conversations.get(&id).filter(|_| self.is_of(tenant, id)) {
            None if matches!(write, ConversationWrite::Open(_)) => Ok(()),
            None => Err(Found::Nothing),
            Some(stored) if allowed(stored, write) => Ok(()),
            Some(stored) => Err(Found::Conversation(Box::new(stored.clone()))),
        }
    }

    pub(super) fn apply_conversation(&mut self, write: ConversationWrite<'_>) {
        match write {
            ConversationWrite::Open(new) | ConversationWrite::Put(new) => {
                self.conversations.insert(new.id, new.clone());
            }
            ConversationWrite::TakeFree(run) | ConversationWrite::LeaveAlone(run, _) => {
                let Some(stored) = self.conversations.get_mut(&run.conversation) else { return };
                stored.version += 1;
                stored.updated_at = run.updated_at;
                if matches!(write, ConversationWrite::TakeFree(_)) {
                    stored.active_run = Some(run.id);
                    stored.last_run = Some(run.id);
                } else {
                    stored.active_run = None;
                }
                if let ConversationWrite::LeaveAlone(_, spend) = write {
                    stored.spend += spend;
                }
            }
        }
    }
}
