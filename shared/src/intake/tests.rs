//! Accepting runs over in-memory ports: keys, and every way into a busy conversation.

use super::*;
use crate::domain::clock::Clock;
use crate::domain::id::TenantId;
use crate::domain::message::Message;
use crate::engine::CallError;
use crate::engine::ports::{Journal, Model, ModelReply, ModelRequest};
use crate::fakes::{FixedClock, MemoryQueue, MemoryStore, Scripted, ScriptedModel, engine};
use crate::operate::{Deleted, Redrive, Retry, cancel, delete};

pub(super) struct World {
    pub(super) store: Arc<MemoryStore>,
    queue: Arc<MemoryQueue>,
    pub(super) clock: Arc<FixedClock>,
    pub(super) model: Arc<ScriptedModel>,
    pub(super) intake: Intake,
    pub(super) ana: Principal,
}

pub(super) fn tenant() -> TenantId {
    "acme".parse().unwrap()
}

pub(super) fn world(script: impl IntoIterator<Item = Scripted>) -> World {
    let (store, queue) = (Arc::new(MemoryStore::default()), Arc::new(MemoryQueue::default()));
    let clock = Arc::new(FixedClock::at("2026-01-02T03:04:05Z"));
    let model = Arc::new(ScriptedModel::new(script));
    let engine = engine(store.clone(), queue.clone(), model.clone(), clock.clone());
    let intake = Intake { engine, records: store.clone(), patience: Duration::from_secs(24) };
    World { store, queue, clock, model, intake, ana: Principal { tenant: tenant(), name: "ana".into() } }
}

fn request(prompt: &str, conversation: Option<ConversationId>) -> AgentRequest {
    let input = AgentInput { prompt: prompt.into(), ..AgentInput::default() };
    AgentRequest { agent: None, conversation, input, when_busy: WhenBusy::Enqueue, key: None }
}

fn keyed(prompt: &str, key: &str) -> AgentRequest {
    let key = RequestKey { digest: key.into(), fingerprint: prompt.into() };
    AgentRequest { key: Some(key), ..request(prompt, None) }
}

impl World {
    async fn send(&self, request: AgentRequest) -> Run {
        let accepted = self.intake.in_background(&self.ana, request).await.unwrap();
        self.get(accepted.run)
    }

    pub(super) fn get(&self, id: RunId) -> Run {
        self.store.get(id).unwrap()
    }

    /// A worker takes up everything that was sent, until nothing is left.
    pub(super) async fn work(&self) {
        for n in 0..100 {
            let Some((task, _)) = self.queue.take_first() else { return };
            let window = Window { deadline: after(self.clock.now(), Duration::from_secs(300)), cut_calls: false };
            let delivery = self.intake.engine.delivery(&format!("m{n}"), 0, 1);
            self.intake.engine.take_up(&task, &delivery, window, &NoMessage).await.unwrap();
        }
        panic!("the queue never ran empty");
    }

    async fn conversation(&self, id: ConversationId) -> Conversation {
        self.store.conversation(&tenant(), id).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn the_same_key_gives_the_same_run() {
    let w = world([]);
    let first = w.intake.in_background(&w.ana, keyed("why?", "k")).await.unwrap();
    let second = w.intake.in_background(&w.ana, keyed("why?", "k")).await.unwrap();
    assert_eq!((second.run, second.is_replay, first.is_replay), (first.run, true, false));
    assert_eq!((w.store.len(), w.queue.take().len()), (1, 1));
    assert!(matches!(w.intake.in_background(&w.ana, keyed("how?", "k")).await, Err(IntakeError::KeyReused)));
    w.clock.advance(Duration::from_secs(crate::domain::idempotency::REMEMBERED));
    let later = w.intake.in_background(&w.ana, keyed("how?", "k")).await.unwrap();
    assert!(!later.is_replay, "a day later it is forgotten");
}

#[tokio::test]
async fn a_duplicate_waits_for_the_answer_of_the_first() {
    let w = world([Scripted::Says("because".into())]);
    let (first, second) =
        tokio::join!(w.intake.while_waiting(&w.ana, keyed("why?", "k")), w.intake.while_waiting(&w.ana, keyed("why?", "k")));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.run, second.run);
    assert_eq!(w.get(first.run).state, RunState::Completed);
    assert_eq!((w.model.calls(), w.store.len()), (1, 1));
}

#[tokio::test]
async fn messages_to_one_conversation_are_answered_in_order_of_arrival() {
    let w = world([]);
    let first = w.send(request("0", None)).await;
    let mut runs = vec![first.id];
    for n in 1..6 {
        let run = w.send(request(&n.to_string(), Some(first.conversation))).await;
        assert_eq!((run.state, run.is_in_line()), (RunState::Waiting, true));
        runs.push(run.id);
    }
    assert_eq!(w.conversation(first.conversation).await.line, runs[1..]);
    assert_eq!(w.queue.sent.lock().unwrap().len(), 1, "who waits is not sent");
    w.work().await;
    let asked = w.model.asked.lock().unwrap().clone();
    let questions: Vec<_> = asked.iter().map(|messages| messages.last().unwrap().content.clone().unwrap()).collect();
    assert_eq!(questions, ["0", "1", "2", "3", "4", "5"]);
    assert_eq!(asked[5].len(), 1 + 5 * 2 + 1, "each saw all that was said and answered before");
    assert!(runs.iter().all(|id| w.get(*id).state == RunState::Completed));
    assert_eq!(w.conversation(first.conversation).await.active_run, None);
}

#[tokio::test]
async fn whatever_ends_a_run_lets_the_next_one_go() {
    let outage = || Scripted::Fails(CallError::retryable(crate::domain::failure::FailureCode::ProviderUnavailable, "503", None));
    let rejected = Scripted::Fails(CallError::rejected("no"));
    for script in [vec![rejected], (0..9).map(|_| outage()).collect::<Vec<_>>()] {
        let mut w = world(script);
        w.intake.engine.limits.max_attempts = 1;
        let first = w.send(request("0", None)).await;
        let next = w.send(request("1", Some(first.conversation))).await;
        w.work().await;
        assert!(matches!(w.get(first.id).state, RunState::Failed | RunState::Dead));
        assert_ne!(w.get(next.id).state, RunState::Waiting);
    }
    let w = world([]);
    let first = w.send(request("0", None)).await;
    let next = w.send(request("1", Some(first.conversation))).await;
    cancel(w.store.as_ref(), w.queue.as_ref(), w.intake.engine.cause("cancelled"), &tenant(), first.id).await.unwrap();
    assert_eq!((w.get(next.id).state, w.get(next.id).epoch), (RunState::Queued, 2));
    w.work().await;
    assert_eq!(w.get(next.id).state, RunState::Completed);
}

#[tokio::test]
async fn a_run_that_is_cancelled_in_the_line_leaves_it() {
    let w = world([]);
    let first = w.send(request("0", None)).await;
    let second = w.send(request("1", Some(first.conversation))).await;
    let third = w.send(request("2", Some(first.conversation))).await;
    cancel(w.store.as_ref(), w.queue.as_ref(), w.intake.engine.cause("cancelled"), &tenant(), second.id).await.unwrap();
    assert_eq!(w.conversation(first.conversation).await.line, [third.id]);
    w.work().await;
    assert_eq!((w.get(second.id).state, w.get(third.id).state), (RunState::Cancelled, RunState::Completed));
}

#[tokio::test]
async fn a_message_that_interrupts_ends_the_others_and_knows_what_was_asked() {
    for (when_busy, seen) in [(WhenBusy::Interrupt, vec!["0", "1", "2"]), (WhenBusy::Rollback, vec!["2"])] {
        let w = world([]);
        let first = w.send(request("0", None)).await;
        let second = w.send(request("1", Some(first.conversation))).await;
        let last = w.send(AgentRequest { when_busy, ..request("2", Some(first.conversation)) }).await;
        assert_eq!(last.state, RunState::Queued);
        w.work().await;
        for id in [first.id, second.id] {
            assert_eq!(w.get(id).state, RunState::Cancelled);
            assert_eq!(w.get(id).transitions.last().unwrap().by, "ana");
        }
        assert_eq!(w.get(last.id).state, RunState::Completed);
        let asked = w.model.asked.lock().unwrap();
        let shown: Vec<_> = asked[0][1..].iter().map(|message: &Message| message.content.clone().unwrap()).collect();
        assert_eq!((asked.len(), shown), (1, seen.into_iter().map(str::to_owned).collect()));
    }
}

#[tokio::test]
async fn a_message_that_does_not_want_to_wait_is_refused() {
    let w = world([]);
    let first = w.send(request("0", None)).await;
    let reject = AgentRequest { when_busy: WhenBusy::Reject, ..request("1", Some(first.conversation)) };
    assert!(matches!(w.intake.in_background(&w.ana, reject.clone()).await, Err(IntakeError::ConversationBusy)));
    w.work().await;
    assert!(w.intake.in_background(&w.ana, reject).await.is_ok());
    let unknown = request("1", Some(ConversationId::new(w.clock.now())));
    assert!(matches!(w.intake.in_background(&w.ana, unknown).await, Err(IntakeError::NoConversation)));
}

#[tokio::test]
async fn a_request_that_waits_for_its_turn_gets_its_answer_or_its_address() {
    let w = world([]);
    let first = w.send(request("0", None)).await;
    let waits = w.intake.while_waiting(&w.ana, request("1", Some(first.conversation))).await.unwrap();
    assert_eq!(waits.state, RunState::Waiting, "nobody worked meanwhile");
    w.work().await;
    assert_eq!(w.get(waits.run).state, RunState::Completed);
}

#[tokio::test]
async fn a_dead_run_that_is_retried_takes_its_turn() {
    let w = world([]);
    let dead = w.send(request("0", None)).await;
    w.queue.take();
    let mut run = w.get(dead.id);
    run.apply(crate::domain::state::Command::Claim, w.intake.engine.cause("claimed")).unwrap();
    let guard = Guard::Seen(dead.seen());
    let mut died = run.clone();
    died.apply(crate::domain::state::Command::Die, w.intake.engine.cause("provider_timeout")).unwrap();
    let cause = w.intake.engine.cause("provider_timeout");
    crate::ledger::commit(w.store.as_ref(), crate::ledger::Change { run: &died, guard, step: None, response: None, cause }).await.unwrap();
    let next = w.send(request("1", Some(dead.conversation))).await;
    assert_eq!(next.state, RunState::Queued, "a dead run has let its conversation go");
    let redrive = Redrive { records: w.store.clone(), queue: w.queue.clone(), dead_letters: w.queue.clone(), clock: w.clock.clone() };
    assert_eq!(redrive.retry(&tenant(), dead.id, &Retry::by("ana")).await.unwrap().state, RunState::Waiting);
    w.work().await;
    assert_eq!((w.get(dead.id).state, w.get(next.id).state), (RunState::Completed, RunState::Completed));
}

#[tokio::test]
async fn a_deleted_conversation_is_gone_and_takes_nothing_more() {
    let w = world([]);
    let first = w.send(request("0", None)).await;
    w.work().await;
    let second = w.send(request("1", Some(first.conversation))).await;
    let third = w.send(request("2", Some(first.conversation))).await;
    let cause = w.intake.engine.cause("deleted");
    assert_eq!(delete(w.store.as_ref(), cause, &tenant(), first.conversation).await.unwrap(), Deleted::All);
    let tables = w.store.tables();
    assert!(tables.runs.is_empty() && tables.events.is_empty() && tables.turns.is_empty() && tables.steps.is_empty());
    assert!(tables.conversations.is_empty(), "{second:?} {third:?}");
    assert!(matches!(w.intake.in_background(&w.ana, request("3", Some(first.conversation))).await, Err(IntakeError::NoConversation)));
    w.work().await;
    assert_eq!(w.model.calls(), 1, "the messages of the deleted runs mean nothing");
}

#[tokio::test]
async fn a_run_that_cannot_be_sent_is_accepted_all_the_same() {
    let w = world([]);
    *w.queue.is_down.lock().unwrap() = true;
    let run = w.send(request("why?", None)).await;
    assert_eq!((run.state, run.due_ms.is_some()), (RunState::Queued, true), "the sweeper finds it");
}

struct Panics;

#[async_trait::async_trait]
impl Model for Panics {
    async fn ask(&self, request: &ModelRequest<'_>) -> Result<ModelReply, CallError> {
        panic!("asked with {} messages", request.messages.len())
    }
}

#[tokio::test]
async fn a_synchronous_run_whose_function_dies_is_due_at_the_end_of_its_lease() {
    let mut w = world([]);
    w.intake.engine.model = Arc::new(Panics);
    let panicked = std::panic::AssertUnwindSafe(w.intake.while_waiting(&w.ana, request("why?", None)));
    assert!(futures_util::FutureExt::catch_unwind(panicked).await.is_err(), "the edge answers 500");
    let run = w.store.tables().runs.into_values().next().unwrap();
    assert_eq!((run.state, run.message), (RunState::Running, None));
    assert_eq!(run.due_ms.unwrap(), run.lease_until_ms + 10_000);
}
