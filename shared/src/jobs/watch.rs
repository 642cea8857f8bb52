//! What becomes of the runs that a job has set going: whether it may set others going, and whether the rest is worth it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::Acted;
use crate::domain::clock::after;
use crate::domain::id::{RunId, TenantId};
use crate::domain::job::{Canary, CanaryState, Job, JobStatus, Outcome, Watched};
use crate::domain::run::Run;
use crate::domain::state::RunState;
use crate::domain::waiting::Waiting;
use crate::engine::ports::JournalError;
use crate::operate::Records;

/// How many runs a call reads.
const PAGE: usize = 100;

/// Looks at runs.
pub(super) struct Canaries<'a>(pub(super) &'a dyn Records);

impl Canaries<'_> {
    /// Notes of each run how it has ended, if it has.
    pub(super) async fn refresh(&self, watched: &mut [Watched]) -> Result<(), JournalError> {
        self.ended(watched).await.map(|_| ())
    }

    /// Notes how the runs have ended, and what that says.
    pub(super) async fn look(&self, canary: &mut Canary, now: Timestamp) -> Result<(), JournalError> {
        let mut runs = std::mem::take(&mut canary.runs);
        let read = self.ended(&mut runs).await;
        canary.runs = runs;
        let found = read?;
        let again = |watched: &&Watched| found.get(&watched.run).is_some_and(|run| has_failed(run) && fails_as_before(run, watched));
        let bad = |watched: &&Watched| found.get(&watched.run).is_none_or(has_failed);
        let is_over = canary.since.is_some_and(|since| after(since, Duration::from_secs(canary.timeout_seconds)) <= now);
        let all_ended = canary.runs.iter().all(|watched| watched.ended.is_some());
        if canary.runs.iter().any(|watched| again(&watched)) || (all_ended && canary.runs.iter().all(|watched| bad(&watched))) {
            canary.state = CanaryState::Failed;
        } else if all_ended {
            canary.state = CanaryState::Passed;
        } else if is_over {
            canary.state = CanaryState::Failed;
        }
        Ok(())
    }

    async fn ended(&self, watched: &mut [Watched]) -> Result<BTreeMap<RunId, Run>, JournalError> {
        let mut tenants: BTreeMap<String, (TenantId, Vec<RunId>)> = BTreeMap::new();
        for run in watched.iter() {
            tenants.entry(run.tenant.to_string()).or_insert_with(|| (run.tenant.clone(), Vec::new())).1.push(run.run);
        }
        let mut found = BTreeMap::new();
        for (tenant, ids) in tenants.values() {
            for page in ids.chunks(PAGE) {
                found.extend(self.0.runs(tenant, page).await?.into_iter().map(|run| (run.id, run)));
            }
        }
        for run in watched {
            run.ended = match found.get(&run.run) {
                Some(found) => how_it_ended(found),
                None => Some("deleted".into()),
            };
        }
        Ok(found)
    }
}

/// A run that waits for a person has got as far as it can: that nobody answers says nothing about the others.
fn how_it_ended(run: &Run) -> Option<String> {
    match (run.state, &run.waiting) {
        (RunState::Completed | RunState::Failed | RunState::Dead | RunState::Cancelled, _) => Some(run.state.as_str().into()),
        (RunState::Waiting, Some(Waiting::Answer { .. } | Waiting::Approval { .. })) => Some("waiting_for_a_person".into()),
        (RunState::Queued | RunState::Running | RunState::Waiting, _) => None,
    }
}

const fn has_failed(run: &Run) -> bool {
    matches!(run.state, RunState::Failed | RunState::Dead)
}

fn fails_as_before(run: &Run, watched: &Watched) -> bool {
    watched.fingerprint.is_some() && watched.fingerprint == super::fingerprint(run)
}

impl Canary {
    /// Why the rest was left alone, in a sentence.
    pub(super) fn told(&self) -> String {
        let count = |how: &str| self.runs.iter().filter(|run| run.ended.as_deref() == Some(how)).count();
        let (dead, failed, open) = (count("dead"), count("failed"), self.runs.iter().filter(|run| run.ended.is_none()).count());
        let of = self.runs.len();
        if dead + failed > 0 {
            format!("of the first {of}, {} failed again", dead + failed)
        } else {
            format!("of the first {of}, {open} had not ended after {} s", self.timeout_seconds)
        }
    }
}

impl Job {
    /// Whether the first few are all set going, or there are no others, and nobody watches them yet.
    pub(super) fn canary_is_under_way(&self) -> bool {
        self.canary.as_ref().is_some_and(|canary| {
            let is_full = canary.runs.len() >= canary.size as usize;
            canary.state == CanaryState::Starting && !canary.runs.is_empty() && (is_full || self.is_exhausted)
        })
    }

    /// From now on the first few are watched.
    pub(super) fn watch_canary(&mut self, now: Timestamp) {
        if let Some(canary) = &mut self.canary {
            (canary.state, canary.since) = (CanaryState::Watching, Some(now));
            self.status = JobStatus::WaitingForCanary;
        }
    }

    /// Notes a run that was set going, as far as anybody watches it.
    pub(super) fn set_going(&mut self, acted: Acted) {
        let Some(run) = acted.run.filter(|_| acted.outcome == Outcome::Done) else { return };
        let is_new = |watched: &[Watched]| watched.iter().all(|other| other.run != run.run);
        if let Some(canary) = self.canary.as_mut().filter(|canary| canary.state == CanaryState::Starting && is_new(&canary.runs)) {
            canary.runs.push(run.clone());
        }
        if self.pace.concurrency.is_some() && is_new(&self.in_flight) {
            self.in_flight.push(run);
        }
    }
}
