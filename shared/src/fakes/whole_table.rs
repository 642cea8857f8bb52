//! A table of raw items in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;

use super::{locked, unavailable};
use crate::backup::{BackupError, Backups, NotedBackup, Put, RawItem, RawKey, RawPage, Segment, WholeTable, key_of};
use crate::engine::ports::JournalError;

/// Items of a page.
const PAGE: usize = 10;

/// Items by key.
#[derive(Debug, Default)]
pub struct MemoryTable {
    items: Mutex<BTreeMap<(String, String), RawItem>>,
    noted: Mutex<Vec<NotedBackup>>,
    /// Refuses everything while true.
    pub is_down: Mutex<bool>,
}

impl MemoryTable {
    /// Puts an item there, whatever was.
    pub fn put(&self, item: RawItem) {
        if let Some(RawKey { pk, sk }) = key_of(&item) {
            locked(&self.items).insert((pk, sk), item);
        }
    }

    /// The item with that key.
    #[must_use]
    pub fn get(&self, pk: &str, sk: &str) -> Option<RawItem> {
        locked(&self.items).get(&(pk.to_owned(), sk.to_owned())).cloned()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        locked(&self.items).len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn check(&self) -> Result<(), JournalError> {
        if *locked(&self.is_down) { Err(unavailable()) } else { Ok(()) }
    }
}

/// The segment of a partition.
fn segment_of(pk: &str, of: u32) -> u32 {
    pk.bytes().fold(7_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte))) % of
}

#[async_trait]
impl Backups for MemoryTable {
    async fn note(&self, backup: &NotedBackup) -> Result<(), JournalError> {
        self.check()?;
        locked(&self.noted).push(backup.clone());
        Ok(())
    }

    async fn last_backups(&self, limit: usize) -> Result<Vec<NotedBackup>, JournalError> {
        self.check()?;
        Ok(locked(&self.noted).iter().rev().take(limit).cloned().collect())
    }
}

#[async_trait]
impl WholeTable for MemoryTable {
    fn table_name(&self) -> &'static str {
        "memory"
    }

    async fn read_page(&self, segment: Segment, after: Option<&RawKey>) -> Result<RawPage, BackupError> {
        self.check()?;
        if after.is_some_and(|after| segment_of(&after.pk, segment.of) != segment.index) {
            return Err(BackupError::BadCursor);
        }
        let items = locked(&self.items);
        let of_segment = items.iter().filter(|((pk, _), _)| segment_of(pk, segment.of) == segment.index);
        let behind = of_segment.filter(|((pk, sk), _)| after.is_none_or(|after| (pk, sk) > (&after.pk, &after.sk)));
        let page: Vec<RawItem> = behind.map(|(_, item)| item.clone()).take(PAGE).collect();
        let next = page.last().filter(|_| page.len() == PAGE).and_then(key_of);
        Ok(RawPage { items: page, next })
    }

    async fn put_if_absent(&self, item: &RawItem) -> Result<Result<Put, String>, JournalError> {
        self.check()?;
        let Some(RawKey { pk, sk }) = key_of(item) else { return Ok(Err("has no pk and sk".into())) };
        let mut items = locked(&self.items);
        Ok(Ok(match items.get(&(pk.clone(), sk.clone())) {
            Some(there) if there == item => Put::Unchanged,
            Some(_) => Put::Kept,
            None => {
                items.insert((pk, sk), item.clone());
                Put::Written
            }
        }))
    }
}
