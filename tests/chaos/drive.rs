//! The course of events: work goes on while things fail, then nothing fails any more, then all must become quiet.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tests::Stack;
use tests::client::text;

use crate::collect;
use crate::facts::Facts;
use crate::people;
use crate::plan::{By, Kind, Plan};
use crate::rules::Rules;
use crate::strike::Striker;
use crate::table::Done;
use crate::time::pause;
use crate::watch::Watch;
use crate::work::{Caller, DOOMED, Work};
use crate::workers;

/// Runs that may be at work at once: what two cores and one emulator carry.
const IN_FLIGHT: usize = 20;
/// Runs that a fault needs to strike in: two faults meet in many of them.
const RUNS_PER_FAULT: f64 = 0.5;
/// Between two looks at records, counts and logs.
const LOOK: Duration = Duration::from_millis(700);
/// After the last planned blow the rest of the faults must have struck by then.
const LONGEST_EXTRA: Duration = Duration::from_secs(240);
/// After the last planned blow, the rates are doubled so often.
const PRESS: Duration = Duration::from_secs(12);
/// Between two ticks of the sweeper that are begun beside its schedule, each of which lasts a minute.
const BETWEEN_TICKS: Duration = Duration::from_secs(40);
/// When nothing fails any more, all must be quiet by then: a lease, a tick of the sweeper, a few back-offs, and the two minutes after
/// which the sweeper sends a run for the second time.
const CALM: Duration = Duration::from_secs(240);
/// Queue, records and API agree about the dead within a minute.
const AGREE: Duration = Duration::from_secs(75);

/// What a developer asks for.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) seed: u64,
    /// The lease of the stack.
    pub(crate) lease: Duration,
}

/// Lets things fail, and finds out what became of everything.
pub(crate) fn drive(stack: &Stack, plan: &Plan, order: &Order) -> (Facts, Done) {
    let (watch, work) = (Watch::begin(stack), Work::new(stack));
    let begun = Instant::now();
    let mut rules = Rules::begin(stack, plan, order.seed);
    let (hurts, retries) = (Mutex::new(Vec::new()), Mutex::new(BTreeSet::new()));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _at_the_end = Over(&is_over);
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                watch.read();
                look_at_open(stack, &work);
                pause(LOOK);
            }
        });
        let operator = Rng::with_seed(order.seed ^ 0x006f_7065_7261_746f);
        scope.spawn(|| people::operate(stack, operator, &retries, || is_over.load(Ordering::Relaxed)));
        scope.spawn(|| {
            let mut ticked: Option<Instant> = None;
            while !is_over.load(Ordering::Relaxed) {
                if ticked.is_none_or(|at| at.elapsed() > BETWEEN_TICKS) {
                    ticked = Some(Instant::now());
                    workers::tick(stack);
                }
                pause(LOOK);
            }
        });
        let striker = Striker { stack, plan, lease: order.lease, work: &work, hurts: &hurts };
        let blows = scope.spawn(move || striker.strike());
        keep_working(plan, order.seed, &work, &mut rules, || blows.is_finished());
    });
    let mut injected = rules.end();
    let hurts = hurts.into_inner().unwrap_or_else(PoisonError::into_inner);
    for hurt in &hurts {
        *injected.entry(hurt.kind).or_default() += 1;
    }
    let failing = begun.elapsed();
    say(&format!("nothing fails any more; {} runs are open", work.open().len()));

    let mut dead_letters = Vec::new();
    let calm = Instant::now();
    wait_for_quiet(stack, &work, &watch);
    dead_letters.push(when_they_agree(stack, "when all was quiet"));
    let dead = people::note_dead(stack, &retries);
    if !dead.is_empty() {
        stack.heal(DOOMED);
        say(&format!("{} runs are dead: retried one by one, then all that are left", dead.len()));
        put_back(stack, &dead);
        wait_for_quiet(stack, &work, &watch);
        dead_letters.push(when_they_agree(stack, "after the dead were retried"));
    }
    let calming = calm.elapsed();
    watch.read();
    say("asking what became of everything");
    let runs = collect::runs(stack);
    let conversations = collect::conversations(stack, &runs);
    watch.read();
    let (writes, calls) = watch.end();
    let retried = retries.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().collect();
    let facts =
        Facts { requests: work.requests(), events: work.events(), runs, calls, writes, hurts, conversations, dead_letters, retried };
    (facts, Done { seed: order.seed, injected, failing, calming })
}

/// Ends what goes on beside, also when this thread panics: otherwise it would be waited for without end.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Callers come and go until every planned fault has struck, or for too long.
fn keep_working(plan: &Plan, seed: u64, work: &Work<'_>, rules: &mut Rules<'_>, blows_are_over: impl Fn() -> bool) {
    let mut rng = Rng::with_seed(seed ^ 0x0077_6f72_6b00);
    let runs = f64::from(plan.counts.values().sum::<u32>()) * RUNS_PER_FAULT;
    let between = plan.span().max(Duration::from_secs(20)).div_f64(runs.max(1.0)).min(Duration::from_secs(2));
    let begun = Instant::now();
    let (mut told, mut pressed) = (Instant::now(), Instant::now());
    let wanted = plan.total(By::Emulator) + plan.total(By::Model);
    std::thread::scope(|scope| {
        loop {
            if work.open().len() < IN_FLIGHT {
                let (caller, own) = (Caller::draw(&mut rng), rng.fork());
                scope.spawn(move || work.call(caller, own));
            }
            pause(between.mul_f64(rng.f64() * 2.0).max(Duration::from_millis(20)));
            if told.elapsed() > Duration::from_secs(5) {
                told = Instant::now();
                let struck: u32 = rules.counts().values().sum();
                say(&format!(
                    "{struck} of {wanted} faults have struck; {} runs open, {} requests done",
                    work.open().len(),
                    work.requests().len()
                ));
                if struck >= wanted && blows_are_over() || begun.elapsed() > plan.span() + LONGEST_EXTRA {
                    return;
                }
            }
            if begun.elapsed() > plan.span() && pressed.elapsed() > PRESS {
                pressed = Instant::now();
                rules.press();
            }
        }
    });
}

fn look_at_open(stack: &Stack, work: &Work<'_>) {
    let has_ended = |state: &str| !["queued", "running", "waiting"].contains(&state);
    let records = workers::records(stack, &work.open());
    let ended = records.iter().filter(|record| has_ended(&text(&record["state"], "S")));
    work.ended(&ended.map(workers::run_of).collect());
}

/// Until every run has ended and nothing on the tasks queue waits for a worker, or for too long: what is open then is stuck.
fn wait_for_quiet(stack: &Stack, work: &Work<'_>, watch: &Watch<'_>) {
    let begun = Instant::now();
    let mut told = Instant::now();
    let mut was_quiet = false;
    loop {
        watch.read();
        look_at_open(stack, work);
        let waiting = collect::in_state(stack, "waiting");
        people::answer_all(stack, &waiting);
        let open = ["queued", "running"].iter().map(|status| collect::in_state(stack, status).len()).sum::<usize>() + waiting.len();
        // A message whose worker was killed before it began sleeps for half an hour, and means nothing when it wakes up.
        let tasks = stack.tasks.awake();
        // Twice in a row: a run that goes back to the queue between two lists stands in neither of them.
        let is_quiet = open == 0 && tasks == 0;
        if is_quiet && was_quiet {
            return;
        }
        was_quiet = is_quiet;
        if begun.elapsed() > CALM {
            say(&format!("not quiet after {} s: {open} runs open, {tasks} messages on the tasks queue", CALM.as_secs()));
            return;
        }
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            say(&format!("{open} runs open, {tasks} messages on the tasks queue"));
        }
        pause(LOOK);
    }
}

/// What they say as soon as they agree, or when the time for that is over.
fn when_they_agree(stack: &Stack, moment: &'static str) -> crate::facts::DeadLetters {
    let begun = Instant::now();
    loop {
        let seen = collect::dead_letters(stack, moment);
        if [seen.on_queue, seen.counted, seen.listed] == [seen.dead; 3] || begun.elapsed() > AGREE {
            return seen;
        }
        pause(LOOK);
    }
}

/// Every other dead run by itself, the rest by the queue's own move.
fn put_back(stack: &Stack, dead: &[String]) {
    for run in dead.iter().step_by(2) {
        let answer = stack.api.send("POST", &format!("/v1/dlq/{run}/retry"), &[], b"null".to_vec());
        if answer.status != 202 {
            say(&format!("retry of {run}: {} {}", answer.status, answer.body));
        }
    }
    if dead.len() > 1 {
        let answer = stack.api.send("POST", "/v1/dlq/retry-all", &[], br#"{"native": true}"#.to_vec());
        if answer.status != 202 {
            say(&format!("retry-all: {} {}", answer.status, answer.body));
        }
    }
}

/// Progress, beside the report.
pub(crate) fn say(line: &str) {
    let _closed = writeln!(std::io::stderr(), "chaos: {line}");
}

/// The counts of a plan, in words.
pub(crate) fn words(counts: &BTreeMap<Kind, u32>) -> String {
    counts.iter().map(|(kind, count)| format!("{count} {}", kind.word())).collect::<Vec<_>>().join(", ")
}
