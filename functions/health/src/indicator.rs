//! How well a part is, and how well all of them are.

use serde::Serialize;

/// The parts' states, the worst last: that one is the whole's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Health {
    Healthy,
    Degraded,
    Unhealthy,
}

/// One part, in the words of `/health/detailed`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Indicator {
    pub(crate) name: String,
    pub(crate) status: Health,
    pub(crate) message: Option<String>,
    /// What the check took; `None` where nothing was asked, or nothing answered.
    pub(crate) latency_ms: Option<u64>,
}

impl Indicator {
    /// A part that was not asked: what is known of it was read elsewhere.
    pub(crate) fn known(name: impl Into<String>, (status, message): (Health, String)) -> Self {
        Self { name: name.into(), status, message: Some(message), latency_ms: None }
    }
}

/// The worst of them.
pub(crate) fn worst(parts: impl IntoIterator<Item = Health>) -> Health {
    parts.into_iter().max().unwrap_or(Health::Healthy)
}
