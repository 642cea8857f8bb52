//! What the sweeper and operators take of the world, over the same memory.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{MemoryQueue, MemoryStore, locked};
use crate::domain::dead::DeadEntry;
use crate::domain::run::Run;
use crate::engine::ports::JournalError;
use crate::operate::{DeadIndex, DeadRange, Whose};
use crate::sweep::{Backlog, DueEntry, DueIndex, SHARDS};

#[async_trait]
impl DueIndex for MemoryStore {
    async fn due(&self, shard: u8, after: Option<&DueEntry>, limit: usize) -> Result<Vec<DueEntry>, JournalError> {
        self.check()?;
        let entry =
            |run: &Run| Some(DueEntry { at: Timestamp::from_millisecond(run.due_ms?).ok()?, tenant: run.tenant.clone(), run: run.id });
        let mut entries: Vec<_> =
            self.with_tables(|tables| tables.runs.values().filter(|run| run.id.shard(SHARDS) == shard).filter_map(entry).collect());
        entries.sort_by_key(|entry| (entry.at, entry.run));
        entries.retain(|entry| after.is_none_or(|after| (entry.at, entry.run) > (after.at, after.run)));
        entries.truncate(limit);
        Ok(entries)
    }
}

#[async_trait]
impl DeadIndex for MemoryStore {
    async fn dead(&self, whose: Whose<'_>, range: &DeadRange, limit: usize) -> Result<Vec<DeadEntry>, JournalError> {
        self.check()?;
        let is_of = |run: &&Run| matches!(whose, Whose::All) || whose == Whose::Tenant(&run.tenant);
        let entries: Vec<_> = self.with_tables(|tables| tables.runs.values().filter(is_of).filter_map(Run::dead_entry).collect());
        Ok(range.select(entries, limit))
    }
}

#[async_trait]
impl Backlog for MemoryQueue {
    async fn waiting(&self) -> Result<u64, JournalError> {
        self.check()?;
        Ok(locked(&self.sent).len() as u64)
    }
}
