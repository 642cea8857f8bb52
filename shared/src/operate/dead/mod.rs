//! The dead as people look at them: lists, counts by what they died of, and where a run stopped.
//!
//! The index `dead` chooses and sorts, the records are shown (ADR 0024). Which of the dead are meant is a [`super::DeadFilter`], the same that
//! bulk actions take.

mod list;
mod stats;
mod stopped;
#[cfg(test)]
mod tests;

pub use self::list::{Cursor, DeadPage, DeadQuery, ListError, Sort, SortBy, list_dead};
pub use self::stats::{Group, Stats, dead_stats};
pub use self::stopped::{Stopped, StoppedAt, stopped_at};

/// Entries of the index that one call looks at in all: some 12 MB of them. Who has more dead narrows the filter.
pub const MOST: usize = 20_000;
