//! One simulated world: callers, humans, operators, workers, sweepers, and what goes wrong between them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use shared::domain::conversation::WhenBusy;
use shared::domain::event::AgentInput;
use shared::domain::id::{ConversationId, TenantId};
use shared::domain::idempotency::RequestKey;
use shared::domain::principal::Principal;
use shared::domain::run::{Cause, Run};
use shared::domain::state::RunState;
use shared::domain::waiting::Waiting;
use shared::engine::{Engine, Limits};
use shared::fakes::MemoryStore;
use shared::intake::{Accepted, AgentRequest, Intake, IntakeError};
use shared::operate::{DeadLetterQueue, NewAnswer, Redrive, answer, cancel};
use shared::tools::Toolbox;

use crate::consumer::Invocation;
use crate::faults::{Fault, Faults};
use crate::invariants::Invariants;
use crate::model::{SimModel, SimTool, script};
use crate::scheduler::{Ended, Process, ProcessClock, Sim, locked};
use crate::sqs::{SimQueue, Sqs};
use crate::store::SimStore;
use crate::sweeper::{deadline, sweeper};

/// How far clocks are apart at most.
const SKEW: Duration = Duration::from_secs(5);
/// How long a synchronous caller waits.
const PATIENCE: Duration = Duration::from_secs(24);
/// Most calls of ports in one simulation.
const MOST_POINTS: u64 = 200_000;
/// How long it may take, once no more faults happen, until all is quiet.
const QUIET_WITHIN: Duration = Duration::from_secs(4 * 3_600);

/// What came of one simulation.
pub(crate) struct Report {
    pub(crate) ended: Ended,
    pub(crate) faults: Vec<(Fault, u32)>,
    pub(crate) struck: u32,
    pub(crate) points: u64,
    pub(crate) ends: Vec<RunState>,
    pub(crate) trace: Vec<String>,
}

#[derive(Clone)]
struct World {
    sim: Sim,
    store: Arc<MemoryStore>,
    sqs: Sqs,
    invariants: Arc<Invariants>,
    limits: Limits,
    is_idempotent: bool,
    conversations: Arc<Mutex<Vec<ConversationId>>>,
    keyed: Arc<Mutex<BTreeSet<u64>>>,
    /// Callers and operators that have not finished.
    busy: Arc<Mutex<u32>>,
    tenant: TenantId,
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
    let store = Arc::new(MemoryStore::default());
    let invariants = Arc::new(Invariants::new(&sim, &store, limits.max_attempts));
    let world = World {
        sqs: Sqs::new(&sim, &invariants, limits.max_attempts),
        is_idempotent: sim.chance(40),
        sim: sim.clone(),
        store,
        invariants,
        limits,
        conversations: Arc::default(),
        keyed: Arc::default(),
        busy: Arc::default(),
        tenant: "acme".parse().unwrap(),
    };
    let requests = sim.any(1..7);
    let chaos = Duration::from_secs(sim.any(60..600));
    for request in 0..requests {
        world.start_caller(request, chaos);
    }
    for _ in 0..sim.any(0..4) {
        world.start_operator(chaos);
    }
    world.start_human();
    world.start_queue_service();
    world.start_sweepers();
    let calm = sim.clone();
    sim.spawn(None, {
        let sim = sim.clone();
        async move {
            sim.sleep(chaos).await;
            calm.calm();
        }
    });
    let ended = sim.run(MOST_POINTS, || world.is_over(chaos));
    world.invariants.at_the_end(&locked(&world.keyed));
    let ended = match (ended, sim.run(MOST_POINTS * 2, || true)) {
        (Ended::Quiet, late) => late,
        (violated, _) => violated,
    };
    Report { ended, faults: sim.faults(), struck: sim.struck(), points: sim.points(), ends: world.invariants.ends(), trace: sim.trace() }
}

impl World {
    fn is_over(&self, chaos: Duration) -> bool {
        let elapsed = self.sim.elapsed();
        if elapsed <= chaos || *locked(&self.busy) > 0 || self.sqs.is_moving() {
            return false;
        }
        let dead: Vec<String> = self.sqs.dead().into_iter().map(|message| message.body).collect();
        let tasks: Vec<String> = self.sqs.tasks().into_iter().map(|message| message.body).collect();
        let Some(unsettled) = self.invariants.unsettled(&dead, &tasks) else { return true };
        if elapsed > chaos + QUIET_WITHIN {
            self.sim.violated(format!("not settled: {unsettled}"));
            return true;
        }
        false
    }

    fn process(&self, name: &str) -> Arc<Process> {
        self.sim.process(name, SKEW)
    }

    fn store(&self, process: &Arc<Process>) -> SimStore {
        SimStore { sim: self.sim.clone(), process: process.clone(), store: self.store.clone(), invariants: self.invariants.clone() }
    }

    fn queue(&self, process: &Arc<Process>) -> SimQueue {
        SimQueue { sqs: self.sqs.clone(), sim: self.sim.clone(), process: process.clone() }
    }

    fn clock(&self, process: &Process) -> ProcessClock {
        ProcessClock { sim: self.sim.clone(), skew: process.skew }
    }

    /// An engine whose caller waits for `most`.
    fn engine(&self, process: &Arc<Process>, most: Duration) -> Engine {
        let (sim, invariants) = (self.sim.clone(), self.invariants.clone());
        let until = sim.now_ms().saturating_add(i64::try_from(most.as_millis()).unwrap_or(i64::MAX));
        let tool =
            SimTool { sim: sim.clone(), process: process.clone(), invariants: invariants.clone(), is_idempotent: self.is_idempotent };
        Engine {
            journal: Arc::new(self.store(process)),
            queue: Arc::new(self.queue(process)),
            model: Arc::new(SimModel { sim, process: process.clone(), invariants, timeout: self.limits.model_timeout, until }),
            tools: Toolbox::of(vec![Arc::new(tool)]),
            clock: Arc::new(self.clock(process)),
            limits: self.limits,
            worker: process.name.clone(),
        }
    }

    fn intake(&self, process: &Arc<Process>) -> Intake {
        Intake { engine: self.engine(process, PATIENCE), records: Arc::new(self.store(process)), patience: PATIENCE }
    }

    /// Ends a function that has had its time, time in which it was frozen left out.
    fn limit(&self, process: &Arc<Process>, time: Duration) {
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

    /// A caller: asks once, and asks again with the same key where no answer came.
    fn start_caller(&self, request: u64, chaos: Duration) {
        let this = self.clone();
        *locked(&self.busy) += 1;
        self.invariants.script(request, script(&self.sim));
        self.sim.spawn(None, async move {
            this.sim.sleep(Duration::from_millis(this.sim.any(0..u64::try_from(chaos.as_millis()).unwrap_or(1) / 2))).await;
            this.call(request).await;
            *locked(&this.busy) -= 1;
        });
    }

    async fn call(&self, request: u64) {
        let known = locked(&self.conversations).clone();
        let conversation = if known.is_empty() || self.sim.chance(20) { None } else { Some(self.sim.one_of(&known)) };
        let has_key = self.sim.chance(50);
        if has_key {
            locked(&self.keyed).insert(request);
        }
        let asked = AgentRequest {
            agent: None,
            conversation,
            input: AgentInput { prompt: format!("request {request}"), ..AgentInput::default() },
            when_busy: self.sim.one_of(&[
                WhenBusy::Enqueue,
                WhenBusy::Enqueue,
                WhenBusy::Enqueue,
                WhenBusy::Reject,
                WhenBusy::Interrupt,
                WhenBusy::Rollback,
            ]),
            key: has_key.then(|| RequestKey { digest: format!("key {request}"), fingerprint: format!("request {request}") }),
        };
        let in_background = self.sim.chance(60);
        for _ in 0..6 {
            let answers: Vec<_> =
                (0..if has_key && self.sim.chance(30) { 2 } else { 1 }).map(|_| self.request(asked.clone(), in_background)).collect();
            let end = self.sim.now_ms() + 30_000;
            while self.sim.now_ms() < end && answers.iter().any(|answer| locked(answer).is_none()) {
                self.sim.sleep(Duration::from_millis(500)).await;
            }
            let mut is_answered = false;
            for answer in &answers {
                match locked(answer).take() {
                    Some(Ok(accepted)) => {
                        is_answered = true;
                        self.invariants.accepted(accepted.run, has_key.then_some(request));
                        let mut conversations = locked(&self.conversations);
                        if !conversations.contains(&accepted.conversation) {
                            conversations.push(accepted.conversation);
                        }
                    }
                    Some(Err(IntakeError::Journal(_))) | None => {}
                    Some(Err(IntakeError::KeyReused | IntakeError::UnknownAgent)) => {
                        self.sim.violated(format!("request {request} was refused for no reason"));
                    }
                    Some(Err(IntakeError::NoConversation | IntakeError::ConversationBusy | IntakeError::ConversationFull)) => {
                        is_answered = true;
                    }
                }
            }
            // Without a key, a caller cannot know whether it has asked already.
            if is_answered || !has_key {
                return;
            }
            self.sim.sleep(Duration::from_millis(self.sim.any(100..20_000))).await;
        }
    }

    fn request(&self, asked: AgentRequest, in_background: bool) -> Arc<Mutex<Option<Result<Accepted, IntakeError>>>> {
        let process = self.process("api-");
        let intake = self.intake(&process);
        let principal = Principal { tenant: self.tenant.clone(), name: "ana".into() };
        let answer = Arc::new(Mutex::new(None));
        let slot = answer.clone();
        self.sim.spawn(Some(&process), async move {
            let accepted =
                if in_background { intake.in_background(&principal, asked).await } else { intake.while_waiting(&principal, asked).await };
            *locked(&slot) = Some(accepted);
        });
        self.limit(&process, Duration::from_secs(29));
        answer
    }

    /// An operator: cancels, puts back, moves the dead letters back.
    fn start_operator(&self, chaos: Duration) {
        let this = self.clone();
        *locked(&self.busy) += 1;
        self.sim.spawn(None, async move {
            for _ in 0..this.sim.any(1..5) {
                this.sim.sleep(Duration::from_millis(this.sim.any(0..u64::try_from(chaos.as_millis()).unwrap_or(1) / 2))).await;
                this.operate();
            }
            *locked(&this.busy) -= 1;
        });
    }

    fn operate(&self) {
        let runs: Vec<Run> = self.store.with_tables(|tables| tables.runs.values().cloned().collect());
        let dead: Vec<&Run> = runs.iter().filter(|run| run.state == RunState::Dead).collect();
        let process = self.process("operator-");
        let (store, queue, clock) = (self.store(&process), self.queue(&process), self.clock(&process));
        match self.sim.any(0..10) {
            0 | 1 if !runs.is_empty() => {
                let run = runs[usize::try_from(self.sim.any(0..runs.len() as u64)).unwrap_or(0)].clone();
                let cause_at = shared::domain::clock::Clock::now(&clock);
                self.sim.note(|| format!("{}: cancels {}", process.name, run.id));
                self.sim.spawn(Some(&process), async move {
                    let cause = Cause { at: cause_at, by: "ana", reason: "cancelled", patience: Duration::from_secs(60) };
                    let _ = cancel(&store, &queue, cause, &run.tenant, run.id).await;
                });
            }
            2..6 if !dead.is_empty() => {
                let run = (*self.sim.one_of(&dead)).clone();
                self.invariants.put_back(run.id);
                self.sim.note(|| format!("{}: puts {} back", process.name, run.id));
                let redrive = Redrive {
                    records: Arc::new(store),
                    queue: Arc::new(queue.clone()),
                    dead_letters: Arc::new(queue),
                    clock: Arc::new(clock),
                };
                self.sim.spawn(Some(&process), async move {
                    let _ = redrive.retry(&run.tenant, run.id, "ana").await;
                });
            }
            _ => self.sim.spawn(Some(&process), async move {
                let _ = queue.start_move().await;
            }),
        }
    }

    /// A human who answers some questions, some of them twice.
    fn start_human(&self) {
        let this = self.clone();
        self.sim.spawn(None, async move {
            loop {
                this.sim.sleep(Duration::from_millis(this.sim.any(1_000..200_000))).await;
                let asking: Vec<Run> = this.store.with_tables(|tables| {
                    tables.runs.values().filter(|run| matches!(run.waiting, Some(Waiting::Answer { .. }))).cloned().collect()
                });
                for run in asking {
                    for _ in 0..this.sim.any(0..3) {
                        this.answer(&run);
                    }
                }
            }
        });
    }

    fn answer(&self, run: &Run) {
        let Some(Waiting::Answer { question_id, .. }) = &run.waiting else { return };
        let process = self.process("human-");
        let (store, queue) = (self.store(&process), self.queue(&process));
        let at: Timestamp = shared::domain::clock::Clock::now(&self.clock(&process));
        let new = NewAnswer { question_id: question_id.clone(), text: format!("said {}", self.sim.number()) };
        let run = run.clone();
        self.sim.spawn(Some(&process), async move {
            let cause = Cause { at, by: "ana", reason: "answered", patience: Duration::from_secs(60) };
            let _ = answer(&store, &queue, cause, &run.tenant, run.id, &new).await;
        });
    }

    /// What the platform does: hands batches of visible messages to workers, a few at a time.
    fn start_queue_service(&self) {
        for _ in 0..self.sim.any(2..5) {
            let this = self.clone();
            self.sim.spawn(None, async move {
                loop {
                    let until = this.sqs.next_visible().unwrap_or(i64::MAX).min(this.sim.now_ms() + 5_000);
                    this.sim.sleep_until(until).await;
                    this.sim.sleep(Duration::from_millis(this.sim.any(0..300))).await;
                    let batch = this.sqs.receive(usize::try_from(this.sim.any(1..4)).unwrap_or(1));
                    if !batch.is_empty() {
                        this.invoke(batch).await;
                    }
                }
            });
        }
    }

    /// One invocation; returns when it is over, one way or the other.
    async fn invoke(&self, batch: Vec<crate::sqs::Received>) {
        let process = self.process("worker-");
        self.sim.note(|| format!("{} gets {:?}", process.name, batch.iter().map(|message| &message.id).collect::<Vec<_>>()));
        let time = self.limits.model_timeout + Duration::from_secs(self.sim.one_of(&[20, 60, 240]));
        let invocation = Invocation {
            sim: self.sim.clone(),
            sqs: self.sqs.clone(),
            engine: self.engine(&process, Duration::MAX),
            process: process.clone(),
            deadline: self.sim.now_ms() + i64::try_from(time.as_millis()).unwrap_or(0),
        };
        let is_done = Arc::new(Mutex::new(false));
        let done = is_done.clone();
        self.sim.spawn(Some(&process), async move {
            invocation.handle(batch).await;
            *locked(&done) = true;
        });
        self.limit(&process, time);
        let end = self.sim.now_ms() + i64::try_from(time.as_millis()).unwrap_or(0);
        // The platform does not wait for one that is killed or frozen.
        while !*locked(&is_done) && !process.is_killed() && self.sim.now_ms() < end {
            self.sim.sleep(Duration::from_secs(1)).await;
        }
    }

    /// Two sweepers, which know nothing of each other.
    fn start_sweepers(&self) {
        for _ in 0..2 {
            let this = self.clone();
            self.sim.spawn(None, async move {
                this.sim.sleep(Duration::from_millis(this.sim.any(0..60_000))).await;
                loop {
                    let process = this.process("sweeper-");
                    let sweeper = sweeper(&this.store(&process), &this.queue(&process), this.limits.max_attempts);
                    let deadline = deadline(this.sim.now_ms());
                    this.sim.spawn(Some(&process), async move {
                        let _ = sweeper.tick(deadline).await;
                    });
                    this.limit(&process, Duration::from_secs(60));
                    this.sim.sleep(Duration::from_secs(60)).await;
                }
            });
        }
    }
}
