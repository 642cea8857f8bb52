//! What must be true after every single write, whatever went wrong before it. A broken invariant ends the simulation.

pub(crate) mod calls;
mod outcome;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use shared::domain::id::{ConversationId, RunId};
use shared::domain::run::{Run, Transition};
use shared::domain::state::RunState;
use shared::domain::step::Step;
use shared::domain::task::Task;
use shared::engine::Limits;
use shared::engine::ports::{Guard, Write};
use shared::fakes::MemoryStore;

use crate::model::Line;
use crate::process::Process;
use crate::scheduler::{Sim, locked};

/// The run as it was after the last write that was looked at.
struct Shadow {
    run: Run,
    trail: Vec<Transition>,
    steps: Vec<Step>,
    failures: usize,
    /// Since when it is in its state, in true time.
    since: i64,
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
    leases: BTreeMap<RunId, (u64, Arc<Process>)>,
    /// Who waits in which order.
    lines: BTreeMap<ConversationId, Vec<RunId>>,
    answers: BTreeMap<(RunId, u32), Vec<Answered>>,
    asked: BTreeMap<(RunId, u32), u32>,
    effects: BTreeMap<(RunId, u32), u32>,
    /// How often an operator put a run back, or moved its message back.
    put_back: BTreeMap<RunId, u32>,
    scripts: BTreeMap<u64, Vec<Line>>,
    accepted: BTreeSet<RunId>,
    by_key: BTreeMap<u64, String>,
    erased: BTreeSet<RunId>,
}

/// The watcher of one simulation.
pub(crate) struct Invariants {
    sim: Sim,
    store: Arc<MemoryStore>,
    limits: Limits,
    seen: Mutex<Seen>,
}

impl Invariants {
    pub(crate) fn new(sim: &Sim, store: &Arc<MemoryStore>, limits: Limits) -> Self {
        Self { sim: sim.clone(), store: store.clone(), limits, seen: Mutex::default() }
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
    pub(crate) fn written(&self, process: &Arc<Process>, writes: &[Write<'_>], runs: &[RunId], conversations: &[ConversationId]) {
        for write in writes {
            match write {
                Write::Run(run, Guard::Held { lease_no, .. }) => self.check_holder(process, run, *lease_no),
                Write::Progress(run, _) => self.check_holder(process, run, run.lease_no),
                Write::Run(run, Guard::New) if run.state == RunState::Running => {
                    self.seen().leases.insert(run.id, (run.lease_no, process.clone()));
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
    pub(crate) fn claimed(&self, process: &Arc<Process>, task: &Task, run: &Run) {
        self.check(task.epoch == run.epoch, || format!("{} of epoch {} is claimed with a message of {}", run.id, run.epoch, task.epoch));
        let mut seen = self.seen();
        if let Some(before) = seen.runs.get(&run.id).map(|shadow| &shadow.run)
            && before.state == RunState::Running
            && before.lease_owner != run.lease_owner
        {
            let left = before.lease_until_ms - self.sim.now_ms();
            self.check(left <= 5_000, || format!("{} is claimed while its lease has {left} ms left", run.id));
            self.check_is_lost(&seen, run.id);
        }
        seen.leases.insert(run.id, (run.lease_no, process.clone()));
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

    /// A worker that no fault has hit keeps its lease for as long as it needs it.
    fn check_is_lost(&self, seen: &Seen, run: RunId) {
        let Some((lease_no, holder)) = seen.leases.get(&run) else { return };
        self.check(holder.is_hurt(), || format!("{} is well, and lease {lease_no} of {run} is taken from it", holder.name));
    }

    /// Only who holds the lease writes under it.
    fn check_holder(&self, process: &Process, run: &Run, lease_no: u64) {
        let seen = self.seen();
        let holder = seen.leases.get(&run.id);
        let is_holder = holder.is_some_and(|(held, by)| *held == lease_no && by.name == process.name);
        self.check(is_holder, || {
            let holder = holder.map(|(held, by)| (held, &by.name));
            format!("{} writes {} under lease {lease_no}, but it is {holder:?}", process.name, run.id)
        });
        let state = seen.runs.get(&run.id).map(|shadow| shadow.run.state);
        self.check(state == Some(RunState::Running), || format!("{} writes {} under a lease, but it is {state:?}", process.name, run.id));
    }
}
