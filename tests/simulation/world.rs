//! One simulated world: callers, humans, operators, workers, sweepers, and what goes wrong between them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shared::domain::definition::Bundle;
use shared::domain::id::{ConversationId, RunId, TenantId};
use shared::domain::state::RunState;
use shared::engine::{Engine, Limits};
use shared::fakes::MemoryStore;
use shared::intake::Intake;
use shared::tools::Toolbox;

use crate::faults::{Fault, Faults};
use crate::invariants::Invariants;
use crate::jobs::Jobs;
use crate::model::{SimModel, SimTool};
use crate::process::{Process, ProcessClock};
use crate::scheduler::{Ended, Sim, locked};
use crate::sqs::{POISON, SimQueue, Sqs};
use crate::store::SimStore;

/// How far clocks are apart at most.
const SKEW: Duration = Duration::from_secs(5);
/// How long a synchronous caller waits.
const PATIENCE: Duration = Duration::from_secs(24);
/// Most calls of ports in one simulation.
const MOST_POINTS: u64 = 200_000;
/// How long it may take, once no more faults happen, until all is quiet.
const QUIET_WITHIN: Duration = Duration::from_secs(2 * 3_600);

/// From when on, once no more faults happen, nothing may be overlooked: the last process is awake, or ended, and the sweepers have ticked.
const ATTENDED_AFTER: Duration = Duration::from_secs(600);

/// What came of one simulation.
pub(crate) struct Report {
    pub(crate) ended: Ended,
    pub(crate) faults: Vec<(Fault, u32)>,
    pub(crate) struck: u32,
    pub(crate) points: u64,
    pub(crate) ends: Vec<RunState>,
    pub(crate) trace: Vec<String>,
}

/// Dead runs, with how often each had come back before.
type Died = Vec<(RunId, usize)>;

/// Everything that is shared in one world. Cheap to clone.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) sim: Sim,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) sqs: Sqs,
    pub(crate) invariants: Arc<Invariants>,
    pub(crate) jobs: Arc<Jobs>,
    pub(crate) limits: Limits,
    bundle: Arc<Bundle>,
    pub(crate) tenant: TenantId,
    /// Conversations that callers know.
    pub(crate) conversations: Arc<Mutex<Vec<ConversationId>>>,
    /// Requests that had a key.
    pub(crate) keyed: Arc<Mutex<BTreeSet<u64>>>,
    /// The runs whose dead letters were moved back when all was quiet, with how often they had died.
    moved: Arc<Mutex<Option<Died>>>,
    /// How many messages were sent that are no tasks.
    pub(crate) poisons: Arc<Mutex<usize>>,
    /// How many callers and operators have not finished.
    pub(crate) busy: Arc<Mutex<u32>>,
    /// Whether the tool may be called twice.
    is_idempotent: bool,
    /// How long it may take: perhaps longer than a lease holds.
    pub(crate) tool_timeout: Duration,
    /// How long faults happen.
    chaos: Duration,
}

/// Runs the world of `seed`, with the faults whose numbers are in `off` left out.
pub(crate) fn simulate(seed: u64, off: &[u32], is_traced: bool) -> Report {
    shared::fakes::seed(seed);
    let sim = Sim::new(seed, Faults::new(seed, off), is_traced);
    let is_short = sim.chance(50);
    let limits = Limits {
        lease: Duration::from_secs(if is_short { 40 } else { 75 }),
        model_timeout: Duration::from_secs(if is_short { 20 } else { 60 }),
        max_attempts: sim.one_of(&[1, 2, 3, 4]),
    };
    let chaos = Duration::from_secs(sim.any(60..600));
    let Ok(tenant) = "acme".parse() else { unreachable!("it is a name that a tenant may have") };
    let store = Arc::new(MemoryStore::default());
    let invariants = Arc::new(Invariants::new(&sim, &store, limits));
    let world = World {
        sqs: Sqs::new(&sim, &invariants, limits.max_attempts),
        is_idempotent: sim.chance(40),
        tool_timeout: Duration::from_secs(sim.one_of(&[10, 10, 100])),
        sim: sim.clone(),
        store,
        invariants,
        jobs: Arc::default(),
        limits,
        bundle: Arc::new(Bundle::embedded()),
        conversations: Arc::default(),
        keyed: Arc::default(),
        moved: Arc::default(),
        poisons: Arc::default(),
        busy: Arc::default(),
        tenant,
        chaos,
    };
    for request in 0..sim.any(1..8) {
        world.start_caller(request);
    }
    for _ in 0..sim.any(0..4) {
        world.start_operator();
    }
    world.start_human();
    world.start_queue_service();
    world.start_job_service();
    world.start_sweepers();
    let calm = sim.clone();
    sim.spawn(None, async move {
        calm.sleep(chaos).await;
        calm.calm();
    });
    let ended = sim.run(MOST_POINTS, || world.is_over());
    world.invariants.at_the_end(&locked(&world.keyed));
    world.check_jobs();
    if sim.struck() == 0 {
        world.invariants.by_the_book();
    }
    let ended = match (ended, sim.run(MOST_POINTS * 2, || true)) {
        (Ended::Quiet, late) => late,
        (violated, _) => violated,
    };
    Report { ended, faults: sim.faults(), struck: sim.struck(), points: sim.points(), ends: world.invariants.ends(), trace: sim.trace() }
}

impl World {
    fn is_over(&self) -> bool {
        let (elapsed, chaos) = (self.sim.elapsed(), self.chaos);
        if elapsed <= chaos || *locked(&self.busy) > 0 || self.sqs.is_moving() || self.still_has_jobs(elapsed) {
            return false;
        }
        if elapsed > chaos + ATTENDED_AFTER {
            self.invariants.check_attended();
        }
        let dead: Vec<String> = self.sqs.dead().into_iter().map(|message| message.body).collect();
        let tasks: Vec<String> = self.sqs.tasks().into_iter().map(|message| message.body).collect();
        let poison = dead.iter().filter(|body| *body == POISON).count();
        let Some(unsettled) = self.invariants.unsettled(&dead, &tasks) else {
            let sent = *locked(&self.poisons);
            if poison != sent {
                self.sim.violated(format!("{sent} messages were no tasks, and {poison} are dead letters"));
            }
            return !self.retry_all();
        };
        if elapsed > chaos + QUIET_WITHIN {
            self.sim.violated(format!("not settled: {unsettled}"));
            return true;
        }
        false
    }

    /// A job ends, whatever has happened to its workers.
    fn still_has_jobs(&self, elapsed: Duration) -> bool {
        let is_open = self.has_open_jobs();
        if is_open && elapsed > self.chaos + QUIET_WITHIN {
            self.sim.violated("a job does not end".to_owned());
        }
        is_open
    }

    /// Once all is quiet, half of the operators move all dead letters back: every dead run must hear of it. Whether that has begun.
    fn retry_all(&self) -> bool {
        let mut moved = locked(&self.moved);
        if let Some(dead) = moved.as_ref() {
            self.invariants.check_woken(dead);
            return false;
        }
        let dead = self.invariants.dead();
        let begins = !dead.is_empty() && self.sim.chance(50);
        if begins {
            // Not at once: a message that was sent before the death of its run, by clocks that differ, does not wake it.
            let this = self.clone();
            *locked(&self.busy) += 1;
            self.sim.spawn(None, async move {
                // Three times: a move passes over the letters that a janitor just looks at.
                for _ in 0..3 {
                    this.sim.sleep(SKEW * 2).await;
                    this.sqs.start_moving();
                }
                *locked(&this.busy) -= 1;
            });
        }
        *moved = Some(if begins { dead } else { Vec::new() });
        begins
    }

    /// Some time in the first half of the chaos.
    pub(crate) fn some_time(&self) -> Duration {
        Duration::from_millis(self.sim.any(0..u64::try_from(self.chaos.as_millis()).unwrap_or(2) / 2))
    }

    /// A process with a name that begins so.
    pub(crate) fn process(&self, name: &str) -> Arc<Process> {
        self.sim.process(name, SKEW)
    }

    /// The store, for a process.
    pub(crate) fn store(&self, process: &Arc<Process>) -> SimStore {
        SimStore { sim: self.sim.clone(), process: process.clone(), store: self.store.clone(), invariants: self.invariants.clone() }
    }

    /// The queues, for a process.
    pub(crate) fn queue(&self, process: &Arc<Process>) -> SimQueue {
        SimQueue { sqs: self.sqs.clone(), sim: self.sim.clone(), process: process.clone() }
    }

    /// The clock of a process.
    pub(crate) fn clock(&self, process: &Process) -> ProcessClock {
        ProcessClock { sim: self.sim.clone(), skew: process.skew }
    }

    /// An engine whose caller waits for `most`.
    pub(crate) fn engine(&self, process: &Arc<Process>, most: Duration) -> Engine {
        let (sim, invariants) = (self.sim.clone(), self.invariants.clone());
        let until = sim.now_ms().saturating_add(i64::try_from(most.as_millis()).unwrap_or(i64::MAX));
        let tool = SimTool {
            sim: sim.clone(),
            process: process.clone(),
            invariants: invariants.clone(),
            is_idempotent: self.is_idempotent,
            timeout: self.tool_timeout,
        };
        Engine {
            journal: Arc::new(self.store(process)),
            queue: Arc::new(self.queue(process)),
            model: Arc::new(SimModel { sim, process: process.clone(), invariants, timeout: self.limits.model_timeout, until }),
            routes: Arc::new(shared::fakes::routes()),
            bundle: self.bundle.clone(),
            tools: Toolbox::of(vec![Arc::new(tool)]),
            clock: Arc::new(self.clock(process)),
            limits: self.limits,
            worker: process.name.clone(),
            meter: Arc::default(),
        }
    }

    /// What the API accepts runs with.
    pub(crate) fn intake(&self, process: &Arc<Process>) -> Intake {
        Intake { engine: self.engine(process, PATIENCE), records: Arc::new(self.store(process)), patience: PATIENCE }
    }

    /// Ends a function that has had its time, time in which it was frozen left out.
    pub(crate) fn limit(&self, process: &Arc<Process>, time: Duration) {
        let (sim, process) = (self.sim.clone(), process.clone());
        self.sim.spawn(None, async move {
            let end = sim.now_ms() + i64::try_from(time.as_millis()).unwrap_or(0);
            loop {
                let until = end + process.frozen_ms();
                if until <= sim.now_ms() {
                    return process.kill();
                }
                sim.sleep_until(until).await;
            }
        });
    }
}
