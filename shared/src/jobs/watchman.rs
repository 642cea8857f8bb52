//! Finds the jobs that nobody works on: their message was never sent, or is lost.

use std::sync::Arc;
use std::time::Duration;

use super::{JobQueue, JobStore, wake};
use crate::domain::clock::Clock;
use crate::telemetry::chain;

/// How long after a job was expected to go on its message is taken for lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// Looks after jobs, once a minute.
pub struct Watchman {
    /// The jobs.
    pub store: Arc<dyn JobStore>,
    /// Their queue.
    pub queue: Arc<dyn JobQueue>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Watchman {
    /// Wakes those that stand still. Returns how many; what goes wrong is logged, and the next look's.
    pub async fn wake_all(&self) -> u32 {
        let open = match self.store.open().await {
            Ok(open) => open,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "the jobs that have not ended could not be read");
                return 0;
            }
        };
        let mut woken = 0;
        for (tenant, id) in &open {
            match wake(self.store.as_ref(), self.queue.as_ref(), (tenant, *id), self.clock.now(), PATIENCE).await {
                Ok(is_woken) => woken += u32::from(is_woken),
                Err(error) => tracing::warn!(tenant = %tenant, job.id = %id, error = %chain(&error), "a job could not be looked after"),
            }
        }
        woken
    }
}
