//! What a caller's key stands for: the same key and the same request give the same run, however often they are sent.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::clock::rfc3339_millis;
use super::id::{EventId, JobId, RunId};

/// How long a key is remembered, in seconds.
pub const REMEMBERED: u64 = 86_400;

/// A caller's key with what it was sent with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    /// A digest of the kind of request and the key: it stands in the table's own key.
    pub digest: String,
    /// A digest of the request itself.
    pub fingerprint: String,
}

/// A key that was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedKey {
    /// See [`RequestKey::digest`].
    pub digest: String,
    /// See [`RequestKey::fingerprint`].
    pub fingerprint: String,
    /// What came of the request.
    pub outcome: KeyOutcome,
    /// When it was first used.
    #[serde(with = "rfc3339_millis")]
    pub created_at: Timestamp,
    /// When it is forgotten, in seconds since 1970: the table's time to live.
    pub expires_at: i64,
}

/// What came of the request that a key was first used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyOutcome {
    /// This run.
    Run(RunId),
    /// This event, with its runs.
    Event(EventId),
    /// This job.
    Job(JobId),
}

impl UsedKey {
    /// `key`, used at `now` for `outcome`.
    #[must_use]
    pub fn new(key: &RequestKey, outcome: KeyOutcome, now: Timestamp) -> Self {
        Self {
            digest: key.digest.clone(),
            fingerprint: key.fingerprint.clone(),
            outcome,
            created_at: now,
            expires_at: now.as_second().saturating_add_unsigned(REMEMBERED),
        }
    }

    /// Whether it counts no more.
    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at <= now.as_second()
    }
}
