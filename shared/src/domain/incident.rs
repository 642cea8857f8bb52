//! An incident: what is wrong, since when, who said what. The record is what is known now; the timeline is append-only.
//!
//! The clocks are those of the incident process: how soon somebody must have taken it ([`Severity::respond_within`]), how often
//! the others hear of it ([`UPDATE_EVERY`]), how long a fix is watched ([`MONITOR_FOR`]) and when it is reviewed ([`REVIEW_WITHIN`]).

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::clock::{after, between, rfc3339_millis};
use super::id::IncidentId;

/// The others hear of an incident this often, until it is resolved.
pub const UPDATE_EVERY: Duration = Duration::from_secs(30 * 60);
/// A fix is watched for so long before the incident is called resolved.
pub const MONITOR_FOR: Duration = Duration::from_secs(30 * 60);
/// It is reviewed no later than this after its end.
pub const REVIEW_WITHIN: Duration = Duration::from_secs(48 * 3_600);

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Severity {
    /// Nothing works, or data is lost.
    P0,
    /// A main part does not work.
    P1,
    /// Something works badly.
    P2,
    /// Hardly anybody notices.
    P3,
}

impl Severity {
    /// The severity of that name.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "P0" => Self::P0,
            "P1" => Self::P1,
            "P2" => Self::P2,
            "P3" => Self::P3,
            _ => return None,
        })
    }

    /// Somebody must have taken it by then.
    #[must_use]
    pub const fn respond_within(self) -> Duration {
        Duration::from_secs(match self {
            Self::P0 => 15 * 60,
            Self::P1 => 3_600,
            Self::P2 => 4 * 3_600,
            Self::P3 => 24 * 3_600,
        })
    }
}

/// Where it is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum IncidentStatus {
    /// Nobody knows yet what it is.
    Investigating,
    /// The cause is known.
    Identified,
    /// A fix is in place and watched.
    Monitoring,
    /// It is over.
    Resolved,
}

impl IncidentStatus {
    /// The status of that name.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "INVESTIGATING" => Self::Investigating,
            "IDENTIFIED" => Self::Identified,
            "MONITORING" => Self::Monitoring,
            "RESOLVED" => Self::Resolved,
            _ => return None,
        })
    }
}

/// One incident, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Its id.
    pub id: IncidentId,
    /// What is wrong, in a line.
    pub title: String,
    /// How bad.
    pub severity: Severity,
    /// How far.
    pub status: IncidentStatus,
    /// Who notices what.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub impact: String,
    /// What is known of the cause.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub root_cause: String,
    /// What is done about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mitigation: String,
    /// When it was noticed: the response clock starts here.
    #[serde(with = "rfc3339_millis")]
    pub detected_at: Timestamp,
    /// When it was recorded.
    #[serde(with = "rfc3339_millis")]
    pub opened_at: Timestamp,
    /// Who recorded it.
    pub opened_by: String,
    /// When somebody took it.
    #[serde(default, with = "rfc3339_millis::option", skip_serializing_if = "Option::is_none")]
    pub acknowledged_at: Option<Timestamp>,
    /// Who took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_by: Option<String>,
    /// Since when a fix is watched: the latest time that it began to be.
    #[serde(default, with = "rfc3339_millis::option", skip_serializing_if = "Option::is_none")]
    pub monitored_since: Option<Timestamp>,
    /// When it ended.
    #[serde(default, with = "rfc3339_millis::option", skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Timestamp>,
    /// When the others hear of it next; absent once it has ended.
    #[serde(default, with = "rfc3339_millis::option", skip_serializing_if = "Option::is_none")]
    pub next_update_due: Option<Timestamp>,
    /// Entries of its timeline. A write that was computed from an older record is refused by it.
    pub entries: u32,
}

/// What kind of entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// It was recorded.
    Opened,
    /// Somebody took it.
    Acknowledged,
    /// Something is known or done that was not before.
    Updated,
    /// Somebody wrote something down.
    Noted,
    /// It is over.
    Resolved,
    /// It was not over.
    Reopened,
}

/// One entry of a timeline. Never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place, from 1.
    pub no: u32,
    /// When.
    #[serde(with = "rfc3339_millis")]
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// What kind.
    pub kind: EntryKind,
    /// The status after it.
    pub status: IncidentStatus,
    /// The severity after it.
    pub severity: Severity,
    /// What was said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// What is said of an incident.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// Somebody takes it.
    pub acknowledge: bool,
    /// How bad it is after all.
    pub severity: Option<Severity>,
    /// How far it is.
    pub status: Option<IncidentStatus>,
    /// Who notices what.
    pub impact: Option<String>,
    /// What is known of the cause.
    pub root_cause: Option<String>,
    /// What is done about it.
    pub mitigation: Option<String>,
    /// What else there is to say.
    pub text: Option<String>,
    /// Minutes until the next update, if not as usual.
    pub next_update_minutes: Option<u32>,
    /// Resolve it although no fix was watched for long enough.
    pub force: bool,
}

/// Why an update is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unresolved {
    /// No fix is watched.
    NotMonitored,
    /// Watch it until then.
    Until(Timestamp),
}

/// How a clock stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockState {
    /// It runs, and there is time.
    Running,
    /// It runs, and the time is over.
    Overdue,
    /// It was stopped in time.
    Met,
    /// It was stopped too late.
    Missed,
}

impl Incident {
    /// One that was noticed at `detected_at`, with the first entry of its timeline.
    #[must_use]
    pub fn open(
        id: IncidentId,
        title: String,
        severity: Severity,
        impact: String,
        detected_at: Timestamp,
        by: &str,
        now: Timestamp,
    ) -> (Self, Entry) {
        let incident = Self {
            id,
            title,
            severity,
            status: IncidentStatus::Investigating,
            impact,
            root_cause: String::new(),
            mitigation: String::new(),
            detected_at: detected_at.min(now),
            opened_at: now,
            opened_by: by.to_owned(),
            acknowledged_at: None,
            acknowledged_by: None,
            monitored_since: None,
            resolved_at: None,
            next_update_due: Some(after(now, UPDATE_EVERY)),
            entries: 0,
        };
        incident.with_entry(EntryKind::Opened, String::new(), by, now)
    }

    /// The same with a note: nothing else changes, and nobody else is told.
    #[must_use]
    pub fn noted(self, text: String, by: &str, now: Timestamp) -> (Self, Entry) {
        self.with_entry(EntryKind::Noted, text, by, now)
    }

    /// The same after an update. Whoever says how far it is has taken it.
    ///
    /// # Errors
    /// When it is to be resolved and no fix was watched for [`MONITOR_FOR`], unless that is forced.
    pub fn updated(mut self, update: Update, by: &str, now: Timestamp) -> Result<(Self, Entry), Unresolved> {
        let status = update.status.unwrap_or(self.status);
        if status == IncidentStatus::Resolved && self.status != status && !update.force {
            self.may_resolve(now)?;
        }
        let text = self.told(&update);
        let kind = match (self.status, status) {
            (IncidentStatus::Resolved, IncidentStatus::Resolved) => EntryKind::Updated,
            (_, IncidentStatus::Resolved) => EntryKind::Resolved,
            (IncidentStatus::Resolved, _) => EntryKind::Reopened,
            _ if update.acknowledge && update.status.is_none() && text.is_empty() => EntryKind::Acknowledged,
            _ => EntryKind::Updated,
        };
        if self.acknowledged_at.is_none() {
            (self.acknowledged_at, self.acknowledged_by) = (Some(now), Some(by.to_owned()));
        }
        self.severity = update.severity.unwrap_or(self.severity);
        self.monitored_since = match (status, self.status) {
            (IncidentStatus::Monitoring, IncidentStatus::Monitoring) | (IncidentStatus::Resolved, _) => self.monitored_since,
            (IncidentStatus::Monitoring, _) => Some(now),
            (IncidentStatus::Investigating | IncidentStatus::Identified, _) => None,
        };
        self.resolved_at = if status == IncidentStatus::Resolved { self.resolved_at.or(Some(now)) } else { None };
        for (known, new) in
            [(&mut self.impact, update.impact), (&mut self.root_cause, update.root_cause), (&mut self.mitigation, update.mitigation)]
        {
            if let Some(new) = new {
                *known = new;
            }
        }
        self.status = status;
        let pause = update.next_update_minutes.map_or(UPDATE_EVERY, |minutes| Duration::from_secs(60 * u64::from(minutes)));
        // To take it tells the others nothing.
        self.next_update_due = match (status, kind) {
            (IncidentStatus::Resolved, _) => None,
            (_, EntryKind::Acknowledged) => self.next_update_due,
            _ => Some(after(now, pause)),
        };
        Ok(self.with_entry(kind, text, by, now))
    }

    fn may_resolve(&self, now: Timestamp) -> Result<(), Unresolved> {
        match self.monitored_since.map(|since| after(since, MONITOR_FOR)) {
            None => Err(Unresolved::NotMonitored),
            Some(until) if until > now => Err(Unresolved::Until(until)),
            Some(_) => Ok(()),
        }
    }

    /// What an update changes, in words, for the timeline.
    fn told(&self, update: &Update) -> String {
        let severity =
            update.severity.filter(|new| *new != self.severity).map(|new| format!("severity {:?} instead of {:?}", new, self.severity));
        let fields = [("impact", &update.impact), ("root cause", &update.root_cause), ("mitigation", &update.mitigation)];
        let fields = fields.into_iter().filter_map(|(name, new)| Some(format!("{name}: {}", new.as_ref()?)));
        update.text.clone().into_iter().chain(severity).chain(fields).collect::<Vec<_>>().join("\n")
    }

    fn with_entry(mut self, kind: EntryKind, text: String, by: &str, now: Timestamp) -> (Self, Entry) {
        self.entries += 1;
        let entry = Entry { no: self.entries, at: now, by: by.to_owned(), kind, status: self.status, severity: self.severity, text };
        (self, entry)
    }

    /// When somebody must have taken it.
    #[must_use]
    pub fn acknowledge_due(&self) -> Timestamp {
        after(self.detected_at, self.severity.respond_within())
    }

    /// How the response clock stands.
    #[must_use]
    pub fn acknowledge_clock(&self, now: Timestamp) -> ClockState {
        let due = self.acknowledge_due();
        match self.acknowledged_at {
            Some(at) if at <= due => ClockState::Met,
            Some(_) => ClockState::Missed,
            None if now <= due => ClockState::Running,
            None => ClockState::Overdue,
        }
    }

    /// Whether the others wait for an update.
    #[must_use]
    pub fn is_update_overdue(&self, now: Timestamp) -> bool {
        self.next_update_due.is_some_and(|due| due < now)
    }

    /// Until when the fix is watched.
    #[must_use]
    pub fn monitor_until(&self) -> Option<Timestamp> {
        self.monitored_since.map(|since| after(since, MONITOR_FOR))
    }

    /// When it must have been reviewed.
    #[must_use]
    pub fn review_due(&self) -> Option<Timestamp> {
        self.resolved_at.map(|at| after(at, REVIEW_WITHIN))
    }

    /// How long it took from when it was noticed.
    #[must_use]
    pub fn seconds_to(&self, at: Option<Timestamp>) -> Option<u64> {
        at.map(|at| between(self.detected_at, at).as_secs())
    }
}

#[cfg(test)]
#[path = "incident_tests.rs"]
mod tests;
