//! Keeping the right to work: renew before a call that would outlast the lease, and while a call is in flight; and let go of a
//! call whose run was cancelled meanwhile.

use std::pin::pin;
use std::time::Duration;

use super::ports::{JournalError, Look};
use super::{Engine, Hold, Limits, Stop};
use crate::domain::clock::{after, between};
use crate::domain::run::Run;
use crate::telemetry::chain;
use futures_util::future::{Either, select};

/// How often a worker looks whether its run is still its own while a call is in flight. A cancellation thus reaches it within two
/// seconds; a look is one read unit.
const LOOK: Duration = Duration::from_millis(1_500);

impl Engine {
    /// Runs `call`, which takes at most `timeout`, only while the lease outlives it; `None` when the time-out came first.
    pub(super) async fn under_lease<T>(
        &self,
        run: &mut Run,
        hold: &dyn Hold,
        timeout: Duration,
        call: impl Future<Output = T>,
    ) -> Result<Option<T>, Stop> {
        if between(self.clock.now(), run.lease_end()) < timeout + Limits::LEASE_MARGIN {
            self.renew(run, hold).await?;
        }
        // Not before the renewal: its time is not the call's.
        let end = after(self.clock.now(), timeout);
        // A third of the lease: two renewals may fail before the lease is in danger.
        let renewal = self.limits.lease / 3;
        let mut renew_at = after(self.clock.now(), renewal);
        let mut call = pin!(call);
        loop {
            let now = self.clock.now();
            let pause = self.clock.sleep(LOOK.min(between(now, end)).min(between(now, renew_at)));
            match select(call.as_mut(), pin!(pause)).await {
                Either::Left((result, _)) => return Ok(Some(result)),
                Either::Right(((), _)) if self.clock.now() >= end => return Ok(None),
                Either::Right(((), _)) if self.clock.now() >= renew_at => {
                    self.renew_in_flight(run, hold).await?;
                    renew_at = after(self.clock.now(), renewal);
                }
                Either::Right(((), _)) => self.look(run, hold).await?,
            }
        }
    }

    /// A look that fails is no reason to drop a paid call: the next write says whose the run is.
    async fn look(&self, run: &mut Run, hold: &dyn Hold) -> Result<(), Stop> {
        match self.journal.look(run).await {
            Ok(Look { is_held: false, .. }) => Err(Stop::Lost),
            Ok(Look { is_held: true, watched_until_ms }) => {
                run.watched_until_ms = watched_until_ms;
                if let Some(live) = hold.live() {
                    live.watched_until(watched_until_ms);
                }
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }

    async fn renew(&self, run: &mut Run, hold: &dyn Hold) -> Result<(), Stop> {
        let until = after(self.clock.now(), self.limits.lease);
        self.journal.renew(run, until).await?;
        run.renew_until(until);
        hold.extend(self.limits.lease + Limits::LEASE_MARGIN).await;
        Ok(())
    }

    /// A renewal that cannot be written is no reason to drop a paid call while the lease still holds.
    async fn renew_in_flight(&self, run: &mut Run, hold: &dyn Hold) -> Result<(), Stop> {
        match self.renew(run, hold).await {
            Err(Stop::Journal(JournalError::Unavailable(cause))) if self.clock.now() < run.lease_end() => {
                tracing::warn!(run.id = %run.id, error = %chain(cause.as_ref()), "lease renewal failed, trying again");
                Ok(())
            }
            other => other,
        }
    }
}
