//! Ending a run by request.

use super::{CommandError, Records};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::{RunId, TenantId};
use crate::domain::run::{Cause, Run};
use crate::domain::state::{Command, RunState};
use crate::engine::ports::{Guard, JournalError, Queue};
use crate::ledger::{Change, commit};
use crate::telemetry::chain;

/// Cancels a run: the worker that has it can write nothing more, and lets go of its call. Cancelling a cancelled run is no error.
///
/// # Errors
/// See [`CommandError`].
pub async fn cancel(records: &dyn Records, queue: &dyn Queue, cause: Cause<'_>, tenant: &TenantId, id: RunId) -> Result<Run, CommandError> {
    // A worker may move the run between our read and our write, but not for ever.
    for _ in 0..10 {
        let mut run = records.run(tenant, id).await?.ok_or(CommandError::NotFound)?;
        if run.state == RunState::Cancelled {
            return Ok(run);
        }
        let guard = Guard::Seen(run.seen());
        run.note(Failure::new(FailureCode::CancelRequested, format!("cancelled by {}", cause.by), cause.at, run.attempts));
        run.apply(Command::Cancel, cause).map_err(CommandError::WrongState)?;
        match commit(records, Change { run: &run, guard, step: None, response: None, cause }).await {
            Ok(done) => {
                if let Some(next) = done.next
                    && let Err(error) = queue.send(&next, std::time::Duration::ZERO).await
                {
                    tracing::warn!(run.id = %next.run, error = %chain(&error), "the next run is not sent yet; the sweeper does it");
                }
                return Ok(done.run);
            }
            Err(JournalError::Lost) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(JournalError::Unavailable("the run moved too often".into()).into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::clock::Clock;
    use crate::fakes::{FixedClock, MemoryQueue, MemoryStore, a_run};

    fn tenant() -> TenantId {
        "acme".parse().unwrap()
    }

    #[tokio::test]
    async fn only_a_run_that_has_not_ended_is_cancelled() {
        let (store, queue) = (MemoryStore::default(), MemoryQueue::default());
        let clock = FixedClock::at("2026-01-02T03:04:05Z");
        let cause = Cause { at: clock.now(), by: "me", reason: "cancelled", patience: Duration::ZERO };
        let mut run = a_run(&tenant(), clock.now());
        store.put(run.clone());
        let cancelled = cancel(&store, &queue, cause, &tenant(), run.id).await.unwrap();
        assert_eq!((cancelled.state, cancelled.due_ms), (RunState::Cancelled, None));
        assert_eq!(cancelled.transitions.last().unwrap().by, "me");
        assert_eq!(cancelled.first_failed_at, Some(clock.now()));
        assert_eq!(cancel(&store, &queue, cause, &tenant(), run.id).await.unwrap().state, RunState::Cancelled);
        run.state = RunState::Completed;
        store.put(run.clone());
        let refused = cancel(&store, &queue, cause, &tenant(), run.id).await;
        assert!(matches!(refused, Err(CommandError::WrongState(RunState::Completed))));
        let other = "other".parse().unwrap();
        assert!(matches!(cancel(&store, &queue, cause, &other, run.id).await, Err(CommandError::NotFound)));
    }
}
