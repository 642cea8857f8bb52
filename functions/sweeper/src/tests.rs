//! Invocations over in-memory ports.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use shared::backup::{Backups, NotedBackup};
use shared::domain::breaker::{Breaker, BreakerConfig};
use shared::domain::clock::{Clock, between};
use shared::domain::definition::ModelRef;
use shared::domain::failure::FailureCode;
use shared::domain::state::RunState;
use shared::domain::task::Canary;
use shared::engine::ports::JournalError;
use shared::fakes::{FixedClock, MemoryBreakers, MemoryFleet, MemoryLetters, MemoryQueue, MemoryStore, MemoryTable, a_run};
use shared::heartbeat::{Depth, Heartbeats, Marks, Oldest, Standing};
use shared::sweep::janitor::{Janitor, Letter, Letters};
use shared::sweep::{CanaryQueue, Caretaker};

use super::*;

/// Signs of life, and a dead-letter queue without letters.
#[derive(Default)]
struct Signs(Mutex<Vec<Timestamp>>);

#[async_trait]
impl CanaryQueue for Signs {
    async fn send_canary(&self, _canary: &Canary) -> Result<(), JournalError> {
        Ok(())
    }

    async fn depth(&self) -> Result<Depth, JournalError> {
        Ok(Depth::default())
    }
}

#[async_trait]
impl Heartbeats for Signs {
    async fn swept(&self, at: Timestamp, _tally: &Tally, _standing: Option<&Standing>) -> Result<(), JournalError> {
        self.0.lock().unwrap().push(at);
        Ok(())
    }

    async fn oldest(&self) -> Result<Option<Oldest>, JournalError> {
        Ok(None)
    }

    async fn arrived(&self, _canary: &Canary, _at: Timestamp) -> Result<(), JournalError> {
        Ok(())
    }
}

#[async_trait]
impl Letters for Signs {
    async fn to_look_at(&self) -> Result<u64, JournalError> {
        Ok(0)
    }

    async fn take(&self, _hidden: Duration) -> Result<Vec<Letter>, JournalError> {
        Ok(Vec::new())
    }

    async fn delete(&self, _letters: &[Letter]) -> Result<(), JournalError> {
        Ok(())
    }

    async fn give_back(&self, _letters: &[Letter]) -> Result<(), JournalError> {
        Ok(())
    }
}

struct World {
    store: Arc<MemoryStore>,
    queue: Arc<MemoryQueue>,
    clock: Arc<FixedClock>,
    fleet: Arc<MemoryFleet>,
    schedule: Schedule,
}

fn world() -> World {
    let (store, queue, signs) = (Arc::new(MemoryStore::default()), Arc::new(MemoryQueue::default()), Arc::new(Signs::default()));
    let clock = Arc::new(FixedClock::at("2026-01-02T03:04:05Z"));
    let caretaker =
        Caretaker { journal: store.clone(), queue: queue.clone(), backlog: queue.clone(), clock: clock.clone(), max_attempts: 3 };
    let jobs = Arc::new(shared::fakes::MemoryJobs::default());
    let janitor =
        Janitor { letters: signs.clone(), records: store.clone(), book: Arc::new(MemoryLetters::default()), clock: clock.clone() };
    let sweeper = Sweeper {
        index: store.clone(),
        attendant: Arc::new(caretaker),
        canaries: signs.clone(),
        heartbeats: signs,
        janitor,
        watchman: shared::jobs::Watchman { store: jobs.clone(), queue: jobs, clock: clock.clone() },
        clock: clock.clone(),
    };
    let fleet = Arc::new(MemoryFleet::default());
    let reporter = Reporter::new(&Environment::of(|_| None), "sweeper", Arc::default(), fleet.clone(), clock.clone());
    let lookout = Lookout {
        index: store.clone(),
        signs: fleet.clone(),
        breakers: Arc::new(MemoryBreakers::default()),
        backups: Arc::new(MemoryTable::default()),
        dead_letters: queue.clone(),
        backlog: queue.clone(),
        clock: clock.clone(),
    };
    World { store, queue, clock, fleet, schedule: Schedule { sweeper, lookout, reporter } }
}

fn in_seconds(clock: &FixedClock, seconds: u64) -> u64 {
    after(clock.now(), Duration::from_secs(seconds)).as_millisecond().try_into().unwrap()
}

#[tokio::test]
async fn runs_that_were_recorded_and_never_sent_are_sent_within_the_tick_that_they_fall_due_in() {
    let w = world();
    let begun = w.clock.now();
    let runs: Vec<_> = (0..20).map(|_| a_run(&"acme".parse().unwrap(), begun)).collect();
    runs.iter().for_each(|run| w.store.put(run.clone()));
    let due = Timestamp::from_millisecond(runs[0].due_ms.unwrap()).unwrap();
    let tally = w.schedule.tick(in_seconds(&w.clock, 90)).await.unwrap();
    assert_eq!((tally.resent, tally.rounds, w.queue.take().len()), (20, 2, 20));
    assert_eq!(between(due, w.clock.now()), Duration::ZERO, "as soon as they are due, not at the next tick");
    assert!(runs.iter().all(|run| w.store.get(run.id).is_some_and(|run| run.state == RunState::Queued && run.epoch == 2)));
}

#[tokio::test]
async fn a_deadline_of_the_local_watcher_is_no_deadline() {
    let w = world();
    w.store.put(a_run(&"acme".parse().unwrap(), w.clock.now()));
    assert_eq!(w.schedule.tick(600_000).await.unwrap().resent, 1);
}

#[tokio::test]
async fn a_store_that_does_not_answer_makes_the_invocation_an_error() {
    let w = world();
    w.store.set_down(true);
    assert_eq!(w.schedule.tick(in_seconds(&w.clock, 90)).await, Err(TickError::Blind));
}

#[test]
fn a_variable_that_is_missing_is_named() {
    let without_attempts = Environment::of(|name| (name != "MAX_ATTEMPTS").then(|| "x".into()));
    assert_eq!(Settings::read(&without_attempts).err().map(|error| error.name), Some("MAX_ATTEMPTS"));
}

#[tokio::test]
async fn a_tick_tells_what_it_sees_of_the_whole_deployment() {
    let w = world();
    let begun = w.clock.now();
    w.store.put(a_run(&"acme".parse().unwrap(), begun));
    w.clock.advance(Duration::from_secs(400));
    let seen = w.schedule.lookout.look().await;
    assert_eq!(seen.stuck_runs, Some(1));
    assert_eq!((seen.breakers_open, seen.dead_runs, seen.queue_depth), (Some(0), Some(0), Some(0)));
    assert_eq!((seen.canary_age, seen.backup_age), (None, None), "there never was one");
    w.schedule.tick(in_seconds(&w.clock, 60)).await.unwrap();
    let told = w.fleet.told.lock().unwrap();
    assert_eq!((told[0].0.as_str(), told[0].1.counters["sweeper_ticks_total"]), ("sweeper", 1.0));
}

/// A deployment whose sweeper began then.
struct Since(Timestamp);

#[async_trait]
impl shared::sweep::Signs for Since {
    async fn marks(&self) -> Result<Marks, JournalError> {
        Ok(Marks { first_swept_at: Some(self.0), ..Marks::default() })
    }
}

/// Signs of life that cannot be read.
struct Unreadable;

#[async_trait]
impl shared::sweep::Signs for Unreadable {
    async fn marks(&self) -> Result<Marks, JournalError> {
        Err(JournalError::Unavailable("no".into()))
    }
}

#[tokio::test]
async fn the_age_of_a_backup_is_told_when_the_signs_of_life_cannot_be_read() {
    let mut w = world();
    let (begun, backups) = (w.clock.now(), Arc::new(MemoryTable::default()));
    let noted = NotedBackup { at: begun, by: "op".into(), began_at: begun, sha256: "0".into(), items: 1, bytes: 1 };
    backups.note(&noted).await.unwrap();
    w.schedule.lookout = Lookout { signs: Arc::new(Unreadable), backups, ..w.schedule.lookout };
    w.clock.advance(Duration::from_secs(60));
    assert_eq!(w.schedule.lookout.look().await.backup_age, Some(Duration::from_secs(60)));
}

#[tokio::test]
async fn what_nobody_has_backed_up_is_as_old_as_the_deployment_and_what_nobody_asks_any_more_is_not_open() {
    let mut w = world();
    let begun = w.clock.now();
    let model: ModelRef = "openai::m".parse().unwrap();
    let open = Breaker::closed(model.clone(), begun).tripped(&BreakerConfig::default(), FailureCode::ProviderTimeout, begun).unwrap();
    let breakers = Arc::new(MemoryBreakers::default());
    breakers.board.lock().unwrap().breakers.insert(model, open);
    w.schedule.lookout = Lookout { signs: Arc::new(Since(begun)), breakers, ..w.schedule.lookout };
    for (minutes, open) in [(5, 1), (6, 0)] {
        w.clock.advance(after(begun, Duration::from_secs(minutes * 60)).duration_since(w.clock.now()).unsigned_abs());
        let seen = w.schedule.lookout.look().await;
        assert_eq!((seen.breakers_open, seen.backup_age), (Some(open), Some(Duration::from_secs(minutes * 60))));
    }
}
