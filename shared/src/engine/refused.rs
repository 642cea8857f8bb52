//! Messages whose run could not be claimed: what each of them still means.

use std::time::Duration;

use super::ports::{Guard, JournalError, Refusal};
use super::{Advance, Delivery, Engine, Limits};
use crate::domain::clock::between;
use crate::domain::revival::Revival;
use crate::domain::state::{Command, RunState};
use crate::domain::task::Task;
use crate::ledger::{Change, commit, revive};

impl Engine {
    /// A message whose run could not be claimed.
    pub(super) async fn refused(&self, task: &Task, delivery: &Delivery, refusal: Refusal) -> Result<Advance, JournalError> {
        Ok(match refusal {
            Refusal::Missing => {
                tracing::warn!(run.id = %task.run, epoch = task.epoch, "no such run: its message is dropped");
                Advance::Stale
            }
            // A hand-over that was recorded but not sent leaves a queued run whose old message comes back: it stands in.
            Refusal::Stale { current, state: RunState::Queued } if delivery.deliveries > 1 => self.stand_in(task, current).await?,
            Refusal::Stale { current, .. } => {
                tracing::info!(run.id = %task.run, epoch = task.epoch, current, "message of an older epoch dropped");
                Advance::Stale
            }
            // An operator moved it back from the dead-letter queue.
            Refusal::Redriven(dead) => match revive(self.journal.as_ref(), &dead, self.cause("redriven"), &Revival::default()).await {
                Ok(Some(done)) if done.run.state == RunState::Queued => {
                    self.send_ready(Some(done.run.task())).await;
                    Advance::HandedOver
                }
                Ok(Some(_)) => Advance::Waiting,
                // Its conversation has no room, or it has moved: the message is needed until that is clear.
                Ok(None) => Advance::Again { after: self.limits.lease },
                Err(JournalError::Lost | JournalError::NotFound) => Advance::Again { after: Limits::LEASE_MARGIN },
                Err(error) => return Err(error),
            },
            // On its way to the dead-letter queue, which takes as many deliveries as the queue's policy says.
            Refusal::NotNow(RunState::Dead) => Advance::Dead,
            Refusal::NotNow(RunState::Waiting) => self.ring(task).await?,
            Refusal::NotNow(state) => Advance::Ended { state, response: None },
            Refusal::Leased { until } => Advance::Again { after: between(self.clock.now(), until) + Limits::LEASE_MARGIN },
        })
    }

    /// Sends a queued run again under a new epoch: should its other message exist after all, it means nothing any more.
    async fn stand_in(&self, task: &Task, current: u64) -> Result<Advance, JournalError> {
        let again = Advance::Again { after: Limits::LEASE_MARGIN };
        let Some(found) = self.journal.run(&task.tenant, task.run).await? else { return Ok(Advance::Stale) };
        let mut run = found.clone();
        // It has moved: the message in hand stays until it is clear that it is not needed.
        if found.epoch != current || run.apply(Command::Resend, self.cause("resent")).is_err() {
            return Ok(again);
        }
        let change = Change { run: &run, guard: Guard::Seen(found.seen()), step: None, response: None, cause: self.cause("resent") };
        match commit(self.journal.as_ref(), change).await {
            Ok(done) => {
                self.queue.send(&done.run.task(), Duration::ZERO).await?;
                Ok(Advance::HandedOver)
            }
            Err(JournalError::Lost) => Ok(again),
            Err(error) => Err(error),
        }
    }
}
