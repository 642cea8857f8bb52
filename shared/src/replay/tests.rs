//! Replays over in-memory ports: what is selected, what is started, once, and what both runs come to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::domain::clock::after;
use crate::domain::definition::{Dedupe, Trigger};
use crate::domain::event::{AgentInput, EventMeta, MatchOutcome};
use crate::domain::id::{ConversationId, TenantId};
use crate::domain::job::{Job, JobKind, JobResult, JobStatus, NewJob, Outcome, Pace};
use crate::domain::message::Message;
use crate::domain::pattern::Pattern;
use crate::domain::principal::Principal;
use crate::domain::run::Run;
use crate::domain::wildcard::Wildcard;
use crate::engine::Window;
use crate::engine::ports::{Journal, Model};
use crate::fakes::{CountingHold, FixedClock, MemoryJobs, MemoryQueue, MemoryStore, Scripted, ScriptedModel, engine};
use crate::intake::{AgentRequest, Intake, NewEvent};
use crate::jobs::{Desk, Kinds, Taken, Worker, wake};

mod outcomes;

struct World {
    store: Arc<MemoryStore>,
    queue: Arc<MemoryQueue>,
    jobs: Arc<MemoryJobs>,
    clock: Arc<FixedClock>,
    model: Arc<ScriptedModel>,
    intake: Intake,
}

fn tenant() -> TenantId {
    "acme".parse().unwrap()
}

fn ana() -> Principal {
    Principal { tenant: tenant(), name: "ana".into() }
}

fn trigger(name: &str, kind: &str) -> Trigger {
    Trigger {
        name: name.into(),
        agent: "assistant".into(),
        kind: kind.into(),
        source: Wildcard::any(),
        filter: None,
        dedupe: None,
        rate: None,
        prompt: None,
    }
}

fn world(triggers: Vec<Trigger>, script: Vec<Scripted>) -> World {
    let (store, queue) = (Arc::new(MemoryStore::default()), Arc::new(MemoryQueue::default()));
    let clock = Arc::new(FixedClock::at("2026-01-02T03:04:05Z"));
    let model = Arc::new(ScriptedModel::new(script));
    let engine = engine(store.clone(), queue.clone(), model.clone() as Arc<dyn Model>, clock.clone());
    let intake = Intake { engine, records: store.clone(), patience: Duration::from_secs(24) };
    let mut world = World { store, queue, jobs: Arc::new(MemoryJobs::default()), clock, model, intake };
    world.define(triggers);
    world
}

fn everything() -> ReplayOrder {
    order(Selection::All)
}

fn order(selection: Selection) -> ReplayOrder {
    ReplayOrder { selection, model: None, agent: None, with_side_effects: false }
}

impl World {
    /// From now on these triggers are defined.
    fn define(&mut self, triggers: Vec<Trigger>) {
        let bundle = Bundle { triggers, ..(*self.intake.engine.bundle).clone() };
        self.intake.engine.bundle = Arc::new(bundle);
    }

    fn replayer(&self) -> Replayer {
        Replayer {
            records: self.store.clone(),
            events: self.store.clone(),
            queue: self.queue.clone(),
            bundle: self.intake.engine.bundle.clone(),
            clock: self.clock.clone(),
        }
    }

    async fn publish(&self, kind: &str, payload: Value) -> EventId {
        self.clock.advance(Duration::from_millis(10));
        let (kind, source) = (kind.to_owned(), "crm".to_owned());
        let new = NewEvent { kind, source, payload, client_id: None, meta: EventMeta::default(), keys: Vec::new() };
        self.intake.publish(&ana(), new).await.unwrap().event.id
    }

    async fn ask(&self, prompt: &str, conversation: Option<ConversationId>) -> Run {
        self.clock.advance(Duration::from_millis(10));
        let input = AgentInput { prompt: prompt.into(), ..AgentInput::default() };
        let request = AgentRequest { agent: None, conversation, input, when_busy: Default::default(), key: None };
        let run = self.intake.in_background(&ana(), request).await.unwrap().run;
        self.work().await;
        self.store.get(run).unwrap()
    }

    /// The queue's consumer, until nothing is left.
    async fn work(&self) {
        while let Some((task, _)) = self.queue.take_first() {
            let window = Window { deadline: after(self.clock.now(), Duration::from_secs(300)), cut_calls: false };
            let delivery = self.intake.engine.delivery("m", 0, 1);
            self.intake.engine.take_up(&task, &delivery, window, &CountingHold::default()).await.unwrap();
        }
    }

    async fn start(&self, order: &ReplayOrder) -> Job {
        self.clock.advance(Duration::from_millis(10));
        let new = NewJob {
            tenant: tenant(),
            kind: JobKind::Replay,
            by: "bob".into(),
            reason: Some("a new prompt".into()),
            order: serde_json::to_value(order).unwrap(),
            pace: Pace { rate: 50, concurrency: None },
            canary: None,
            key: None,
        };
        let desk = Desk { store: self.jobs.clone(), queue: self.jobs.clone(), clock: self.clock.clone() };
        desk.start(new).await.unwrap().job
    }

    /// The workers of jobs and the sweeper, until all jobs have ended.
    async fn work_off(&self) {
        for _ in 0..200 {
            let worker = Worker {
                store: self.jobs.clone(),
                queue: self.jobs.clone(),
                records: self.store.clone(),
                kinds: Kinds::from([(JobKind::Replay, Arc::new(ReplayWork(self.replayer())) as Arc<dyn crate::jobs::Work>)]),
                clock: self.clock.clone(),
            };
            if let Some((message, delay)) = self.jobs.take_first() {
                self.clock.advance(delay);
                for _ in 0..5 {
                    match worker.take_up(&message, after(self.clock.now(), Duration::from_secs(20))).await {
                        Ok(Taken::Done) => break,
                        Ok(Taken::Again(pause)) => self.clock.advance(pause),
                        Err(_) => self.clock.advance(Duration::from_secs(60)),
                    }
                }
                continue;
            }
            self.clock.advance(Duration::from_secs(180));
            let now = self.clock.now();
            let _ = wake(self.jobs.as_ref(), self.jobs.as_ref(), (&tenant(), self.only().id), now, Duration::from_secs(120)).await;
            if self.only().status.has_ended() {
                return;
            }
        }
        panic!("not over: {:?}", self.only());
    }

    fn only(&self) -> Job {
        self.jobs.jobs.lock().unwrap().values().last().unwrap().clone()
    }

    /// A whole replay, with what came of it.
    async fn replay(&self, order: &ReplayOrder) -> (Job, Vec<Run>, Vec<JobResult>) {
        let job = self.start(order).await;
        self.work_off().await;
        (self.only(), self.runs_of(&job), self.jobs.results.lock().unwrap().values().cloned().collect())
    }

    fn runs_of(&self, job: &Job) -> Vec<Run> {
        let is_of = |run: &&Run| run.replay.as_ref().is_some_and(|replay| replay.job == job.id);
        self.store.tables().runs.values().filter(is_of).cloned().collect()
    }
}

fn pairs(runs: &[Run]) -> BTreeSet<(EventId, Option<String>, Option<RunId>)> {
    let pairs: BTreeSet<_> = runs.iter().map(|run| (run.event, run.trigger.clone(), run.replay.as_ref().unwrap().of)).collect();
    assert_eq!(pairs.len(), runs.len(), "no event twice for one trigger");
    pairs
}

/// Ten events of three types: five orders, of which two are large, three alarms, which nobody hears, and two requests.
async fn ten_events() -> (World, Vec<EventId>) {
    let large = Pattern::parse(&json!({"n": [{"numeric": [">", 3]}]})).unwrap();
    let orders = trigger("orders", "order");
    let w = world(vec![orders, Trigger { filter: Some(large), ..trigger("large", "order") }], Vec::new());
    let mut events = Vec::new();
    for n in 1..=5 {
        events.push(w.publish("order", json!({"n": n})).await);
    }
    for n in 1..=3 {
        events.push(w.publish("alarm", json!({"n": n})).await);
    }
    w.work().await;
    for prompt in ["why?", "how?"] {
        events.push(w.ask(prompt, None).await.event);
    }
    (w, events)
}

#[tokio::test]
async fn past_events_start_what_the_triggers_of_now_say_beside_what_they_started_then() {
    let (mut w, events) = ten_events().await;
    // One trigger is gone, one is new and hears what nobody heard, one asks something else.
    let prompt = Some(crate::domain::template::Template::parse("Order {{/n}} anew").unwrap());
    w.define(vec![Trigger { prompt, ..trigger("orders", "order") }, trigger("alarms", "alarm")]);
    let before = w.store.tables();
    let plan = w.replayer().plan(&tenant(), &everything()).await.unwrap();
    assert_eq!((plan.looked_at, plan.complete, w.store.len()), (10, true, before.runs.len()), "a dry run starts nothing");
    let (job, runs, results) = w.replay(&everything()).await;
    assert_eq!((job.status, job.counts.selected, job.counts.done, results.len()), (JobStatus::Completed, 10, 10, 10));
    let then = |event: EventId, trigger: &str| {
        before.events[&event].matches.iter().find(|found| found.trigger == trigger).and_then(|found| found.run_id)
    };
    let mut expected = BTreeSet::new();
    expected.extend(events[..5].iter().map(|event| (*event, Some("orders".to_owned()), then(*event, "orders"))));
    expected.extend(events[5..8].iter().map(|event| (*event, Some("alarms".to_owned()), None)));
    expected.extend(events[8..].iter().map(|event| (*event, None, before.events[event].run)));
    assert_eq!(pairs(&runs), expected);
    let planned: BTreeSet<_> = plan.matches.into_iter().map(|found| (found.event, found.trigger, found.of)).collect();
    assert_eq!(planned, expected, "and says what is started");
    w.work().await;
    for run in &runs {
        let run = w.store.get(run.id).unwrap();
        assert_eq!((run.state, run.replay.unwrap().withholds), (RunState::Completed, true));
        let accepted = &run.transitions[0];
        assert_eq!((accepted.by.as_str(), accepted.reason.as_str(), accepted.note.as_deref()), ("bob", "replayed", Some("a new prompt")));
    }
    let first = runs.iter().find(|run| run.event == events[0]).unwrap();
    let asked = w.store.input(first).await.unwrap();
    assert_eq!((asked.prompt.as_str(), &asked.metadata["trigger"]), ("Order 1 anew", &json!("orders")));
    assert_eq!(w.store.tables().events, before.events, "what was recorded of the events stays");
}

#[tokio::test]
async fn a_filter_says_which_events_and_for_whom() {
    let (w, events) = ten_events().await;
    w.store.put(Run { state: RunState::Dead, ..w.store.get(w.store.tables().events[&events[8]].run.unwrap()).unwrap() });
    let at = |n: usize| w.store.tables().events[&events[n]].created_at;
    let none = ReplayFilter::default;
    for (filter, expected) in [
        (none(), vec![0, 1, 2, 3, 3, 4, 4, 8, 9]),
        (ReplayFilter { kind: Some("order".into()), ..none() }, vec![0, 1, 2, 3, 3, 4, 4]),
        (ReplayFilter { kind: Some("agent.request".into()), ..none() }, vec![8, 9]),
        (ReplayFilter { source: Some("api".into()), ..none() }, vec![8, 9]),
        (ReplayFilter { trigger: Some("large".into()), ..none() }, vec![3, 4]),
        (ReplayFilter { agent: Some("assistant".into()), ..none() }, vec![0, 1, 2, 3, 3, 4, 4, 8, 9]),
        (ReplayFilter { agent: Some("nobody".into()), ..none() }, vec![]),
        (ReplayFilter { status: Some(RunState::Dead), ..none() }, vec![8]),
        (ReplayFilter { status: Some(RunState::Completed), trigger: Some("large".into()), ..none() }, vec![3, 4]),
        (ReplayFilter { since: Some(at(4)), until: Some(at(9)), ..none() }, vec![4, 4, 8]),
    ] {
        let plan = w.replayer().plan(&tenant(), &order(Selection::Filter(filter.clone()))).await.unwrap();
        let found: Vec<usize> = plan.matches.iter().map(|found| events.iter().position(|event| *event == found.event).unwrap()).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
    let theirs = w.replayer().plan(&"evil".parse().unwrap(), &everything()).await.unwrap();
    assert_eq!((theirs.matches, theirs.looked_at), (Vec::new(), 0), "another tenant's events are not there");
}

#[tokio::test]
async fn a_selection_is_the_same_whatever_is_taken_at_once() {
    let (w, events) = ten_events().await;
    let now = after(w.clock.now(), Duration::from_secs(1));
    let runs: Vec<RunId> = w.store.tables().runs.keys().copied().collect();
    for selection in [Selection::All, Selection::Events(events), Selection::Runs(runs)] {
        let order = order(selection);
        let mut whole = None;
        for limit in [100, 1, 2, 3, 5] {
            let (mut all, mut place): (Vec<Selected>, Option<Place>) = (Vec::new(), None);
            loop {
                let (some, next) = w.replayer().select(&tenant(), &order, now, place, limit).await.unwrap();
                assert!(some.len() <= limit);
                all.extend(some);
                // As the job's record keeps it.
                place = next.map(|next| next.to_string().parse().unwrap());
                if place.is_none() {
                    break;
                }
            }
            assert_eq!(all, *whole.get_or_insert_with(|| all.clone()), "{limit} {order:?}");
        }
    }
}

#[tokio::test]
async fn what_comes_while_a_replay_goes_on_is_no_part_of_it() {
    let (w, _) = ten_events().await;
    let job = w.start(&everything()).await;
    w.publish("order", json!({"n": 9})).await;
    w.work_off().await;
    assert_eq!(w.runs_of(&job).len(), 9);
    assert_eq!(w.only().counts.done, 9);
}

#[tokio::test]
async fn whatever_call_of_the_worker_fails_each_run_is_started_once() {
    let calls = {
        let (w, _) = ten_events().await;
        w.replay(&everything()).await;
        *w.jobs.calls.lock().unwrap()
    };
    for number in 2..=calls {
        for is_lost in [false, true] {
            let (w, _) = ten_events().await;
            let struck = vec![number, number + 1];
            *w.jobs.failing.lock().unwrap() = if is_lost { (Vec::new(), struck) } else { (struck, Vec::new()) };
            let (job, runs, results) = w.replay(&everything()).await;
            assert_eq!((pairs(&runs).len(), job.counts.done, results.len()), (9, 9, 9), "{number} {is_lost}");
            assert!(results.iter().all(|result| result.outcome == Outcome::Done && result.run.is_some()));
            w.work().await;
            assert!(w.runs_of(&job).iter().all(|run| run.state == RunState::Completed), "{number}: a message was sent for each");
        }
    }
}

#[tokio::test]
async fn a_run_that_was_started_but_not_sent_is_sent_by_whoever_starts_it_again() {
    let (w, events) = ten_events().await;
    let job = w.start(&everything()).await;
    let plan = w.replayer().plan(&tenant(), &order(Selection::Events(vec![events[0]]))).await.unwrap();
    let (replayer, order) = (w.replayer(), everything());
    *w.queue.is_down.lock().unwrap() = true;
    let first = replayer.start(&job, &order, "one", &plan.matches[0]).await.unwrap();
    *w.queue.is_down.lock().unwrap() = false;
    let again = replayer.start(&job, &order, "one", &plan.matches[0]).await.unwrap();
    assert_eq!((first.before, again.before, first.run), (false, true, again.run));
    assert_eq!(w.queue.take().len(), 1);
    assert_eq!(w.store.get(first.run).unwrap().due_ms.map(|_| ()), Some(()), "or by the sweeper");
}

#[tokio::test]
async fn a_run_is_asked_again_what_it_was_asked_whatever_its_trigger_says_now() {
    let (mut w, events) = ten_events().await;
    let old = w.store.tables().events[&events[0]].matches[0].run_id.unwrap();
    w.define(Vec::new());
    let gone = RunId::lower_bound(w.clock.now());
    let (job, runs, results) = w.replay(&order(Selection::Runs(vec![old, gone, old]))).await;
    assert_eq!((job.counts.done, job.counts.skipped, runs.len()), (1, 1, 1), "named twice is once");
    assert_eq!(results.iter().find(|result| result.run.is_none()).unwrap().detail, "there is no such run");
    let input = |run: &Run| w.store.tables().inputs[&(run.id, 0)].clone();
    assert_eq!(input(&runs[0]), input(&w.store.get(old).unwrap()));
    assert_eq!(runs[0].trigger.as_deref(), Some("orders"));
}

#[tokio::test]
async fn what_a_trigger_has_seen_or_may_start_does_not_count_for_a_replay() {
    let dedupe = Some(Dedupe { key: "/n".into(), window_seconds: 3600 });
    let w = world(vec![Trigger { dedupe, ..trigger("orders", "order") }], Vec::new());
    let (first, second) = (w.publish("order", json!({"n": 1})).await, w.publish("order", json!({"n": 1})).await);
    let tables = w.store.tables();
    assert_eq!(tables.events[&second].matches[0].outcome, MatchOutcome::Duplicate);
    let (_, runs, _) = w.replay(&everything()).await;
    let of: BTreeMap<EventId, Option<RunId>> = runs.iter().map(|run| (run.event, run.replay.as_ref().unwrap().of)).collect();
    assert_eq!(of, BTreeMap::from([(first, tables.events[&first].matches[0].run_id), (second, None)]));
    assert_eq!(w.store.tables().marks, tables.marks, "nor does it leave marks");
}

#[tokio::test]
async fn another_model_or_agent_takes_all_of_it() {
    let (w, events) = ten_events().await;
    let model: ModelRef = "openai::gpt-4o-mini".parse().unwrap();
    let selection = || Selection::Events(vec![events[0], events[8]]);
    let asked = ReplayOrder { model: Some(model.clone()), agent: Some("triage".into()), with_side_effects: true, ..order(selection()) };
    let (_, runs, _) = w.replay(&asked).await;
    assert_eq!(runs.len(), 2);
    for run in runs {
        assert_eq!((run.redriven.model.as_ref(), run.agent.as_str()), (Some(&model), "triage"));
        assert!(!run.replay.as_ref().unwrap().withholds);
        assert!(run.redriven.count == 0 && run.definitions.contains('@'));
    }
    let nobody = ReplayOrder { agent: Some("nobody".into()), ..order(selection()) };
    let (job, runs, results) = w.replay(&nobody).await;
    assert_eq!((runs.len(), job.counts.skipped), (0, 2));
    assert!(results.iter().any(|result| result.detail == "the agent `nobody` is not defined any more"));
}

#[tokio::test]
async fn what_cannot_be_started_is_told_and_holds_nothing_up() {
    let (w, events) = ten_events().await;
    let gone = EventId::lower_bound(w.clock.now());
    let (job, _, results) = w.replay(&order(Selection::Events(vec![gone, events[5], events[0]]))).await;
    assert_eq!((job.counts.done, job.counts.skipped), (1, 2));
    let why = |event: EventId| results.iter().find(|result| result.key == event.to_string()).map(|result| result.detail.clone());
    assert_eq!(why(gone).as_deref(), Some("there is no such event"));
    assert_eq!(why(events[5]).as_deref(), Some("no trigger fits it"));
    let (replayer, asked) = (w.replayer(), everything());
    let plan = replayer.plan(&tenant(), &order(Selection::Events(vec![events[0], events[8]]))).await.unwrap();
    let old = w.store.get(plan.matches[1].of.unwrap()).unwrap();
    let lost = Candidate { trigger: Some("gone".into()), ..plan.matches[0].clone() };
    assert!(matches!(replayer.start(&job, &asked, "a", &lost).await, Err(Refused::NoTrigger)));
    w.store.put(Run { has_history: true, ..old.clone() });
    let long = crate::domain::turn::Turn {
        response: Some("x".repeat(400_000)),
        ..crate::domain::turn::Turn::new(RunId::lower_bound(Timestamp::UNIX_EPOCH), Vec::new(), Timestamp::UNIX_EPOCH)
    };
    let before = Run { id: long.run_id, ..old.clone() };
    w.store.write(&[crate::engine::ports::Write::Turn(&before, &long)]).await.unwrap();
    assert!(matches!(replayer.start(&job, &asked, "b", &plan.matches[1]).await, Err(Refused::TooLong)));
}
