//! Signs of life: that the sweeper ticks, and that what it sends through the tasks queue arrives at a consumer.
//!
//! Both are marks in the table (shared by all), each overwritten by the next. A stack without work is then not mistaken for a dead one.
//! The sweeper's mark also keeps what stood on the queue in its last ticks, so that a probe can tell a backlog that grows from one that
//! is being worked off, and which run has waited longest.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::board::Board;
use crate::domain::clock::rfc3339_millis;
use crate::domain::id::{RunId, TenantId};
use crate::domain::task::Canary;
use crate::engine::ports::JournalError;
use crate::sweep::Tally;

/// How many ticks the sweeper's mark remembers.
pub const REMEMBERED: usize = 6;
/// A backlog grows if it did so from tick to tick for so many ticks, and until now.
const GROWING_TICKS: usize = 3;
/// What it must have grown by meanwhile: a few messages are no backlog.
const GROWN_BY: u64 = 10;

/// The marks as they stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// When the sweeper was first at work: how long the deployment has been there.
    pub first_swept_at: Option<Timestamp>,
    /// When the sweeper was last at work.
    pub swept_at: Option<Timestamp>,
    /// What stood on the tasks queue in its last ticks, the oldest first; at most [`REMEMBERED`].
    pub depths: Vec<DepthAt>,
    /// The run that had waited longest for a worker in its last tick, as far as that knew, if one had waited for too long.
    pub oldest: Option<Oldest>,
    /// The last canary that a consumer took off the queue.
    pub arrived: Option<Arrival>,
}

impl Marks {
    /// How many messages waited in each of the last ticks and wait now, if they became more with each and nothing of it drained.
    #[must_use]
    pub fn growth(&self, waiting_now: u64) -> Option<Vec<u64>> {
        let last = self.depths.iter().rev().take(GROWING_TICKS).rev().map(|tick| tick.depth.waiting);
        let course: Vec<u64> = last.chain([waiting_now]).collect();
        let has_grown = course.len() > GROWING_TICKS
            && course.is_sorted_by(|before, later| before < later)
            && course.last().zip(course.first()).is_some_and(|(last, first)| last - first >= GROWN_BY);
        has_grown.then_some(course)
    }
}

/// A run that waits for a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Oldest {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub run: RunId,
    /// Since when.
    #[serde(with = "rfc3339_millis")]
    pub since: Timestamp,
}

/// What a tick of the sweeper saw in line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// What stood on the tasks queue, if that could be read.
    pub depth: Option<Depth>,
    /// See [`Marks::oldest`].
    pub oldest: Option<Oldest>,
}

/// What stood on a queue at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepthAt {
    /// When.
    #[serde(with = "rfc3339_millis")]
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub depth: Depth,
}

/// A canary that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When it was sent.
    pub sent_at: Timestamp,
    /// When it arrived.
    pub at: Timestamp,
}

/// What stands on a queue, as SQS counts it: approximately.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Depth {
    /// Messages that can be taken.
    pub waiting: u64,
    /// Messages that somebody has taken and not yet deleted.
    pub in_flight: u64,
    /// Messages whose delay is not over.
    pub delayed: u64,
}

impl Depth {
    /// What nobody has taken yet.
    #[must_use]
    pub const fn pending(&self) -> u64 {
        self.waiting + self.delayed
    }
}

/// All that a probe reads of the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The signs of life.
    pub marks: Marks,
    /// What is known of the providers.
    pub board: Board,
    /// What an earlier probe found that asked the queues and the providers, if one did.
    pub found: Option<Found>,
}

/// What a probe found, kept for those that come right after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// When it had asked.
    pub at: Timestamp,
    /// What it found, in the words of the probes.
    pub text: String,
}

/// Where the marks are. Idempotent; the adapter retries.
#[async_trait]
pub trait Heartbeats: Send + Sync {
    /// Notes that the sweeper was at work at `at`, what it did in that tick so far, and what stood in line if that is new.
    async fn swept(&self, at: Timestamp, tally: &Tally, standing: Option<&Standing>) -> Result<(), JournalError>;
    /// The run that had waited longest when that was last noted.
    async fn oldest(&self) -> Result<Option<Oldest>, JournalError>;
    /// Notes that a canary arrived at `at`. One that is older than the last one noted changes nothing.
    async fn arrived(&self, canary: &Canary, at: Timestamp) -> Result<(), JournalError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(waiting: &[u64]) -> Marks {
        let tick = |waiting: &u64| DepthAt { at: Timestamp::UNIX_EPOCH, depth: Depth { waiting: *waiting, ..Depth::default() } };
        Marks { depths: waiting.iter().map(tick).collect(), ..Marks::default() }
    }

    #[test]
    fn a_backlog_grows_if_each_tick_found_more_and_nothing_drained() {
        for (ticks, now, is_growing) in [
            (&[0, 5, 9][..], 12, true),
            (&[500, 0, 5, 9], 12, true),
            (&[0, 5, 9], 9, false),
            (&[5, 4, 9], 20, false),
            (&[5, 9], 20, false),
            (&[], 1, false),
            (&[0, 0, 0], 1, false),
            (&[0, 1, 2], 3, false),
        ] {
            assert_eq!(marks(ticks).growth(now).is_some(), is_growing, "{ticks:?}, {now}");
        }
        assert_eq!(marks(&[500, 0, 5, 9]).growth(12), Some(vec![0, 5, 9, 12]));
    }
}
