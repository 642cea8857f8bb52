//! Letters in memory.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;

use super::{locked, unavailable};
use crate::domain::id::LetterId;
use crate::engine::ports::JournalError;
use crate::letters::{LetterBook, LetterRecord, TaskSender};

/// Letters, and what was sent back.
#[derive(Debug, Default)]
pub struct MemoryLetters {
    /// The records.
    pub records: Mutex<HashMap<LetterId, LetterRecord>>,
    /// The texts.
    pub bodies: Mutex<HashMap<LetterId, String>>,
    /// What was sent back to the tasks queue.
    pub sent: Mutex<Vec<String>>,
    /// Refuses everything while true.
    pub is_down: Mutex<bool>,
    /// So many of the next writes find that somebody else was faster.
    pub losses: Mutex<u32>,
}

impl MemoryLetters {
    fn check(&self) -> Result<(), JournalError> {
        if *locked(&self.is_down) { Err(unavailable()) } else { Ok(()) }
    }
}

#[async_trait]
impl LetterBook for MemoryLetters {
    async fn letter(&self, id: LetterId) -> Result<Option<LetterRecord>, JournalError> {
        self.check()?;
        Ok(locked(&self.records).get(&id).cloned())
    }

    async fn body(&self, id: LetterId) -> Result<Option<String>, JournalError> {
        self.check()?;
        Ok(locked(&self.bodies).get(&id).cloned())
    }

    async fn keep(&self, record: &LetterRecord, body: &str) -> Result<(), JournalError> {
        self.check()?;
        locked(&self.bodies).insert(record.id, body.to_owned());
        Ok(())
    }

    async fn put_letter(&self, record: &LetterRecord) -> Result<bool, JournalError> {
        self.check()?;
        let mut losses = locked(&self.losses);
        if *losses > 0 {
            *losses -= 1;
            return Ok(false);
        }
        let mut records = locked(&self.records);
        let stored = records.get(&record.id).map_or(0, |stored| stored.version);
        let is_next = record.version == stored + 1;
        if is_next {
            records.insert(record.id, record.clone());
        }
        Ok(is_next)
    }

    async fn letters(&self, limit: usize) -> Result<Vec<LetterRecord>, JournalError> {
        self.check()?;
        Ok(locked(&self.records).values().take(limit).cloned().collect())
    }
}

#[async_trait]
impl TaskSender for MemoryLetters {
    async fn send_text(&self, body: &str) -> Result<(), JournalError> {
        self.check()?;
        locked(&self.sent).push(body.to_owned());
        Ok(())
    }
}
