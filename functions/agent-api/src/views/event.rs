//! Events.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use shared::domain::clock::rfc3339_millis;
use shared::domain::event::{Event, Match};
use shared::domain::id::EventId;

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
    payload: Value,
    matches: Vec<Match>,
}

impl EventView {
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
            payload: event.payload,
            matches: event.matches,
        }
    }
}
