//! What the operators' API answers about incidents. Field names are the contract: see `openapi.json`.

use jiff::Timestamp;
use serde::Serialize;
use shared::domain::clock::rfc3339_millis;
use shared::domain::id::IncidentId;
use shared::domain::incident::{ClockState, Entry, Incident, IncidentStatus, Severity};
use shared::operate::incidents::IncidentPage;

/// An incident, with how its clocks stand now.
#[derive(Debug, Serialize)]
pub(crate) struct IncidentView {
    incident_id: IncidentId,
    title: String,
    severity: Severity,
    status: IncidentStatus,
    impact: Option<String>,
    root_cause: Option<String>,
    mitigation: Option<String>,
    opened_by: String,
    #[serde(with = "rfc3339_millis")]
    opened_at: Timestamp,
    #[serde(with = "rfc3339_millis")]
    detected_at: Timestamp,
    acknowledge: AcknowledgeView,
    next_update: Option<NextUpdateView>,
    #[serde(with = "rfc3339_millis::option")]
    monitor_until: Option<Timestamp>,
    #[serde(with = "rfc3339_millis::option")]
    resolved_at: Option<Timestamp>,
    #[serde(with = "rfc3339_millis::option")]
    review_due: Option<Timestamp>,
    durations: DurationsView,
    entries: u32,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    timeline: Option<TimelineView>,
}

/// The response clock.
#[derive(Debug, Serialize)]
struct AcknowledgeView {
    #[serde(with = "rfc3339_millis")]
    due: Timestamp,
    clock: ClockState,
    #[serde(with = "rfc3339_millis::option")]
    at: Option<Timestamp>,
    by: Option<String>,
}

/// When the others hear of it.
#[derive(Debug, Serialize)]
struct NextUpdateView {
    #[serde(with = "rfc3339_millis")]
    due: Timestamp,
    is_overdue: bool,
}

/// Seconds from when it was noticed.
#[derive(Debug, Serialize)]
struct DurationsView {
    acknowledge_seconds: Option<u64>,
    mitigate_seconds: Option<u64>,
    resolve_seconds: Option<u64>,
}

#[derive(Debug, Serialize)]
struct TimelineView {
    timeline: Vec<Entry>,
    next_cursor: Option<String>,
}

/// A page of incidents.
#[derive(Debug, Serialize)]
pub(crate) struct IncidentPageView {
    incidents: Vec<IncidentView>,
    next_cursor: Option<IncidentId>,
}

fn said(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

impl IncidentView {
    fn summary(incident: &Incident, now: Timestamp) -> Self {
        Self {
            incident_id: incident.id,
            title: incident.title.clone(),
            severity: incident.severity,
            status: incident.status,
            impact: said(&incident.impact),
            root_cause: said(&incident.root_cause),
            mitigation: said(&incident.mitigation),
            opened_by: incident.opened_by.clone(),
            opened_at: incident.opened_at,
            detected_at: incident.detected_at,
            acknowledge: AcknowledgeView {
                due: incident.acknowledge_due(),
                clock: incident.acknowledge_clock(now),
                at: incident.acknowledged_at,
                by: incident.acknowledged_by.clone(),
            },
            next_update: incident.next_update_due.map(|due| NextUpdateView { due, is_overdue: incident.is_update_overdue(now) }),
            monitor_until: incident.monitor_until(),
            resolved_at: incident.resolved_at,
            review_due: incident.review_due(),
            durations: DurationsView {
                acknowledge_seconds: incident.seconds_to(incident.acknowledged_at),
                mitigate_seconds: incident.seconds_to(incident.monitored_since),
                resolve_seconds: incident.seconds_to(incident.resolved_at),
            },
            entries: incident.entries,
            timeline: None,
        }
    }

    /// With entries of its timeline: a page of it, or what a command has added.
    pub(crate) fn full(incident: &Incident, timeline: Vec<Entry>, next: Option<u32>, now: Timestamp) -> Self {
        let timeline = TimelineView { timeline, next_cursor: next.map(|no| no.to_string()) };
        Self { timeline: Some(timeline), ..Self::summary(incident, now) }
    }
}

impl IncidentPageView {
    pub(crate) fn of(page: IncidentPage, now: Timestamp) -> Self {
        Self { incidents: page.incidents.iter().map(|incident| IncidentView::summary(incident, now)).collect(), next_cursor: page.next }
    }
}
