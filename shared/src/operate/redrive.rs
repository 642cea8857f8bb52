//! Putting dead runs back.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{CommandError, DeadLetterQueue, Records};
use crate::domain::clock::Clock;
use crate::domain::id::{RunId, TenantId};
use crate::domain::revival::Revival;
use crate::domain::run::{Cause, Run};
use crate::domain::state::{Command, RunState};
use crate::domain::task::Task;
use crate::engine::ports::{Guard, JournalError, Queue};
use crate::ledger::{Change, Committed, commit, revive};
use crate::telemetry::chain;

/// How long a run that was put back may wait for a worker before the sweeper looks after its message.
const PATIENCE: Duration = Duration::from_secs(60);
/// The reason of the transition of a dead run that was given up.
const DISCARDED: &str = "discarded";

/// A run that was put back so often is put back once more only if somebody insists: it will most likely die again.
pub const LOOP_GUARD: u32 = 3;

/// Why a run is not put back, dead as it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAgain {
    /// This very bulk action has put it back before.
    #[error("this action has put it back before")]
    DoneBefore,
    /// It died after the bulk action began.
    #[error("it died after this action began")]
    DiedSince,
    /// It was put back so often that somebody has to insist.
    #[error("it was put back {0} times and died each time")]
    Guarded(u32),
}

/// A retry that somebody asks for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Retry {
    /// Who.
    pub by: String,
    /// How.
    pub revival: Revival,
    /// Whether also a run that was put back [`LOOP_GUARD`] times.
    pub force: bool,
    /// Only if it died no later than this: a bulk action takes no run twice that dies again while it goes on.
    pub died_before: Option<Timestamp>,
}

impl Retry {
    /// By that person, from the step that failed.
    #[must_use]
    pub fn by(name: &str) -> Self {
        Self { by: name.to_owned(), ..Self::default() }
    }

    /// Why `run` may not be put back so, if it may not.
    ///
    /// # Errors
    /// See [`NotAgain`].
    pub fn allows(&self, run: &Run) -> Result<(), NotAgain> {
        if self.revival.job.is_some() && run.redriven.by == self.revival.job {
            return Err(NotAgain::DoneBefore);
        }
        if run.state == RunState::Dead {
            if self.died_before.is_some_and(|latest| run.ended_at.is_some_and(|died_at| died_at > latest)) {
                return Err(NotAgain::DiedSince);
            }
            if !self.force && run.redriven.count >= LOOP_GUARD {
                return Err(NotAgain::Guarded(run.redriven.count));
            }
        }
        Ok(())
    }
}

/// Puts dead runs back.
#[derive(Clone)]
pub struct Redrive {
    /// The records.
    pub records: Arc<dyn Records>,
    /// The tasks queue.
    pub queue: Arc<dyn Queue>,
    /// The dead-letter queue.
    pub dead_letters: Arc<dyn DeadLetterQueue>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Redrive {
    /// Puts one dead run back: it resumes at the step that failed, or begins anew, or waits for its turn in its conversation. Its
    /// message on the dead-letter queue means nothing from then on. A run that is queued already is sent again under a new epoch: its
    /// message may never have been.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn retry(&self, tenant: &TenantId, id: RunId, retry: &Retry) -> Result<Run, CommandError> {
        let found = self.records.run(tenant, id).await?.ok_or(CommandError::NotFound)?;
        retry.allows(&found)?;
        let cause = Cause { at: self.clock.now(), by: &retry.by, reason: "retried", patience: PATIENCE };
        let done = match found.state {
            RunState::Dead => revive(self.records.as_ref(), &found, cause, &retry.revival).await,
            // Nothing of it can be changed any more, and a bulk action has nothing to do with it.
            state if retry.revival != Revival { note: retry.revival.note.clone(), ..Revival::default() } => {
                return Err(CommandError::WrongState(state));
            }
            state => self.resend(&found, cause).await.ok_or(CommandError::WrongState(state))?.map(Some),
        };
        let run = match done {
            Ok(Some(done)) => done.run,
            Ok(None) => return Err(CommandError::ConversationFull),
            Err(JournalError::NotFound) => return Err(CommandError::NotFound),
            // Somebody else was faster: a retry, or the worker that a redrive woke. Either way it is no longer dead.
            Err(JournalError::Lost) => {
                let now = self.records.run(tenant, id).await?;
                // Or it was this very call, whose answer was lost.
                if let Some(run) = &now {
                    retry.allows(run)?;
                }
                return Err(CommandError::WrongState(now.map_or(RunState::Queued, |run| run.state)));
            }
            Err(error) => return Err(error.into()),
        };
        if run.state == RunState::Queued
            && let Err(error) = self.queue.send(&run.task(), Duration::ZERO).await
        {
            tracing::warn!(tenant = %run.tenant, run.id = %run.id, error = %chain(&error), "a retried run is not sent yet; the sweeper does it");
        }
        tracing::info!(tenant = %run.tenant, run.id = %run.id, epoch = run.epoch, state = run.state.as_str(), "dead run retried");
        // In bulk the janitor tidies up: one search each would hide the whole queue all the time.
        if retry.revival.job.is_none() {
            self.forget(&run).await;
        }
        Ok(run)
    }

    /// Gives a dead run up: it is cancelled, and stays on record with who and why. Giving it up twice is no error.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn discard(&self, tenant: &TenantId, id: RunId, retry: &Retry) -> Result<Run, CommandError> {
        let found = self.records.run(tenant, id).await?.ok_or(CommandError::NotFound)?;
        if found.state == RunState::Cancelled && found.transitions.last().is_some_and(|last| last.reason == DISCARDED) {
            return Ok(found);
        }
        if found.state == RunState::Dead && retry.died_before.is_some_and(|latest| found.ended_at.is_some_and(|at| at > latest)) {
            return Err(NotAgain::DiedSince.into());
        }
        let mut run = found.clone();
        let cause = Cause { at: self.clock.now(), by: &retry.by, reason: DISCARDED, patience: Duration::ZERO };
        run.apply(Command::Discard, cause).map_err(CommandError::WrongState)?;
        if let Some(transition) = run.transitions.last_mut() {
            transition.note.clone_from(&retry.revival.note);
        }
        run.redriven.by = retry.revival.job;
        let change = Change { run: &run, guard: Guard::Seen(found.seen()), step: None, response: None, cause };
        let done = match commit(self.records.as_ref(), change).await {
            Ok(done) => done,
            Err(JournalError::Lost) => {
                let state = self.records.run(tenant, id).await?.map_or(RunState::Queued, |run| run.state);
                return Err(CommandError::WrongState(state));
            }
            Err(error) => return Err(error.into()),
        };
        tracing::info!(tenant = %run.tenant, run.id = %run.id, "dead run discarded");
        if retry.revival.job.is_none() {
            self.forget(&run).await;
        }
        Ok(done.run)
    }

    async fn forget(&self, run: &Run) {
        // What was given up keeps its epoch; any letter of it means nothing, this one included.
        let task = Task { epoch: run.epoch + u64::from(run.state.has_ended()), ..run.task() };
        if let Err(error) = self.dead_letters.forget(&task).await {
            tracing::warn!(tenant = %run.tenant, run.id = %run.id, error = %chain(&error), "the dead letter of a run stays for the sweeper");
        }
    }

    async fn resend(&self, found: &Run, cause: Cause<'_>) -> Option<Result<Committed, JournalError>> {
        let mut run = found.clone();
        run.apply(Command::Resend, cause).ok()?;
        let change = Change { run: &run, guard: Guard::Seen(found.seen()), step: None, response: None, cause };
        Some(commit(self.records.as_ref(), change).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::after;
    use crate::domain::conversation::Conversation;
    use crate::domain::event::AgentInput;
    use crate::domain::id::JobId;
    use crate::domain::message::Message;
    use crate::domain::revival::Redriven;
    use crate::domain::turn::Turn;
    use crate::engine::ports::{ConversationWrite, Journal, Write};
    use crate::fakes::{FixedClock, MemoryQueue, MemoryStore, a_run};

    #[tokio::test]
    async fn a_dead_run_of_a_conversation_that_is_being_deleted_stays_dead() {
        let (store, queue) = (Arc::new(MemoryStore::default()), Arc::new(MemoryQueue::default()));
        let clock = Arc::new(FixedClock::at("2026-01-02T03:04:05Z"));
        let run = Run { state: RunState::Dead, ..a_run(&"acme".parse().unwrap(), clock.now()) };
        store.put(run.clone());
        let mut conversation = Conversation::new(run.conversation, run.id, clock.now());
        conversation.close(clock.now());
        store.write(&[Write::Conversation(&run.tenant, ConversationWrite::Open(&conversation))]).await.unwrap();
        let redrive = Redrive { records: store.clone(), queue: queue.clone(), dead_letters: queue.clone(), clock };
        assert!(matches!(redrive.retry(&run.tenant, run.id, &Retry::by("ana")).await, Err(CommandError::NotFound)));
        assert_eq!((store.get(run.id), queue.take().len()), (Some(run), 0));
    }

    #[tokio::test]
    async fn a_retry_whose_message_was_lost_is_recorded_and_may_be_sent_by_another() {
        let (store, queue) = (Arc::new(MemoryStore::default()), Arc::new(MemoryQueue::default()));
        let clock = Arc::new(FixedClock::at("2026-01-02T03:04:05Z"));
        let run = Run { state: RunState::Dead, ..a_run(&"acme".parse().unwrap(), clock.now()) };
        store.put(run.clone());
        let redrive = Redrive { records: store.clone(), queue: queue.clone(), dead_letters: queue.clone(), clock };
        *queue.is_down.lock().unwrap() = true;
        assert_eq!(redrive.retry(&run.tenant, run.id, &Retry::by("ana")).await.unwrap().state, RunState::Queued, "the sweeper sends it");
        *queue.is_down.lock().unwrap() = false;
        assert_eq!(redrive.retry(&run.tenant, run.id, &Retry::by("ana")).await.unwrap().state, RunState::Queued);
        let sent: Vec<u64> = queue.take().iter().map(|(task, _)| task.epoch).collect();
        assert_eq!(sent, [3], "under a new epoch, so that the lost one means nothing should it turn up");
    }

    fn dead_in(store: &MemoryStore, clock: &FixedClock) -> Run {
        let run = Run { state: RunState::Dead, ended_at: Some(clock.now()), ..a_run(&"acme".parse().unwrap(), clock.now()) };
        store.put(run.clone());
        run
    }

    fn redrive(store: &Arc<MemoryStore>, queue: &Arc<MemoryQueue>, clock: Arc<FixedClock>) -> Redrive {
        Redrive { records: store.clone(), queue: queue.clone(), dead_letters: queue.clone(), clock }
    }

    #[tokio::test]
    async fn a_bulk_action_puts_a_run_back_once_whatever_becomes_of_it() {
        let (store, queue) = (Arc::new(MemoryStore::default()), Arc::new(MemoryQueue::default()));
        let clock = Arc::new(FixedClock::at("2026-01-02T03:04:05Z"));
        let run = dead_in(&store, &clock);
        let redrive = redrive(&store, &queue, clock.clone());
        let job = JobId::new(clock.now());
        let retry = Retry { died_before: Some(clock.now()), ..Retry::by("ana") };
        let retry = Retry { revival: Revival { job: Some(job), ..Revival::default() }, ..retry };
        assert_eq!(redrive.retry(&run.tenant, run.id, &retry).await.unwrap().redriven.by, Some(job));
        assert!(matches!(redrive.retry(&run.tenant, run.id, &retry).await, Err(CommandError::NotAgain(NotAgain::DoneBefore))));
        let again = Run { state: RunState::Dead, ended_at: Some(after(clock.now(), Duration::from_secs(1))), ..store.get(run.id).unwrap() };
        store.put(again.clone());
        assert!(matches!(redrive.retry(&run.tenant, run.id, &retry).await, Err(CommandError::NotAgain(NotAgain::DoneBefore))));
        store.put(Run { redriven: Redriven { by: None, ..again.redriven.clone() }, ..again });
        assert!(
            matches!(redrive.retry(&run.tenant, run.id, &retry).await, Err(CommandError::NotAgain(NotAgain::DiedSince))),
            "another put it back meanwhile"
        );
    }

    #[tokio::test]
    async fn what_dies_again_and_again_needs_somebody_who_insists() {
        let (store, queue) = (Arc::new(MemoryStore::default()), Arc::new(MemoryQueue::default()));
        let clock = Arc::new(FixedClock::at("2026-01-02T03:04:05Z"));
        let run = dead_in(&store, &clock);
        let redrive = redrive(&store, &queue, clock);
        store.put(Run { redriven: Redriven { count: LOOP_GUARD, ..Redriven::default() }, ..run.clone() });
        assert!(matches!(
            redrive.retry(&run.tenant, run.id, &Retry::by("ana")).await,
            Err(CommandError::NotAgain(NotAgain::Guarded(LOOP_GUARD)))
        ));
        assert_eq!(store.get(run.id).unwrap().state, RunState::Dead);
        let insists = Retry { force: true, ..Retry::by("ana") };
        assert_eq!(redrive.retry(&run.tenant, run.id, &insists).await.unwrap().redriven.count, LOOP_GUARD + 1);
    }

    #[tokio::test]
    async fn what_is_given_up_stays_on_record_with_who_and_why() {
        let (store, queue) = (Arc::new(MemoryStore::default()), Arc::new(MemoryQueue::default()));
        let clock = Arc::new(FixedClock::at("2026-01-02T03:04:05Z"));
        let run = dead_in(&store, &clock);
        let redrive = redrive(&store, &queue, clock);
        let why = Retry { revival: Revival { note: Some("spam".into()), ..Revival::default() }, ..Retry::by("ana") };
        for _ in 0..2 {
            let given_up = redrive.discard(&run.tenant, run.id, &why).await.unwrap();
            let last = given_up.transitions.last().unwrap();
            assert_eq!((given_up.state, last.by.as_str(), last.note.as_deref()), (RunState::Cancelled, "ana", Some("spam")));
        }
        assert!(matches!(redrive.retry(&run.tenant, run.id, &Retry::by("ana")).await, Err(CommandError::WrongState(RunState::Cancelled))));
        store.put(Run { state: RunState::Queued, ..run.clone() });
        assert!(matches!(redrive.discard(&run.tenant, run.id, &why).await, Err(CommandError::WrongState(RunState::Queued))));
    }

    #[tokio::test]
    async fn what_is_asked_anew_is_asked_anew_and_stands_so_in_its_conversation() {
        let (store, queue) = (Arc::new(MemoryStore::default()), Arc::new(MemoryQueue::default()));
        let clock = Arc::new(FixedClock::at("2026-01-02T03:04:05Z"));
        let run = dead_in(&store, &clock);
        let conversation = Conversation { active_run: None, ..Conversation::new(run.conversation, run.id, clock.now()) };
        let turn = Turn::new(run.id, vec![Message::user("wrong")], clock.now());
        let writes = [Write::Conversation(&run.tenant, ConversationWrite::Open(&conversation)), Write::Turn(&run, &turn)];
        store.write(&writes).await.unwrap();
        let input = AgentInput { prompt: "right".into(), ..AgentInput::default() };
        let redrive = redrive(&store, &queue, clock);
        let retry = Retry { revival: Revival { input: Some(input.clone()), ..Revival::default() }, ..Retry::by("ana") };
        let put_back = redrive.retry(&run.tenant, run.id, &retry).await.unwrap();
        assert_eq!(store.input(&put_back).await.unwrap(), input);
        let turns = store.turns(&run.tenant, run.conversation, None, 9).await.unwrap();
        assert_eq!(turns[0].messages, [Message::user("right")]);
    }
}
