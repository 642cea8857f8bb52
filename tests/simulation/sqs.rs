//! A standard queue with a dead-letter queue: at least once, in any order, hidden while it is worked on, moved away after too many
//! deliveries, and moved back by an operator.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use shared::domain::task::Task;
use shared::engine::ports::{JournalError, Queue};
use shared::operate::{DeadLetterQueue, Move};
use shared::sweep::janitor::Letter;

use crate::faults::Fault;
use crate::invariants::Invariants;
use crate::process::Process;
use crate::scheduler::{Sim, locked};
use crate::store::unavailable;

/// How long a message is hidden that its consumer has not hidden itself, in milliseconds: as in the template.
const HIDDEN: i64 = 1_800_000;

/// What no consumer can read.
pub(crate) const POISON: &str = "poison";

/// A message.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// The queue's name for it: another one once it was moved back.
    pub(crate) id: String,
    pub(crate) body: String,
    pub(crate) receives: u32,
    visible_at: i64,
    receipt: u64,
    sent_at: i64,
}

/// A message as it was delivered.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) id: String,
    pub(crate) body: String,
    pub(crate) receives: u32,
    pub(crate) receipt: String,
    /// In milliseconds since 1970.
    pub(crate) sent_at: i64,
}

#[derive(Default)]
struct Queues {
    tasks: Vec<Message>,
    dead: Vec<Message>,
    is_moving: bool,
}

/// The two queues.
#[derive(Clone)]
pub(crate) struct Sqs {
    sim: Sim,
    queues: Arc<Mutex<Queues>>,
    invariants: Arc<Invariants>,
    max_receives: u32,
}

impl Sqs {
    pub(crate) fn new(sim: &Sim, invariants: &Arc<Invariants>, max_receives: u32) -> Self {
        Self { sim: sim.clone(), queues: Arc::default(), invariants: invariants.clone(), max_receives }
    }

    /// Messages on the tasks queue, hidden or not.
    pub(crate) fn tasks(&self) -> Vec<Message> {
        locked(&self.queues).tasks.clone()
    }

    /// Messages on the dead-letter queue.
    pub(crate) fn dead(&self) -> Vec<Message> {
        locked(&self.queues).dead.clone()
    }

    /// Whether a move is under way.
    pub(crate) fn is_moving(&self) -> bool {
        locked(&self.queues).is_moving
    }

    /// Puts a message on the tasks queue.
    pub(crate) fn put(&self, body: &str, delay: Duration) {
        let id = format!("m{}", self.sim.number());
        let mut delay = i64::try_from(delay.as_millis()).unwrap_or(0);
        if self.sim.strikes(Fault::MessageLost, None) {
            return;
        }
        if self.sim.strikes(Fault::MessageLate, None) {
            delay += i64::try_from(self.sim.any(1_000..300_000)).unwrap_or(0);
        }
        self.sim.note(|| format!("queue: {id} {body} in {delay} ms"));
        let now = self.sim.now_ms();
        let message = Message { id, body: body.to_owned(), receives: 0, visible_at: now + delay, receipt: 0, sent_at: now };
        locked(&self.queues).tasks.push(message);
    }

    /// Puts something on the tasks queue that is no task.
    pub(crate) fn poison(&self) {
        let (id, now) = (format!("m{}", self.sim.number()), self.sim.now_ms());
        self.sim.note(|| format!("queue: poison {id}"));
        let message = Message { id, body: POISON.into(), receives: 0, visible_at: now, receipt: 0, sent_at: now };
        locked(&self.queues).tasks.push(message);
    }

    /// When the next message can be received; `None` when there is none.
    pub(crate) fn next_visible(&self) -> Option<i64> {
        locked(&self.queues).tasks.iter().map(|message| message.visible_at).min()
    }

    /// Receives up to `most` visible messages, any of them.
    pub(crate) fn receive(&self, most: usize) -> Vec<Received> {
        let now = self.sim.now_ms();
        let mut received = Vec::new();
        while received.len() < most {
            let receipt = self.sim.number();
            let mut queues = locked(&self.queues);
            let visible: Vec<usize> = (0..queues.tasks.len()).filter(|i| queues.tasks[*i].visible_at <= now).collect();
            if visible.is_empty() {
                break;
            }
            let chosen = self.sim.one_of(&visible);
            if queues.tasks[chosen].receives >= self.max_receives {
                let message = queues.tasks.swap_remove(chosen);
                self.sim.note(|| format!("queue: {} {} is a dead letter", message.id, message.body));
                queues.dead.push(Message { visible_at: now, ..message });
                continue;
            }
            let twice = self.sim.strikes(Fault::DeliveredTwice, None);
            let again = i64::try_from(self.sim.any(0..30_000)).unwrap_or(0);
            let message = &mut queues.tasks[chosen];
            message.receives += 1;
            message.receipt = receipt;
            message.visible_at = now + if twice { again } else { HIDDEN };
            received.push(Received {
                id: message.id.clone(),
                body: message.body.clone(),
                receives: message.receives,
                receipt: receipt.to_string(),
                sent_at: message.sent_at,
            });
        }
        received
    }

    /// An old receipt may or may not still count.
    fn find<'a>(&self, messages: &'a mut [Message], id: &str, receipt: &str) -> Option<&'a mut Message> {
        let message = messages.iter_mut().find(|message| message.id == id)?;
        (message.receipt.to_string() == receipt || self.sim.chance(50)).then_some(message)
    }

    /// Deletes a message.
    pub(crate) fn delete(&self, id: &str, receipt: &str) {
        let is_forgotten = self.sim.strikes(Fault::DeleteForgotten, None);
        let again = i64::try_from(self.sim.any(0..100_000)).unwrap_or(0);
        let mut queues = locked(&self.queues);
        if self.find(&mut queues.tasks, id, receipt).is_none() {
            return;
        }
        let Some(place) = queues.tasks.iter().position(|message| message.id == id) else { return };
        if is_forgotten {
            queues.tasks[place].visible_at = self.sim.now_ms() + again;
        } else {
            queues.tasks.swap_remove(place);
        }
        drop(queues);
        self.sim.note(|| format!("queue: {id} deleted"));
    }

    /// Hides a message for `duration` from now.
    pub(crate) fn hide(&self, id: &str, receipt: &str, duration: Duration) {
        if self.sim.strikes(Fault::HideFails, None) {
            return;
        }
        let until = self.sim.now_ms() + i64::try_from(duration.as_millis()).unwrap_or(0);
        let mut queues = locked(&self.queues);
        if let Some(message) = self.find(&mut queues.tasks, id, receipt) {
            message.visible_at = until;
        }
    }

    /// Moves all dead letters back, one after the other, each under a new name. As the service's own move task does.
    pub(crate) fn start_moving(&self) -> bool {
        if std::mem::replace(&mut locked(&self.queues).is_moving, true) {
            return false;
        }
        self.sim.note(|| "queue: a move of the dead letters begins".into());
        let this = self.clone();
        self.sim.spawn(None, async move {
            loop {
                this.sim.sleep(Duration::from_millis(this.sim.any(1..2_000))).await;
                let now = this.sim.now_ms();
                let mut queues = locked(&this.queues);
                let Some(place) = queues.dead.iter().position(|message| message.visible_at <= now) else {
                    queues.is_moving = false;
                    return;
                };
                let message = queues.dead.swap_remove(place);
                let id = format!("m{}", this.sim.number());
                this.invariants.moved_back(&message.body);
                this.sim.note(|| format!("queue: dead letter {} is moved back as {id}", message.id));
                queues.tasks.push(Message { id, receives: 0, visible_at: now, sent_at: now, ..message });
            }
        });
        true
    }

    /// Receives dead letters and hides them.
    pub(crate) fn take_dead(&self, most: usize, hidden: Duration) -> Vec<Letter> {
        let now = self.sim.now_ms();
        let until = now + i64::try_from(hidden.as_millis()).unwrap_or(0);
        let mut queues = locked(&self.queues);
        let letters = queues.dead.iter_mut().filter(|message| message.visible_at <= now).take(most);
        letters
            .map(|message| {
                message.visible_at = until;
                Letter { id: message.id.clone(), body: message.body.clone(), receipt: message.id.clone(), ..Letter::default() }
            })
            .collect()
    }

    /// Deletes a dead letter.
    pub(crate) fn delete_dead(&self, id: &str) {
        self.sim.note(|| format!("queue: dead letter {id} deleted"));
        locked(&self.queues).dead.retain(|message| message.id != id);
    }

    /// Shows a dead letter again.
    pub(crate) fn give_back_dead(&self, id: &str) {
        let now = self.sim.now_ms();
        locked(&self.queues).dead.iter_mut().filter(|message| message.id == id).for_each(|message| message.visible_at = now);
    }

    /// Deletes the dead letters that `is_needless` says so of.
    pub(crate) fn tidy(&self, mut is_needless: impl FnMut(&Message) -> bool) {
        locked(&self.queues).dead.retain(|message| !is_needless(message));
    }
}

/// The queues, for one process.
#[derive(Clone)]
pub(crate) struct SimQueue {
    pub(crate) sqs: Sqs,
    pub(crate) sim: Sim,
    pub(crate) process: Arc<Process>,
}

impl SimQueue {
    pub(crate) async fn call<T>(&self, effect: impl FnOnce() -> T) -> Result<T, JournalError> {
        self.sim.point(&self.process).await;
        if self.sim.is_cut_off(&self.process) || self.sim.strikes(Fault::SendFails, Some(&self.process)) {
            return Err(unavailable());
        }
        let done = effect();
        self.sim.point(&self.process).await;
        if self.sim.strikes(Fault::SendReplyLost, Some(&self.process)) { Err(unavailable()) } else { Ok(done) }
    }
}

#[async_trait]
impl Queue for SimQueue {
    async fn send(&self, task: &Task, delay: Duration) -> Result<(), JournalError> {
        self.call(|| {
            self.sqs.put(&task.to_body(), delay);
            if self.sim.strikes(Fault::SendTwice, None) {
                self.sqs.put(&task.to_body(), delay);
            }
        })
        .await
    }
}

#[async_trait]
impl DeadLetterQueue for SimQueue {
    async fn depth(&self) -> Result<u64, JournalError> {
        self.call(|| self.sqs.dead().len() as u64).await
    }

    async fn start_move(&self, _rate: Option<u32>) -> Result<Move, JournalError> {
        self.call(|| if self.sqs.start_moving() { Move::Started { handle: "move".into() } } else { Move::AlreadyRunning }).await
    }

    async fn forget(&self, task: &Task) -> Result<(), JournalError> {
        self.call(|| {
            self.sqs.tidy(|message| Task::from_body(&message.body).is_ok_and(|found| found.run == task.run && found.epoch < task.epoch));
        })
        .await
    }
}
