//! One thread, one clock, one stream of random numbers: which task goes on next, and how long anything takes, follows from the
//! seed alone. Time stands still while anything can run and then jumps to the next timer.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::faults::{Fault, Faults};
use crate::process::Process;

/// When every simulation begins, in milliseconds since 1970.
const BEGINNING: i64 = 1_767_323_045_000;

/// Locks what only one thread ever locks.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type TaskId = u64;
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Core {
    now: i64,
    sequence: u64,
    rng: fastrand::Rng,
    timers: BinaryHeap<Reverse<(i64, u32, u64)>>,
    sleepers: BTreeMap<u64, Waker>,
    spawned: Vec<(Option<Arc<Process>>, Work)>,
    faults: Faults,
    trace: Option<Vec<String>>,
    violation: Option<String>,
    points: u64,
}

/// The simulated machine room. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sim(Arc<Mutex<Core>>);

struct Task {
    process: Option<Arc<Process>>,
    work: Work,
    waker: Waker,
}

struct TaskWaker {
    id: TaskId,
    ready: Arc<Mutex<Vec<TaskId>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        locked(&self.ready).push(self.id);
    }
}

/// How a simulation ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The question that ends it was answered with yes.
    Quiet,
    /// An invariant is broken.
    Violated(String),
}

impl Sim {
    pub(crate) fn new(seed: u64, faults: Faults, is_traced: bool) -> Self {
        Self(Arc::new(Mutex::new(Core {
            now: BEGINNING,
            sequence: 0,
            rng: fastrand::Rng::with_seed(seed),
            timers: BinaryHeap::new(),
            sleepers: BTreeMap::new(),
            spawned: Vec::new(),
            faults,
            trace: is_traced.then(Vec::new),
            violation: None,
            points: 0,
        })))
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        locked(&self.0)
    }

    /// True time, in milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> i64 {
        self.core().now
    }

    /// Time since the beginning.
    pub(crate) fn elapsed(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.now_ms() - BEGINNING).unwrap_or(0))
    }

    /// A number from `range`.
    pub(crate) fn any(&self, range: std::ops::Range<u64>) -> u64 {
        self.core().rng.u64(range)
    }

    /// True in `percent` of all cases.
    pub(crate) fn chance(&self, percent: u64) -> bool {
        self.any(0..100) < percent
    }

    /// One of `all`.
    pub(crate) fn one_of<T: Copy>(&self, all: &[T]) -> T {
        all[usize::try_from(self.any(0..all.len() as u64)).unwrap_or(0)]
    }

    /// A new number, for names.
    pub(crate) fn number(&self) -> u64 {
        let mut core = self.core();
        core.sequence += 1;
        core.sequence
    }

    /// Whether `fault` happens now to `process`.
    pub(crate) fn strikes(&self, fault: Fault, process: Option<&Process>) -> bool {
        let mut core = self.core();
        let Some(number) = core.faults.strike(fault) else { return false };
        drop(core);
        if let Some(process) = process {
            process.hurt();
        }
        self.note(|| format!("  ** fault {number}: {fault:?} hits {}", process.map_or("the world", |process| &process.name)));
        true
    }

    /// No more faults from now on.
    pub(crate) fn calm(&self) {
        self.core().faults.stop();
        self.note(|| "== no more faults".into());
    }

    /// How many faults have struck, by kind.
    pub(crate) fn faults(&self) -> Vec<(Fault, u32)> {
        self.core().faults.counts()
    }

    /// How many faults may be switched off one by one.
    pub(crate) fn struck(&self) -> u32 {
        self.core().faults.struck()
    }

    /// Counts a place.
    pub(crate) fn count_point(&self) {
        self.core().points += 1;
    }

    /// Times that a port was called, counted before and after.
    pub(crate) fn points(&self) -> u64 {
        self.core().points
    }

    /// Adds a line to the trace, if there is one.
    pub(crate) fn note(&self, line: impl FnOnce() -> String) {
        let mut core = self.core();
        if core.trace.is_some() {
            let at = core.now - BEGINNING;
            drop(core);
            let line = format!("{:>9.3} {}", at as f64 / 1000.0, line());
            core = self.core();
            core.trace.as_mut().into_iter().for_each(|trace| trace.push(line.clone()));
        }
    }

    /// The trace so far.
    pub(crate) fn trace(&self) -> Vec<String> {
        self.core().trace.clone().unwrap_or_default()
    }

    /// Ends the simulation: an invariant is broken. The first one counts.
    pub(crate) fn violated(&self, what: impl Into<String>) {
        let what = what.into();
        self.note(|| format!("!! {what}"));
        self.core().violation.get_or_insert(what);
    }

    /// Starts a task, of a process or of the world.
    pub(crate) fn spawn(&self, process: Option<&Arc<Process>>, work: impl Future<Output = ()> + Send + 'static) {
        self.core().spawned.push((process.cloned(), Box::pin(work)));
    }

    /// Lets others go first, or not.
    pub(crate) async fn yield_now(&self) {
        let mut yielded = false;
        poll_fn(|context| {
            if yielded {
                return Poll::Ready(());
            }
            yielded = true;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Returns after `duration`.
    pub(crate) async fn sleep(&self, duration: Duration) {
        let until = self.now_ms() + i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2).min(i64::MAX / 2);
        self.sleep_until(until).await;
    }

    /// Returns at that time.
    pub(crate) async fn sleep_until(&self, until: i64) {
        if until <= self.now_ms() {
            return self.yield_now().await;
        }
        let timer = self.number();
        let mut is_set = false;
        poll_fn(|context| {
            let mut core = self.core();
            if core.now >= until {
                core.sleepers.remove(&timer);
                return Poll::Ready(());
            }
            core.sleepers.insert(timer, context.waker().clone());
            if !is_set {
                is_set = true;
                let order = core.rng.u32(..);
                core.timers.push(Reverse((until, order, timer)));
            }
            Poll::Pending
        })
        .await;
    }

    /// Runs until `is_over` says so, asked whenever nothing can run, or until an invariant is broken.
    pub(crate) fn run(&self, most_points: u64, mut is_over: impl FnMut() -> bool) -> Ended {
        let ready: Arc<Mutex<Vec<TaskId>>> = Arc::default();
        let tasks: RefCell<BTreeMap<TaskId, Task>> = RefCell::default();
        let mut runnable: Vec<TaskId> = Vec::new();
        loop {
            let spawned = std::mem::take(&mut self.core().spawned);
            for (process, work) in spawned {
                let id = self.number();
                let waker = Arc::new(TaskWaker { id, ready: ready.clone() }).into();
                tasks.borrow_mut().insert(id, Task { process, work, waker });
                runnable.push(id);
            }
            for id in locked(&ready).drain(..) {
                if !runnable.contains(&id) {
                    runnable.push(id);
                }
            }
            if let Some(violation) = self.core().violation.take() {
                return Ended::Violated(violation);
            }
            if runnable.is_empty() {
                if is_over() {
                    return match self.core().violation.take() {
                        Some(violation) => Ended::Violated(violation),
                        None => Ended::Quiet,
                    };
                }
                if !self.next_timer() {
                    return Ended::Violated("nothing can run any more, and it is not over".into());
                }
                continue;
            }
            if self.points() > most_points {
                return Ended::Violated(format!("not quiet after {most_points} calls: something goes on for ever"));
            }
            let place = usize::try_from(self.any(0..runnable.len() as u64)).unwrap_or(0);
            let id = runnable.swap_remove(place);
            let Some(mut task) = tasks.borrow_mut().remove(&id) else { continue };
            if let Some(process) = &task.process {
                if process.is_killed() {
                    continue;
                }
                let frozen_until = process.frozen_until();
                if frozen_until > self.now_ms() {
                    self.wake_at(frozen_until, task.waker.clone());
                    tasks.borrow_mut().insert(id, task);
                    continue;
                }
            }
            let waker = task.waker.clone();
            // A panic that nobody catches ends its invocation, as the runtime does.
            let poll = AssertUnwindSafe(|| task.work.as_mut().poll(&mut Context::from_waker(&waker)));
            let polled = catch_unwind(poll).unwrap_or(Poll::Ready(()));
            let is_killed = task.process.as_ref().is_some_and(|process| process.is_killed());
            if polled.is_pending() && !is_killed {
                tasks.borrow_mut().insert(id, task);
            }
        }
    }

    fn wake_at(&self, at: i64, waker: Waker) {
        let timer = self.number();
        let mut core = self.core();
        core.sleepers.insert(timer, waker);
        let order = core.rng.u32(..);
        core.timers.push(Reverse((at, order, timer)));
    }

    fn next_timer(&self) -> bool {
        loop {
            let mut core = self.core();
            let Some(Reverse((at, _, timer))) = core.timers.pop() else { return false };
            core.now = core.now.max(at);
            if let Some(waker) = core.sleepers.remove(&timer) {
                drop(core);
                waker.wake();
                return true;
            }
        }
    }
}
