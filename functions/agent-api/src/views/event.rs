//! Events.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use shared::domain::clock::rfc3339_millis;
use shared::domain::event::{Event, Match};
use shared::domain::id::{EventId, RunId};
use shared::operate::EventPage;

/// An event with what came of it.
#[derive(Debug, Serialize)]
pub(crate) struct EventView {
    event_id: EventId,
    #[serde(rename = "type")]
    kind: String,
    source: String,
    /// The sender's own id.
    id: Option<String>,
    correlation_id: Option<String>,
    causation_id: Option<String>,
    trace_id: Option<String>,
    #[serde(with = "rfc3339_millis")]
    created_at: Timestamp,
    /// A list leaves it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Value>,
    /// The run of a request to an agent.
    run_id: Option<RunId>,
    matches: Vec<Match>,
}

/// A page of events.
#[derive(Debug, Serialize)]
pub(crate) struct EventPageView {
    events: Vec<EventView>,
    next_cursor: Option<EventId>,
}

impl EventPageView {
    pub(crate) fn of(page: EventPage) -> Self {
        Self { events: page.events.into_iter().map(EventView::summary).collect(), next_cursor: page.next }
    }
}

impl EventView {
    /// As it stands in lists.
    fn summary(event: Event) -> Self {
        Self { payload: None, ..Self::of(event) }
    }

    pub(crate) fn of(event: Event) -> Self {
        Self {
            event_id: event.id,
            kind: event.kind,
            source: event.source,
            id: event.client_id,
            correlation_id: event.meta.correlation_id,
            causation_id: event.meta.causation_id,
            trace_id: event.meta.trace_id,
            created_at: event.created_at,
            payload: Some(event.payload),
            run_id: event.run,
            matches: event.matches,
        }
    }
}
