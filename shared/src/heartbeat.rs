//! Signs of life: that the sweeper ticks, and that what it sends through the tasks queue arrives at a consumer.
//!
//! Both are marks in the table (shared by all), each overwritten by the next. A stack without work is then not mistaken for a dead one.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::task::Canary;
use crate::engine::ports::JournalError;
use crate::sweep::Tally;

/// Where the marks are. Idempotent; the adapter retries.
#[async_trait]
pub trait Heartbeats: Send + Sync {
    /// Notes that the sweeper was at work at `at`, and what it did in that tick so far.
    async fn swept(&self, at: Timestamp, tally: &Tally) -> Result<(), JournalError>;
    /// Notes that a canary arrived at `at`. One that is older than the last one noted changes nothing.
    async fn arrived(&self, canary: &Canary, at: Timestamp) -> Result<(), JournalError>;
}
