//! Signs of life: that the sweeper ticks, and that what it sends through the tasks queue arrives at a consumer.
//!
//! Both are marks in the table (shared by all), each overwritten by the next. A stack without work is then not mistaken for a dead one.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::task::Canary;
use crate::engine::ports::JournalError;
use crate::sweep::Tally;

/// The marks as they stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// When the sweeper was last at work.
    pub swept_at: Option<Timestamp>,
    /// The last canary that a consumer took off the queue.
    pub arrived: Option<Arrival>,
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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

/// Where the marks are. Idempotent; the adapter retries.
#[async_trait]
pub trait Heartbeats: Send + Sync {
    /// Notes that the sweeper was at work at `at`, and what it did in that tick so far.
    async fn swept(&self, at: Timestamp, tally: &Tally) -> Result<(), JournalError>;
    /// Notes that a canary arrived at `at`. One that is older than the last one noted changes nothing.
    async fn arrived(&self, canary: &Canary, at: Timestamp) -> Result<(), JournalError>;
}
