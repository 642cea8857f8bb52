//! Poison letters: messages on our queues that are none of ours. They reach the dead-letter queue as they are; here is what is known of
//! them, so that people can look without touching a queue, and what they decide.
//!
//! Whoever meets such a message notes it ([`seen`]): the consumer when it is delivered, the janitor when it lies on the dead-letter
//! queue. An operator moves it back, mended or as it is, or discards it ([`LetterDesk`]): that is recorded, and from then on the message
//! itself means nothing and is deleted by whoever meets it next. A decision covers the messages of that text that were sent up to then:
//! one that is sent later is a new matter and opens the letter again.

mod desk;
mod record;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use jiff::Timestamp;

pub use self::desk::{LetterDesk, LetterError, LetterPage, TaskSender};
pub use self::record::{Decision, KEPT_BYTES, LetterRecord, LetterStatus, Sighting, Standing, problem_of};
use crate::domain::id::LetterId;
use crate::engine::ports::JournalError;

/// How often a write is tried that somebody else was faster with.
const TRIES: usize = 4;

/// Where letters are recorded. They belong to no tenant.
#[async_trait]
pub trait LetterBook: Send + Sync {
    /// One letter, strongly consistent.
    async fn letter(&self, id: LetterId) -> Result<Option<LetterRecord>, JournalError>;
    /// The text of a letter, as much as was kept.
    async fn body(&self, id: LetterId) -> Result<Option<String>, JournalError>;
    /// Keeps the text of a letter. May be repeated: the same letter has the same text.
    async fn keep(&self, record: &LetterRecord, body: &str) -> Result<(), JournalError>;
    /// Writes a record whose version is one more than that of the stored one, or 1 if there is none. False: somebody else was faster.
    async fn put_letter(&self, record: &LetterRecord) -> Result<bool, JournalError>;
    /// All letters, in any order, at most `limit`.
    async fn letters(&self, limit: usize) -> Result<Vec<LetterRecord>, JournalError>;
}

/// Notes that a message was met, and says whether it means anything still.
///
/// # Errors
/// When the record can be neither read nor written; then nothing is known of it.
pub async fn seen(book: &dyn LetterBook, sighting: &Sighting<'_>, at: Timestamp) -> Result<Standing, JournalError> {
    let id = LetterId::of(sighting.body);
    for _ in 0..TRIES {
        let (record, standing) = match book.letter(id).await? {
            Some(mut record) => {
                let standing = record.see(sighting, at);
                if standing == Standing::Known {
                    return Ok(standing);
                }
                (record, standing)
            }
            None => {
                let record = LetterRecord::first(sighting, at);
                // Before the record: what is listed can be shown.
                book.keep(&record, record.kept(sighting.body)).await?;
                (record, Standing::Open)
            }
        };
        if standing == Standing::Settled || book.put_letter(&record).await? {
            return Ok(standing);
        }
    }
    Ok(Standing::Open)
}
