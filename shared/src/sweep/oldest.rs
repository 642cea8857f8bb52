//! The run that has waited longest for a worker. SQS tells the age of its oldest message to CloudWatch only, and a canary stands behind
//! nobody's backlog: of one tenant's line that does not get shorter, probes hear from here.
//!
//! A tick knows of those runs that it looks at because nobody has taken them up in time, and of the one that its predecessor found, which is
//! read again. So it may take the second oldest for the oldest once that is taken up, until the index brings the others: it never tells
//! of a run that does not wait.

use jiff::Timestamp;
use tracing::Instrument as _;

use super::{DueEntry, Round, Sweeper};
use crate::domain::clock::after;
use crate::domain::id::{RunId, TenantId};
use crate::domain::run::Run;
use crate::domain::state::RunState;
use crate::engine::LONGEST_BACKOFF;
use crate::heartbeat::Oldest;
use crate::telemetry::{chain, span};

/// Since when a run has waited for a worker, at the latest: sent again or not, and without the time for which it was put off after a failure.
pub(super) fn waits_since(run: &Run, now: Timestamp) -> Option<Timestamp> {
    if run.state != RunState::Queued {
        return None;
    }
    let queued = run.transitions.iter().rev().take_while(|transition| transition.to == RunState::Queued).last()?;
    let is_put_off = run.failures.last().is_some_and(|failure| failure.code == queued.reason);
    let since = if is_put_off { after(queued.at, LONGEST_BACKOFF) } else { queued.at };
    (since <= now).then_some(since)
}

/// The one that has waited longer.
pub(super) fn older(one: Option<Oldest>, other: Option<Oldest>) -> Option<Oldest> {
    one.into_iter().chain(other).min_by_key(|oldest| oldest.since)
}

impl Sweeper {
    /// What there is to do about the run that had waited longest when the last tick looked, due or not: mostly nothing.
    pub(super) async fn look_at_the_oldest(&self) -> Round {
        let mut round = Round::default();
        match self.heartbeats.oldest().await {
            Ok(None) => {}
            Ok(Some(Oldest { tenant, run, since })) => {
                let about = span::about(&tenant, run);
                self.attend(&DueEntry { at: since, tenant, run }, &mut round).instrument(about).await;
            }
            Err(error) => tracing::warn!(error = %chain(&error), "which run has waited longest could not be read"),
        }
        round
    }
}

impl Oldest {
    /// This run, which has waited since then.
    pub(super) fn of(tenant: &TenantId, run: RunId, since: Timestamp) -> Self {
        Self { tenant: tenant.clone(), run, since }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::failure::{Failure, FailureCode};
    use crate::domain::run::Cause;
    use crate::domain::state::Command;
    use crate::fakes::a_run;

    fn second(n: i64) -> Timestamp {
        Timestamp::from_second(n).unwrap()
    }

    fn applied(run: &mut Run, command: Command, reason: &str, at: i64) {
        run.apply(command, Cause { at: second(at), by: "me", reason, patience: Duration::from_secs(75) }).unwrap();
    }

    #[test]
    fn a_run_that_is_sent_again_waits_since_it_was_queued_and_one_that_is_worked_on_does_not_wait() {
        let mut run = a_run(&"acme".parse().unwrap(), second(0));
        assert_eq!(waits_since(&run, second(100)), Some(second(0)));
        applied(&mut run, Command::Resend, "not_taken_up", 75);
        applied(&mut run, Command::Resend, "not_taken_up", 195);
        assert_eq!(waits_since(&run, second(200)), Some(second(0)));
        applied(&mut run, Command::Claim, "claimed", 300);
        assert_eq!(waits_since(&run, second(300)), None);
        applied(&mut run, Command::HandOver, "out_of_time", 400);
        assert_eq!(waits_since(&run, second(500)), Some(second(400)));
    }

    #[test]
    fn the_time_for_which_a_run_was_put_off_is_no_wait() {
        let mut run = a_run(&"acme".parse().unwrap(), second(0));
        applied(&mut run, Command::Claim, "claimed", 1);
        run.note(Failure::new(FailureCode::ProviderUnavailable, "down", second(10), 1));
        applied(&mut run, Command::Release, FailureCode::ProviderUnavailable.as_str(), 10);
        let put_off = 10 + i64::try_from(LONGEST_BACKOFF.as_secs()).unwrap();
        assert_eq!(waits_since(&run, second(put_off - 1)), None);
        applied(&mut run, Command::Resend, "not_taken_up", put_off - 1);
        assert_eq!(waits_since(&run, second(put_off + 60)), Some(second(put_off)));
    }
}
