//! Batches over in-memory ports.

use shared::domain::clock::Clock;
use shared::domain::failure::FailureCode;
use shared::domain::id::LetterId;
use shared::domain::run::Run;
use shared::domain::state::RunState;
use shared::engine::CallError;
use shared::engine::ports::{Model, ModelReply, ModelRequest};
use shared::fakes::{FixedClock, MemoryLetters, MemoryQueue, MemoryStore, Scripted, ScriptedModel, a_run, accept, an_event, engine};
use shared::heartbeat::{Oldest, Standing};
use shared::letters::{LetterBook, LetterStatus};
use shared::sweep::Tally;

use super::*;

#[derive(Default)]
struct Hidden(Mutex<Vec<(Vec<String>, Duration)>>);

#[async_trait]
impl Visibility for Hidden {
    async fn hide(&self, receipts: &[String], duration: Duration) {
        self.0.lock().unwrap().push((receipts.to_vec(), duration));
    }
}

/// Canaries and when they arrived.
#[derive(Default)]
struct Heard(Mutex<Vec<(Canary, Timestamp)>>);

#[async_trait]
impl Heartbeats for Heard {
    async fn swept(&self, _at: Timestamp, _tally: &Tally, _standing: Option<&Standing>) -> Result<(), JournalError> {
        Ok(())
    }

    async fn oldest(&self) -> Result<Option<Oldest>, JournalError> {
        Ok(None)
    }

    async fn arrived(&self, canary: &Canary, at: Timestamp) -> Result<(), JournalError> {
        self.0.lock().unwrap().push((*canary, at));
        Err(JournalError::Unavailable("the test says so".into()))
    }
}

struct World {
    store: Arc<MemoryStore>,
    hidden: Arc<Hidden>,
    heard: Arc<Heard>,
    letters: Arc<MemoryLetters>,
    clock: Arc<FixedClock>,
    consumer: Consumer,
}

fn world(model: Arc<dyn Model>) -> World {
    let (store, hidden) = (Arc::new(MemoryStore::default()), Arc::new(Hidden::default()));
    let clock = Arc::new(FixedClock::at("2026-01-02T03:04:05Z"));
    let engine = engine(store.clone(), Arc::new(MemoryQueue::default()), model, clock.clone());
    let (heard, letters) = (Arc::new(Heard::default()), Arc::new(MemoryLetters::default()));
    World {
        consumer: Consumer { engine, visibility: hidden.clone(), heartbeats: heard.clone(), letters: letters.clone() },
        store,
        hidden,
        heard,
        letters,
        clock,
    }
}

impl World {
    async fn accept(&self) -> Run {
        let event = an_event(self.clock.now());
        let run = Run { event: event.id, ..a_run(&"acme".parse().unwrap(), self.clock.now()) };
        accept(&self.store, &event, &run).await;
        run
    }

    async fn deliver(&self, messages: &[(&str, String, u32)]) -> Vec<String> {
        let records = messages.iter().map(|(id, body, count)| {
            let mut message = SqsMessage::default();
            message.message_id = Some((*id).into());
            message.receipt_handle = Some(format!("receipt-{id}"));
            message.body = Some(body.clone());
            message.attributes.insert("ApproximateReceiveCount".into(), count.to_string());
            message
        });
        let mut batch = SqsEvent::default();
        batch.records = records.collect();
        let deadline = self.clock.now().as_millisecond() + 300_000;
        let response = self.consumer.handle(batch, deadline.try_into().unwrap()).await.unwrap();
        response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
    }
}

#[tokio::test]
async fn only_what_is_not_done_returns_to_the_queue() {
    let w = world(Arc::new(ScriptedModel::new([])));
    let (good, ended) = (w.accept().await, w.accept().await);
    w.store.put(Run { state: RunState::Completed, ..ended.clone() });
    let unknown = Run { id: shared::domain::id::RunId::new(w.clock.now()), ..good.clone() };
    let failures = w
        .deliver(&[
            ("good", good.task().to_body(), 1),
            ("ended", ended.task().to_body(), 1),
            ("unknown", unknown.task().to_body(), 1),
            ("poison", "{\"not\":\"ours\"}".into(), 1),
            ("empty", String::new(), 1),
        ])
        .await;
    assert_eq!(failures, ["poison", "empty"]);
    assert_eq!(w.store.get(good.id).unwrap().state, RunState::Completed);
}

#[tokio::test]
async fn poison_is_noted_on_its_way_to_the_dead_letters_and_done_once_somebody_has_decided_so() {
    let w = world(Arc::new(ScriptedModel::new([])));
    assert_eq!(w.deliver(&[("poison", "not ours".into(), 1)]).await, ["poison"]);
    let id = LetterId::of("not ours");
    let mut record = w.letters.records.lock().unwrap()[&id].clone();
    assert_eq!((record.message_id.as_str(), record.receives, record.status), ("poison", 1, LetterStatus::Open));
    (record.status, record.covers, record.version) = (LetterStatus::Discarded, Some(w.clock.now()), 2);
    assert!(w.letters.put_letter(&record).await.unwrap());
    assert!(w.deliver(&[("poison", "not ours".into(), 2)]).await.is_empty(), "it may be deleted");
    *w.letters.is_down.lock().unwrap() = true;
    assert_eq!(
        w.deliver(&[("poison", "not ours".into(), 3), ("other", "nor this".into(), 1)]).await,
        ["poison", "other"],
        "nothing is known of them"
    );
}

#[tokio::test]
async fn a_canary_is_noted_and_done_even_if_it_cannot_be_noted() {
    let w = world(Arc::new(ScriptedModel::new([])));
    let canary = Canary { sent_at: w.clock.now() };
    w.clock.advance(Duration::from_secs(3));
    assert!(w.deliver(&[("canary", canary.to_body(), 1)]).await.is_empty());
    assert_eq!(*w.heard.0.lock().unwrap(), [(canary, w.clock.now())]);
}

#[tokio::test]
async fn a_batch_is_hidden_for_a_lease_before_any_work() {
    let w = world(Arc::new(ScriptedModel::new([])));
    let run = w.accept().await;
    w.deliver(&[("a", run.task().to_body(), 1), ("b", "poison".into(), 1)]).await;
    let hidden = w.hidden.0.lock().unwrap();
    assert_eq!(hidden[0], (vec!["receipt-a".to_owned(), "receipt-b".to_owned()], Duration::from_secs(65)));
    assert_eq!(hidden[1], (vec!["receipt-b".to_owned()], Duration::ZERO), "poison goes to the dead letters without delay");
}

#[tokio::test]
async fn a_failed_attempt_comes_back_after_its_back_off_and_dies_at_the_last() {
    let outage = || Scripted::Fails(CallError::retryable(FailureCode::ProviderUnavailable, "503", Some(Duration::from_secs(30))));
    let w = world(Arc::new(ScriptedModel::new(std::iter::repeat_with(outage).take(9))));
    let run = w.accept().await;
    for attempt in 1..=3 {
        assert_eq!(w.deliver(&[("a", run.task().to_body(), attempt)]).await, ["a"]);
    }
    assert_eq!(w.store.get(run.id).unwrap().state, RunState::Dead);
    let waits: Vec<u64> = w.hidden.0.lock().unwrap().iter().map(|(_, duration)| duration.as_secs()).collect();
    assert_eq!(waits, [65, 30, 65, 30, 65, 0], "hidden for the lease, then as long as the provider asked, at last not at all");
}

struct Panics;

#[async_trait]
impl Model for Panics {
    async fn ask(&self, request: &ModelRequest<'_>) -> Result<ModelReply, CallError> {
        panic!("asked with {} messages", request.messages.len())
    }
}

#[tokio::test]
async fn a_panic_costs_one_run_one_attempt_and_the_others_nothing() {
    let w = world(Arc::new(Panics));
    let (run, done) = (w.accept().await, w.accept().await);
    w.store.put(Run { state: RunState::Cancelled, ..done.clone() });
    assert_eq!(w.deliver(&[("a", run.task().to_body(), 1), ("b", done.task().to_body(), 1)]).await, ["a"]);
    let run = w.store.get(run.id).unwrap();
    assert_eq!((run.state, run.error().unwrap().code.as_ref()), (RunState::Queued, "worker_panicked"));
}

#[tokio::test]
async fn a_deadline_in_the_past_is_no_deadline() {
    let w = world(Arc::new(ScriptedModel::new([])));
    assert!(w.consumer.window(600_000).deadline > w.clock.now());
}

/// Answers at once to one run and after a long time to the other.
struct SlowForOne {
    clock: Arc<FixedClock>,
}

#[async_trait]
impl Model for SlowForOne {
    async fn ask(&self, request: &ModelRequest<'_>) -> Result<ModelReply, CallError> {
        if request.messages.iter().any(|message| message.content.as_deref() == Some("slow")) {
            for _ in 0..6 {
                self.clock.sleep(Duration::from_secs(3)).await;
            }
        }
        ScriptedModel::new([]).ask(request).await
    }
}

#[tokio::test]
async fn a_message_that_is_done_stays_hidden_until_its_batch_is() {
    let clock = Arc::new(FixedClock::at("2026-01-02T03:04:05Z"));
    let mut w = world(Arc::new(SlowForOne { clock: clock.clone() }));
    w.consumer.engine.clock = clock.clone();
    w.consumer.engine.limits.lease = Duration::from_secs(30);
    // Each sleeper moves the one clock, so that time flies here.
    w.consumer.engine.limits.model_timeout = Duration::from_secs(250);
    let quick = w.accept().await;
    let mut event = an_event(w.clock.now());
    event.payload = serde_json::json!({"prompt": "slow"});
    let slow = Run { event: event.id, ..a_run(&"acme".parse().unwrap(), w.clock.now()) };
    accept(&w.store, &event, &slow).await;
    assert!(w.deliver(&[("quick", quick.task().to_body(), 1), ("slow", slow.task().to_body(), 1)]).await.is_empty());
    let hidden = w.hidden.0.lock().unwrap();
    assert!(hidden.iter().any(|(receipts, duration)| *receipts == ["receipt-quick"] && *duration == Duration::from_secs(35)), "{hidden:?}");
}

/// Somebody cancels the run while the model is asked.
struct CancelledMeanwhile {
    store: Mutex<Option<(Arc<MemoryStore>, Run)>>,
}

#[async_trait]
impl Model for CancelledMeanwhile {
    async fn ask(&self, request: &ModelRequest<'_>) -> Result<ModelReply, CallError> {
        if let Some((store, run)) = self.store.lock().unwrap().take() {
            store.put(Run { state: RunState::Cancelled, ..run });
        }
        ScriptedModel::new([]).ask(request).await
    }
}

#[tokio::test]
async fn a_run_cancelled_in_its_last_delivery_leaves_no_dead_letter() {
    for (attempt, left) in [(3, 0), (1, 1)] {
        let model = Arc::new(CancelledMeanwhile { store: Mutex::default() });
        let w = world(model.clone());
        let run = w.accept().await;
        *model.store.lock().unwrap() = Some((w.store.clone(), run.clone()));
        assert_eq!(w.deliver(&[("a", run.task().to_body(), attempt)]).await.len(), left, "attempt {attempt}");
        assert_eq!(w.store.get(run.id).unwrap().state, RunState::Cancelled);
    }
}
