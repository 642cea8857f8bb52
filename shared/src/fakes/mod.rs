//! In-memory ports for tests: the same promises as the real adapters, and switches to break them.

mod breakers;
mod contents;
mod conversations;
mod events;
mod fleet;
mod incidents;
mod jobs;
mod letters;
mod lines;
mod store;
mod sweeping;
mod whole_table;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Value, json};

pub use self::breakers::{MemoryBreakers, routes, routes_over};
pub use self::fleet::MemoryFleet;
pub use self::incidents::MemoryIncidents;
pub use self::jobs::MemoryJobs;
pub use self::letters::MemoryLetters;
pub use self::lines::{Heard, listen, subscribe};
pub use self::store::{MemoryStore, Tables};
pub use self::whole_table::MemoryTable;
use crate::domain::agent::DEFAULT_AGENT;
use crate::domain::clock::{Clock, after};
use crate::domain::conversation::Conversation;
use crate::domain::definition::Bundle;
use crate::domain::event::{AGENT_REQUEST, API, Event, EventMeta};
use crate::domain::id::{ConversationId, EventId, TenantId};
use crate::domain::message::{Message, ToolCall};
use crate::domain::run::Run;
use crate::domain::step::{FinishReason, Usage};
use crate::domain::task::Task;
use crate::domain::turn::Turn;
use crate::engine::ports::{ConversationWrite, Guard, Journal, JournalError, Model, ModelReply, ModelRequest, Queue, Write};
use crate::engine::{CallError, Engine, Hold, Limits};
use crate::operate::{DeadLetterQueue, Move};
use crate::tools::Toolbox;

thread_local! {
    static IDS: RefCell<Option<fastrand::Rng>> = const { RefCell::new(None) };
}

/// Makes all that is random on this thread follow from `seed`: the random part of ids, and jitter.
pub fn seed(seed: u64) {
    fastrand::seed(seed);
    IDS.with_borrow_mut(|ids| *ids = Some(fastrand::Rng::with_seed(seed)));
}

/// The random part of the next id, where a test has said what it follows from.
pub(crate) fn seeded_id() -> Option<u128> {
    IDS.with_borrow_mut(|ids| ids.as_mut().map(|rng| rng.u128(..)))
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unavailable() -> JournalError {
    JournalError::Unavailable("switched off by the test".into())
}

/// A clock that moves only when somebody sleeps on it or a test says so.
#[derive(Debug)]
pub struct FixedClock(Mutex<Timestamp>);

impl FixedClock {
    /// Stands at that time.
    ///
    /// # Panics
    /// When the text is no time.
    #[must_use]
    pub fn at(text: &str) -> Self {
        Self(Mutex::new(text.parse().unwrap_or_else(|_| panic!("not a time: {text}"))))
    }

    /// Moves on.
    pub fn advance(&self, by: Duration) {
        let mut now = locked(&self.0);
        *now = after(*now, by);
    }
}

#[async_trait]
impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        *locked(&self.0)
    }

    /// Lets everything else that is ready run first, then moves the clock.
    async fn sleep(&self, duration: Duration) {
        tokio::task::yield_now().await;
        self.advance(duration);
    }
}

/// A clock that goes with tokio's, which a test may pause: then it moves on when all wait for it.
#[derive(Debug)]
pub struct TokioClock {
    began_at: Timestamp,
    began: tokio::time::Instant,
}

impl TokioClock {
    /// Goes from that time on.
    #[must_use]
    pub fn from(began_at: Timestamp) -> Self {
        Self { began_at, began: tokio::time::Instant::now() }
    }
}

#[async_trait]
impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        after(self.began_at, self.began.elapsed())
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A queue that keeps what was sent.
#[derive(Debug, Default)]
pub struct MemoryQueue {
    /// Tasks and their delays, oldest first.
    pub sent: Mutex<Vec<(Task, Duration)>>,
    /// How often all dead letters were moved back.
    pub moves: Mutex<u32>,
    /// Runs whose dead letters were removed.
    pub forgotten: Mutex<Vec<Task>>,
    /// Refuses everything while true.
    pub is_down: Mutex<bool>,
}

impl MemoryQueue {
    /// Takes what was sent.
    pub fn take(&self) -> Vec<(Task, Duration)> {
        std::mem::take(&mut *locked(&self.sent))
    }

    /// Takes what was sent first.
    pub fn take_first(&self) -> Option<(Task, Duration)> {
        let mut sent = locked(&self.sent);
        if sent.is_empty() { None } else { Some(sent.remove(0)) }
    }

    fn check(&self) -> Result<(), JournalError> {
        if *locked(&self.is_down) { Err(unavailable()) } else { Ok(()) }
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn send(&self, task: &Task, delay: Duration) -> Result<(), JournalError> {
        self.check()?;
        locked(&self.sent).push((task.clone(), delay));
        Ok(())
    }
}

#[async_trait]
impl DeadLetterQueue for MemoryQueue {
    async fn depth(&self) -> Result<u64, JournalError> {
        self.check().map(|()| 0)
    }

    async fn start_move(&self, _rate: Option<u32>) -> Result<Move, JournalError> {
        self.check()?;
        *locked(&self.moves) += 1;
        Ok(Move::Started { handle: "move-1".into() })
    }

    async fn forget(&self, task: &Task) -> Result<(), JournalError> {
        self.check()?;
        locked(&self.forgotten).push(task.clone());
        Ok(())
    }
}

/// What a scripted model does when it is asked.
#[derive(Debug, Clone)]
pub enum Scripted {
    /// Answers.
    Says(String),
    /// Wants tools called: their names.
    Calls(Vec<&'static str>),
    /// Wants one tool called with these arguments.
    CallsWith(&'static str, Value),
    /// Answers, part by part: each 100 ms after the one before it.
    Tells(Vec<String>),
    /// Says these parts in the same way, then fails.
    Breaks(Vec<String>, CallError),
    /// Fails.
    Fails(CallError),
    /// Never answers.
    Hangs,
    /// Begins to answer, and never ends.
    Drones,
    /// Answers with nothing.
    SaysNothing,
}

/// A model that follows a script and counts.
#[derive(Debug, Default)]
pub struct ScriptedModel {
    script: Mutex<VecDeque<Scripted>>,
    /// The transcripts that it was shown.
    pub asked: Mutex<Vec<Vec<Message>>>,
}

impl ScriptedModel {
    /// A model with that script; at its end it says `done`.
    #[must_use]
    pub fn new(script: impl IntoIterator<Item = Scripted>) -> Self {
        Self { script: Mutex::new(script.into_iter().collect()), asked: Mutex::default() }
    }

    /// From now on it says `done`.
    pub fn heal(&self) {
        locked(&self.script).clear();
    }

    /// How often it was asked.
    #[must_use]
    pub fn calls(&self) -> usize {
        locked(&self.asked).len()
    }
}

#[async_trait]
impl Model for ScriptedModel {
    async fn ask(&self, request: &ModelRequest<'_>) -> Result<ModelReply, CallError> {
        let number = {
            let mut asked = locked(&self.asked);
            asked.push(request.messages.to_vec());
            asked.len()
        };
        let next = locked(&self.script).pop_front();
        let message = match next {
            Some(Scripted::Tells(parts)) => {
                tell(request, &parts).await;
                Message::assistant(parts.concat())
            }
            Some(Scripted::Breaks(parts, error)) => {
                tell(request, &parts).await;
                return Err(error);
            }
            Some(Scripted::Fails(error)) => return Err(error),
            Some(Scripted::Hangs) => std::future::pending().await,
            Some(Scripted::Drones) => {
                request.sink.text("Well,");
                std::future::pending().await
            }
            Some(Scripted::SaysNothing) => Message { content: None, ..Message::assistant("") },
            Some(Scripted::Says(text)) => Message::assistant(text),
            Some(Scripted::Calls(names)) => {
                let call = |(n, name): (usize, &&str)| ToolCall {
                    id: format!("call-{number}-{n}"),
                    name: (*name).into(),
                    arguments: json!({"n": number}),
                };
                Message { content: None, tool_calls: names.iter().enumerate().map(call).collect(), ..Message::assistant("") }
            }
            Some(Scripted::CallsWith(name, arguments)) => {
                let call = ToolCall { id: format!("call-{number}"), name: name.into(), arguments };
                Message { content: None, tool_calls: vec![call], ..Message::assistant("") }
            }
            None => Message::assistant("done"),
        };
        let finish_reason = if message.tool_calls.is_empty() { FinishReason::Stop } else { FinishReason::ToolCalls };
        let usage = Usage { input_tokens: 10, output_tokens: 5, ..Usage::default() };
        Ok(ModelReply { provider: "script".into(), model: "m".into(), message, finish_reason, usage })
    }
}

async fn tell(request: &ModelRequest<'_>, parts: &[String]) {
    for part in parts {
        tokio::time::sleep(Duration::from_millis(100)).await;
        request.sink.text(part);
    }
}

/// A hold that remembers how often it was extended.
#[derive(Debug, Default)]
pub struct CountingHold(pub Mutex<Vec<Duration>>);

#[async_trait]
impl Hold for CountingHold {
    async fn extend(&self, duration: Duration) {
        locked(&self.0).push(duration);
    }
}

/// A run of the default agent that was accepted at `at`, with a first question.
#[must_use]
pub fn a_run(tenant: &TenantId, at: Timestamp) -> Run {
    Run::new(tenant.clone(), &an_event(at), ConversationId::new(at), false, DEFAULT_AGENT.into(), Duration::from_secs(60))
}

/// The event of a question.
#[must_use]
pub fn an_event(at: Timestamp) -> Event {
    Event {
        id: EventId::new(at),
        kind: AGENT_REQUEST.into(),
        source: API.into(),
        principal: "test".into(),
        meta: EventMeta::default(),
        created_at: at,
        client_id: None,
        payload: json!({"prompt": "why?"}),
        run: None,
        matches: Vec::new(),
    }
}

/// Records a run that begins a conversation.
///
/// # Panics
/// When the store refuses it.
pub async fn accept(store: &MemoryStore, event: &Event, run: &Run) {
    let conversation = Conversation::new(run.conversation, run.id, run.created_at);
    let messages = event.agent_input().map(|input| input.as_messages()).unwrap_or_default();
    let turn = Turn::new(run.id, messages, run.created_at);
    let writes = [
        Write::Conversation(&run.tenant, ConversationWrite::Open(&conversation)),
        Write::Event(&run.tenant, event),
        Write::Run(run, Guard::New),
        Write::Turn(run, &turn),
    ];
    let written = store.write(&writes).await;
    assert!(written.is_ok(), "{written:?}");
}

/// An engine over these fakes, with a 60 s lease, 20 s calls and three attempts.
#[must_use]
pub fn engine(store: Arc<MemoryStore>, queue: Arc<MemoryQueue>, model: Arc<dyn Model>, clock: Arc<dyn Clock>) -> Engine {
    Engine {
        journal: store,
        queue,
        model,
        routes: Arc::new(routes()),
        bundle: Arc::new(Bundle::embedded()),
        tools: Toolbox::built_in(clock.clone()),
        clock,
        limits: Limits { lease: Duration::from_secs(60), model_timeout: Duration::from_secs(20), max_attempts: 3 },
        worker: "worker-1".into(),
        meter: Arc::default(),
    }
}
