//! What must be true after every single write, whatever went wrong before it. A broken invariant ends the simulation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use shared::domain::id::{ConversationId, RunId};
use shared::domain::run::{KEPT, Run, Transition};
use shared::domain::state::{Command, RunState};
use shared::domain::step::Step;
use shared::domain::task::Task;
use shared::domain::turn::TurnEnd;
use shared::domain::waiting::Waiting;
use shared::engine::ports::{Guard, Write};
use shared::fakes::{MemoryStore, Tables};
use shared::operate::Erasure;

use crate::model::Line;
use crate::scheduler::{Process, Sim, locked};

/// Tries of a model call in one pass.
const TRIES: u32 = 3;

/// The run as it was after the last write that was looked at.
struct Shadow {
    run: Run,
    trail: Vec<Transition>,
    steps: Vec<Step>,
    failures: usize,
}

/// An answer that reached a worker.
struct Answered {
    number: u64,
    process: Arc<Process>,
    lease_no: Option<u64>,
}

#[derive(Default)]
struct Seen {
    runs: BTreeMap<RunId, Shadow>,
    /// Who holds which lease.
    leases: BTreeMap<RunId, (u64, String)>,
    /// Who waits in which order.
    lines: BTreeMap<ConversationId, Vec<RunId>>,
    answers: BTreeMap<(RunId, u32), Vec<Answered>>,
    asked: BTreeMap<(RunId, u32), u32>,
    effects: BTreeMap<(RunId, u32), u32>,
    /// How often an operator put a run back, or moved its message back.
    put_back: BTreeMap<RunId, u32>,
    scripts: BTreeMap<u64, Vec<Line>>,
    accepted: BTreeSet<RunId>,
    by_key: BTreeMap<u64, RunId>,
    erased: BTreeSet<RunId>,
}

/// The watcher of one simulation.
pub(crate) struct Invariants {
    sim: Sim,
    store: Arc<MemoryStore>,
    max_attempts: u32,
    seen: Mutex<Seen>,
}

impl Invariants {
    pub(crate) fn new(sim: &Sim, store: &Arc<MemoryStore>, max_attempts: u32) -> Self {
        Self { sim: sim.clone(), store: store.clone(), max_attempts, seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        locked(&self.seen)
    }

    fn check(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.sim.violated(what());
        }
    }

    /// Sets what the model does in the runs of a request.
    pub(crate) fn script(&self, request: u64, lines: Vec<Line>) {
        self.seen().scripts.insert(request, lines);
    }

    /// What the model does in a run of `request` after having answered `said` times.
    pub(crate) fn line(&self, request: u64, said: usize) -> Line {
        let seen = self.seen();
        seen.scripts.get(&request).and_then(|lines| lines.get(said)).cloned().unwrap_or(Line::Answers)
    }

    /// After a list of writes was written by `process`.
    pub(crate) fn written(&self, process: &Process, writes: &[Write<'_>], runs: &[RunId], conversations: &[ConversationId]) {
        for write in writes {
            match write {
                Write::Run(run, Guard::Held { lease_no, .. }) => self.check_holder(process, run, *lease_no),
                Write::Progress(run, _) => self.check_holder(process, run, run.lease_no),
                Write::Run(run, Guard::New) if run.state == RunState::Running => {
                    self.seen().leases.insert(run.id, (run.lease_no, process.name.clone()));
                }
                _ => {}
            }
        }
        self.store.with_tables(|tables| {
            for run in runs {
                self.check_run(tables, *run);
            }
            for conversation in conversations {
                self.check_conversation(tables, *conversation);
            }
        });
    }

    /// After a claim. The one before must have let its lease lapse, by clocks that differ by at most 5 s.
    pub(crate) fn claimed(&self, process: &Process, run: &Run) {
        let mut seen = self.seen();
        if let Some(before) = seen.runs.get(&run.id).map(|shadow| &shadow.run)
            && before.state == RunState::Running
            && before.lease_owner != run.lease_owner
        {
            let left = before.lease_until_ms - self.sim.now_ms();
            self.check(left <= 5_000, || format!("{} is claimed while its lease has {left} ms left", run.id));
        }
        seen.leases.insert(run.id, (run.lease_no, process.name.clone()));
        drop(seen);
        self.store.with_tables(|tables| {
            self.check_run(tables, run.id);
            self.check_conversation(tables, run.conversation);
        });
    }

    /// After a renewal.
    pub(crate) fn renewed(&self, process: &Process, run: &Run) {
        self.check_holder(process, run, run.lease_no);
        self.store.with_tables(|tables| {
            let until = self.seen().runs.get(&run.id).map_or(0, |shadow| shadow.run.lease_until_ms);
            let now = tables.runs.get(&run.id).map_or(0, |run| run.lease_until_ms);
            self.check(now >= until, || format!("a renewal of {} has shortened its lease by {} ms", run.id, until - now));
            self.check_run(tables, run.id);
        });
    }

    /// Only who holds the lease writes under it.
    fn check_holder(&self, process: &Process, run: &Run, lease_no: u64) {
        let seen = self.seen();
        let holder = seen.leases.get(&run.id);
        let is_holder = holder.is_some_and(|(held, by)| *held == lease_no && *by == process.name);
        self.check(is_holder, || format!("{} writes {} under lease {lease_no}, but it is {holder:?}", process.name, run.id));
        let state = seen.runs.get(&run.id).map(|shadow| shadow.run.state);
        self.check(state == Some(RunState::Running), || format!("{} writes {} under a lease, but it is {state:?}", process.name, run.id));
    }

    fn check_run(&self, tables: &Tables, id: RunId) {
        let Some(run) = tables.runs.get(&id) else { return };
        let archives = tables.archives.get(&id).map_or(&[][..], Vec::as_slice);
        let steps = tables.steps.get(&id).map_or(&[][..], Vec::as_slice);
        let trail: Vec<Transition> = archives.iter().flat_map(|archive| &archive.transitions).chain(&run.transitions).cloned().collect();
        let failures = archives.iter().map(|archive| archive.failures.len()).sum::<usize>() + run.failures.len();
        let mut seen = self.seen();
        let before = seen.runs.get(&id);
        self.check_record(run);
        self.check_trail(run, before, &trail);
        self.check_steps(run, before, steps);
        self.check(archives.iter().map(|archive| archive.index).eq(1..=run.archives), || format!("{id}: an archive is missing"));
        self.check(before.is_none_or(|before| before.failures <= failures), || format!("{id}: a failure was forgotten"));
        if let (Some(end), Some(turn)) = (TurnEnd::of(run), tables.turns.get(&(run.conversation, id))) {
            self.check(turn.ended == Some(end), || format!("{id} has ended, its turn says {:?}", turn.ended));
            let has_answer = turn.response.is_some() || turn.response_step.is_some();
            self.check((end == TurnEnd::Completed) == has_answer, || format!("{id} ended {end:?}, its turn has an answer: {has_answer}"));
        }
        let revived = trail.windows(2).filter(|pair| pair[0].to == RunState::Dead).count();
        let put_back = seen.put_back.get(&id).copied().unwrap_or(0);
        self.check(revived <= put_back as usize, || {
            format!("{id} came back from the dead {revived} times, and was put back {put_back} times")
        });
        let was_in_line = before.is_some_and(|before| before.run.is_in_line());
        let line = seen.lines.entry(run.conversation).or_default();
        if run.is_in_line() && !was_in_line {
            line.push(id);
        } else if was_in_line && !run.is_in_line() {
            let is_first = line.first() == Some(&id);
            self.check(is_first || run.state == RunState::Cancelled, || format!("{id} goes on before those that came before it"));
            line.retain(|other| *other != id);
        }
        seen.runs.insert(id, Shadow { run: run.clone(), trail, steps: steps.to_vec(), failures });
    }

    fn check_record(&self, run: &Run) {
        let id = run.id;
        let is_running = run.state == RunState::Running;
        self.check(run.due_ms.is_some() != run.state.has_ended(), || format!("{id} is {:?} and due {:?}", run.state, run.due_ms));
        self.check(run.ended_at.is_some() == run.state.has_ended(), || format!("{id} is {:?}, ended {:?}", run.state, run.ended_at));
        self.check(is_running == run.lease_owner.is_some(), || format!("{id} is {:?}, its lease is {:?}'s", run.state, run.lease_owner));
        self.check(is_running == (run.lease_until_ms > 0), || format!("{id} is {:?}, leased until {}", run.state, run.lease_until_ms));
        self.check((run.state == RunState::Waiting) == run.waiting.is_some(), || {
            format!("{id} is {:?}, waits {:?}", run.state, run.waiting)
        });
        // More than one above is a worker that vanished before it could say so.
        self.check(run.attempts <= 2 * self.max_attempts + 2, || format!("{id} has {} attempts", run.attempts));
        // Claims are added without looking; everything else makes room.
        let room = KEPT + self.max_attempts as usize + 4;
        self.check(run.transitions.len() <= room, || format!("the record of {id} keeps {} transitions", run.transitions.len()));
        if let Some(end) = run.waiting.as_ref().and_then(Waiting::ends_at) {
            self.check(run.due_ms.is_some_and(|due| due <= end.as_millisecond()), || {
                format!("{id} waits until {end}, due {:?}", run.due_ms)
            });
        }
    }

    fn check_trail(&self, run: &Run, before: Option<&Shadow>, trail: &[Transition]) {
        let id = run.id;
        let known = before.map_or(&[][..], |before| &before.trail);
        self.check(trail.starts_with(known), || format!("the audit trail of {id} is not what it was and more: {known:?} is now {trail:?}"));
        for pair in trail.windows(2).skip(known.len().saturating_sub(1)) {
            let is_allowed = Command::ALL.iter().any(|command| pair[0].to.after(*command) == Some(pair[1].to));
            self.check(is_allowed, || format!("{id} went from {:?} to {:?}", pair[0].to, pair[1].to));
        }
        self.check(trail.last().is_some_and(|last| last.to == run.state), || {
            format!("{id} is {:?}, its audit trail says {trail:?}", run.state)
        });
        let Some(before) = before.map(|before| &before.run) else { return };
        let has_moved = (before.state, before.epoch, before.lease_no) != (run.state, run.epoch, run.lease_no);
        self.check(has_moved == (trail.len() > known.len()), || format!("{id} has moved: {has_moved}; its audit trail is {trail:?}"));
        self.check(run.epoch >= before.epoch && run.lease_no >= before.lease_no, || format!("{id} went back in time"));
        let is_final = matches!(before.state, RunState::Completed | RunState::Failed | RunState::Cancelled);
        self.check(!is_final || before.state == run.state, || format!("{id} was {:?} and is {:?}", before.state, run.state));
    }

    fn check_steps(&self, run: &Run, before: Option<&Shadow>, steps: &[Step]) {
        let id = run.id;
        let known = before.map_or(&[][..], |before| &before.steps);
        self.check(steps.starts_with(known), || format!("a finished step of {id} was changed"));
        self.check(steps.iter().map(|step| step.index).eq(1..=run.steps), || {
            format!("{id} counts {} steps, its journal {}", run.steps, steps.len())
        });
    }

    fn check_conversation(&self, tables: &Tables, id: ConversationId) {
        let Some(conversation) = tables.conversations.get(&id) else { return };
        let runs = || tables.runs.values().filter(|run| run.conversation == id && !run.state.has_ended());
        let active: Vec<RunId> = runs().filter(|run| !run.is_in_line()).map(|run| run.id).collect();
        let in_line = runs().filter(|run| run.is_in_line()).count();
        self.check(active.len() <= 1, || format!("at the same time it is the turn of {active:?} in {id}"));
        self.check(active.first() == conversation.active_run.as_ref(), || {
            format!("it is the turn of {active:?} in {id}, which says {:?}; {in_line} wait", conversation.active_run)
        });
        self.check(in_line == 0 || !active.is_empty(), || format!("{in_line} wait in {id}, and it is nobody's turn"));
        let really: Vec<RunId> =
            conversation.line.iter().filter(|run| tables.runs.get(run).is_some_and(Run::is_in_line)).copied().collect();
        let seen = self.seen();
        let arrived = seen.lines.get(&id).cloned().unwrap_or_default();
        self.check(really == arrived, || format!("the line of {id} is {really:?}, and they came as {arrived:?}"));
    }

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
            let most = TRIES * (self.max_attempts + 2) * (1 + put_back);
            self.check(asked <= most, || format!("the model was asked {asked} times for {key}: that goes on for ever"));
        }
        let is_holder = seen.leases.get(&id).is_some_and(|(lease, by)| *lease == run.lease_no && *by == process.name);
        self.check(!is_holder || run.attempts <= self.max_attempts, || format!("a {what} is called for {key} in attempt {}", run.attempts));
        if process.is_hurt() || run.state == RunState::Cancelled {
            return;
        }
        let holder = seen.leases.get(&id);
        let is_holder = holder.is_some_and(|(lease, by)| *lease == run.lease_no && *by == process.name);
        self.check(is_holder, || format!("{} calls a {what} for {key}, but the lease is {holder:?}", process.name));
        self.check(step == run.steps + 1, || format!("{} calls a {what} for {key}, which has {} steps", process.name, run.steps));
        let left = run.lease_until_ms - (self.sim.now_ms() + process.skew);
        let needed = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
        self.check(left >= needed, || format!("{} calls a {what} for {key}: {needed} ms, and its lease has {left} ms", process.name));
    }

    /// When an answer reaches a worker: of two to the same question, one is lost with a worker that a fault has hit.
    pub(crate) fn answered(&self, process: &Arc<Process>, key: &str, number: u64) {
        let Some((id, step)) = parse(key) else { return };
        let mut seen = self.seen();
        let lease_no = seen.leases.get(&id).filter(|(_, by)| *by == process.name).map(|(lease, _)| *lease);
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
        let put_back = seen.put_back.get(&id).copied().unwrap_or(0);
        self.check(is_idempotent || effects <= 1 + put_back, || {
            format!("{}: effect {effects} of a tool that must not be repeated, for {key}, put back {put_back} times", process.name)
        });
    }

    /// When an operator puts a run back.
    pub(crate) fn put_back(&self, run: RunId) {
        *self.seen().put_back.entry(run).or_default() += 1;
    }

    /// When a dead letter is moved back.
    pub(crate) fn moved_back(&self, body: &str) {
        if let Ok(task) = Task::from_body(body) {
            self.put_back(task.run);
        }
    }

    /// When a caller is told that its run is accepted.
    pub(crate) fn accepted(&self, run: RunId, key: Option<u64>) {
        self.sim.note(|| format!("accepted: {run}, key {key:?}"));
        let mut seen = self.seen();
        self.check(seen.erased.contains(&run) || self.store.get(run).is_some(), || format!("{run} is accepted and not recorded"));
        seen.accepted.insert(run);
        if let Some(key) = key {
            let known = *seen.by_key.entry(key).or_insert(run);
            self.check(known == run, || format!("key {key} stands for {known} and for {run}"));
        }
    }

    /// Before a run or conversation is removed for good.
    pub(crate) fn erasing(&self, what: Erasure) {
        if let Erasure::Run(run) = what {
            self.seen().erased.insert(run);
        }
    }

    /// What is still to happen, once no more faults do; `None` when all is settled.
    pub(crate) fn unsettled(&self, dead_letters: &[String], tasks: &[String]) -> Option<String> {
        self.store.with_tables(|tables| {
            if let Some(run) = tables.runs.values().find(|run| !run.state.has_ended()) {
                return Some(format!("{} is still {:?}", run.id, run.state));
            }
            if !tasks.is_empty() {
                return Some(format!("messages are left: {tasks:?}"));
            }
            for run in tables.runs.values() {
                let letters = dead_letters.iter().filter(|body| Task::from_body(body).is_ok_and(|task| task.run == run.id)).count();
                let expected = usize::from(run.state == RunState::Dead);
                if letters != expected {
                    return Some(format!("{} is {:?} and has {letters} dead letters", run.id, run.state));
                }
            }
            None
        })
    }

    /// The last word: nothing that was accepted is lost.
    pub(crate) fn at_the_end(&self, keyed: &BTreeSet<u64>) {
        let seen = self.seen();
        self.store.with_tables(|tables| {
            for run in &seen.accepted {
                self.check(tables.runs.contains_key(run) || seen.erased.contains(run), || format!("{run} was accepted and is lost"));
            }
            let mut by_request: BTreeMap<u64, usize> = BTreeMap::new();
            for event in tables.runs.values().filter_map(|run| tables.events.get(&run.event)) {
                let request = event.agent_input().ok().and_then(|input| input.prompt.rsplit(' ').next()?.parse().ok()).unwrap_or(0);
                *by_request.entry(request).or_default() += 1;
            }
            for request in keyed {
                let runs = by_request.get(request).copied().unwrap_or(0);
                self.check(runs <= 1, || format!("request {request} had a key and started {runs} runs"));
            }
        });
    }

    /// How the runs ended, for the summary.
    pub(crate) fn ends(&self) -> Vec<RunState> {
        self.store.with_tables(|tables| tables.runs.values().map(|run| run.state).collect())
    }
}

/// `<run>:<step>`, perhaps with marks for further tries.
fn parse(key: &str) -> Option<(RunId, u32)> {
    let (run, step) = key.trim_end_matches('\'').split_once(':')?;
    Some((run.parse().ok()?, step.parse().ok()?))
}
