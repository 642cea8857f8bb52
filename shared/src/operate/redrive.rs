//! Putting dead runs back.

use std::sync::Arc;
use std::time::Duration;

use super::{CommandError, DeadLetterQueue, Records, Requeued};
use crate::domain::clock::Clock;
use crate::domain::id::{RunId, TenantId};
use crate::domain::run::Run;
use crate::domain::state::{Command, RunState};
use crate::engine::ports::{JournalError, Queue};
use crate::telemetry::chain;

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
    /// A run that is queued already is sent again under a new epoch: its message may never have been.
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
            tracing::warn!(run.id = %run.id, error = %chain(&error), "the dead letter of a retried run stays; it will be dropped when it is redriven");
        }
        Ok(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::{FixedClock, MemoryQueue, MemoryStore, a_run};

    #[tokio::test]
    async fn a_retry_whose_message_was_lost_is_retried_by_another() {
        let (store, queue) = (Arc::new(MemoryStore::default()), Arc::new(MemoryQueue::default()));
        let clock = Arc::new(FixedClock::at("2026-01-02T03:04:05Z"));
        let run = Run { state: RunState::Dead, ..a_run(&"acme".parse().unwrap(), clock.now()) };
        store.put(run.clone());
        let redrive = Redrive { records: store.clone(), queue: queue.clone(), dead_letters: queue.clone(), clock };
        *queue.is_down.lock().unwrap() = true;
        assert!(matches!(redrive.retry(&run.tenant, run.id).await, Err(CommandError::Journal(_))));
        *queue.is_down.lock().unwrap() = false;
        assert_eq!(redrive.retry(&run.tenant, run.id).await.unwrap().state, RunState::Queued);
        let sent: Vec<u64> = queue.take().iter().map(|(task, _)| task.epoch).collect();
        assert_eq!(sent, [3], "under a new epoch, so that the lost one means nothing should it turn up");
    }
}
