//! What happens in a run, told to whoever reads along: from any position on, while it goes on or long after it has ended.
//!
//! The journal is the truth, and what is told of it is the same every time and from everywhere. Of a step that is not finished, the
//! reader hears what its model has said so far: from [`Live`] where this process works on the run, else from the pieces that the
//! worker keeps in the journal while somebody reads along. Should another try succeed than the one whose text was told, the reader
//! hears [`RunEvent::Reset`] and then the right text. ADR 0018 has the reasons.

mod follower;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, unfold};
use jiff::Timestamp;

use self::follower::Follower;
use crate::domain::clock::Clock;
use crate::domain::delta::Position;
use crate::domain::id::{RunId, TenantId};
use crate::domain::run::Run;
use crate::domain::step::Step;
use crate::engine::Live;
use crate::operate::Records;

/// One thing that a reader is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Where the reader is when it has read this; absent where that has not changed.
    pub id: Option<Position>,
    /// What happened.
    pub event: RunEvent,
}

/// What happens in a run.
#[derive(Debug, Clone, PartialEq)]
pub enum RunEvent {
    /// The run as the reader finds it: the first event.
    Run(Box<Run>),
    /// More of a step's text.
    Delta {
        /// The step.
        step: u32,
        /// The text; never empty.
        text: String,
    },
    /// What was told of a step's text is worth nothing: it begins anew.
    Reset {
        /// The step.
        step: u32,
    },
    /// A step is finished. Its text was told.
    Step(Box<Step>),
    /// The run waits.
    Waiting(Box<Run>),
    /// It has its answer. Nothing comes after this, nor after the next two.
    Done {
        /// The run.
        run: Box<Run>,
        /// The answer.
        response: String,
    },
    /// It has ended without an answer, or is dead: then it may be retried, and read again.
    Failed(Box<Run>),
    /// It was cancelled.
    Cancelled(Box<Run>),
}

/// A reader of one run.
pub struct Reader {
    /// Where runs are.
    pub records: Arc<dyn Records>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Whose run.
    pub tenant: TenantId,
    /// Which.
    pub run: RunId,
    /// How far it was read before.
    pub from: Position,
    /// When this process has no more time for it: the reader then has to come back.
    pub until: Timestamp,
    /// What the worker in this process says of it, if there is one.
    pub live: Option<Arc<Live>>,
}

impl Reader {
    /// Tells it all, as fast as it happens and no faster than it is read. Ends after the end of the run, when the time is over, or when
    /// there is no such run any more.
    #[must_use]
    pub fn read(self) -> BoxStream<'static, Told> {
        unfold(Follower::new(self), |mut follower| async move { Some((follower.next().await?, follower)) }).boxed()
    }
}
