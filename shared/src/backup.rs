//! Copies of the table, page by page: what `GET /v1/backup/items` reads and `PUT /v1/backup/items` writes back, and what is known of
//! copies that were made.
//!
//! Items travel in DynamoDB's own JSON, unread: a copy does not depend on what a version of ours makes of them. A read is no
//! snapshot (writes go on meanwhile), and a write never changes what is there; ADR 0026 says what follows from both.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::clock::rfc3339_millis;
use crate::engine::ports::JournalError;

/// Parts that a table may be read in side by side.
pub const MOST_SEGMENTS: u32 = 64;
/// Items that one call may write.
pub const MOST_ITEMS: usize = 1_000;
/// Bytes of the items of one page, as they are sent. Lambda takes 6 MB, and our JSON is a text within Lambda's own.
pub const LARGEST_PAGE: usize = 4_000_000;
/// Writes at the same time.
const WRITERS: usize = 16;

/// An item in DynamoDB's JSON: `{"pk": {"S": "…"}, …}`.
pub type RawItem = Map<String, Value>;

/// A primary key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RawKey {
    /// Its partition.
    pub pk: String,
    /// Its place in it.
    pub sk: String,
}

/// Behind which item a read goes on: opaque to callers.
impl fmt::Display for RawKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
        write!(f, "{}.{}", hex(&self.pk), hex(&self.sk))
    }
}

impl FromStr for RawKey {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (pk, sk) = text.split_once('.').ok_or(())?;
        Ok(Self { pk: unhex(pk).ok_or(())?, sk: unhex(sk).ok_or(())? })
    }
}

fn unhex(text: &str) -> Option<String> {
    let digits = text.bytes().map(|byte| char::from(byte).to_digit(16).filter(|_| !byte.is_ascii_uppercase()));
    let digits: Vec<u8> = digits.map(|digit| u8::try_from(digit?).ok()).collect::<Option<_>>()?;
    let bytes = digits.chunks(2).map(|pair| (pair.len() == 2).then(|| pair[0] * 16 + pair[1])).collect::<Option<Vec<u8>>>()?;
    String::from_utf8(bytes).ok().filter(|text| !text.is_empty())
}

/// The key of an item, if it has one.
#[must_use]
pub fn key_of(item: &RawItem) -> Option<RawKey> {
    let part = |name: &str| item.get(name)?.get("S")?.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    Some(RawKey { pk: part("pk")?, sk: part("sk")? })
}

/// One of the parts that a table is read in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Which, from 0.
    pub index: u32,
    /// Of how many.
    pub of: u32,
}

/// Some items of a segment.
#[derive(Debug, Clone, PartialEq)]
pub struct RawPage {
    /// In the table's own order, which keeps the items of a partition together.
    pub items: Vec<RawItem>,
    /// Behind which item the next page begins; none at the end of the segment.
    pub next: Option<RawKey>,
}

/// What became of an item that was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is there now.
    Written,
    /// The same was there.
    Unchanged,
    /// Something else is there, and stays.
    Kept,
}

/// Why items cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is no such place in that segment.
    #[error("the cursor is of another segment")]
    BadCursor,
    /// The item with this index is none that a table takes.
    #[error("item {0}: {1}")]
    BadItem(usize, String),
    /// The table cannot be reached.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// A table as a whole.
#[async_trait]
pub trait WholeTable: Send + Sync {
    /// Its name.
    fn table_name(&self) -> &str;
    /// A page of a segment, strongly consistent item by item.
    async fn read_page(&self, segment: Segment, after: Option<&RawKey>) -> Result<RawPage, BackupError>;
    /// Writes an item unless one with its key is there. May be repeated.
    ///
    /// # Errors
    /// With a text when it is no item.
    async fn put_if_absent(&self, item: &RawItem) -> Result<Result<Put, String>, JournalError>;
}

/// A backup that its maker has read back and found whole, as noted with the deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotedBackup {
    /// When it was noted.
    #[serde(with = "rfc3339_millis")]
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// When its maker began to read: what was written later may not be in it.
    #[serde(with = "rfc3339_millis")]
    pub began_at: Timestamp,
    /// The archive's sum, as `reprise backup verify` tells it.
    pub sha256: String,
    /// Items in it.
    pub items: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// What is known of backups. Idempotent; the adapter retries.
#[async_trait]
pub trait Backups: Send + Sync {
    /// Notes one.
    async fn note(&self, backup: &NotedBackup) -> Result<(), JournalError>;
    /// The last ones, the newest first.
    async fn last_backups(&self, limit: usize) -> Result<Vec<NotedBackup>, JournalError>;
}

/// What became of items that were to be written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// There now.
    pub written: usize,
    /// The same was there.
    pub unchanged: usize,
    /// Something else is there, and stays.
    pub kept: Vec<RawKey>,
}

/// Writes items side by side; an error leaves some of them written, and all may be sent again.
///
/// # Errors
/// Names the first one that is no item; nothing else is checked before the first is written but their keys.
pub async fn restore(table: &dyn WholeTable, items: &[RawItem]) -> Result<Restored, BackupError> {
    let keys: Vec<RawKey> = items
        .iter()
        .enumerate()
        .map(|(index, item)| key_of(item).ok_or_else(|| BackupError::BadItem(index, "has no pk and sk".into())))
        .collect::<Result<_, _>>()?;
    let mut puts: Vec<BoxFuture<'_, _>> = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        puts.push(Box::pin(put(table, index, item)));
    }
    let mut done: Vec<(usize, Put)> = stream::iter(puts).buffer_unordered(WRITERS).try_collect().await?;
    done.sort_unstable_by_key(|(index, _)| *index);
    let mut restored = Restored::default();
    for (index, put) in done {
        match put {
            Put::Written => restored.written += 1,
            Put::Unchanged => restored.unchanged += 1,
            Put::Kept => restored.kept.push(keys[index].clone()),
        }
    }
    Ok(restored)
}

async fn put(table: &dyn WholeTable, index: usize, item: &RawItem) -> Result<(usize, Put), BackupError> {
    let put = table.put_if_absent(item).await?.map_err(|problem| BackupError::BadItem(index, problem))?;
    Ok((index, put))
}

/// As many of the items as fit into one answer, at least one, and where the next page begins if they are not all.
#[must_use]
pub fn fitting(mut page: RawPage) -> RawPage {
    let mut bytes = 0;
    let fits = page.items.iter().take_while(|item| {
        bytes += sent_size(item);
        bytes <= LARGEST_PAGE
    });
    let fits = fits.count().max(1);
    if fits < page.items.len() {
        page.items.truncate(fits);
        page.next = page.items.last().and_then(key_of);
    }
    page
}

/// Bytes of an item in an answer: its JSON as a text within JSON.
fn sent_size(item: &RawItem) -> usize {
    let json = serde_json::to_string(item).unwrap_or_default();
    // What becomes two signs or more there are quotes and backslashes; controls are escaped already.
    json.len() + json.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count()
}

#[cfg(test)]
#[path = "backup_tests.rs"]
mod tests;
