//! What must be true of calls: who makes them, how often, and what becomes of the answers.

use std::sync::Arc;
use std::time::Duration;

use shared::domain::failure::FailureCode;
use shared::domain::id::RunId;
use shared::domain::state::RunState;

use super::{Answered, Invariants};
use crate::process::Process;

/// Tries of a model call in one pass.
const TRIES: u32 = 3;
/// How long a worker may not have noticed that its run was cancelled, in milliseconds: a look each 1.5 s, and what calls of the
/// store take here.
const NOTICED_WITHIN: i64 = 8_000;
/// How old a lease may be that counts as new, in milliseconds.
const FRESH: i64 = 13_000;

impl Invariants {
    /// Before a model or a tool is called.
    pub(crate) fn call_begins(&self, process: &Process, key: &str, timeout: Duration, what: &str) {
        let Some((id, step)) = parse(key) else { return self.sim.violated(format!("a call has the key {key}")) };
        let Some(run) = self.store.get(id) else { return };
        let mut seen = self.seen();
        self.sim.note(|| format!("{}: {what} is called for {key}", process.name));
        if what == "model" {
            let asked = seen.asked.entry((id, step)).or_default();
            *asked += 1;
            let asked = *asked;
            let put_back = seen.put_back.get(&id).copied().unwrap_or(0);
            let most = TRIES * (self.limits.max_attempts + 2) * (1 + put_back);
            self.check(asked <= most, || format!("the model was asked {asked} times for {key}: that goes on for ever"));
        }
        let is_holder = seen.leases.get(&id).is_some_and(|(lease, by)| *lease == run.lease_no && by.name == process.name);
        self.check(!is_holder || run.attempts <= self.limits.max_attempts, || {
            format!("a {what} is called for {key} in attempt {}", run.attempts)
        });
        if process.is_hurt() {
            return;
        }
        if run.state == RunState::Cancelled {
            let ago = self.sim.now_ms() - seen.runs.get(&id).map_or(0, |shadow| shadow.since);
            self.check(ago < NOTICED_WITHIN, || format!("{} calls a {what} for {key}, cancelled {ago} ms ago", process.name));
            return;
        }
        let holder = seen.leases.get(&id);
        let is_holder = holder.is_some_and(|(lease, by)| *lease == run.lease_no && by.name == process.name);
        self.check(is_holder, || {
            format!("{} calls a {what} for {key}, but the lease is {:?}", process.name, holder.map(|(lease, by)| (lease, &by.name)))
        });
        self.check(step == run.steps + 1, || format!("{} calls a {what} for {key}, which has {} steps", process.name, run.steps));
        let left = run.lease_until_ms - (self.sim.now_ms() + process.skew);
        // A call that may take longer than a lease holds is begun with a whole one, and the lease is renewed meanwhile.
        let whole = i64::try_from(self.limits.lease.as_millis()).unwrap_or(i64::MAX) - FRESH;
        let needed = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX).min(whole);
        self.check(left >= needed, || format!("{} calls a {what} for {key}: {needed} ms, and its lease has {left} ms", process.name));
    }

    /// When an answer reaches a worker: of two to the same question, one is lost with a worker that a fault has hit.
    pub(crate) fn answered(&self, process: &Arc<Process>, key: &str, number: u64) {
        let Some((id, step)) = parse(key) else { return };
        let mut seen = self.seen();
        let lease_no = seen.leases.get(&id).filter(|(_, by)| by.name == process.name).map(|(lease, _)| *lease);
        let answers = seen.answers.entry((id, step)).or_default();
        for earlier in answers.iter() {
            let is_same = earlier.process.name == process.name && earlier.lease_no == lease_no;
            let is_excused = earlier.process.is_hurt() || process.is_hurt();
            self.check(!is_same && is_excused, || {
                format!(
                    "answer {} to {key} reached {}, and {number} reached {}: both are well",
                    earlier.number, earlier.process.name, process.name
                )
            });
        }
        answers.push(Answered { number, process: process.clone(), lease_no });
    }

    /// When a tool has its effect.
    pub(crate) fn effect(&self, process: &Process, key: &str, is_idempotent: bool) {
        let Some((id, step)) = parse(key) else { return };
        let mut seen = self.seen();
        let effects = seen.effects.entry((id, step)).or_default();
        *effects += 1;
        let effects = *effects;
        // An operator who puts a run back that died of just this has looked.
        let is_uncertain = |to, reason: &str| to == RunState::Dead && reason == FailureCode::UncertainToolCall.as_str();
        let trail = seen.runs.get(&id).map_or(&[][..], |shadow| &shadow.trail);
        let allowed = 1 + trail.iter().filter(|transition| is_uncertain(transition.to, &transition.reason)).count();
        self.check(is_idempotent || effects as usize <= allowed, || {
            format!("{}: effect {effects} of a tool that must not be repeated, for {key}: {allowed} allowed", process.name)
        });
    }
}

/// `<run>:<step>`, perhaps with marks for further tries.
fn parse(key: &str) -> Option<(RunId, u32)> {
    let (run, step) = key.trim_end_matches('\'').split_once(':')?;
    Some((run.parse().ok()?, step.parse().ok()?))
}
