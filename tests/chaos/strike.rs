//! Kills and stops workers as planned.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tests::Stack;

use crate::drive::say;
use crate::facts::Hurt;
use crate::plan::{Blow, Plan};
use crate::time::{now, pause};
use crate::work::Work;
use crate::workers::{self, Stopped, Worker};

/// Workers of one function that may be stopped at once: the others go on, and take over.
const STOPPED_AT_ONCE: usize = 2;
/// A blow that strikes nobody now is tried again later, until it has been put off for so long.
const PATIENCE: Duration = Duration::from_secs(90);
const BETWEEN_TRIES: Duration = Duration::from_millis(300);

/// Who strikes whom.
pub(crate) struct Striker<'a> {
    pub(crate) stack: &'a Stack,
    pub(crate) plan: &'a Plan,
    /// How long a worker owns a run.
    pub(crate) lease: Duration,
    pub(crate) work: &'a Work<'a>,
    pub(crate) hurts: &'a Mutex<Vec<Hurt>>,
}

impl Striker<'_> {
    /// Carries out all blows of the plan; those that nobody is there for now come last.
    pub(crate) fn strike(&self) {
        let stopped = Stopped::default();
        let mut put_off = VecDeque::new();
        std::thread::scope(|scope| {
            let strike = |blow: &Blow| {
                let Some(worker) = self.chosen(blow, &stopped) else { return false };
                let at = now();
                if !blow.kind.stops() {
                    let struck = workers::signal(worker.process, "KILL");
                    if struck {
                        self.note(blow, worker.stream, at);
                    }
                    return struck;
                }
                let struck = stopped.stop(worker.process);
                if struck {
                    let (stopped, blow) = (&stopped, *blow);
                    scope.spawn(move || {
                        pause(self.lease + blow.beyond);
                        stopped.resume(worker.process);
                        self.note(&blow, worker.stream, at);
                    });
                }
                struck
            };
            for blow in &self.plan.blows {
                pause(blow.after);
                if !strike(blow) {
                    put_off.push_back(blow);
                }
            }
            let begun = Instant::now();
            while let Some(blow) = put_off.pop_front() {
                if begun.elapsed() > PATIENCE {
                    say(&format!("nobody was there to be struck: {} and {} more", blow.kind.word(), put_off.len()));
                    return;
                }
                if !strike(blow) {
                    put_off.push_back(blow);
                    pause(BETWEEN_TRIES);
                }
            }
        });
    }

    fn note(&self, blow: &Blow, stream: String, at: i64) {
        let until = if blow.kind.stops() { now() } else { at };
        self.hurts.lock().unwrap_or_else(PoisonError::into_inner).push(Hurt { kind: blow.kind, stream, at, until });
    }

    /// The worker to strike: one that holds a lease, if one does.
    fn chosen(&self, blow: &Blow, stopped: &Stopped) -> Option<Worker> {
        let (asleep, awake): (Vec<_>, Vec<_>) =
            workers::of_function(self.stack, blow.kind.function()).into_iter().partition(|worker| stopped.holds(worker.process));
        if blow.kind.stops() && asleep.len() >= STOPPED_AT_ONCE {
            return None;
        }
        let busy = workers::busy(self.stack, &self.work.open());
        let at_work: Vec<_> = awake.iter().filter(|worker| busy.contains(&worker.stream)).cloned().collect();
        let from = if at_work.is_empty() { awake } else { at_work };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a short list")]
        let place = (blow.pick * from.len() as f64) as usize;
        from.into_iter().nth(place)
    }
}
