//! What operators do with letters.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Decision, LetterBook, LetterRecord, LetterStatus, TRIES};
use crate::domain::canonical::sha256;
use crate::domain::clock::Clock;
use crate::domain::id::LetterId;
use crate::engine::ports::JournalError;
use crate::sweep::janitor::{Letter, Letters};
use crate::telemetry::chain;

/// Letters that a list looks at.
const MOST: usize = 5_000;
/// Batches of ten that a search of the dead-letter queue looks at.
const SEARCH_BATCHES: usize = 10;
/// How long a searched message is hidden if the search dies.
const SEARCH_HIDDEN: Duration = Duration::from_secs(10);

/// Sends any text to the tasks queue. The adapter retries.
#[async_trait]
pub trait TaskSender: Send + Sync {
    /// Sends it as it is.
    async fn send_text(&self, body: &str) -> Result<(), JournalError>;
}

/// Why a decision about a letter was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum LetterError {
    /// No such letter, or not any more.
    #[error("no such letter")]
    NotFound,
    /// It was decided about.
    #[error("the letter is {}", .0.as_str())]
    NotOpen(LetterStatus),
    /// Its text is longer than what is kept, so it cannot be sent from here.
    #[error("the letter was not kept whole")]
    NotWhole,
    /// The store or the queue cannot be reached.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// A part of the list of letters.
#[derive(Debug)]
pub struct LetterPage {
    /// Newest first.
    pub letters: Vec<LetterRecord>,
    /// Where the next page begins.
    pub next: Option<(Timestamp, LetterId)>,
    /// Whether these are out of all letters, not out of as many as a list looks at.
    pub complete: bool,
}

/// Where operators look at letters and decide about them.
pub struct LetterDesk {
    /// The letters.
    pub book: Arc<dyn LetterBook>,
    /// Where they are sent back to.
    pub queue: Arc<dyn TaskSender>,
    /// Where they lie.
    pub dead_letters: Arc<dyn Letters>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl LetterDesk {
    /// Letters that `is_wanted`, the one that was met first last, beginning behind `after`.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn list(
        &self,
        is_wanted: impl Fn(LetterStatus) -> bool + Send,
        after: Option<(Timestamp, LetterId)>,
        limit: usize,
    ) -> Result<LetterPage, JournalError> {
        let mut letters = self.book.letters(MOST).await?;
        let complete = letters.len() < MOST;
        let place = |letter: &LetterRecord| (letter.first_seen_at, letter.id);
        letters.retain(|letter| is_wanted(letter.status) && after.is_none_or(|after| place(letter) < after));
        letters.sort_unstable_by_key(|letter| std::cmp::Reverse(place(letter)));
        let has_more = letters.len() > limit;
        letters.truncate(limit);
        let next = letters.last().filter(|_| has_more).map(place);
        Ok(LetterPage { letters, next, complete })
    }

    /// Sends a letter back to the tasks queue, or `mended` in its place. Recorded before it is sent and again after: where that broke
    /// off the letter says `moving`, and may be moved again.
    ///
    /// # Errors
    /// See [`LetterError`].
    pub async fn move_back(&self, id: LetterId, mended: Option<&str>, by: &str, reason: &str) -> Result<LetterRecord, LetterError> {
        let kept = self.book.body(id).await?.ok_or(LetterError::NotFound)?;
        let (by, reason) = (by.to_owned(), reason.to_owned());
        let decision = Decision { at: self.clock.now(), by, reason, to: LetterStatus::Moving, mended: mended.is_some() };
        self.change(id, |record| {
            if mended.is_none() && !record.is_whole {
                return Err(LetterError::NotWhole);
            }
            open(record)?.decide(decision.clone());
            Ok(())
        })
        .await?;
        self.queue.send_text(mended.unwrap_or(&kept)).await?;
        let record = self
            .change(id, |record| {
                if record.status == LetterStatus::Moving {
                    record.moved(self.clock.now());
                }
                Ok(())
            })
            .await?;
        tracing::info!(letter = %id, by = decision.by, reason = decision.reason, mended = decision.mended, "poison letter moved back");
        self.remove(&record).await;
        Ok(record)
    }

    /// Gives a letter up.
    ///
    /// # Errors
    /// See [`LetterError`].
    pub async fn discard(&self, id: LetterId, by: &str, reason: &str) -> Result<LetterRecord, LetterError> {
        let (by, reason) = (by.to_owned(), reason.to_owned());
        let decision = Decision { at: self.clock.now(), by, reason, to: LetterStatus::Discarded, mended: false };
        let decide = |record: &mut LetterRecord| open(record).map(|record| record.decide(decision.clone()));
        let record = self.change(id, decide).await?;
        tracing::info!(letter = %id, by = decision.by, reason = decision.reason, "poison letter discarded");
        self.remove(&record).await;
        Ok(record)
    }

    async fn change(
        &self,
        id: LetterId,
        change: impl Fn(&mut LetterRecord) -> Result<(), LetterError> + Send + Sync,
    ) -> Result<LetterRecord, LetterError> {
        for _ in 0..TRIES {
            let mut record = self.book.letter(id).await?.ok_or(LetterError::NotFound)?;
            let before = record.version;
            change(&mut record)?;
            if record.version == before || self.book.put_letter(&record).await? {
                return Ok(record);
            }
        }
        Err(JournalError::Unavailable("the letter is met faster than it can be decided about".into()).into())
    }

    /// Deletes the message from the dead-letter queue, as far as a short look finds it. Who meets it later does the same.
    async fn remove(&self, record: &LetterRecord) {
        let mut held = Vec::new();
        if let Err(error) = self.search(record, &mut held).await {
            tracing::warn!(letter = %record.id, error = %chain(&error), "a settled letter stays for the sweeper");
        }
        if !held.is_empty()
            && let Err(error) = self.dead_letters.give_back(&held).await
        {
            tracing::warn!(error = %chain(&error), hidden = held.len(), "dead letters stay hidden for {} s", SEARCH_HIDDEN.as_secs());
        }
    }

    async fn search(&self, record: &LetterRecord, held: &mut Vec<Letter>) -> Result<(), JournalError> {
        // Nor while the queue's own move task is at work, which passes over what is hidden.
        if self.dead_letters.to_look_at().await? == 0 {
            return Ok(());
        }
        for _ in 0..SEARCH_BATCHES {
            let batch = self.dead_letters.take(SEARCH_HIDDEN).await?;
            if batch.is_empty() {
                return Ok(());
            }
            let (found, others): (Vec<_>, Vec<_>) = batch.into_iter().partition(|letter| is_covered(record, letter));
            held.extend(others);
            if !found.is_empty() {
                return self.dead_letters.delete(&found).await;
            }
        }
        Ok(())
    }
}

fn open(record: &mut LetterRecord) -> Result<&mut LetterRecord, LetterError> {
    if record.status.is_open() { Ok(record) } else { Err(LetterError::NotOpen(record.status)) }
}

fn is_covered(record: &LetterRecord, letter: &Letter) -> bool {
    let is_before = letter.sent_at.zip(record.covers).is_some_and(|(sent_at, covered)| sent_at <= covered);
    is_before && !record.status.is_open() && sha256(&letter.body) == record.sha256
}
