//! Lists of events, page by page.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::event::Event;
use crate::domain::id::{EventId, TenantId};
use crate::engine::ports::JournalError;

/// How many events a list reads per round, and how many rounds it makes before it hands out a cursor instead. An event may have
/// hundreds of kilobytes: a round has to fit into a small function's memory.
const ROUND: usize = 50;
const ROUNDS: usize = 10;

/// Events between two bounds, both exclusive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventRange {
    /// Newer than this.
    pub after: Option<EventId>,
    /// Older than this.
    pub before: Option<EventId>,
}

/// In which order a list goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// For people.
    NewestFirst,
    /// As they came.
    OldestFirst,
}

/// What was recorded of all that arrived. The order may miss what arrived in the last second; the events themselves are as they are.
#[async_trait]
pub trait Events: Send + Sync {
    /// Ids within a range, in order, at most `limit`.
    async fn event_ids(&self, tenant: &TenantId, range: EventRange, order: Order, limit: usize) -> Result<Vec<EventId>, JournalError>;
    /// The events with these ids (at most 100), in any order; those that do not exist are left out.
    async fn events(&self, tenant: &TenantId, ids: &[EventId]) -> Result<Vec<Event>, JournalError>;
}

/// Which events a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only of this type.
    pub kind: Option<String>,
    /// Only from this source.
    pub source: Option<String>,
    /// Only recorded at or after.
    pub since: Option<Timestamp>,
    /// Only recorded before.
    pub until: Option<Timestamp>,
}

impl EventFilter {
    /// Whether an event is one of them.
    #[must_use]
    pub fn fits(&self, event: &Event) -> bool {
        self.kind.as_ref().is_none_or(|kind| *kind == event.kind) && self.source.as_ref().is_none_or(|source| *source == event.source)
    }

    /// The ids that are within its times, and beyond the cursor; `None` if there can be none.
    #[must_use]
    pub fn range(&self, order: Order, cursor: Option<EventId>) -> Option<EventRange> {
        // Bounds are exclusive and the smallest id of a millisecond is never handed out, so `since` is inclusive.
        let (since, until) = (self.since.map(EventId::lower_bound), self.until.map(EventId::lower_bound));
        let range = match order {
            Order::NewestFirst => EventRange { after: since, before: [cursor, until].into_iter().flatten().min() },
            Order::OldestFirst => EventRange { after: [cursor, since].into_iter().flatten().max(), before: until },
        };
        // The store refuses a range whose end is before its beginning.
        let is_empty = range.after.zip(range.before).is_some_and(|(after, before)| after >= before);
        (!is_empty).then_some(range)
    }
}

/// A part of a list. While there is a cursor there may be more, even after a short or an empty page.
#[derive(Debug, Clone, PartialEq)]
pub struct EventPage {
    /// The events, in order.
    pub events: Vec<Event>,
    /// Where the next page begins.
    pub next: Option<EventId>,
}

/// Lists events.
///
/// # Errors
/// When the store cannot be reached.
pub async fn list_events(
    log: &dyn Events,
    tenant: &TenantId,
    filter: &EventFilter,
    order: Order,
    cursor: Option<EventId>,
    limit: usize,
) -> Result<EventPage, JournalError> {
    let (mut found, mut cursor) = (Vec::new(), cursor);
    for _ in 0..ROUNDS {
        let Some(range) = filter.range(order, cursor) else { return Ok(EventPage { events: found, next: None }) };
        let ids = log.event_ids(tenant, range, order, ROUND).await?;
        for event in in_order(log.events(tenant, &ids).await?, order) {
            if filter.fits(&event) {
                found.push(event);
            }
            if found.len() > limit {
                found.truncate(limit);
                let next = found.last().map(|event| event.id);
                return Ok(EventPage { events: found, next });
            }
        }
        if ids.len() < ROUND {
            return Ok(EventPage { events: found, next: None });
        }
        cursor = ids.last().copied();
    }
    Ok(EventPage { events: found, next: cursor })
}

fn in_order(mut events: Vec<Event>, order: Order) -> Vec<Event> {
    events.sort_unstable_by_key(|event| event.id);
    if order == Order::NewestFirst {
        events.reverse();
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::{MemoryStore, an_event};

    fn tenant() -> TenantId {
        "acme".parse().unwrap()
    }

    fn at(n: i64) -> Timestamp {
        Timestamp::from_millisecond(n).unwrap()
    }

    async fn all(store: &MemoryStore, filter: &EventFilter, order: Order, limit: usize) -> Vec<EventId> {
        let (mut cursor, mut seen) = (None, Vec::new());
        loop {
            let page = list_events(store, &tenant(), filter, order, cursor, limit).await.unwrap();
            assert!(page.events.len() <= limit);
            seen.extend(page.events.iter().map(|event| event.id));
            cursor = page.next;
            if cursor.is_none() {
                return seen;
            }
        }
    }

    #[tokio::test]
    async fn a_list_of_events_has_no_gap_and_no_repetition_in_both_orders() {
        let store = MemoryStore::default();
        let mut rare = Vec::new();
        for n in 0..620_i64 {
            let kind = if n % 30 == 7 { "rare" } else { "common" };
            let event = Event { kind: kind.into(), ..an_event(at(1_000_000 + n)) };
            if kind == "rare" {
                rare.push(event.id);
            }
            store.put_event(event);
        }
        let filter = EventFilter { kind: Some("rare".into()), ..EventFilter::default() };
        for limit in [1, 7, 100] {
            assert_eq!(all(&store, &filter, Order::OldestFirst, limit).await, rare, "{limit}");
            let newest: Vec<_> = rare.iter().rev().copied().collect();
            assert_eq!(all(&store, &filter, Order::NewestFirst, limit).await, newest, "{limit}");
        }
        assert_eq!(all(&store, &EventFilter::default(), Order::NewestFirst, 100).await.len(), 620);
    }

    #[tokio::test]
    async fn time_bounds_are_since_inclusive_and_until_exclusive_in_both_orders() {
        let store = MemoryStore::default();
        for n in [100, 200, 300] {
            store.put_event(an_event(at(n)));
        }
        let times = |from, to| EventFilter { since: Some(at(from)), until: Some(at(to)), ..EventFilter::default() };
        for order in [Order::NewestFirst, Order::OldestFirst] {
            assert_eq!(all(&store, &times(100, 300), order, 1).await.len(), 2, "{order:?}");
            assert_eq!(all(&store, &times(101, 300), order, 10).await.len(), 1, "{order:?}");
            assert!(all(&store, &times(300, 100), order, 10).await.is_empty(), "{order:?}");
        }
    }

    #[tokio::test]
    async fn a_source_is_taken_exactly() {
        let store = MemoryStore::default();
        for source in ["crm/eu", "crm/us", "crm"] {
            store.put_event(Event { source: source.into(), ..an_event(at(5)) });
        }
        let filter = EventFilter { source: Some("crm".into()), ..EventFilter::default() };
        assert_eq!(all(&store, &filter, Order::NewestFirst, 10).await.len(), 1);
    }
}
