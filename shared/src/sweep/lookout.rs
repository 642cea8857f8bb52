//! What the sweeper measures once a tick: numbers of the whole deployment that nobody who works on a single run can see.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{join_all, join5};
use jiff::Timestamp;

use super::{Backlog, DueIndex, SHARDS};
use crate::backup::Backups;
use crate::domain::clock::{Clock, between};
use crate::engine::Breakers;
use crate::engine::ports::JournalError;
use crate::heartbeat::Marks;
use crate::metrics::Gauges;
use crate::operate::DeadLetterQueue;
use crate::telemetry::chain;

/// What should have been looked at so long ago is stuck: five ticks have passed over it.
const STUCK: Duration = Duration::from_secs(300);
/// Entries of each shard that are counted: with so many stuck it matters little how many more there are.
const COUNTED: usize = 50;

/// Where signs of life are read.
#[async_trait]
pub trait Signs: Send + Sync {
    /// The marks as they stand.
    async fn marks(&self) -> Result<Marks, JournalError>;
}

/// Looks at everything.
pub struct Lookout {
    /// What is due.
    pub index: Arc<dyn DueIndex>,
    /// The signs of life.
    pub signs: Arc<dyn Signs>,
    /// What is known of the providers.
    pub breakers: Arc<dyn Breakers>,
    /// What is known of backups.
    pub backups: Arc<dyn Backups>,
    /// The dead.
    pub dead_letters: Arc<dyn DeadLetterQueue>,
    /// The tasks queue.
    pub backlog: Arc<dyn Backlog>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Lookout {
    /// One look, all at once. What cannot be read is left out, and the log says why.
    pub async fn look(&self) -> Gauges {
        let now = self.clock.now();
        let (marks, board, dead, depth, stuck) =
            join5(self.signs.marks(), self.breakers.board(), self.dead_letters.depth(), self.backlog.waiting(), self.due(now)).await;
        let marks = known(marks, "the marks");
        let last = known(self.backups.last_backups(1).await, "the last backup");
        // Where none was ever made, its age is the deployment's: or nobody would ever be told.
        let backup = last.and_then(|last| last.first().map(|last| last.at).or_else(|| marks.as_ref()?.first_swept_at));
        let arrived = marks.and_then(|marks| marks.arrived);
        let open = known(board, "the breakers").map(|board| {
            let open = board.breakers.values().filter(|breaker| breaker.is_in_trouble(now));
            u64::try_from(open.count()).unwrap_or(u64::MAX)
        });
        Gauges {
            canary_age: arrived.map(|arrived| between(arrived.at, now)),
            canary_latency: arrived.map(|arrived| between(arrived.sent_at, arrived.at)),
            stuck_runs: stuck,
            breakers_open: open,
            dead_runs: known(dead, "the dead-letter queue"),
            queue_depth: known(depth, "the tasks queue"),
            backup_age: backup.map(|at| between(at, now)),
        }
    }

    /// How many runs are stuck.
    async fn due(&self, now: Timestamp) -> Option<u64> {
        let shards = join_all((0..SHARDS).map(|shard| self.index.due(shard, None, COUNTED))).await;
        let shards = known(shards.into_iter().collect::<Result<Vec<_>, _>>(), "the index of what is due")?;
        let stuck = shards.iter().flatten().filter(|entry| between(entry.at, now) >= STUCK).count();
        u64::try_from(stuck).ok()
    }
}

fn known<T>(read: Result<T, JournalError>, what: &str) -> Option<T> {
    read.inspect_err(|error| tracing::warn!(error = %chain(error), "{what} could not be read for metrics")).ok()
}
