//! What is done about one run, over the store in memory.

use serde_json::json;

use super::*;
use crate::domain::conversation::Conversation;
use crate::domain::message::ToolCall;
use crate::domain::run::{LEASE_GRACE, Run};
use crate::domain::state::RunState;
use crate::domain::waiting::{WAIT, Waiting};
use crate::engine::ports::{ConversationWrite, Guard, Journal, Lease, Queue, Write};
use crate::fakes::{FixedClock, MemoryQueue, MemoryStore, a_run};

const MAX_ATTEMPTS: u32 = 3;

struct World {
    store: Arc<MemoryStore>,
    queue: Arc<MemoryQueue>,
    clock: Arc<FixedClock>,
    caretaker: Caretaker,
}

fn world() -> World {
    let (store, queue) = (Arc::new(MemoryStore::default()), Arc::new(MemoryQueue::default()));
    let clock = Arc::new(FixedClock::at("2026-01-02T03:04:05Z"));
    let caretaker = Caretaker {
        journal: store.clone(),
        queue: queue.clone(),
        backlog: queue.clone(),
        clock: clock.clone(),
        max_attempts: MAX_ATTEMPTS,
    };
    World { store, queue, clock, caretaker }
}

fn s(n: u64) -> Duration {
    Duration::from_secs(n)
}

impl World {
    /// A run that was accepted now, stored.
    fn accepted(&self) -> Run {
        let run = a_run(&"acme".parse().unwrap(), self.clock.now());
        self.store.put(run.clone());
        run
    }

    /// The same, under the lease of a worker that took it from a message `attempts` times, or from a request.
    fn running(&self, attempts: u32, message: Option<&str>) -> Run {
        let mut run = self.accepted();
        run.state = RunState::Running;
        run.attempts = attempts - 1;
        run.lease_to("worker".into(), after(self.clock.now(), s(75)), message.map(str::to_owned));
        self.store.put(run.clone());
        run
    }

    /// A conversation of these: the first one's turn, the others wait.
    async fn conversation(&self, active: &Run, line: &[&Run]) -> Conversation {
        let mut conversation = Conversation::new(active.conversation, active.id, self.clock.now());
        conversation.line = line.iter().map(|run| run.id).collect();
        let tenant = "acme".parse().unwrap();
        self.store.write(&[Write::Conversation(&tenant, ConversationWrite::Open(&conversation))]).await.unwrap();
        for waiting in line {
            self.store.put(Run {
                state: RunState::Waiting,
                waiting: Some(Waiting::Turn),
                conversation: active.conversation,
                ..(*waiting).clone()
            });
        }
        conversation
    }

    /// The index's entry of a run as it is stored.
    fn entry(&self, run: &Run) -> DueEntry {
        let due = self.store.get(run.id).and_then(|run| run.due_ms).unwrap_or_default();
        DueEntry { at: Timestamp::from_millisecond(due).unwrap(), tenant: run.tenant.clone(), run: run.id }
    }

    async fn attend(&self, run: &Run) -> (Done, Option<Duration>) {
        let Attended { done, next, .. } = self.caretaker.attend(&self.entry(run)).await.unwrap();
        (done, next.map(|next| between(self.clock.now(), next)))
    }

    fn sent(&self) -> Vec<(RunId, u64)> {
        self.queue.take().into_iter().map(|(task, _)| (task.run, task.epoch)).collect()
    }

    /// How long until somebody looks again.
    fn due_in(&self, run: &Run) -> Duration {
        between(self.clock.now(), self.entry(run).at)
    }
}

#[tokio::test]
async fn a_run_that_nobody_takes_up_is_sent_again_after_twice_the_time_each_time() {
    let w = world();
    let run = w.accepted();
    w.clock.advance(w.due_in(&run));
    for (resends, pause) in [(1, 120), (2, 240), (3, 480)] {
        assert_eq!(w.attend(&run).await, (Done::Resent, None));
        assert_eq!(w.sent(), [(run.id, 1 + u64::from(resends))], "under a new epoch");
        assert_eq!((w.store.get(run.id).unwrap().resends, w.due_in(&run)), (resends, s(pause)));
        w.clock.advance(s(pause));
    }
    let last = w.store.get(run.id).unwrap().transitions.last().unwrap().clone();
    assert_eq!((last.by.as_str(), last.reason.as_str(), last.to), ("sweeper", "not_taken_up", RunState::Queued));
}

#[tokio::test]
async fn a_run_on_a_long_queue_is_not_sent_again_until_its_message_may_be_lost() {
    let w = world();
    let run = w.accepted();
    let other = w.accepted();
    for _ in 0..=100 {
        w.queue.send(&other.task(), Duration::ZERO).await.unwrap();
    }
    let mut looks = 0;
    loop {
        w.clock.advance(w.due_in(&run));
        let (done, next) = w.attend(&run).await;
        if done == Done::Resent {
            break;
        }
        assert_eq!((done, w.store.get(run.id).unwrap().epoch), (Done::Moved, 1), "its message still counts");
        assert_eq!(next, Some(w.due_in(&run)));
        looks += 1;
    }
    assert!(between(run.created_at, w.clock.now()) >= s(900));
    assert!(looks <= 5, "it is looked at ever more rarely, not {looks} times");
}

#[tokio::test]
async fn a_run_that_cannot_be_sent_is_due_again() {
    let w = world();
    let run = w.accepted();
    w.clock.advance(w.due_in(&run));
    let entry = w.entry(&run);
    w.store.put(Run { resends: 20, ..run.clone() });
    assert_eq!(w.caretaker.attend(&entry).await.unwrap().done, Done::Resent, "a number that is too large is no panic");
    w.store.put(run.clone());
    *w.queue.is_down.lock().unwrap() = true;
    assert!(w.caretaker.attend(&entry).await.is_err(), "the queue's length is not known");
    let run = w.running(1, Some("m"));
    w.clock.advance(s(86));
    assert_eq!(w.attend(&run).await, (Done::Requeued, None));
    assert_eq!((w.store.get(run.id).unwrap().state, w.due_in(&run)), (RunState::Queued, s(60)), "recorded all the same");
}

#[tokio::test]
async fn a_run_whose_worker_lives_is_looked_at_after_its_lease() {
    let w = world();
    let run = w.running(1, Some("m"));
    w.clock.advance(w.due_in(&run));
    // It has renewed its lease meanwhile.
    w.store.renew(&run, after(w.clock.now(), s(40))).await.unwrap();
    assert_eq!(w.attend(&run).await, (Done::Moved, Some(s(50))));
    // Clocks differ: a lease that has just ended is left to its worker, and to the message that comes back.
    w.clock.advance(s(49));
    assert_eq!(w.attend(&run).await, (Done::Nothing, Some(s(1))));
    assert!(w.sent().is_empty());
}

#[tokio::test]
async fn a_run_whose_worker_vanished_goes_back_to_the_queue_and_remembers_it() {
    let w = world();
    let run = w.running(2, Some("m"));
    w.clock.advance(s(75) + LEASE_GRACE);
    assert_eq!(w.attend(&run).await, (Done::Requeued, None));
    assert_eq!(w.sent(), [(run.id, 2)]);
    let queued = w.store.get(run.id).unwrap();
    assert_eq!((queued.state, queued.attempts, queued.abandoned), (RunState::Queued, 2, true), "a call may have happened");
    assert_eq!(queued.failures.last().unwrap().code, "worker_lost");
    // The worker wakes up and writes: too late.
    let late = Guard::Held { lease_no: run.lease_no, steps: 0 };
    assert!(w.store.write(&[Write::Run(&run, late)]).await.is_err());
}

#[tokio::test]
async fn the_last_worker_that_vanishes_leaves_a_dead_run_whose_message_counts() {
    let w = world();
    let run = w.running(MAX_ATTEMPTS, Some("m"));
    let next = w.accepted();
    w.conversation(&run, &[&next]).await;
    w.store.write(&[Write::Turn(&run, &crate::domain::turn::Turn::new(run.id, vec![], run.created_at))]).await.unwrap();
    w.clock.advance(s(75) + LEASE_GRACE);
    assert_eq!(w.attend(&run).await, (Done::Died, None));
    let dead = w.store.get(run.id).unwrap();
    assert_eq!((dead.state, dead.epoch, dead.due_ms, dead.message.as_deref()), (RunState::Dead, 1, None, Some("m")));
    assert_eq!(w.sent(), [(next.id, 2)], "the conversation goes on");
    assert_eq!(w.attend(&run).await, (Done::Nothing, None));
}

#[tokio::test]
async fn a_request_that_vanished_on_its_last_attempt_has_one_more_from_the_queue() {
    let w = world();
    let run = w.running(MAX_ATTEMPTS, None);
    w.clock.advance(s(75) + LEASE_GRACE);
    assert_eq!(w.attend(&run).await, (Done::Requeued, None), "it has no message that could be its dead letter");
    assert_eq!((w.store.get(run.id).unwrap().attempts, w.sent().len()), (MAX_ATTEMPTS - 1, 1));
}

#[tokio::test]
async fn a_wait_that_is_over_is_a_finished_step_and_not_before() {
    let w = world();
    let call = ToolCall { id: "c".into(), name: WAIT.into(), arguments: json!({"seconds": 90}) };
    let waiting = Waiting::of(&call, 1, w.clock.now()).unwrap();
    let run = Run { state: RunState::Waiting, waiting: Some(waiting), ..w.accepted() };
    w.store.put(run.clone());
    w.clock.advance(w.due_in(&run));
    assert_eq!(w.attend(&run).await, (Done::Moved, Some(s(30))), "it was due too early");
    w.clock.advance(s(30));
    assert_eq!(w.attend(&run).await, (Done::Woken, None));
    assert_eq!((w.store.get(run.id).unwrap().state, w.store.journal_of(run.id).len()), (RunState::Queued, 1));
    assert_eq!(w.sent(), [(run.id, 2)]);
}

#[tokio::test]
async fn a_run_in_a_line_that_moves_is_left_alone_for_ever_longer() {
    let w = world();
    let (active, waiting) = (w.running(1, Some("m")), w.accepted());
    w.conversation(&active, &[&waiting]).await;
    let mut pauses = Vec::new();
    for _ in 0..8 {
        w.clock.advance(w.due_in(&waiting));
        let (done, _) = w.attend(&waiting).await;
        assert_eq!(done, Done::Moved);
        pauses.push(w.due_in(&waiting).as_secs());
    }
    assert_eq!(pauses, [60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
    assert!(w.sent().is_empty());
}

#[tokio::test]
async fn a_line_that_stands_still_is_moved_on_in_its_order() {
    for broken in ["ended", "missing", "free", "waiting"] {
        let w = world();
        let (active, first, second) = (w.running(1, Some("m")), w.accepted(), w.accepted());
        let mut conversation = w.conversation(&active, &[&first, &second]).await;
        match broken {
            "ended" => w.store.put(Run { state: RunState::Completed, ..active.clone() }),
            "missing" => conversation.active_run = Some(RunId::new(w.clock.now())),
            "free" => conversation.active_run = None,
            _ => w.store.put(Run { state: RunState::Waiting, waiting: Some(Waiting::Turn), ..active.clone() }),
        }
        conversation.version += 1;
        w.store.write(&[Write::Conversation(&active.tenant, ConversationWrite::Put(&conversation))]).await.unwrap();
        w.clock.advance(w.due_in(&second));
        let expected = if broken == "waiting" { active.id } else { first.id };
        assert_eq!(w.attend(&second).await, (Done::Repaired, None), "{broken}");
        assert_eq!(w.sent(), [(expected, 2)], "{broken}");
        let after = w.store.tables().conversations[&active.conversation].clone();
        assert_eq!(after.active_run, Some(expected), "{broken}");
        assert_eq!(after.line.last(), Some(&second.id), "{broken}");
        assert_eq!(w.attend(&second).await.0, Done::Moved, "{broken}: now it moves");
    }
}

#[tokio::test]
async fn a_run_that_fell_out_of_its_line_gets_its_place_back() {
    let w = world();
    let (active, lost) = (w.running(1, Some("m")), w.accepted());
    w.clock.advance(s(1));
    let later = w.accepted();
    let mut conversation = w.conversation(&active, &[&lost, &later]).await;
    conversation.line = vec![later.id];
    conversation.version += 1;
    w.store.write(&[Write::Conversation(&active.tenant, ConversationWrite::Put(&conversation))]).await.unwrap();
    w.clock.advance(s(80));
    assert_eq!(w.attend(&lost).await.0, Done::Moved);
    assert_eq!(w.store.tables().conversations[&active.conversation].line, [lost.id, later.id]);
}

#[tokio::test]
async fn a_run_that_has_moved_since_it_was_read_changes_no_line() {
    for is_broken in [false, true] {
        let w = world();
        let (active, next) = (w.running(1, Some("m")), w.accepted());
        w.conversation(&active, &[&next]).await;
        if is_broken {
            w.store.put(Run { state: RunState::Completed, ..active.clone() });
        }
        let before = w.store.tables();
        // As the sweeper read it a moment ago, it waits; now it is its turn, or that is over.
        let stale = Run { state: RunState::Waiting, waiting: Some(Waiting::Turn), ..active.clone() };
        let cause = crate::domain::run::Cause { at: w.clock.now(), by: "sweeper", reason: "test", patience: s(60) };
        assert!(matches!(line::look(w.store.as_ref(), &stale, cause).await, Err(JournalError::Lost)));
        let after = w.store.tables();
        assert_eq!((after.conversations, after.runs), (before.conversations, before.runs));
    }
}

#[tokio::test]
async fn a_run_whose_conversation_is_gone_is_cancelled() {
    let w = world();
    let run = Run { state: RunState::Waiting, waiting: Some(Waiting::Turn), ..w.accepted() };
    w.store.put(run.clone());
    w.clock.advance(w.due_in(&run));
    assert_eq!(w.attend(&run).await, (Done::Removed, None));
    assert_eq!(w.store.get(run.id).unwrap().state, RunState::Cancelled);
}

#[tokio::test]
async fn what_has_ended_or_moved_or_is_gone_is_no_work() {
    let w = world();
    let run = w.accepted();
    let entry = w.entry(&run);
    w.clock.advance(s(100));
    for (state, expected) in [(RunState::Completed, Done::Removed), (RunState::Dead, Done::Removed)] {
        w.store.put(Run { state, ..run.clone() });
        assert_eq!(w.attend(&run).await, (expected, None), "an entry that should not be there any more");
        assert_eq!(w.attend(&run).await, (Done::Nothing, None));
    }
    w.store.put(Run { due_ms: Some(after(w.clock.now(), s(5)).as_millisecond()), ..run.clone() });
    let Attended { done, next, waits_since } = w.caretaker.attend(&entry).await.unwrap();
    assert_eq!(waits_since, Some(run.created_at), "due or not, it waits");
    assert_eq!((done, next.map(|next| between(w.clock.now(), next))), (Done::Nothing, Some(s(5))), "the index lagged");
    let gone = DueEntry { run: RunId::new(w.clock.now()), ..entry };
    assert_eq!(w.caretaker.attend(&gone).await.unwrap(), Attended { done: Done::Nothing, next: None, waits_since: None });
}

#[tokio::test]
async fn whoever_loses_the_race_does_nothing() {
    let w = world();
    let run = w.running(1, Some("m"));
    w.clock.advance(s(90));
    // The message comes back and is claimed between the sweeper's read and its write.
    let (read, now) = (w.store.get(run.id).unwrap(), w.clock.now());
    let lease = Lease { owner: "next".into(), now, until: after(now, s(75)), message: "m".into(), sent_at: None };
    w.store.claim(&run.task(), &lease).await.unwrap();
    let stale = w.caretaker.as_read(&read).await;
    assert_eq!(stale.unwrap(), (Done::Nothing, None));
    assert!(w.sent().is_empty());
    assert_eq!(w.store.get(run.id).unwrap().lease_owner.as_deref(), Some("next"));
}

#[tokio::test]
async fn two_sweepers_at_once_do_the_work_once() {
    let w = world();
    let runs: Vec<Run> = (0..40).map(|n| if n % 2 == 0 { w.running(1, Some("m")) } else { w.accepted() }).collect();
    w.clock.advance(s(120));
    for run in &runs {
        let read = w.store.get(run.id).unwrap();
        let (one, other) = futures_util::future::join(w.caretaker.as_read(&read), w.caretaker.as_read(&read)).await;
        let done = [one.unwrap().0, other.unwrap().0];
        assert_eq!(done.iter().filter(|done| **done == Done::Nothing).count(), 1, "{done:?}");
    }
    let mut sent = w.sent();
    sent.sort_unstable();
    let mut expected: Vec<_> = runs.iter().map(|run| (run.id, 2)).collect();
    expected.sort_unstable();
    assert_eq!(sent, expected);
}
