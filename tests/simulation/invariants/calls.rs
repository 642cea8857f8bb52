//! What must be true of calls: who makes them, how often, and what becomes of the answers.

use std::sync::Arc;
use std::time::Duration;

use shared::domain::failure::FailureCode;
use shared::domain::id::RunId;
use shared::domain::message::{Message, Role};
use shared::domain::state::RunState;
use shared::domain::step::{Step, StepBody};

use super::{Answered, Invariants, Seen};
use crate::process::Process;

/// What a call of a tool is called in what is said of it.
pub(crate) const TOOL_CALL: &str = "tool";

/// What the tool of the simulation answers.
pub(crate) fn done_for(key: &str) -> String {
    format!("done for {key}")
}

/// Tries of a model call in one pass.
const TRIES: u32 = 3;
/// How long a worker may not have noticed that its run was cancelled, in milliseconds: a look each 1.5 s, and what calls of the
/// store take here.
const NOTICED_WITHIN: i64 = 8_000;
/// How long after the end of its lease somebody looks at a run at the latest, in milliseconds: the grace, and clocks that differ.
const LOOKED_AT_AFTER: i64 = 15_000;
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
            return self.check_noticed(&seen, process, id);
        }
        let due = run.due_ms.unwrap_or(i64::MAX) - run.lease_until_ms;
        self.check(due <= LOOKED_AT_AFTER, || format!("nobody looks at {id} until {due} ms after the end of its lease"));
        let holder = seen.leases.get(&id);
        let is_holder = holder.is_some_and(|(lease, by)| *lease == run.lease_no && by.name == process.name);
        self.check(is_holder, || {
            format!("{} calls a {what} for {key}, but the lease is {:?}", process.name, holder.map(|(lease, by)| (lease, &by.name)))
        });
        let is_next = step == run.steps + 1;
        self.check(is_next || (what == TOOL_CALL && self.is_open(id, step, key)), || {
            format!("{} calls a {what} for {key}, which has {} steps", process.name, run.steps)
        });
        let left = run.lease_until_ms - (self.sim.now_ms() + process.skew);
        // A call that may take longer than a lease holds is begun with a whole one, and the lease is renewed meanwhile.
        let whole = i64::try_from(self.limits.lease.as_millis()).unwrap_or(i64::MAX) - FRESH;
        let needed = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX).min(whole);
        self.check(left >= needed, || format!("{} calls a {what} for {key}: {needed} ms, and its lease has {left} ms", process.name));
    }

    /// Whether a call of that number was asked for in the latest answer of the model, and is not finished: such calls are made at the
    /// same time, and finished in any order.
    fn is_open(&self, id: RunId, number: u32, key: &str) -> bool {
        self.store.with_tables(|tables| {
            let steps = tables.steps.get(&id).map(Vec::as_slice).unwrap_or_default();
            let asked = steps.iter().rev().find_map(|step| match &step.body {
                StepBody::Model(model) => Some((step.index, u32::try_from(model.message.tool_calls.len()).unwrap_or(u32::MAX))),
                StepBody::Tool(_) | StepBody::Approval(_) => None,
            });
            let result = done_for(key);
            let is_done = |step: &Step| matches!(&step.body, StepBody::Tool(tool) if tool.output == result);
            asked.is_some_and(|(asked, calls)| (asked + 1..=asked + calls).contains(&number)) && !steps.iter().any(is_done)
        })
    }

    /// A worker lets go of a run soon after it was cancelled.
    fn check_noticed(&self, seen: &Seen, process: &Process, id: RunId) {
        let Some(shadow) = seen.runs.get(&id).filter(|shadow| shadow.run.state == RunState::Cancelled) else { return };
        let ago = self.sim.now_ms() - shadow.since;
        let is_excused = process.is_hurt() || ago < NOTICED_WITHIN;
        self.check(is_excused, || format!("{} is at work on {id}, which was cancelled {ago} ms ago", process.name));
    }

    /// When the provider had no room: then it was not asked.
    pub(crate) fn throttled(&self, key: &str) {
        let Some(step) = parse(key) else { return };
        if let Some(asked) = self.seen().asked.get_mut(&step) {
            *asked -= 1;
        }
    }

    /// What a model is shown of the conversation: every turn before this one that has an answer or was interrupted, in order. (Who is
    /// late may know of less: others have gone on meanwhile.)
    pub(crate) fn check_history(&self, process: &Process, key: &str, messages: &[Message]) {
        if process.is_hurt() {
            return;
        }
        let Some((id, _)) = parse(key) else { return };
        self.store.with_tables(|tables| {
            let Some(run) = tables.runs.get(&id).filter(|run| run.state == RunState::Running) else { return };
            let turns = tables.turns.iter().filter(|((conversation, turn), _)| *conversation == run.conversation && *turn < id);
            let expected: Vec<Message> = turns.flat_map(|(_, turn)| turn.clone().into_history()).collect();
            let shown = messages.iter().skip(1).take(expected.len());
            self.check(shown.eq(&expected), || format!("{id} is shown {messages:?}, and before it was said {expected:?}"));
            let asked = messages.get(expected.len() + 1).map(|message| message.role);
            self.check(asked == Some(Role::User), || format!("{id} is shown more than was said before it: {messages:?}"));
        });
    }

    /// When an answer reaches a worker: of two to the same question, one is lost with a worker that a fault has hit.
    pub(crate) fn answered(&self, process: &Arc<Process>, key: &str, number: u64) {
        let Some((id, step)) = parse(key) else { return };
        let mut seen = self.seen();
        self.check_noticed(&seen, process, id);
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
        self.check_noticed(&seen, process, id);
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
