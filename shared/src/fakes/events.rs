//! The events of the same memory, as lists read them.

use async_trait::async_trait;

use super::MemoryStore;
use crate::domain::event::Event;
use crate::domain::id::{EventId, TenantId};
use crate::engine::ports::JournalError;
use crate::operate::{EventRange, Events, Order};

#[async_trait]
impl Events for MemoryStore {
    async fn event_ids(&self, tenant: &TenantId, range: EventRange, order: Order, limit: usize) -> Result<Vec<EventId>, JournalError> {
        self.check()?;
        let fits = |id: &EventId| range.after.is_none_or(|after| *id > after) && range.before.is_none_or(|before| *id < before);
        let mut ids: Vec<EventId> =
            self.with_tables(|tables| tables.events.keys().copied().filter(|id| fits(id) && tables.is_of(tenant, id)).collect());
        ids.sort_unstable();
        if order == Order::NewestFirst {
            ids.reverse();
        }
        ids.truncate(limit);
        Ok(ids)
    }

    async fn events(&self, tenant: &TenantId, ids: &[EventId]) -> Result<Vec<Event>, JournalError> {
        self.check()?;
        Ok(self.with_tables(|tables| {
            ids.iter().filter(|id| tables.is_of(tenant, id)).filter_map(|id| tables.events.get(id).cloned()).collect()
        }))
    }
}
