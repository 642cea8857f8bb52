//! Putting dead runs back.

use std::sync::Arc;
use std::time::Duration;

use super::{CommandError, DeadLetterQueue, Records};
use crate::domain::clock::Clock;
use crate::domain::id::{RunId, TenantId};
use crate::domain::run::{Cause, Run};
use crate::domain::state::{Command, RunState};
use crate::engine::ports::{Guard, JournalError, Queue};
use crate::ledger::{Change, Committed, commit, revive};
use crate::telemetry::chain;

/// How long a run that was put back may wait for a worker before the sweeper looks after its message.
const PATIENCE: Duration = Duration::from_secs(60);

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
    /// Puts one dead run back: it resumes at the step that failed, or waits for its turn in its conversation. Its message on the
    /// dead-letter queue means nothing from then on. A run that is queued already is sent again under a new epoch: its message may
    /// never have been.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn retry(&self, tenant: &TenantId, id: RunId, by: &str) -> Result<Run, CommandError> {
        let found = self.records.run(tenant, id).await?.ok_or(CommandError::NotFound)?;
        let cause = Cause { at: self.clock.now(), by, reason: "retried", patience: PATIENCE };
        let done = match found.state {
            RunState::Dead => revive(self.records.as_ref(), &found, cause).await,
            state => self.resend(&found, cause).await.ok_or(CommandError::WrongState(state))?.map(Some),
        };
        let run = match done {
            Ok(Some(done)) => done.run,
            Ok(None) => return Err(CommandError::ConversationFull),
            Err(JournalError::NotFound) => return Err(CommandError::NotFound),
            // Somebody else was faster: a retry, or the worker that a redrive woke. Either way it is no longer dead.
            Err(JournalError::Lost) => {
                let state = self.records.run(tenant, id).await?.map_or(RunState::Queued, |run| run.state);
                return Err(CommandError::WrongState(state));
            }
            Err(error) => return Err(error.into()),
        };
        if run.state == RunState::Queued
            && let Err(error) = self.queue.send(&run.task(), Duration::ZERO).await
        {
            tracing::warn!(run.id = %run.id, error = %chain(&error), "a retried run is not sent yet; the sweeper does it");
        }
        tracing::info!(run.id = %run.id, epoch = run.epoch, state = run.state.as_str(), "dead run retried");
        if let Err(error) = self.dead_letters.forget(&run.task()).await {
            tracing::warn!(run.id = %run.id, error = %chain(&error), "the dead letter of a retried run stays for the sweeper");
        }
        Ok(run)
    }

    async fn resend(&self, found: &Run, cause: Cause<'_>) -> Option<Result<Committed, JournalError>> {
        let mut run = found.clone();
        run.apply(Command::Resend, cause).ok()?;
        let change = Change { run: &run, guard: Guard::Seen(found.seen()), step: None, response: None, cause };
        Some(commit(self.records.as_ref(), change).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::conversation::Conversation;
    use crate::engine::ports::{ConversationWrite, Journal, Write};
    use crate::fakes::{FixedClock, MemoryQueue, MemoryStore, a_run};

    #[tokio::test]
    async fn a_dead_run_of_a_conversation_that_is_being_deleted_stays_dead() {
        let (store, queue) = (Arc::new(MemoryStore::default()), Arc::new(MemoryQueue::default()));
        let clock = Arc::new(FixedClock::at("2026-01-02T03:04:05Z"));
        let run = Run { state: RunState::Dead, ..a_run(&"acme".parse().unwrap(), clock.now()) };
        store.put(run.clone());
        let mut conversation = Conversation::new(run.conversation, run.id, clock.now());
        conversation.close(clock.now());
        store.write(&[Write::Conversation(&run.tenant, ConversationWrite::Open(&conversation))]).await.unwrap();
        let redrive = Redrive { records: store.clone(), queue: queue.clone(), dead_letters: queue.clone(), clock };
        assert!(matches!(redrive.retry(&run.tenant, run.id, "ana").await, Err(CommandError::NotFound)));
        assert_eq!((store.get(run.id), queue.take().len()), (Some(run), 0));
    }

    #[tokio::test]
    async fn a_retry_whose_message_was_lost_is_recorded_and_may_be_sent_by_another() {
        let (store, queue) = (Arc::new(MemoryStore::default()), Arc::new(MemoryQueue::default()));
        let clock = Arc::new(FixedClock::at("2026-01-02T03:04:05Z"));
        let run = Run { state: RunState::Dead, ..a_run(&"acme".parse().unwrap(), clock.now()) };
        store.put(run.clone());
        let redrive = Redrive { records: store.clone(), queue: queue.clone(), dead_letters: queue.clone(), clock };
        *queue.is_down.lock().unwrap() = true;
        assert_eq!(redrive.retry(&run.tenant, run.id, "ana").await.unwrap().state, RunState::Queued, "the sweeper sends it");
        *queue.is_down.lock().unwrap() = false;
        assert_eq!(redrive.retry(&run.tenant, run.id, "ana").await.unwrap().state, RunState::Queued);
        let sent: Vec<u64> = queue.take().iter().map(|(task, _)| task.epoch).collect();
        assert_eq!(sent, [3], "under a new epoch, so that the lost one means nothing should it turn up");
    }
}
