//! A tick of the sweeper, the function's own code, over the simulated store and queues.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use shared::domain::run::Run;
use shared::domain::task::Canary;
use shared::engine::ports::JournalError;
use shared::fakes::MemoryLetters;
use shared::heartbeat::Depth;
use shared::jobs::Watchman;
use shared::sweep::janitor::{Janitor, Letter, Letters};
use shared::sweep::{Backlog, CanaryQueue, Caretaker, DueEntry, DueIndex, Sweeper};

use crate::faults::Fault;
use crate::jobs::SimJobs;
use crate::process::ProcessClock;
use crate::signs::Signs;
use crate::sqs::SimQueue;
use crate::store::SimStore;

/// A tick of one process.
pub(crate) fn sweeper(store: &SimStore, queue: &SimQueue, jobs: &SimJobs, max_attempts: u32) -> Sweeper {
    let (sim, process) = (store.sim.clone(), store.process.clone());
    let clock = Arc::new(ProcessClock { sim: sim.clone(), skew: process.skew });
    let caretaker = Caretaker {
        journal: Arc::new(store.clone()),
        queue: Arc::new(queue.clone()),
        backlog: Arc::new(queue.clone()),
        clock: clock.clone(),
        max_attempts,
    };
    Sweeper {
        index: Arc::new(store.clone()),
        attendant: Arc::new(caretaker),
        canaries: Arc::new(queue.clone()),
        heartbeats: Arc::new(Signs { sim, process }),
        janitor: Janitor {
            letters: Arc::new(queue.clone()),
            records: Arc::new(store.clone()),
            book: Arc::new(MemoryLetters::default()),
            clock: clock.clone(),
        },
        watchman: Watchman { store: Arc::new(jobs.clone()), queue: Arc::new(jobs.clone()), clock: clock.clone() },
        clock,
    }
}

#[async_trait]
impl DueIndex for SimStore {
    async fn due(&self, shard: u8, after: Option<&DueEntry>, limit: usize) -> Result<Vec<DueEntry>, JournalError> {
        let mut due = self.read(self.store.due(shard, after, limit)).await?;
        if self.sim.strikes(Fault::IndexLags, None) {
            // Some entries do not show yet, and such as were taken away still do.
            due.retain(|_| self.sim.chance(50));
            let at = Timestamp::from_millisecond(self.sim.now_ms() - 1_000).unwrap_or_default();
            let was_due = |run: &Run| DueEntry { at, tenant: run.tenant.clone(), run: run.id };
            let all: Vec<DueEntry> = self.store.with_tables(|tables| tables.runs.values().map(was_due).collect());
            due.extend(all.into_iter().filter(|_| self.sim.chance(10)));
            due.sort_by_key(|entry| (entry.at, entry.run));
        }
        Ok(due)
    }
}

#[async_trait]
impl Backlog for SimQueue {
    async fn waiting(&self) -> Result<u64, JournalError> {
        self.call(|| self.sqs.tasks().len() as u64).await
    }
}

#[async_trait]
impl CanaryQueue for SimQueue {
    async fn send_canary(&self, _canary: &Canary) -> Result<(), JournalError> {
        // It would only be in the way: what a canary does is tested elsewhere.
        self.call(|| ()).await
    }

    async fn depth(&self) -> Result<Depth, JournalError> {
        self.call(|| Depth { waiting: self.sqs.tasks().len() as u64, ..Depth::default() }).await
    }
}

#[async_trait]
impl Letters for SimQueue {
    async fn to_look_at(&self) -> Result<u64, JournalError> {
        self.call(|| if self.sqs.is_moving() { 0 } else { self.sqs.dead().len() as u64 }).await
    }

    async fn take(&self, hidden: Duration) -> Result<Vec<Letter>, JournalError> {
        self.call(|| self.sqs.take_dead(10, hidden)).await
    }

    async fn delete(&self, letters: &[Letter]) -> Result<(), JournalError> {
        self.call(|| letters.iter().for_each(|letter| self.sqs.delete_dead(&letter.receipt))).await
    }

    async fn give_back(&self, letters: &[Letter]) -> Result<(), JournalError> {
        self.call(|| letters.iter().for_each(|letter| self.sqs.give_back_dead(&letter.receipt))).await
    }
}

/// When a tick that begins at `begun` is ended by the platform.
pub(crate) fn deadline(begun: i64) -> Timestamp {
    Timestamp::from_millisecond(begun + 60_000).unwrap_or_default()
}
