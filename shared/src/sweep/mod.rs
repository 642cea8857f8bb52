//! What the sweeper does once a minute: it finds the runs that nobody works on, gives a sign of life and tidies the dead letters.
//!
//! This file is one tick, and what it takes of the world. A tick sweeps what is due and then looks ahead: while the index knows of
//! something that falls due before the next tick, it waits for that and sweeps again, so that a timer or a dead worker need not
//! wait for the minute (ADR 0011). `attend` is what is done about one run, [`janitor`] tidies. Any number of ticks may run at the same time: every write is
//! conditional, so the work is done once, and a tick that comes too late for an entry finds nothing to do.

mod attend;
#[cfg(test)]
mod attend_tests;
pub mod janitor;
mod line;
mod lookout;
mod oldest;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{join, join_all, join3};
use jiff::Timestamp;
use serde::Serialize;
use tracing::Instrument as _;

use crate::domain::clock::{Clock, after, between};
use crate::domain::id::{RunId, TenantId};
use crate::domain::task::Canary;
use crate::engine::ports::JournalError;
use crate::heartbeat::{Depth, Heartbeats, Oldest, Standing};
use crate::jobs::Watchman;
use crate::telemetry::{chain, span};
pub use attend::{Backlog, Caretaker};
use janitor::Janitor;
pub use lookout::{Lookout, Signs};
use oldest::older;

/// Partitions of the index of what is due. All are read side by side.
pub const SHARDS: u8 = 8;
/// How far a tick looks ahead. A schedule of one minute is late by seconds now and then, so ticks overlap a little.
pub const LOOK_AHEAD: Duration = Duration::from_secs(70);
/// What a tick leaves of its invocation: time to end the entries in hand, whose calls may be retried for 8 s each.
pub const MARGIN: Duration = Duration::from_secs(10);
/// How long a tick tidies at most: the next one's is not far.
const TIDYING: Duration = Duration::from_secs(45);
/// Between two rounds at least. What falls due meanwhile is swept in one round.
const SHORTEST_PAUSE: Duration = Duration::from_secs(2);
/// Entries read at once.
const PAGE: usize = 50;
/// Entries of one shard that a round takes at most: the rest is the next round's, so that no shard starves a tick of its end.
const MOST: usize = 1_000;

/// A run that somebody must look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueEntry {
    /// Not before then.
    pub at: Timestamp,
    /// Whose run.
    pub tenant: TenantId,
    /// Which run.
    pub run: RunId,
}

/// The index of what is due, over all tenants. It may lag behind the records by a moment: the record is the truth.
#[async_trait]
pub trait DueIndex: Send + Sync {
    /// Entries of a shard, the earliest first, beginning behind `after`; at most `limit`, also such as are due in the future.
    async fn due(&self, shard: u8, after: Option<&DueEntry>, limit: usize) -> Result<Vec<DueEntry>, JournalError>;
}

/// Looks after one entry that is due: reads the record and does what it calls for.
#[async_trait]
pub trait Attendant: Send + Sync {
    /// What came of it.
    async fn attend(&self, entry: &DueEntry) -> Result<Attended, JournalError>;
}

/// What came of looking after an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attended {
    /// What was done.
    pub done: Done,
    /// When somebody must look again, if that is known.
    pub next: Option<Timestamp>,
    /// Since when the run waits for a worker, if it does.
    pub waits_since: Option<Timestamp>,
}

/// Where canaries are sent: the same queue that carries the runs.
#[async_trait]
pub trait CanaryQueue: Send + Sync {
    /// Sends one, without delay. The adapter retries.
    async fn send_canary(&self, canary: &Canary) -> Result<(), JournalError>;
    /// What stands on that queue.
    async fn depth(&self) -> Result<Depth, JournalError>;
}

/// What was done about an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// A queued run was sent again, under a new epoch.
    Resent,
    /// A run whose worker vanished was put back on the queue.
    Requeued,
    /// A run whose worker vanished had no attempt left.
    Died,
    /// A waiting run was woken: its time is over, or its turn had come.
    Woken,
    /// The line that it waits in stood still: the run before it was woken.
    Repaired,
    /// All is well: the entry was moved on.
    Moved,
    /// The run has ended, or ends with its conversation: it has no entry any more.
    Removed,
    /// The record says otherwise than the index, or somebody else was faster.
    Nothing,
}

/// What a tick did, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Rounds over the index.
    pub rounds: u32,
    /// Entries that were looked at: due, or of the run that has waited longest.
    pub entries: u32,
    /// See [`Done::Resent`].
    pub resent: u32,
    /// See [`Done::Requeued`].
    pub requeued: u32,
    /// See [`Done::Died`].
    pub died: u32,
    /// See [`Done::Woken`].
    pub woken: u32,
    /// See [`Done::Repaired`].
    pub repaired: u32,
    /// See [`Done::Moved`].
    pub moved: u32,
    /// See [`Done::Removed`].
    pub removed: u32,
    /// Entries that could not be looked after. They stay due.
    pub failed: u32,
    /// Times that a shard could not be read.
    pub unread: u32,
    /// Dead letters that meant nothing any more and were deleted.
    pub letters_deleted: u32,
    /// Jobs that nobody worked on and whose message was sent again.
    pub jobs_woken: u32,
}

/// Why a tick counts as failed, though it did what it could. The log has the causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TickError {
    /// A part of the index could not be read, so that part was not swept.
    #[error("the index of what is due could not be read in full")]
    Blind,
    /// The sign of life could not be given.
    #[error("the heartbeat could not be written or the canary not sent")]
    Mute,
}

/// One tick's tools.
pub struct Sweeper {
    /// What is due.
    pub index: Arc<dyn DueIndex>,
    /// Who looks after it.
    pub attendant: Arc<dyn Attendant>,
    /// Where the canary goes.
    pub canaries: Arc<dyn CanaryQueue>,
    /// Where the sign of life is left.
    pub heartbeats: Arc<dyn Heartbeats>,
    /// Who tidies the dead letters.
    pub janitor: Janitor,
    /// Who looks after bulk actions.
    pub watchman: Watchman,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// What one round over the index, or one shard of it, came to.
#[derive(Debug, Default)]
struct Round {
    tally: Tally,
    /// The earliest time that is known to be due next.
    next: Option<Timestamp>,
    /// The run that has waited longest for a worker.
    oldest: Option<Oldest>,
}

impl Sweeper {
    /// One tick, which ends [`LOOK_AHEAD`] from now or [`MARGIN`] before `deadline`, whichever comes first; mostly at once.
    ///
    /// # Errors
    /// See [`TickError`]. What could be done was done.
    pub async fn tick(&self, deadline: Timestamp) -> Result<Tally, TickError> {
        let begun = self.clock.now();
        let margin = jiff::SignedDuration::try_from(MARGIN).unwrap_or_default();
        let end = after(begun, LOOK_AHEAD).min(deadline.checked_sub(margin).unwrap_or(begun));

        // Beside all else: thousands of letters take longer than a dead worker's run should wait.
        let tidying = self.janitor.tidy(end.min(after(begun, TIDYING)));
        let (letters_deleted, (mut tally, is_alive, found)) = join(tidying, self.sweep_until(begun, end)).await;
        tally.letters_deleted = letters_deleted;
        if tally.rounds > 1 || letters_deleted > 0 {
            self.mark(&tally, found.as_ref()).await;
        }
        tracing::info!(
            rounds = tally.rounds,
            entries = tally.entries,
            resent = tally.resent,
            requeued = tally.requeued,
            died = tally.died,
            woken = tally.woken,
            repaired = tally.repaired,
            moved = tally.moved,
            removed = tally.removed,
            failed = tally.failed,
            letters_deleted = tally.letters_deleted,
            jobs_woken = tally.jobs_woken,
            "swept"
        );
        match (tally.unread, is_alive) {
            (0, true) => Ok(tally),
            (0, false) => Err(TickError::Mute),
            (_, _) => Err(TickError::Blind),
        }
    }

    /// Sweeps what is due and what falls due until `end`. What was done, whether the signs of life were given, and what they do not tell yet.
    async fn sweep_until(&self, begun: Timestamp, end: Timestamp) -> (Tally, bool, Option<Standing>) {
        // The canary goes after the look at the queue, so that it is not counted.
        let queue = async { (self.depth().await, self.send_canary(begun).await) };
        let looks = async {
            let mut first = self.look_at_the_oldest().await;
            first.add(self.round(end).await);
            first
        };
        let (mut round, jobs_woken, (depth, is_sent)) = join3(looks, self.watchman.wake_all(), queue).await;
        let mut tally = Tally { jobs_woken, ..Tally::default() };
        tally.add(&round.tally);
        let first = Standing { depth, oldest: round.oldest.take() };
        let is_marked = self.mark(&tally, Some(&first)).await;
        let mut later = None;
        while let Some(pause) = self.pause(round.next, end) {
            self.clock.sleep(pause).await;
            round = self.round(end).await;
            tally.add(&round.tally);
            later = older(later, round.oldest.take());
        }
        // Most runs fall due in the course of a tick.
        let found = later.map(|later| Standing { depth: None, oldest: older(first.oldest, Some(later)) });
        (tally, is_sent && is_marked, found)
    }

    /// How long to wait for `next`; `None` when it is the next tick's.
    fn pause(&self, next: Option<Timestamp>, end: Timestamp) -> Option<Duration> {
        let now = self.clock.now();
        let pause = between(now, next?).max(SHORTEST_PAUSE);
        (after(now, pause) <= end).then_some(pause)
    }

    async fn round(&self, end: Timestamp) -> Round {
        let shards = join_all((0..SHARDS).map(|shard| self.sweep(shard, end))).await;
        let mut round = Round::default();
        shards.into_iter().for_each(|shard| round.add(shard));
        round.tally.rounds = 1;
        round
    }

    /// Looks after what is due in one shard, one entry after the other.
    async fn sweep(&self, shard: u8, end: Timestamp) -> Round {
        let mut round = Round::default();
        let mut last: Option<DueEntry> = None;
        for _ in 0..MOST / PAGE {
            let page = match self.index.due(shard, last.as_ref(), PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::error!(shard, error = %chain(&error), "a shard of the index of what is due could not be read");
                    round.tally.unread += 1;
                    return round;
                }
            };
            let is_last = page.len() < PAGE;
            for entry in page {
                let now = self.clock.now();
                if entry.at > now {
                    round.next = earliest(round.next, Some(entry.at));
                    return round;
                }
                if now >= end {
                    return round;
                }
                self.attend(&entry, &mut round).instrument(span::about(&entry.tenant, entry.run)).await;
                last = Some(entry);
            }
            if is_last {
                return round;
            }
        }
        // There is more: at once, but in another round, so that the other shards are not kept waiting.
        round.next = Some(self.clock.now());
        round
    }

    async fn attend(&self, entry: &DueEntry, round: &mut Round) {
        round.tally.entries += 1;
        match self.attendant.attend(entry).await {
            Ok(Attended { done, next, waits_since }) => {
                round.tally.count(done);
                round.next = earliest(round.next, next);
                let waits = waits_since.map(|since| Oldest::of(&entry.tenant, entry.run, since));
                round.oldest = older(round.oldest.take(), waits);
            }
            Err(error) => {
                round.tally.failed += 1;
                tracing::error!(error = %chain(&error), "a run that is due could not be looked after; it stays due");
            }
        }
    }

    async fn send_canary(&self, sent_at: Timestamp) -> bool {
        let sent = self.canaries.send_canary(&Canary { sent_at }).await;
        sent.inspect_err(|error| tracing::error!(error = %chain(error), "the canary could not be sent")).is_ok()
    }

    async fn depth(&self) -> Option<Depth> {
        let depth = self.canaries.depth().await;
        depth.inspect_err(|error| tracing::error!(error = %chain(error), "the depth of the tasks queue could not be read")).ok()
    }

    async fn mark(&self, tally: &Tally, standing: Option<&Standing>) -> bool {
        let marked = self.heartbeats.swept(self.clock.now(), tally, standing).await;
        marked.inspect_err(|error| tracing::error!(error = %chain(error), "the heartbeat could not be written")).is_ok()
    }
}

fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    [one, other].into_iter().flatten().min()
}

impl Round {
    fn add(&mut self, other: Self) {
        self.tally.add(&other.tally);
        self.next = earliest(self.next, other.next);
        self.oldest = older(self.oldest.take(), other.oldest);
    }
}

impl Tally {
    fn count(&mut self, done: Done) {
        match done {
            Done::Resent => self.resent += 1,
            Done::Requeued => self.requeued += 1,
            Done::Died => self.died += 1,
            Done::Woken => self.woken += 1,
            Done::Repaired => self.repaired += 1,
            Done::Moved => self.moved += 1,
            Done::Removed => self.removed += 1,
            Done::Nothing => {}
        }
    }

    fn add(&mut self, other: &Self) {
        self.rounds += other.rounds;
        self.entries += other.entries;
        self.resent += other.resent;
        self.requeued += other.requeued;
        self.died += other.died;
        self.woken += other.woken;
        self.repaired += other.repaired;
        self.moved += other.moved;
        self.removed += other.removed;
        self.failed += other.failed;
        self.unread += other.unread;
        self.letters_deleted += other.letters_deleted;
        self.jobs_woken += other.jobs_woken;
    }
}
