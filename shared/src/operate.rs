//! What people ask of runs: show, list, cancel, retry. Reads are strongly consistent, but for the order of lists.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::clock::Clock;
use crate::domain::event::Event;
use crate::domain::id::{ConversationId, EventId, RunId, TenantId};
use crate::domain::run::{Failure, FailureCode, Run};
use crate::domain::state::{Command, RunState};
use crate::domain::step::Step;
use crate::domain::task::Task;
use crate::domain::turn::{Conversation, Turn};
use crate::engine::ports::{JournalError, Queue};

/// How many runs a list looks at per round, and how many rounds it makes before it hands out a cursor instead.
const ROUND: usize = 100;
const ROUNDS: usize = 10;

/// The records as people see them. Writes are conditional and refused with [`JournalError::Lost`] when the run has moved.
#[async_trait]
pub trait Records: Send + Sync {
    /// A run.
    async fn run(&self, tenant: &TenantId, id: RunId) -> Result<Option<Run>, JournalError>;
    /// What it answers.
    async fn event(&self, tenant: &TenantId, id: EventId) -> Result<Option<Event>, JournalError>;
    /// Steps after the one with index `after`, in order, at most `limit`.
    async fn steps(&self, tenant: &TenantId, run: RunId, after: u32, limit: usize) -> Result<Vec<Step>, JournalError>;
    /// Ids below `before`, newest first, at most `limit`; of runs in `state` if given (only states that are listed).
    async fn ids(&self, tenant: &TenantId, state: Option<RunState>, range: Range, limit: usize) -> Result<Vec<RunId>, JournalError>;
    /// The runs with these ids (at most 100), newest first; those that do not exist are left out.
    async fn runs(&self, tenant: &TenantId, ids: &[RunId]) -> Result<Vec<Run>, JournalError>;
    /// How many runs are in `state` (only states that are listed).
    async fn count(&self, tenant: &TenantId, state: RunState) -> Result<u64, JournalError>;
    /// A conversation and its turns after `after`, in order, at most `limit`.
    async fn conversation(
        &self,
        tenant: &TenantId,
        id: ConversationId,
        after: Option<RunId>,
        limit: usize,
    ) -> Result<Option<(Conversation, Vec<Turn>)>, JournalError>;
    /// Writes `run` as `cancelled` if it may be, and gives its conversation free.
    async fn cancel(&self, run: &Run) -> Result<(), JournalError>;
    /// Writes a dead `run` as `queued` with the epoch that it now has, and takes its conversation if that is free.
    async fn requeue(&self, run: &Run) -> Result<Requeued, JournalError>;
}

/// Ids between two bounds, both exclusive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range {
    /// Newer than this.
    pub after: Option<RunId>,
    /// Older than this.
    pub before: Option<RunId>,
}

/// What came of a requeue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requeued {
    /// It is queued.
    Yes,
    /// Another run of its conversation is active.
    ConversationBusy,
}

/// Which runs a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Only in this state.
    pub state: Option<RunState>,
    /// Only of this agent.
    pub agent: Option<String>,
    /// Only accepted at or after.
    pub since: Option<Timestamp>,
    /// Only accepted before.
    pub until: Option<Timestamp>,
}

/// A part of a list. While there is a cursor there may be more, even after a short or an empty page.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The runs, newest first.
    pub runs: Vec<Run>,
    /// Where the next page begins.
    pub next: Option<RunId>,
}

/// Lists runs, newest first.
///
/// # Errors
/// When the store cannot be reached.
pub async fn list(
    records: &dyn Records,
    tenant: &TenantId,
    filter: &RunFilter,
    cursor: Option<RunId>,
    limit: usize,
) -> Result<Page, JournalError> {
    let mut range = Range {
        // Bounds are exclusive and the smallest id of a millisecond is never handed out, so `since` is inclusive.
        after: filter.since.map(RunId::lower_bound),
        before: [cursor, filter.until.map(RunId::lower_bound)].into_iter().flatten().min(),
    };
    // The store refuses a range whose end is before its beginning.
    if range.after.zip(range.before).is_some_and(|(after, before)| after >= before) {
        return Ok(Page { runs: Vec::new(), next: None });
    }
    let indexed = filter.state.filter(|state| state.is_listed_by_state());
    let mut found = Vec::new();
    for _ in 0..ROUNDS {
        let ids = records.ids(tenant, indexed, range, ROUND).await?;
        for run in records.runs(tenant, &ids).await? {
            let fits = filter.state.is_none_or(|state| run.state == state) && filter.agent.as_ref().is_none_or(|agent| *agent == run.agent);
            if fits {
                found.push(run);
            }
            if found.len() > limit {
                found.truncate(limit);
                let next = found.last().map(|run| run.id);
                return Ok(Page { runs: found, next });
            }
        }
        if ids.len() < ROUND {
            return Ok(Page { runs: found, next: None });
        }
        range.before = ids.last().copied();
    }
    Ok(Page { runs: found, next: range.before })
}

/// Why an operator's command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// No such run, or another tenant's.
    #[error("no such run")]
    NotFound,
    /// The run's state does not allow it.
    #[error("the run is {}", .0.as_str())]
    WrongState(RunState),
    /// Another run of its conversation is active.
    #[error("the conversation is busy")]
    ConversationBusy,
    /// The store or the queue cannot be reached.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Cancels a run: the worker that has it can write nothing more. Cancelling a cancelled run is no error.
///
/// # Errors
/// See [`CommandError`].
pub async fn cancel(records: &dyn Records, clock: &dyn Clock, tenant: &TenantId, id: RunId, by: &str) -> Result<Run, CommandError> {
    // A worker may move the run between our read and our write, but not for ever: its states only go forward.
    for _ in 0..5 {
        let mut run = records.run(tenant, id).await?.ok_or(CommandError::NotFound)?;
        if run.state == RunState::Cancelled {
            return Ok(run);
        }
        let cancelled = run.state.after(Command::Cancel).ok_or(CommandError::WrongState(run.state))?;
        let now = clock.now();
        run.note(Failure::new(FailureCode::CancelRequested, format!("cancelled by {by}"), now, run.attempts));
        run.updated_at = now;
        run.ended_at = Some(now);
        match records.cancel(&run).await {
            Ok(()) => {
                run.state = cancelled;
                run.drop_lease();
                return Ok(run);
            }
            Err(JournalError::Lost) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(JournalError::Lost.into())
}

/// The dead-letter queue itself.
#[async_trait]
pub trait DeadLetterQueue: Send + Sync {
    /// About how many messages it holds, poison ones included.
    async fn depth(&self) -> Result<u64, JournalError>;
    /// Starts moving all messages back to the tasks queue; the queue service carries it through. Returns its handle;
    /// one that is already under way is as good.
    async fn start_move(&self) -> Result<Move, JournalError>;
    /// Removes messages of `task`'s run with an older epoch, as far as a short look finds them. Best effort.
    async fn forget(&self, task: &Task) -> Result<(), JournalError>;
}

/// A move of the whole dead-letter queue back to the tasks queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    /// Started by this call.
    Started {
        /// The service's name for it.
        handle: String,
    },
    /// An earlier one still runs.
    AlreadyRunning,
}

/// Puts dead runs back.
pub struct Redrive {
    /// The records.
    pub records: Arc<dyn Records>,
    /// The tasks queue.
    pub queue: Arc<dyn Queue>,
    /// The dead-letter queue.
    pub dead_letters: Arc<dyn DeadLetterQueue>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Redrive {
    /// Puts one dead run back: it resumes at the step that failed. Its message on the dead-letter queue means nothing from now on.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn retry(&self, tenant: &TenantId, id: RunId) -> Result<Run, CommandError> {
        let mut run = self.records.run(tenant, id).await?.ok_or(CommandError::NotFound)?;
        run.state = run.state.after(Command::Retry).ok_or(CommandError::WrongState(run.state))?;
        run.epoch += 1;
        run.attempts = 0;
        run.updated_at = self.clock.now();
        run.ended_at = None;
        match self.records.requeue(&run).await {
            Ok(Requeued::Yes) => {}
            Ok(Requeued::ConversationBusy) => return Err(CommandError::ConversationBusy),
            // Somebody else was faster: a retry, or the worker that a redrive woke. Either way it is no longer dead.
            Err(JournalError::Lost) => {
                let state = self.records.run(tenant, id).await?.map_or(RunState::Queued, |run| run.state);
                return Err(CommandError::WrongState(state));
            }
            Err(error) => return Err(error.into()),
        }
        self.queue.send(&run.task(), Duration::ZERO).await?;
        tracing::info!(run.id = %run.id, epoch = run.epoch, "dead run retried");
        if let Err(error) = self.dead_letters.forget(&run.task()).await {
            tracing::warn!(run.id = %run.id, error = %error, "the dead letter of a retried run stays; it will be dropped when it is redriven");
        }
        Ok(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::{FixedClock, MemoryStore, a_run};

    fn tenant() -> TenantId {
        "acme".parse().unwrap()
    }

    #[tokio::test]
    async fn a_list_is_paged_by_its_sort_key_without_gap_or_repetition() {
        let store = MemoryStore::default();
        for n in 0..250_i64 {
            let mut run = a_run(&tenant(), Timestamp::from_millisecond(1_000_000 + n).unwrap());
            run.agent = if n % 10 == 0 { "rare".into() } else { "assistant".into() };
            store.put(run);
        }
        let filter = RunFilter { agent: Some("rare".into()), ..RunFilter::default() };
        let (mut cursor, mut seen) = (None, Vec::new());
        loop {
            let page = list(&store, &tenant(), &filter, cursor, 10).await.unwrap();
            assert!(page.runs.len() <= 10);
            seen.extend(page.runs.iter().map(|run| run.id));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), 25);
        assert!(seen.is_sorted_by(|a, b| a > b));
    }

    #[tokio::test]
    async fn time_bounds_are_since_inclusive_and_until_exclusive() {
        let store = MemoryStore::default();
        let at = |n| Timestamp::from_millisecond(n).unwrap();
        for n in [100, 200, 300] {
            store.put(a_run(&tenant(), at(n)));
        }
        let filter = RunFilter { since: Some(at(100)), until: Some(at(300)), ..RunFilter::default() };
        let page = list(&store, &tenant(), &filter, None, 10).await.unwrap();
        assert_eq!(page.runs.iter().map(|run| run.created_at).collect::<Vec<_>>(), [at(200), at(100)]);
    }

    #[tokio::test]
    async fn only_a_run_that_has_not_ended_is_cancelled() {
        let store = MemoryStore::default();
        let clock = FixedClock::at("2026-01-02T03:04:05Z");
        let mut run = a_run(&tenant(), clock.now());
        store.put(run.clone());
        let cancelled = cancel(&store, &clock, &tenant(), run.id, "me").await.unwrap();
        assert_eq!(cancelled.state, RunState::Cancelled);
        assert_eq!(cancel(&store, &clock, &tenant(), run.id, "me").await.unwrap().state, RunState::Cancelled);
        run.state = RunState::Completed;
        store.put(run.clone());
        assert!(matches!(cancel(&store, &clock, &tenant(), run.id, "me").await, Err(CommandError::WrongState(RunState::Completed))));
        let other = "other".parse().unwrap();
        assert!(matches!(cancel(&store, &clock, &other, run.id, "me").await, Err(CommandError::NotFound)));
    }
}
