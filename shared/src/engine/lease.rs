//! Keeping the right to work: renew before a call that would outlast the lease, and while a call is in flight.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use jiff::Timestamp;

use super::ports::JournalError;
use super::{Engine, Hold, Limits, Stop};
use crate::domain::clock::{after, between};
use crate::domain::run::Run;
use crate::telemetry::chain;

impl Engine {
    /// Runs `call`, which takes at most `timeout`, only while the lease outlives it; `None` when the time-out came first.
    pub(super) async fn under_lease<T>(
        &self,
        run: &mut Run,
        hold: &dyn Hold,
        timeout: Duration,
        call: impl Future<Output = T>,
    ) -> Result<Option<T>, Stop> {
        if between(self.clock.now(), lease_end(run)) < timeout + Limits::LEASE_MARGIN {
            self.renew(run, hold).await?;
        }
        // Not before the renewal: its time is not the call's.
        let end = after(self.clock.now(), timeout);
        let mut call = pin!(call);
        loop {
            let now = self.clock.now();
            // A third of the lease: two renewals may fail before the lease is in danger.
            let renewal = self.limits.lease / 3;
            let pause = self.clock.sleep(renewal.min(between(now, end)));
            match select(call.as_mut(), pin!(pause)).await {
                Either::Left((result, _)) => return Ok(Some(result)),
                Either::Right(((), _)) if self.clock.now() >= end => return Ok(None),
                Either::Right(((), _)) => self.renew_in_flight(run, hold).await?,
            }
        }
    }

    async fn renew(&self, run: &mut Run, hold: &dyn Hold) -> Result<(), Stop> {
        let until = after(self.clock.now(), self.limits.lease);
        self.journal.renew(run, until).await?;
        run.lease_until_ms = until.as_millisecond();
        hold.extend(self.limits.lease + Limits::LEASE_MARGIN).await;
        Ok(())
    }

    /// A renewal that cannot be written is no reason to drop a paid call while the lease still holds.
    async fn renew_in_flight(&self, run: &mut Run, hold: &dyn Hold) -> Result<(), Stop> {
        match self.renew(run, hold).await {
            Err(Stop::Journal(JournalError::Unavailable(cause))) if self.clock.now() < lease_end(run) => {
                tracing::warn!(run.id = %run.id, error = %chain(cause.as_ref()), "lease renewal failed, trying again");
                Ok(())
            }
            other => other,
        }
    }
}

pub(super) fn lease_end(run: &Run) -> Timestamp {
    Timestamp::from_millisecond(run.lease_until_ms).unwrap_or(Timestamp::MIN)
}
