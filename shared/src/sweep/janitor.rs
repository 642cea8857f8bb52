//! Tidies the dead-letter queue: deletes letters that mean nothing any more, and leaves those that an operator needs.
//!
//! Looking at a message hides it from everybody else. So a look is short and small, hides for seconds even if it dies half-way, and does not
//! happen while a move task works on the queue, which would pass over what is hidden. After a bulk action thousands of letters mean nothing:
//! one look follows the other while they find such.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{join_all, try_join_all};
use jiff::Timestamp;
use tracing::Span;

use crate::domain::clock::{Clock, between};
use crate::domain::id::{RunId, TenantId};
use crate::domain::run::Run;
use crate::domain::state::RunState;
use crate::domain::task::{Message, Task};
use crate::engine::ports::JournalError;
use crate::letters::{self, LetterBook, Sighting, Standing};
use crate::operate::Records;
use crate::telemetry::{chain, span};

/// Letters that one look takes at most.
const MOST: usize = 500;
/// Batches of ten that are taken side by side.
const SIDE_BY_SIDE: usize = 5;
/// Letters of a batch.
const BATCH: usize = 10;
/// How long a letter is hidden if the look dies; a look gives letters back as soon as it ends.
const HIDDEN: Duration = Duration::from_secs(5);
/// A look takes no further letters after this, so that it ends before the first ones show up again.
const LONGEST: Duration = Duration::from_secs(3);

/// A message on the dead-letter queue, hidden from others for the moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Letter {
    /// The queue's name for it.
    pub id: String,
    /// Its text.
    pub body: String,
    /// What names it while it is hidden.
    pub receipt: String,
    /// When it was first sent, or moved here by a move task.
    pub sent_at: Option<Timestamp>,
    /// Who sent it, as the queue knows it.
    pub sender: Option<String>,
}

/// The dead-letter queue, letter by letter.
#[async_trait]
pub trait Letters: Send + Sync {
    /// About how many letters there are to look at; none while a move task works on them.
    async fn to_look_at(&self) -> Result<u64, JournalError>;
    /// Takes up to ten letters and hides them for `hidden`. None: there are no more, or none that show.
    async fn take(&self, hidden: Duration) -> Result<Vec<Letter>, JournalError>;
    /// Deletes letters.
    async fn delete(&self, letters: &[Letter]) -> Result<(), JournalError>;
    /// Lets letters be seen again, at once.
    async fn give_back(&self, letters: &[Letter]) -> Result<(), JournalError>;
}

/// What becomes of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Keep,
    Delete(&'static str),
}

/// Tidies.
pub struct Janitor {
    /// The dead letters.
    pub letters: Arc<dyn Letters>,
    /// The runs that they are about.
    pub records: Arc<dyn Records>,
    /// Where those are noted that are about none.
    pub book: Arc<dyn LetterBook>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Janitor {
    /// One look, and further ones until then while they find something to delete. Returns how many letters were deleted; what goes
    /// wrong is logged, and the next tick's.
    pub async fn tidy(&self, until: Timestamp) -> u32 {
        let mut deleted = 0;
        loop {
            let (mut kept, before) = (Vec::new(), deleted);
            let looked = self.look(&mut kept, &mut deleted).await;
            if let Err(error) = &looked {
                tracing::warn!(error = %chain(error), "the dead letters were not tidied");
            }
            if !kept.is_empty()
                && let Err(error) = self.letters.give_back(&kept).await
            {
                tracing::warn!(error = %chain(&error), hidden = kept.len(), "dead letters stay hidden for {} s", HIDDEN.as_secs());
            }
            if looked.is_err() || deleted == before || self.clock.now() >= until {
                return deleted;
            }
        }
    }

    /// Kept letters are hidden until the end of the look, so that each batch is a new one. A message that the transport sent twice may
    /// leave two letters, of which one is enough.
    async fn look(&self, kept: &mut Vec<Letter>, deleted: &mut u32) -> Result<(), JournalError> {
        let count = usize::try_from(self.letters.to_look_at().await?).unwrap_or(MOST).min(MOST);
        let begun = self.clock.now();
        let mut seen = 0;
        // Not until there are no more: to find that out takes a second, in which those in hand are hidden.
        while seen < count && between(begun, self.clock.now()) < LONGEST {
            let takes = (count - seen).div_ceil(BATCH).min(SIDE_BY_SIDE);
            let batch: Vec<Letter> = try_join_all((0..takes).map(|_| self.letters.take(HIDDEN))).await?.into_iter().flatten().collect();
            if batch.is_empty() {
                break;
            }
            seen += batch.len();
            let runs = self.runs_of(&batch).await;
            let verdicts = join_all(batch.iter().map(|letter| self.judge(letter, &runs))).await;
            let mut useless = Vec::new();
            for (letter, verdict) in batch.into_iter().zip(verdicts) {
                match verdict {
                    Verdict::Keep if let Some(place) = kept.iter().position(|other| is_again(other, &letter)) => {
                        // The one with the smallest name stays: so looks that know nothing of each other agree.
                        let surplus = if kept[place].id <= letter.id { letter } else { std::mem::replace(&mut kept[place], letter) };
                        say_deleted(&surplus, "the run has another one");
                        useless.push(surplus);
                    }
                    Verdict::Keep => kept.push(letter),
                    Verdict::Delete(why) => {
                        say_deleted(&letter, why);
                        useless.push(letter);
                    }
                }
            }
            if !useless.is_empty() {
                self.letters.delete(&useless).await?;
                *deleted += u32::try_from(useless.len()).unwrap_or(u32::MAX);
            }
        }
        Ok(())
    }

    /// The runs that letters are about, by tenant; those of a tenant whose runs could not be read are left out.
    async fn runs_of(&self, letters: &[Letter]) -> HashMap<TenantId, HashMap<RunId, Run>> {
        let mut wanted: HashMap<TenantId, Vec<RunId>> = HashMap::new();
        for task in letters.iter().filter_map(|letter| Task::from_body(&letter.body).ok()) {
            let runs = wanted.entry(task.tenant).or_default();
            // A key may be asked for once.
            if !runs.contains(&task.run) {
                runs.push(task.run);
            }
        }
        let mut found = HashMap::new();
        for (tenant, ids) in wanted {
            match self.records.runs(&tenant, &ids).await {
                Ok(runs) => drop(found.insert(tenant, runs.into_iter().map(|run| (run.id, run)).collect())),
                Err(error) => {
                    tracing::warn!(tenant = %tenant, runs = ids.len(), error = %chain(&error), "the runs of dead letters could not be read");
                }
            }
        }
        found
    }

    /// In doubt a letter stays.
    async fn judge(&self, letter: &Letter, runs: &HashMap<TenantId, HashMap<RunId, Run>>) -> Verdict {
        let task = match Message::from_body(&letter.body) {
            Ok(Message::Run(task)) => task,
            Ok(Message::Canary(_)) => return Verdict::Delete("a canary that did not arrive"),
            Err(_) => return self.judge_poison(letter).await,
        };
        runs.get(&task.tenant).map_or(Verdict::Keep, |runs| verdict(&task, runs.get(&task.run)))
    }

    /// Somebody may have put it here directly: then nobody has noted it.
    async fn judge_poison(&self, letter: &Letter) -> Verdict {
        let sender = letter.sender.as_deref();
        let sighting = Sighting { body: &letter.body, message_id: &letter.id, sent_at: letter.sent_at, sender, ..Sighting::default() };
        match letters::seen(self.book.as_ref(), &sighting, self.clock.now()).await {
            Ok(Standing::Open | Standing::Known) => Verdict::Keep,
            Ok(Standing::Settled) => Verdict::Delete("an operator has moved or discarded it"),
            Err(error) => {
                tracing::warn!(message = letter.id, error = %chain(&error), "a poison letter could not be noted");
                Verdict::Keep
            }
        }
    }
}

/// The rule, over the record as it stands. The record is written before its message is sent, so a letter without one is nobody's.
fn verdict(task: &Task, run: Option<&Run>) -> Verdict {
    let Some(run) = run else { return Verdict::Delete("there is no such run") };
    if run.epoch > task.epoch {
        return Verdict::Delete("a newer message counts");
    }
    match run.state {
        RunState::Completed | RunState::Failed | RunState::Cancelled => Verdict::Delete("the run has ended"),
        // A dead run that was put back and waits for its turn, for one: the end of the wait is a new message.
        RunState::Waiting => Verdict::Delete("the run waits"),
        // Not dead yet: its last delivery was cut off, and the sweeper will say so of it.
        RunState::Dead | RunState::Queued | RunState::Running => Verdict::Keep,
    }
}

/// Whether two letters are about the same enqueue of the same run. A look that took too long may see the same letter again.
fn is_again(one: &Letter, other: &Letter) -> bool {
    one.id != other.id && one.body == other.body && Task::from_body(&one.body).is_ok()
}

/// Never its text.
fn say_deleted(letter: &Letter, why: &str) {
    let task = Task::from_body(&letter.body).ok();
    let around = task.map_or_else(Span::none, |task| span::about(&task.tenant, task.run));
    around.in_scope(|| tracing::info!(letter = letter.id, why, "dead letter deleted"));
}
