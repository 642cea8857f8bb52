//! Jobs for dead runs: they are put back, or given up.

use std::sync::Arc;

use async_trait::async_trait;

use super::selection::{DeadItem, DeadOrder};
use super::{Acted, Work};
use crate::domain::id::RunId;
use crate::domain::job::{Item, Job, Outcome, Watched};
use crate::domain::revival::Revival;
use crate::engine::ports::JournalError;
use crate::operate::{CommandError, DeadIndex, NotAgain, Redrive, Retry};

/// What a job does to dead runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToTheDead {
    /// Puts them back.
    Retry,
    /// Gives them up.
    Discard,
}

/// The work of such jobs.
pub struct DeadWork {
    /// How it is done to one.
    pub redrive: Redrive,
    /// Which are dead.
    pub index: Arc<dyn DeadIndex>,
    /// What is done.
    pub what: ToTheDead,
}

impl DeadOrder {
    /// How each of its runs is put back.
    #[must_use]
    pub fn retry(&self, by: &str, reason: Option<&str>) -> Retry {
        let revival = Revival {
            note: reason.map(str::to_owned),
            from_start: self.from_start,
            model: self.model.clone(),
            agent: self.agent.clone(),
            ..Revival::default()
        };
        Retry { by: by.to_owned(), revival, force: self.force, died_before: None }
    }

    /// The same, as a part of `job`.
    fn retry_of(&self, job: &Job) -> Retry {
        let mut retry = self.retry(&job.created_by, job.reason.as_deref());
        (retry.revival.job, retry.died_before) = (Some(job.id), Some(job.created_at));
        retry
    }
}

#[async_trait]
impl Work for DeadWork {
    async fn count(&self, job: &Job) -> Result<u64, JournalError> {
        DeadOrder::of(job)?.count(self.index.as_ref(), self.redrive.records.as_ref(), job.created_at).await
    }

    async fn next(&self, job: &Job, cursor: Option<&str>, limit: usize) -> Result<(Vec<Item>, Option<String>), JournalError> {
        let (index, records) = (self.index.as_ref(), self.redrive.records.as_ref());
        DeadOrder::of(job)?.next(index, records, job.created_at, cursor, limit).await
    }

    async fn act(&self, job: &Job, item: &Item) -> Result<Acted, JournalError> {
        let (Ok(id), Ok(dead)) = (item.key.parse::<RunId>(), serde_json::from_value::<DeadItem>(item.data.clone())) else {
            return Ok(came_out(Outcome::Failed, "it is no dead run"));
        };
        let retry = DeadOrder::of(job)?.retry_of(job);
        let fingerprint = dead.fingerprint.as_ref().map(ToString::to_string);
        let done = |detail: &str| {
            let run = Watched { tenant: dead.tenant.clone(), run: id, fingerprint: fingerprint.clone(), ended: None };
            Ok(Acted { run: Some(run), ..came_out(Outcome::Done, detail) })
        };
        let carried_out = match self.what {
            ToTheDead::Retry => self.redrive.retry(&dead.tenant, id, &retry).await,
            ToTheDead::Discard => self.redrive.discard(&dead.tenant, id, &retry).await,
        };
        match carried_out {
            Ok(run) => done(run.state.as_str()),
            Err(CommandError::NotAgain(NotAgain::DoneBefore)) => done("queued"),
            Err(CommandError::Journal(error)) => Err(error),
            Err(error) => Ok(refused(&error)),
        }
    }
}

/// Why one was left alone, by a word that scripts can go by and a sentence.
fn refused(error: &CommandError) -> Acted {
    let (outcome, word) = match error {
        CommandError::NotFound => (Outcome::Skipped, "not_found"),
        CommandError::WrongState(_) => (Outcome::Skipped, "not_dead"),
        CommandError::NotAgain(NotAgain::Guarded(_)) => (Outcome::Skipped, "loop_guard"),
        CommandError::NotAgain(NotAgain::DiedSince | NotAgain::DoneBefore) => (Outcome::Skipped, "died_since"),
        CommandError::ConversationFull => (Outcome::Failed, "conversation_full"),
        CommandError::NotAsked | CommandError::OtherAnswer | CommandError::Journal(_) => (Outcome::Failed, "internal"),
    };
    came_out(outcome, &format!("{word}: {error}"))
}

fn came_out(outcome: Outcome, detail: &str) -> Acted {
    Acted { outcome, detail: detail.to_owned(), run: None }
}
