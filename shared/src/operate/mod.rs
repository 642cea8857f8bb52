//! What people ask of runs: list, cancel, retry. Reads are strongly consistent, but for the order of lists.
//!
//! This file is what it takes of the world; [`list()`], [`cancel()`] and [`Redrive`] are what it does with it.

mod cancel;
mod list;
mod redrive;

use async_trait::async_trait;

pub use self::cancel::cancel;
pub use self::list::{Page, RunFilter, list};
pub use self::redrive::Redrive;
use crate::domain::event::Event;
use crate::domain::id::{ConversationId, EventId, RunId, TenantId};
use crate::domain::run::Run;
use crate::domain::state::RunState;
use crate::domain::step::Step;
use crate::domain::task::Task;
use crate::domain::turn::{Conversation, Turn};
use crate::engine::ports::JournalError;

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
