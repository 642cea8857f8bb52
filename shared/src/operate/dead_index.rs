//! The index of dead runs, as everything that looks for them takes it.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::dead::DeadEntry;
use crate::domain::id::{RunId, TenantId};
use crate::engine::ports::JournalError;

/// The index of dead runs. It may lag behind the records by a moment: the record is the truth.
#[async_trait]
pub trait DeadIndex: Send + Sync {
    /// Dead runs by the time of their death, at most `limit`.
    async fn dead(&self, whose: Whose<'_>, range: &DeadRange, limit: usize) -> Result<Vec<DeadEntry>, JournalError>;
}

/// Of which tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose<'a> {
    /// Of this one.
    Tenant(&'a TenantId),
    /// Of all: for operators only.
    All,
}

/// Which part of the dead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeadRange {
    /// That died at this time or later.
    pub since: Option<Timestamp>,
    /// That died before this time.
    pub until: Option<Timestamp>,
    /// Whether the earliest come first; else the latest do.
    pub oldest_first: bool,
    /// Behind this one, in that order.
    pub behind: Option<(Timestamp, RunId)>,
}

impl DeadRange {
    fn contains(&self, entry: &DeadEntry) -> bool {
        let is_behind = |(died_at, run): (Timestamp, _)| {
            let order = (entry.died_at.as_millisecond(), entry.run).cmp(&(died_at.as_millisecond(), run));
            if self.oldest_first { order.is_gt() } else { order.is_lt() }
        };
        self.since.is_none_or(|since| entry.died_at >= since)
            && self.until.is_none_or(|until| entry.died_at < until)
            && self.behind.is_none_or(is_behind)
    }

    /// Those of `entries` that it contains, in its order, at most `limit`.
    pub(crate) fn select(&self, entries: impl IntoIterator<Item = DeadEntry>, limit: usize) -> Vec<DeadEntry> {
        let mut found: Vec<DeadEntry> = entries.into_iter().filter(|entry| self.contains(entry)).collect();
        found.sort_unstable_by_key(|entry| (entry.died_at.as_millisecond(), entry.run));
        if !self.oldest_first {
            found.reverse();
        }
        found.truncate(limit);
        found
    }
}
