//! Ending a run by request.

use super::{CommandError, Records};
use crate::domain::clock::Clock;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::{RunId, TenantId};
use crate::domain::run::Run;
use crate::domain::state::{Command, RunState};
use crate::engine::ports::JournalError;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::{FixedClock, MemoryStore, a_run};

    fn tenant() -> TenantId {
        "acme".parse().unwrap()
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
