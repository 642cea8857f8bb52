//! What people ask of runs: list, cancel, retry, answer, delete. Reads are strongly consistent, but for the order of lists.
//!
//! This file is what it takes of the world; the others are what it does with it.

mod answer;
mod cancel;
pub mod dead;
mod dead_filter;
mod dead_index;
mod delete;
mod events;
mod history;
pub mod incidents;
mod list;
pub mod providers;
mod redrive;
mod response;

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::civil::Date;

pub use self::answer::{NewAnswer, answer, time_is_over};
pub use self::cancel::cancel;
pub use self::dead_filter::DeadFilter;
pub use self::dead_index::{DeadIndex, DeadRange, Whose};
pub use self::delete::{Deleted, delete};
pub use self::events::{EventFilter, EventPage, EventRange, Events, Order, list_events};
pub use self::history::{Content, Contents, Execution, History, Timings, history};
pub use self::incidents::Incidents;
pub use self::list::{Page, RunFilter, list};
pub use self::providers::Switches;
pub use self::redrive::{LOOP_GUARD, NotAgain, Redrive, Retry};
pub use self::response::{answer_of, answer_step};
use crate::domain::delta::{Delta, Try};
use crate::domain::id::{ConversationId, RunId, TenantId};
use crate::domain::run::{Archive, Run};
use crate::domain::spend::Spend;
use crate::domain::state::RunState;
use crate::domain::step::Step;
use crate::domain::task::Task;
use crate::domain::turn::Turn;
use crate::engine::ports::{Journal, JournalError};

/// The records as people see them.
#[async_trait]
pub trait Records: Journal {
    /// Steps after the one with index `after`, in order, at most `limit`.
    async fn steps_after(&self, tenant: &TenantId, run: RunId, after: u32, limit: usize) -> Result<Vec<Step>, JournalError>;
    /// What was said of a step before it was finished, from the delta with that try and place on, in order, at most `limit`.
    async fn deltas(
        &self,
        tenant: &TenantId,
        run: RunId,
        step: u32,
        from: Option<(Try, u32)>,
        limit: usize,
    ) -> Result<Vec<Delta>, JournalError>;
    /// Says that somebody reads along until then, see [`Run::watched_until_ms`]. Writes nothing where there is no such run.
    async fn watch(&self, tenant: &TenantId, run: RunId, until: Timestamp) -> Result<(), JournalError>;
    /// What a run's record does not keep any more, oldest first.
    async fn archives(&self, run: &Run) -> Result<Vec<Archive>, JournalError>;
    /// Ids below `before`, newest first, at most `limit`; of runs in `state` if given (only states that are listed).
    async fn ids(&self, tenant: &TenantId, state: Option<RunState>, range: Range, limit: usize) -> Result<Vec<RunId>, JournalError>;
    /// The runs with these ids (at most 100), newest first; those that do not exist are left out.
    async fn runs(&self, tenant: &TenantId, ids: &[RunId]) -> Result<Vec<Run>, JournalError>;
    /// How many runs are in `state` (only states that are listed).
    async fn count(&self, tenant: &TenantId, state: RunState) -> Result<u64, JournalError>;
    /// What the tenant's runs have used that ended on that day.
    async fn spend(&self, tenant: &TenantId, day: Date) -> Result<Spend, JournalError>;
    /// The turns of a conversation after `after`, in order, at most `limit`.
    async fn turns(
        &self,
        tenant: &TenantId,
        conversation: ConversationId,
        after: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<Turn>, JournalError>;
    /// Removes records for good. Not atomic; may be repeated until it succeeds.
    async fn erase(&self, tenant: &TenantId, what: Erasure) -> Result<(), JournalError>;
}

/// What is removed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Erasure {
    /// A run with its steps, archives, input and turn, and its event unless a trigger or a replay started it.
    Run(RunId),
    /// A conversation that is marked for deletion, once its runs are gone.
    Conversation(ConversationId),
}

/// Ids between two bounds, both exclusive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range {
    /// Newer than this.
    pub after: Option<RunId>,
    /// Older than this.
    pub before: Option<RunId>,
}

/// The dead-letter queue itself.
#[async_trait]
pub trait DeadLetterQueue: Send + Sync {
    /// About how many messages it holds, poison ones included.
    async fn depth(&self) -> Result<u64, JournalError>;
    /// Starts moving all messages back to the tasks queue; the queue service carries it through. Returns its handle;
    /// one that is already under way is as good. At most `rate` messages a second; absent: as fast as it goes.
    async fn start_move(&self, rate: Option<u32>) -> Result<Move, JournalError>;
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
    /// A dead run is not put back.
    #[error(transparent)]
    NotAgain(#[from] NotAgain),
    /// As many runs of its conversation wait as may.
    #[error("the conversation is full")]
    ConversationFull,
    /// The run waits for another question, or for none.
    #[error("the question is not open")]
    NotAsked,
    /// The question wants a text and got a leave, or the other way round.
    #[error("the question wants another kind of answer")]
    OtherAnswer,
    /// The store or the queue cannot be reached.
    #[error(transparent)]
    Journal(#[from] JournalError),
}
