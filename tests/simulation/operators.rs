//! Operators and humans: they cancel, put back, move dead letters, delete conversations, answer questions, and send what is no task.

use std::sync::Arc;
use std::time::Duration;

use shared::domain::clock::Clock;
use shared::domain::revival::Revival;
use shared::domain::run::{Cause, Run};
use shared::domain::state::RunState;
use shared::domain::waiting::Waiting;
use shared::operate::{CommandError, DeadLetterQueue, Deleted, NewAnswer, Redrive, Retry, answer, cancel, delete};

use crate::process::ProcessClock;
use crate::scheduler::locked;
use crate::world::World;

/// Ana does it now.
fn cause(clock: &ProcessClock, reason: &'static str) -> Cause<'static> {
    Cause { at: clock.now(), by: "ana", reason, patience: Duration::from_secs(60) }
}

impl World {
    /// An operator: does a few things during the chaos.
    pub(crate) fn start_operator(&self) {
        let this = self.clone();
        *locked(&self.busy) += 1;
        self.sim.spawn(None, async move {
            for _ in 0..this.sim.any(1..5) {
                this.sim.sleep(this.some_time()).await;
                this.operate();
            }
            *locked(&this.busy) -= 1;
        });
    }

    fn operate(&self) {
        let runs: Vec<Run> = self.store.with_tables(|tables| tables.runs.values().cloned().collect());
        let dead: Vec<&Run> = runs.iter().filter(|run| run.state == RunState::Dead).collect();
        match self.sim.any(0..13) {
            0 | 1 if !runs.is_empty() => self.cancel(&runs[usize::try_from(self.sim.any(0..runs.len() as u64)).unwrap_or(0)]),
            2..6 if !dead.is_empty() => self.put_back(self.sim.one_of(&dead)),
            6 if !runs.is_empty() => self.delete(&runs[usize::try_from(self.sim.any(0..runs.len() as u64)).unwrap_or(0)]),
            7 => {
                *locked(&self.poisons) += 1;
                self.sqs.poison();
            }
            8..=10 if !dead.is_empty() => self.act_in_bulk(),
            _ => {
                let process = self.process("operator-");
                let queue = self.queue(&process);
                self.sim.spawn(Some(&process), async move {
                    let _ = queue.start_move(None).await;
                });
            }
        }
    }

    fn cancel(&self, run: &Run) {
        let process = self.process("operator-");
        let (store, queue, clock, run) = (self.store(&process), self.queue(&process), self.clock(&process), run.clone());
        let invariants = self.invariants.clone();
        self.sim.note(|| format!("{}: cancels {}", process.name, run.id));
        self.sim.spawn(Some(&process), async move {
            if cancel(&store, &queue, cause(&clock, "cancelled"), &run.tenant, run.id).await.is_ok() {
                invariants.cancelled(run.id);
            }
        });
    }

    fn put_back(&self, run: &Run) {
        let process = self.process("operator-");
        let (store, queue, clock, run) = (self.store(&process), self.queue(&process), self.clock(&process), run.clone());
        self.invariants.put_back(run.id);
        self.sim.note(|| format!("{}: puts {} back, or gives it up", process.name, run.id));
        let redrive =
            Redrive { records: Arc::new(store), queue: Arc::new(queue.clone()), dead_letters: Arc::new(queue), clock: Arc::new(clock) };
        let revival = Revival { from_start: self.sim.any(0..4) == 0, ..Revival::default() };
        let is_given_up = self.sim.any(0..8) == 0;
        let invariants = self.invariants.clone();
        self.sim.spawn(Some(&process), async move {
            let retry = Retry { force: true, revival, ..Retry::by("ana") };
            if is_given_up {
                if redrive.discard(&run.tenant, run.id, &retry).await.is_ok() {
                    invariants.cancelled(run.id);
                }
                return;
            }
            let _ = redrive.retry(&run.tenant, run.id, &retry).await;
        });
    }

    /// Deletes the conversation of a run, and asks again until it is gone.
    fn delete(&self, run: &Run) {
        let this = self.clone();
        let run = run.clone();
        *locked(&self.busy) += 1;
        self.sim.spawn(None, async move {
            loop {
                let process = this.process("operator-");
                let (store, clock) = (this.store(&process), this.clock(&process));
                this.sim.note(|| format!("{}: deletes {}", process.name, run.conversation));
                let outcome = Arc::new(std::sync::Mutex::new(None));
                let slot = outcome.clone();
                let (tenant, conversation) = (run.tenant.clone(), run.conversation);
                this.sim.spawn(Some(&process), async move {
                    let deleted = delete(&store, cause(&clock, "deleted"), &tenant, conversation).await;
                    *locked(&slot) = Some(deleted);
                });
                this.limit(&process, Duration::from_secs(29));
                this.sim.sleep(Duration::from_secs(30)).await;
                let outcome = locked(&outcome).take();
                if let Some(Ok(Deleted::All) | Err(CommandError::NotFound)) = outcome {
                    break;
                }
            }
            locked(&this.conversations).retain(|known| *known != run.conversation);
            this.invariants.deleted(run.conversation);
            *locked(&this.busy) -= 1;
        });
    }

    /// A human who answers some questions, some of them twice.
    pub(crate) fn start_human(&self) {
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
        let (store, queue, clock) = (self.store(&process), self.queue(&process), self.clock(&process));
        let new = NewAnswer { question_id: question_id.clone(), text: format!("said {}", self.sim.number()), approved: None };
        let (run, invariants) = (run.clone(), self.invariants.clone());
        self.sim.spawn(Some(&process), async move {
            if answer(&store, &queue, cause(&clock, "answered"), &run.tenant, run.id, &new).await.is_ok() {
                invariants.answer_taken(run.id, &new.text);
            }
        });
    }
}
