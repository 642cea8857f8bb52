//! Readers of runs: in the process that works on them and elsewhere, cut off anywhere, while tries break off and workers die.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use jiff::Timestamp;

use super::{RunEvent, Told};
use crate::domain::clock::{Clock, after};
use crate::domain::delta::{Delta, Position, Try};
use crate::domain::event::AgentInput;
use crate::domain::id::RunId;
use crate::domain::principal::Principal;
use crate::domain::run::Run;
use crate::domain::state::RunState;
use crate::domain::step::StepBody;
use crate::engine::ports::Journal;
use crate::engine::{CallError, Window};
use crate::fakes::{CountingHold, MemoryQueue, MemoryStore, Scripted, ScriptedModel, TokioClock, engine};
use crate::intake::{AgentRequest, Intake, Streamed};

/// Characters of one to four bytes.
const ANSWER: &str = "Grüße! €5 für 𝄞 und 日本語, dazu etwas mehr Text, damit es sich lohnt: αβγδ.";

struct World {
    store: Arc<MemoryStore>,
    clock: Arc<TokioClock>,
    intake: Arc<Intake>,
    caller: Principal,
}

fn world(script: impl IntoIterator<Item = Scripted>) -> World {
    let (store, model) = (Arc::new(MemoryStore::default()), Arc::new(ScriptedModel::new(script)));
    let clock = Arc::new(TokioClock::from("2026-01-02T03:04:05Z".parse().unwrap()));
    let engine = engine(store.clone(), Arc::new(MemoryQueue::default()), model, clock.clone());
    let intake = Arc::new(Intake { engine, records: store.clone(), patience: Duration::from_secs(20) });
    World { store, clock, intake, caller: Principal { tenant: "acme".parse().unwrap(), name: "me".into() } }
}

/// The answer in parts of `size` characters.
fn parts(text: &str, size: usize) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters.chunks(size).map(|part| part.iter().collect()).collect()
}

fn broken() -> CallError {
    CallError::garbled("broke off")
}

impl World {
    fn request() -> AgentRequest {
        let input = AgentInput { prompt: "why?".into(), ..AgentInput::default() };
        AgentRequest { agent: None, conversation: None, input, when_busy: Default::default(), key: None }
    }

    fn until(&self) -> Timestamp {
        after(self.clock.now(), Duration::from_secs(900))
    }

    async fn streaming(&self) -> Streamed {
        self.intake.streaming(&self.caller, Self::request(), self.until()).await.unwrap()
    }

    /// A run that waits for a worker.
    async fn queued(&self) -> RunId {
        self.intake.in_background(&self.caller, Self::request()).await.unwrap().run
    }

    fn follow(&self, run: RunId, from: Position) -> BoxStream<'static, Told> {
        self.intake.follow(&self.caller.tenant, run, from, self.until())
    }

    /// A worker that takes the run up and works on it.
    async fn work(&self, run: RunId) {
        let task = self.store.get(run).unwrap().task();
        let window = Window { deadline: self.until(), cut_calls: false };
        let deliveries = self.store.get(run).unwrap().attempts + 1;
        let delivery = self.intake.engine.delivery("m", 0, deliveries);
        self.intake.engine.take_up(&task, &delivery, window, &CountingHold::default()).await.unwrap();
    }

    fn answer(&self, run: RunId) -> String {
        let steps = self.store.journal_of(run);
        let Some(StepBody::Model(last)) = steps.last().map(|step| &step.body) else { panic!("no answer") };
        last.message.content.clone().unwrap()
    }

    fn kept(&self) -> usize {
        self.store.with_tables(|tables| tables.deltas.values().map(BTreeMap::len).sum())
    }
}

/// What a client makes of the events.
#[derive(Debug, Default)]
struct Client {
    at: Option<Position>,
    texts: BTreeMap<u32, String>,
    resets: usize,
    steps: Vec<u32>,
    ends: Vec<RunEvent>,
}

impl Client {
    fn hear(&mut self, told: Told) {
        match told.event.clone() {
            RunEvent::Delta { step, text } => {
                assert!(!text.is_empty());
                let known = self.texts.entry(step).or_default();
                known.push_str(&text);
                assert_eq!(told.id.map(|at| (at.step, at.offset)), Some((step, known.len())));
            }
            RunEvent::Reset { step } => {
                assert!(self.texts.insert(step, String::new()).is_some_and(|lost| !lost.is_empty()), "nothing was to be taken back");
                self.resets += 1;
            }
            RunEvent::Step(step) => self.steps.push(step.index),
            RunEvent::Run(_) | RunEvent::Waiting(_) => {}
            end @ (RunEvent::Done { .. } | RunEvent::Failed(_) | RunEvent::Cancelled(_)) => self.ends.push(end),
        }
        self.at = told.id.or(self.at);
    }

    async fn hear_all(&mut self, mut events: BoxStream<'static, Told>) {
        while let Some(told) = events.next().await {
            self.hear(told);
        }
    }

    fn is_done_with(&self, answer: &str) {
        assert_eq!(self.texts.values().last().map(String::as_str), Some(answer));
        let [RunEvent::Done { response, .. }] = self.ends.as_slice() else { panic!("{:?}", self.ends) };
        assert_eq!(response, answer);
    }
}

#[tokio::test(start_paused = true)]
async fn who_reads_along_here_hears_each_part_before_the_answer_is_there() {
    let world = world([Scripted::Calls(vec!["clock"]), Scripted::Tells(parts(ANSWER, 10))]);
    let streamed = world.streaming().await;
    let (mut client, mut unfinished) = (Client::default(), 0);
    let mut events = streamed.events;
    let read = async {
        while let Some(told) = events.next().await {
            unfinished +=
                usize::from(matches!(told.event, RunEvent::Delta { .. }) && world.store.journal_of(streamed.accepted.run).len() < 3);
            client.hear(told);
        }
    };
    join(read, streamed.work.unwrap()).await;
    client.is_done_with(ANSWER);
    assert_eq!((client.steps.as_slice(), client.resets), ([1, 2, 3].as_slice(), 0));
    // The last part may come together with the end.
    assert!(unfinished >= parts(ANSWER, 10).len() - 1, "{unfinished}");
}

#[tokio::test(start_paused = true)]
async fn who_reads_along_elsewhere_hears_it_before_the_answer_is_there() {
    let world = world([Scripted::Tells(parts(ANSWER, 2))]);
    let run = world.queued().await;
    let (mut client, mut unfinished) = (Client::default(), 0);
    let mut events = world.follow(run, Position::START);
    let read = async {
        while let Some(told) = events.next().await {
            unfinished += usize::from(matches!(told.event, RunEvent::Delta { .. }) && world.store.journal_of(run).is_empty());
            client.hear(told);
        }
    };
    join(read, world.work(run)).await;
    client.is_done_with(ANSWER);
    assert!(unfinished > 3 && client.resets == 0, "{unfinished} {client:?}");
    // At most one piece each 250 ms.
    assert!(world.kept() <= parts(ANSWER, 2).len() * 100 / 250 + 1, "{}", world.kept());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_nobody_reads_along_with_writes_nothing_for_readers() {
    let world = world([Scripted::Tells(parts(ANSWER, 2))]);
    let run = world.queued().await;
    world.work(run).await;
    assert_eq!(world.kept(), 0);
    let Some(StepBody::Model(step)) = world.store.journal_of(run).pop().map(|step| step.body) else { panic!("no step") };
    assert_eq!(step.stream_try, None);
}

#[tokio::test(start_paused = true)]
async fn who_is_slow_or_leaves_holds_nothing_up() {
    let world = world([Scripted::Tells(parts(ANSWER, 10)), Scripted::Tells(parts(ANSWER, 10))]);
    let slow = world.streaming().await;
    slow.work.unwrap().await;
    assert_eq!(world.store.get(slow.accepted.run).unwrap().state, RunState::Completed);
    let mut client = Client::default();
    client.hear_all(slow.events).await;
    client.is_done_with(ANSWER);

    let mut left = world.streaming().await;
    let mut work = left.work.unwrap();
    for _ in 0..3 {
        tokio::select! { _ = left.events.next() => {}, () = &mut work => panic!("nobody was to wait for the end") }
    }
    drop(left.events);
    work.await;
    assert_eq!(world.answer(left.accepted.run), ANSWER);
}

#[tokio::test(start_paused = true)]
async fn a_try_that_broke_off_is_taken_back() {
    let lost = parts("Something else, which is never to be heard of", 5);
    let world = world([Scripted::Breaks(lost.clone(), broken()), Scripted::Tells(parts(ANSWER, 5))]);
    let streamed = world.streaming().await;
    let mut here = Client::default();
    join(here.hear_all(streamed.events), streamed.work.unwrap()).await;
    here.is_done_with(ANSWER);
    assert_eq!(here.resets, 1);

    // Elsewhere, with the other try already over.
    let mut elsewhere = Client::default();
    elsewhere.hear_all(world.follow(streamed.accepted.run, Position::START)).await;
    elsewhere.is_done_with(ANSWER);
    assert_eq!(elsewhere.resets, 0);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_dies_while_it_speaks_is_followed_by_another() {
    let world = world([
        Scripted::Tells(parts("This was said by a worker that died of it, before it came to its end", 2)),
        Scripted::Tells(parts(ANSWER, 2)),
    ]);
    let run = world.queued().await;
    let mut client = Client::default();
    let workers = async {
        let _ = tokio::time::timeout(Duration::from_millis(2_500), world.work(run)).await;
        assert!(world.store.journal_of(run).is_empty());
        tokio::time::sleep(Duration::from_secs(90)).await;
        world.work(run).await;
    };
    join(client.hear_all(world.follow(run, Position::START)), workers).await;
    client.is_done_with(ANSWER);
    assert_eq!(client.resets, 1);
}

#[tokio::test(start_paused = true)]
async fn a_question_is_told_and_the_reader_stays() {
    let ask = Scripted::CallsWith("ask_human", serde_json::json!({"question": "May I?", "expires_in_seconds": 60}));
    let world = world([ask]);
    let streamed = world.streaming().await;
    streamed.work.unwrap().await;
    let mut events = streamed.events;
    let mut heard = Vec::new();
    while heard.len() < 3 {
        heard.push(events.next().await.unwrap().event);
    }
    assert!(
        matches!(&heard[..], [RunEvent::Run(_), RunEvent::Step(_), RunEvent::Waiting(run)] if run.state == RunState::Waiting),
        "{heard:?}"
    );
    // Nothing more comes until somebody answers.
    assert!(tokio::time::timeout(Duration::from_secs(30), events.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_is_no_place_in_the_text_is_read_from_the_beginning() {
    let world = world([Scripted::Tells(parts(ANSWER, 5))]);
    let run = world.queued().await;
    world.work(run).await;
    for id in ["1.-.3", "1.-.9999", "1.7-1.5", "1.-.1"] {
        // Its third byte is within the ü.
        let from: Position = id.parse().unwrap();
        let events: Vec<Told> = world.follow(run, from).collect().await;
        let text: String = events
            .iter()
            .filter_map(|told| if let RunEvent::Delta { text, .. } = &told.event { Some(text.as_str()) } else { None })
            .collect();
        let is_reset = events.iter().any(|told| matches!(told.event, RunEvent::Reset { .. }));
        assert_eq!((text.as_str(), is_reset), if id == "1.-.1" { (&ANSWER[1..], false) } else { (ANSWER, true) }, "{id}");
    }
}

/// The bar: cut off at twenty places, here and elsewhere, while tries break off, and again long after.
#[tokio::test(start_paused = true)]
async fn a_client_that_is_cut_off_anywhere_goes_on_exactly_there() {
    for seed in 1..=20 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let lost = parts("Something else, which breaks off before its end", 3);
        let world = world([
            Scripted::Calls(vec!["clock"]),
            Scripted::Breaks(lost[..dice.usize(..lost.len())].to_vec(), broken()),
            Scripted::Tells(parts(&ANSWER.repeat(3), 2 + dice.usize(..4))),
        ]);
        let streamed = world.streaming().await;
        let (run, answer) = (streamed.accepted.run, ANSWER.repeat(3));
        let client = async {
            let (mut client, mut events, mut cuts) = (Client::default(), streamed.events, 0);
            loop {
                let (mut left, mut has_ended) = (dice.usize(..12), false);
                while left > 0 && !has_ended {
                    let told = events.next().await;
                    has_ended = told.is_none();
                    told.into_iter().for_each(|told| client.hear(told));
                    left -= 1;
                }
                if has_ended {
                    return (client, cuts);
                }
                cuts += 1;
                tokio::time::sleep(Duration::from_millis(dice.u64(..2_000))).await;
                // What was on its way to the client is lost with the connection.
                events = world.follow(run, client.at.unwrap_or(Position::START));
                client.ends.clear();
            }
        };
        let ((client, cuts), ()) = join(client, streamed.work.unwrap()).await;
        assert!(cuts > 0, "seed {seed}");
        assert_eq!((&client.texts[&3], world.answer(run)), (&answer, answer.clone()), "seed {seed}");
        client.is_done_with(&answer);
        assert_eq!(client.steps, [1, 2, 3], "seed {seed}");
        // Read again from any place that the client has been at, long after.
        let later: Vec<Told> = world.follow(run, client.at.unwrap()).collect().await;
        assert!(matches!(&later[..], [Told { event: RunEvent::Run(_), .. }, Told { event: RunEvent::Done { .. }, .. }]), "{later:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_piece_that_is_kept_again_with_more_text_is_read_again() {
    let world = world([]);
    let id = world.queued().await;
    let run = Run { state: RunState::Running, lease_no: 1, ..world.store.get(id).unwrap() };
    world.store.put(run.clone());
    let attempt = Try { lease_no: 1, number: 1 };
    let tell = async |seq, start, text: &str| {
        world.store.tell(&run, &Delta { step: 1, attempt, seq, start, text: text.into() }).await.unwrap();
    };
    let mut events = world.follow(id, Position::START);
    tell(1, 0, "ab").await;
    let mut client = Client::default();
    while client.texts.is_empty() {
        client.hear(events.next().await.unwrap());
    }
    tell(1, 0, "abcd").await;
    tell(2, 4, "ef").await;
    while client.texts[&1] != "abcdef" {
        client.hear(events.next().await.unwrap());
    }
    assert_eq!(client.resets, 0);
}

#[tokio::test(start_paused = true)]
async fn the_reader_ends_when_the_function_has_no_more_time_and_the_run_goes_on() {
    let world = world([Scripted::Hangs]);
    let until = after(world.clock.now(), Duration::from_secs(40));
    let streamed = world.intake.streaming(&world.caller, World::request(), until).await.unwrap();
    let ((), events) = join(streamed.work.unwrap(), streamed.events.collect::<Vec<Told>>()).await;
    assert!(world.clock.now() >= until);
    assert!(matches!(&events[..], [Told { event: RunEvent::Run(_), .. }]), "{events:?}");
    assert_eq!(world.store.get(streamed.accepted.run).unwrap().state, RunState::Queued);
    // Whoever comes back hears of it again.
    assert!(world.follow(streamed.accepted.run, Position::START).next().now_or_never().flatten().is_some());
}
