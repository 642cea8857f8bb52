//! Replays: past events are processed again as new runs, by what is defined now, and both outcomes are put side by side.
//!
//! This file is what somebody asks for; `select` finds what it is about, `start` starts one run of it, `compare` shows what came of
//! it. `work` makes a job of them ([`crate::jobs`], ADR 0025).

mod compare;
mod select;
mod start;
#[cfg(test)]
mod tests;
mod work;

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::compare::{Comparison, Difference, Side, compare};
pub use self::select::{Candidate, Place, Plan, Selected};
pub use self::start::{Refused, Started};
pub use self::work::{ReplayPage, ReplayResult, ReplayWork, results};
use crate::domain::clock::{Clock, rfc3339_millis};
use crate::domain::definition::{Bundle, ModelRef};
use crate::domain::id::{EventId, RunId};
use crate::domain::state::RunState;
use crate::engine::ports::Queue;
use crate::operate::{Events, Records};

/// What a replay is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// These runs: each is asked once more what it was asked, whatever its trigger says now.
    Runs(Vec<RunId>),
    /// These events.
    Events(Vec<EventId>),
    /// The events that fit.
    Filter(ReplayFilter),
    /// All events.
    All,
}

/// Which events are replayed, and for which agents and triggers. What is absent is not demanded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayFilter {
    /// Recorded at or after.
    #[serde(default, with = "rfc3339_millis::option", skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Recorded before.
    #[serde(default, with = "rfc3339_millis::option", skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Of this type.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// From this source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Only for this trigger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// Only for this agent: that of the request, or that of the trigger as it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Only where the run of then is in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<RunState>,
}

/// What somebody asks for, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayOrder {
    /// What it is about.
    pub selection: Selection,
    /// The model to ask, and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelRef>,
    /// The agent that takes all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Whether tools that change something outside are really called.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub with_side_effects: bool,
}

/// Replays events.
#[derive(Clone)]
pub struct Replayer {
    /// The runs of then and of now.
    pub records: Arc<dyn Records>,
    /// The events.
    pub events: Arc<dyn Events>,
    /// The tasks queue.
    pub queue: Arc<dyn Queue>,
    /// The definitions of now.
    pub bundle: Arc<Bundle>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}
