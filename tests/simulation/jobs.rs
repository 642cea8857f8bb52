//! Bulk actions: operators ask for them, their queue wakes workers, and those die, freeze and lose answers as all others do.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use shared::domain::clock::{Clock, after};
use shared::domain::id::{JobId, RunId, TenantId};
use shared::domain::idempotency::UsedKey;
use shared::domain::job::{Item, Job, JobKind, JobResult, JobStatus, NewJob, Outcome, Pace};
use shared::domain::job_message::JobMessage;
use shared::engine::ports::JournalError;
use shared::fakes::MemoryJobs;
use shared::jobs::{Acted, DeadOrder, DeadWork, Desk, JobQueue, JobStore, Kinds, Selection, Taken, ToTheDead, Work, Worker};
use shared::operate::Redrive;

use crate::faults::Fault;
use crate::invariants::Invariants;
use crate::process::Process;
use crate::scheduler::{Sim, locked};
use crate::store::unavailable;
use crate::world::World;

/// How long a message is hidden that is worked on, in milliseconds: the lease of a job and a second.
const HIDDEN: i64 = 36_000;
/// The time of an invocation, and what it begins nothing new in.
const INVOCATION: Duration = Duration::from_secs(29);
const WORK: Duration = Duration::from_secs(19);

struct Waiting {
    message: JobMessage,
    visible_at: i64,
    number: usize,
}

/// The jobs of a world, and their messages.
#[derive(Default)]
pub(crate) struct Jobs {
    memory: MemoryJobs,
    messages: Mutex<Vec<Waiting>>,
    sent: Mutex<usize>,
    /// What each job has set out to do: once per run.
    acted: Mutex<BTreeSet<(JobId, RunId)>>,
}

/// The jobs, for one process.
#[derive(Clone)]
pub(crate) struct SimJobs {
    sim: Sim,
    process: Arc<Process>,
    jobs: Arc<Jobs>,
}

impl SimJobs {
    pub(crate) fn new(sim: &Sim, process: &Arc<Process>, jobs: &Arc<Jobs>) -> Self {
        Self { sim: sim.clone(), process: process.clone(), jobs: jobs.clone() }
    }

    async fn call<T>(&self, effect: impl Future<Output = Result<T, JournalError>>) -> Result<T, JournalError> {
        self.sim.point(&self.process).await;
        if self.sim.is_cut_off(&self.process) || self.sim.strikes(Fault::StoreFails, Some(&self.process)) {
            return Err(unavailable());
        }
        let is_lost = self.sim.strikes(Fault::StoreReplyLost, Some(&self.process));
        let done = effect.await;
        self.sim.point(&self.process).await;
        if is_lost { Err(unavailable()) } else { done }
    }
}

#[async_trait]
impl JobStore for SimJobs {
    async fn create(&self, job: &Job, key: Option<&UsedKey>) -> Result<Option<UsedKey>, JournalError> {
        self.call(self.jobs.memory.create(job, key)).await
    }

    async fn job(&self, tenant: &TenantId, id: JobId) -> Result<Option<Job>, JournalError> {
        self.call(self.jobs.memory.job(tenant, id)).await
    }

    async fn save(&self, job: &Job, results: &[JobResult]) -> Result<bool, JournalError> {
        if self.sim.strikes(Fault::StoreLate, Some(&self.process)) {
            let (this, job, results) = (self.clone(), job.clone(), results.to_vec());
            let delay = self.sim.any(100..100_000);
            self.sim.spawn(None, async move {
                this.sim.sleep(Duration::from_millis(delay)).await;
                let done = this.jobs.memory.save(&job, &results).await;
                this.sim.note(|| format!("{}: (late) job v{} -> {done:?}", this.process.name, job.version));
            });
            return Err(unavailable());
        }
        let saved = self.call(self.jobs.memory.save(job, results)).await;
        self.sim.note(|| {
            let (batch, counts) = (job.batch.len(), job.counts);
            format!("{}: job v{} {:?} turn {} batch {batch} {counts:?} -> {saved:?}", self.process.name, job.version, job.status, job.turn)
        });
        saved
    }

    async fn jobs(&self, tenant: &TenantId, before: Option<JobId>, limit: usize) -> Result<Vec<Job>, JournalError> {
        self.call(self.jobs.memory.jobs(tenant, before, limit)).await
    }

    async fn results(&self, tenant: &TenantId, job: JobId, after: Option<&str>, limit: usize) -> Result<Vec<JobResult>, JournalError> {
        self.call(self.jobs.memory.results(tenant, job, after, limit)).await
    }

    async fn open(&self) -> Result<Vec<(TenantId, JobId)>, JournalError> {
        self.call(self.jobs.memory.open()).await
    }
}

#[async_trait]
impl JobQueue for SimJobs {
    async fn send_job(&self, message: &JobMessage, delay: Duration) -> Result<(), JournalError> {
        self.sim.point(&self.process).await;
        if self.sim.is_cut_off(&self.process) || self.sim.strikes(Fault::SendFails, Some(&self.process)) {
            return Err(unavailable());
        }
        let times = if self.sim.strikes(Fault::MessageLost, None) {
            0
        } else if self.sim.strikes(Fault::SendTwice, None) {
            2
        } else {
            1
        };
        for _ in 0..times {
            let number = {
                let mut sent = locked(&self.jobs.sent);
                *sent += 1;
                *sent
            };
            let visible_at = self.sim.now_ms() + i64::try_from(delay.as_millis()).unwrap_or(0);
            locked(&self.jobs.messages).push(Waiting { message: message.clone(), visible_at, number });
        }
        if self.sim.strikes(Fault::SendReplyLost, Some(&self.process)) { Err(unavailable()) } else { Ok(()) }
    }
}

/// The function's own work, which tells the invariants what it sets out to do: a second time for the same run counts for nothing.
struct Watching {
    work: DeadWork,
    jobs: Arc<Jobs>,
    invariants: Arc<Invariants>,
}

#[async_trait]
impl Work for Watching {
    async fn count(&self, job: &Job) -> Result<u64, JournalError> {
        self.work.count(job).await
    }

    async fn next(&self, job: &Job, cursor: Option<&str>, limit: usize) -> Result<(Vec<Item>, Option<String>), JournalError> {
        self.work.next(job, cursor, limit).await
    }

    async fn act(&self, job: &Job, item: &Item) -> Result<Acted, JournalError> {
        if let Ok(run) = item.key.parse::<RunId>()
            && locked(&self.jobs.acted).insert((job.id, run))
        {
            self.invariants.put_back(run);
        }
        self.work.act(job, item).await
    }
}

impl World {
    fn worker(&self, process: &Arc<Process>) -> Worker {
        let (store, queue, clock) = (Arc::new(self.store(process)), self.queue(process), Arc::new(self.clock(process)));
        let jobs = Arc::new(SimJobs::new(&self.sim, process, &self.jobs));
        let redrive =
            Redrive { records: store.clone(), queue: Arc::new(queue.clone()), dead_letters: Arc::new(queue), clock: clock.clone() };
        let work = |what| {
            let work = DeadWork { redrive: redrive.clone(), index: store.clone(), what };
            Arc::new(Watching { work, jobs: self.jobs.clone(), invariants: self.invariants.clone() }) as Arc<dyn Work>
        };
        let kinds = Kinds::from([(JobKind::Retry, work(ToTheDead::Retry)), (JobKind::Discard, work(ToTheDead::Discard))]);
        Worker { store: jobs.clone(), queue: jobs, records: store, kinds, clock }
    }

    /// An operator asks for all dead runs to be put back, or given up, and may change their mind.
    pub(crate) fn act_in_bulk(&self) {
        let process = self.process("operator-");
        let jobs = Arc::new(SimJobs::new(&self.sim, &process, &self.jobs));
        let desk = Desk { store: jobs.clone(), queue: jobs, clock: Arc::new(self.clock(&process)) };
        let kind = if self.sim.chance(80) { JobKind::Retry } else { JobKind::Discard };
        let order = DeadOrder {
            selection: Selection::All,
            tenant: Some(self.tenant.clone()),
            from_start: false,
            model: None,
            agent: None,
            force: self.sim.chance(50),
        };
        let new = NewJob {
            tenant: self.tenant.clone(),
            kind,
            by: "ana".into(),
            reason: Some(format!("bulk action of {}", process.name)),
            order: json!(order),
            pace: Pace { rate: u32::try_from(self.sim.any(1..4)).unwrap_or(1), concurrency: self.sim.chance(30).then_some(2) },
            canary: self.sim.chance(30).then_some((1, 60)),
            key: None,
        };
        let (sim, is_cancelled) = (self.sim.clone(), self.sim.chance(20));
        self.sim.note(|| format!("{}: {kind:?} in bulk", process.name));
        self.sim.spawn(Some(&process.clone()), async move {
            let tenant = new.tenant.clone();
            if let Ok(started) = desk.start(new).await
                && is_cancelled
            {
                sim.sleep(Duration::from_millis(sim.any(0..10_000))).await;
                let _ = desk.cancel(&tenant, started.job.id, &[kind], "bob", None).await;
            }
        });
    }

    /// Hands messages to workers, two at a time at most.
    pub(crate) fn start_job_service(&self) {
        for _ in 0..2 {
            let this = self.clone();
            self.sim.spawn(None, async move {
                loop {
                    this.sim.sleep(Duration::from_millis(this.sim.any(500..2_000))).await;
                    let taken = this.take_job_message();
                    if let Some((message, number)) = taken {
                        this.work_on(message, number).await;
                    }
                }
            });
        }
    }

    fn take_job_message(&self) -> Option<(JobMessage, usize)> {
        let now = self.sim.now_ms();
        let mut messages = locked(&self.jobs.messages);
        let waiting = messages.iter_mut().find(|waiting| waiting.visible_at <= now)?;
        if !self.sim.strikes(Fault::DeliveredTwice, None) {
            waiting.visible_at = now + HIDDEN;
        }
        Some((waiting.message.clone(), waiting.number))
    }

    async fn work_on(&self, message: JobMessage, number: usize) {
        let process = self.process("jobs-");
        let (worker, clock, jobs, sim) = (self.worker(&process), self.clock(&process), self.jobs.clone(), self.sim.clone());
        let is_over = Arc::new(Mutex::new(false));
        let over = is_over.clone();
        self.sim.spawn(Some(&process), async move {
            let taken = worker.take_up(&message, after(clock.now(), WORK)).await;
            let mut messages = locked(&jobs.messages);
            match taken {
                Ok(Taken::Done) => messages.retain(|waiting| waiting.number != number),
                Ok(Taken::Again(pause)) => {
                    let visible_at = sim.now_ms() + i64::try_from(pause.as_millis()).unwrap_or(0) + 1_000;
                    messages.iter_mut().filter(|waiting| waiting.number == number).for_each(|waiting| waiting.visible_at = visible_at);
                }
                Err(_) => {}
            }
            drop(messages);
            *locked(&over) = true;
        });
        self.limit(&process, INVOCATION);
        let end = self.sim.now_ms() + i64::try_from(INVOCATION.as_millis()).unwrap_or(0);
        while !*locked(&is_over) && !process.is_killed() && self.sim.now_ms() < end {
            self.sim.sleep(Duration::from_millis(500)).await;
        }
    }

    /// Whether a job has not ended.
    pub(crate) fn has_open_jobs(&self) -> bool {
        locked(&self.jobs.memory.jobs).values().any(|job| !job.status.has_ended())
    }

    /// Once all is quiet: counts and results agree, and no job has put a run back twice.
    pub(crate) fn check_jobs(&self) {
        let (jobs, results) = (locked(&self.jobs.memory.jobs).clone(), locked(&self.jobs.memory.results).clone());
        for job in jobs.values() {
            let of_job = |outcome| results.iter().filter(|((of, _), result)| *of == job.id && result.outcome == outcome).count() as u64;
            let told = (of_job(Outcome::Done), of_job(Outcome::Skipped), of_job(Outcome::Failed));
            let counts = job.counts;
            // A run that dies again by a clock that is behind may be selected twice, found done the second time, and counted twice.
            let is_told = told.0 <= counts.done && told.1 <= counts.skipped && told.2 <= counts.failed;
            let is_all = counts.selected == counts.settled() || (job.status != JobStatus::Completed && counts.selected > counts.settled());
            if !is_told || !is_all {
                self.sim.violated(format!("{} counts {counts:?} and has results {told:?}", job.id));
            }
            if job.kind != JobKind::Retry {
                continue;
            }
            self.store.with_tables(|tables| {
                for run in tables.runs.values() {
                    let older = tables.archives.get(&run.id).into_iter().flatten().flat_map(|archive| &archive.transitions);
                    let by_job = |note: &Option<String>| note.is_some() && *note == job.reason;
                    let times = older.chain(&run.transitions).filter(|transition| by_job(&transition.note)).count();
                    let result = results.get(&(job.id, run.id.to_string()));
                    if times > 1 {
                        self.sim.violated(format!("{} has put {} back {times} times", job.id, run.id));
                    }
                    if times == 0 && result.is_some_and(|result| result.outcome == Outcome::Done) {
                        self.sim.violated(format!("{} says that it has put {} back, and has not", job.id, run.id));
                    }
                }
            });
        }
    }
}
