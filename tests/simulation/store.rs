//! The store as one process sees it: each call may be late, fail, or have its effect and say that it failed.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::civil::Date;
use shared::domain::conversation::Conversation;
use shared::domain::dead::DeadEntry;
use shared::domain::delta::{Delta, Try};
use shared::domain::event::{AgentInput, Event};
use shared::domain::id::{ConversationId, EventId, RunId, TenantId};
use shared::domain::message::Message;
use shared::domain::run::{Archive, Run};
use shared::domain::spend::Spend;
use shared::domain::state::RunState;
use shared::domain::step::Step;
use shared::domain::task::Task;
use shared::domain::turn::Turn;
use shared::engine::ports::{Claim, Journal, JournalError, Lease, Look, Write, WriteError};
use shared::fakes::MemoryStore;
use shared::operate::{DeadIndex, DeadRange, Erasure, Range, Records, Whose};

use crate::faults::Fault;
use crate::invariants::Invariants;
use crate::process::Process;
use crate::scheduler::Sim;
use crate::writes::{OwnedWrite, fit_into_one_transaction, touched, words};

/// The store, for one process.
#[derive(Clone)]
pub(crate) struct SimStore {
    pub(crate) sim: Sim,
    pub(crate) process: Arc<Process>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) invariants: Arc<Invariants>,
}

/// What becomes of a call besides its effect.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Good,
    Fails,
    ReplyLost,
    Late,
}

impl SimStore {
    async fn before(&self) -> Fate {
        self.sim.point(&self.process).await;
        if self.sim.is_cut_off(&self.process) || self.sim.strikes(Fault::StoreFails, Some(&self.process)) {
            return Fate::Fails;
        }
        if self.sim.strikes(Fault::StoreReplyLost, Some(&self.process)) {
            return Fate::ReplyLost;
        }
        if self.sim.strikes(Fault::StoreLate, Some(&self.process)) {
            return Fate::Late;
        }
        Fate::Good
    }

    pub(crate) async fn read<T>(&self, answer: impl Future<Output = Result<T, JournalError>>) -> Result<T, JournalError> {
        if self.before().await != Fate::Good {
            return Err(unavailable());
        }
        let answer = answer.await;
        self.sim.point(&self.process).await;
        answer
    }

    async fn do_write(&self, writes: &[Write<'_>]) -> Result<(), WriteError> {
        if !fit_into_one_transaction(writes) {
            self.sim.violated(format!("no transaction takes {}", words(writes)));
        }
        let done = self.store.write(writes).await;
        self.sim.note(|| {
            let outcome = match &done {
                Ok(()) => "ok".to_owned(),
                Err(WriteError::Refused { index, .. }) => format!("refused at {index}"),
                Err(WriteError::Unavailable(_)) => "unavailable".to_owned(),
            };
            format!("{}: write {} -> {outcome}", self.process.name, words(writes))
        });
        if done.is_ok() {
            let (runs, conversations) = touched(writes);
            self.invariants.written(&self.process, writes, &runs, &conversations);
        }
        done
    }

    async fn do_claim(&self, task: &Task, lease: &Lease) -> Result<Claim, JournalError> {
        let claim = self.store.claim(task, lease).await;
        self.sim.note(|| {
            let outcome = match &claim {
                Ok(Claim::Taken(run)) => format!("taken as lease {} attempt {}", run.lease_no, run.attempts),
                Ok(Claim::Refused(refusal)) => {
                    let text = format!("{refusal:?}");
                    format!("refused {}", text.get(..40).unwrap_or(&text))
                }
                Err(error) => error.to_string(),
            };
            format!("{}: claim {} e{} by {} -> {outcome}", self.process.name, task.run, task.epoch, lease.message)
        });
        if let Ok(Claim::Taken(run)) = &claim {
            self.invariants.claimed(&self.process, task, run);
        }
        claim
    }

    async fn do_renew(&self, run: &Run, until: Timestamp) -> Result<(), JournalError> {
        let done = self.store.renew(run, until).await;
        self.sim.note(|| format!("{}: renew {} lease {} -> {}", self.process.name, run.id, run.lease_no, done.is_ok()));
        if done.is_ok() {
            self.invariants.renewed(&self.process, run);
        }
        done
    }

    fn late_claim(&self, task: &Task, lease: &Lease) {
        let (task, lease) = (task.clone(), lease.clone());
        self.later(|this| async move {
            let _ = this.do_claim(&task, &lease).await;
        });
    }

    /// Has `effect` later, whatever its caller does meanwhile.
    fn later<F: Future<Output = ()> + Send + 'static>(&self, effect: impl FnOnce(Self) -> F + Send + 'static) {
        let (this, delay) = (self.clone(), self.sim.any(100..100_000));
        self.sim.spawn(None, async move {
            this.sim.sleep(std::time::Duration::from_millis(delay)).await;
            this.sim.note(|| format!("{}: (late)", this.process.name));
            effect(this).await;
        });
    }
}

pub(crate) fn unavailable() -> JournalError {
    JournalError::Unavailable("the simulation says so".into())
}

#[async_trait]
impl Journal for SimStore {
    async fn write(&self, writes: &[Write<'_>]) -> Result<(), WriteError> {
        let lost = || Err(WriteError::Unavailable("the simulation says so".into()));
        match self.before().await {
            Fate::Fails => lost(),
            Fate::Late => {
                let owned: Vec<OwnedWrite> = writes.iter().map(OwnedWrite::of).collect();
                self.later(|this| async move {
                    let writes: Vec<Write<'_>> = owned.iter().map(OwnedWrite::as_write).collect();
                    let _ = this.do_write(&writes).await;
                });
                lost()
            }
            fate @ (Fate::Good | Fate::ReplyLost) => {
                let done = self.do_write(writes).await;
                self.sim.point(&self.process).await;
                if fate == Fate::Good { done } else { lost() }
            }
        }
    }

    async fn claim(&self, task: &Task, lease: &Lease) -> Result<Claim, JournalError> {
        match self.before().await {
            Fate::Fails => Err(unavailable()),
            Fate::Late => {
                self.late_claim(task, lease);
                Err(unavailable())
            }
            fate @ (Fate::Good | Fate::ReplyLost) => {
                let mut claim = self.do_claim(task, lease).await;
                if self.sim.strikes(Fault::StoreRepeats, None) {
                    if self.sim.chance(50) {
                        self.sim.yield_now().await;
                        claim = self.do_claim(task, lease).await;
                    } else {
                        // Should it come after the run was given back, it takes the run for nobody, until that lease lapses.
                        self.process.hurt();
                        self.late_claim(task, lease);
                    }
                }
                self.sim.point(&self.process).await;
                if fate == Fate::Good { claim } else { Err(unavailable()) }
            }
        }
    }

    async fn renew(&self, run: &Run, until: Timestamp) -> Result<(), JournalError> {
        match self.before().await {
            Fate::Fails => Err(unavailable()),
            Fate::Late => {
                let run = run.clone();
                self.later(move |this| async move {
                    let _ = this.do_renew(&run, until).await;
                });
                Err(unavailable())
            }
            fate @ (Fate::Good | Fate::ReplyLost) => {
                let done = self.do_renew(run, until).await;
                self.sim.point(&self.process).await;
                if fate == Fate::Good { done } else { Err(unavailable()) }
            }
        }
    }

    async fn look(&self, run: &Run) -> Result<Look, JournalError> {
        self.read(self.store.look(run)).await
    }

    async fn tell(&self, run: &Run, delta: &Delta) -> Result<(), JournalError> {
        self.read(self.store.tell(run, delta)).await
    }

    async fn run(&self, tenant: &TenantId, id: RunId) -> Result<Option<Run>, JournalError> {
        self.read(self.store.run(tenant, id)).await
    }

    async fn input(&self, run: &Run) -> Result<AgentInput, JournalError> {
        self.read(self.store.input(run)).await
    }

    async fn steps(&self, run: &Run) -> Result<Vec<Step>, JournalError> {
        self.read(self.store.steps(run)).await
    }

    async fn history(&self, run: &Run) -> Result<Vec<Message>, JournalError> {
        self.read(self.store.history(run)).await
    }

    async fn conversation(&self, tenant: &TenantId, id: ConversationId) -> Result<Option<Conversation>, JournalError> {
        self.read(self.store.conversation(tenant, id)).await
    }

    async fn event(&self, tenant: &TenantId, id: EventId) -> Result<Option<Event>, JournalError> {
        self.read(self.store.event(tenant, id)).await
    }
}

#[async_trait]
impl DeadIndex for SimStore {
    async fn dead(&self, whose: Whose<'_>, range: &DeadRange, limit: usize) -> Result<Vec<DeadEntry>, JournalError> {
        self.read(self.store.dead(whose, range, limit)).await
    }
}

#[async_trait]
impl Records for SimStore {
    async fn steps_after(&self, tenant: &TenantId, run: RunId, after: u32, limit: usize) -> Result<Vec<Step>, JournalError> {
        self.read(self.store.steps_after(tenant, run, after, limit)).await
    }

    async fn deltas(
        &self,
        tenant: &TenantId,
        run: RunId,
        step: u32,
        from: Option<(Try, u32)>,
        limit: usize,
    ) -> Result<Vec<Delta>, JournalError> {
        self.read(self.store.deltas(tenant, run, step, from, limit)).await
    }

    async fn watch(&self, tenant: &TenantId, run: RunId, until: Timestamp) -> Result<(), JournalError> {
        self.read(self.store.watch(tenant, run, until)).await
    }

    async fn archives(&self, run: &Run) -> Result<Vec<Archive>, JournalError> {
        self.read(self.store.archives(run)).await
    }

    async fn ids(&self, tenant: &TenantId, state: Option<RunState>, range: Range, limit: usize) -> Result<Vec<RunId>, JournalError> {
        self.read(self.store.ids(tenant, state, range, limit)).await
    }

    async fn runs(&self, tenant: &TenantId, ids: &[RunId]) -> Result<Vec<Run>, JournalError> {
        self.read(self.store.runs(tenant, ids)).await
    }

    async fn count(&self, tenant: &TenantId, state: RunState) -> Result<u64, JournalError> {
        self.read(self.store.count(tenant, state)).await
    }

    async fn spend(&self, tenant: &TenantId, day: Date) -> Result<Spend, JournalError> {
        self.read(self.store.spend(tenant, day)).await
    }

    async fn turns(&self, tenant: &TenantId, id: ConversationId, after: Option<RunId>, limit: usize) -> Result<Vec<Turn>, JournalError> {
        self.read(self.store.turns(tenant, id, after, limit)).await
    }

    async fn erase(&self, tenant: &TenantId, what: Erasure) -> Result<(), JournalError> {
        self.invariants.erasing(what);
        self.read(self.store.erase(tenant, what)).await
    }
}
