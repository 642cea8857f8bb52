//! A tick over a scripted index, and the janitor over letters in memory.

use std::collections::VecDeque;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::janitor::{Letter, Letters};
use super::*;
use crate::domain::id::LetterId;
use crate::domain::run::Run;
use crate::domain::state::RunState;
use crate::fakes::{FixedClock, MemoryLetters, MemoryQueue, MemoryStore, a_run, listen};
use crate::letters::{LetterBook, LetterStatus};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn unavailable() -> JournalError {
    JournalError::Unavailable("switched off by the test".into())
}

/// Entries by shard; those that were looked after are gone, unless looking after them fails.
#[derive(Default)]
struct Index {
    shards: Mutex<Vec<Vec<DueEntry>>>,
    reads: Mutex<usize>,
    broken_shard: Option<u8>,
    failing: Vec<RunId>,
    looked: Mutex<Vec<(RunId, Timestamp)>>,
    /// Runs that wait for a worker, and since when.
    waiting: Mutex<Vec<(RunId, Timestamp)>>,
}

#[async_trait]
impl DueIndex for Index {
    async fn due(&self, shard: u8, after: Option<&DueEntry>, limit: usize) -> Result<Vec<DueEntry>, JournalError> {
        *self.reads.lock().unwrap() += 1;
        if self.broken_shard == Some(shard) {
            return Err(unavailable());
        }
        let shards = self.shards.lock().unwrap();
        let entries = shards.get(usize::from(shard)).into_iter().flatten();
        let is_behind = |entry: &&DueEntry| after.is_none_or(|after| (entry.at, entry.run) > (after.at, after.run));
        Ok(entries.filter(is_behind).take(limit).cloned().collect())
    }
}

struct Looking {
    index: Arc<Index>,
    clock: Arc<FixedClock>,
    /// How long one entry takes.
    effort: Duration,
    /// What the next ones come to; then `Removed`.
    script: Mutex<VecDeque<(Done, Option<Timestamp>)>>,
}

#[async_trait]
impl Attendant for Looking {
    async fn attend(&self, entry: &DueEntry) -> Result<Attended, JournalError> {
        self.index.looked.lock().unwrap().push((entry.run, self.clock.now()));
        self.clock.advance(self.effort);
        if self.index.failing.contains(&entry.run) {
            return Err(unavailable());
        }
        for shard in self.index.shards.lock().unwrap().iter_mut() {
            shard.retain(|other| other.run != entry.run);
        }
        let (done, next) = self.script.lock().unwrap().pop_front().unwrap_or((Done::Removed, None));
        let waits_since = self.index.waiting.lock().unwrap().iter().find(|(run, _)| *run == entry.run).map(|(_, since)| *since);
        Ok(Attended { done, next, waits_since })
    }
}

#[derive(Default)]
struct Signs {
    canaries: Mutex<Vec<Canary>>,
    marks: Mutex<Vec<(Timestamp, Tally)>>,
    standing: Mutex<Vec<Standing>>,
    is_down: bool,
}

#[async_trait]
impl CanaryQueue for Signs {
    async fn send_canary(&self, canary: &Canary) -> Result<(), JournalError> {
        self.canaries.lock().unwrap().push(*canary);
        if self.is_down { Err(unavailable()) } else { Ok(()) }
    }

    /// How many canaries there are.
    async fn depth(&self) -> Result<Depth, JournalError> {
        let waiting = self.canaries.lock().unwrap().len() as u64;
        if self.is_down { Err(unavailable()) } else { Ok(Depth { waiting, ..Depth::default() }) }
    }
}

#[async_trait]
impl Heartbeats for Signs {
    async fn swept(&self, at: Timestamp, tally: &Tally, standing: Option<&Standing>) -> Result<(), JournalError> {
        self.marks.lock().unwrap().push((at, *tally));
        self.standing.lock().unwrap().extend(standing.cloned());
        Ok(())
    }

    async fn oldest(&self) -> Result<Option<Oldest>, JournalError> {
        let last = self.standing.lock().unwrap().last().and_then(|standing| standing.oldest.clone());
        if self.is_down { Err(unavailable()) } else { Ok(last) }
    }

    async fn arrived(&self, _canary: &Canary, _at: Timestamp) -> Result<(), JournalError> {
        Ok(())
    }
}

#[derive(Default)]
struct LetterBox {
    letters: Mutex<Vec<Letter>>,
    hidden: Mutex<Vec<Letter>>,
    is_being_moved: bool,
    cannot_delete: bool,
}

impl LetterBox {
    fn with(bodies: &[String]) -> Self {
        let letter =
            |(i, body): (usize, &String)| Letter { id: format!("m{i}"), body: body.clone(), receipt: i.to_string(), ..Letter::default() };
        Self { letters: Mutex::new(bodies.iter().enumerate().map(letter).collect()), ..Self::default() }
    }

    fn bodies(&self) -> Vec<String> {
        self.letters.lock().unwrap().iter().map(|letter| letter.body.clone()).collect()
    }
}

#[async_trait]
impl Letters for LetterBox {
    async fn to_look_at(&self) -> Result<u64, JournalError> {
        Ok(if self.is_being_moved { 0 } else { self.letters.lock().unwrap().len() as u64 })
    }

    async fn take(&self, hidden: Duration) -> Result<Vec<Letter>, JournalError> {
        assert!(hidden <= seconds(5), "hidden for {hidden:?} if the look dies");
        let mut letters = self.letters.lock().unwrap();
        let count = letters.len().min(10);
        let taken: Vec<Letter> = letters.drain(..count).collect();
        self.hidden.lock().unwrap().extend(taken.clone());
        Ok(taken)
    }

    async fn delete(&self, letters: &[Letter]) -> Result<(), JournalError> {
        if self.cannot_delete {
            return Err(unavailable());
        }
        self.hidden.lock().unwrap().retain(|letter| !letters.contains(letter));
        Ok(())
    }

    async fn give_back(&self, letters: &[Letter]) -> Result<(), JournalError> {
        self.hidden.lock().unwrap().retain(|letter| !letters.contains(letter));
        self.letters.lock().unwrap().extend_from_slice(letters);
        Ok(())
    }
}

struct World {
    index: Arc<Index>,
    signs: Arc<Signs>,
    clock: Arc<FixedClock>,
    sweeper: Sweeper,
}

fn start() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

/// An entry that is due `n` seconds after the start of the test.
fn entry(n: u64) -> DueEntry {
    let at = after(start(), seconds(n));
    DueEntry { at, tenant: "acme".parse().unwrap(), run: RunId::new(at) }
}

fn world(index: Index, signs: Signs, script: Vec<(Done, Option<Timestamp>)>, effort: Duration) -> World {
    let (index, signs) = (Arc::new(index), Arc::new(signs));
    let clock = Arc::new(FixedClock::at("2026-01-02T03:04:05Z"));
    let jobs = Arc::new(crate::fakes::MemoryJobs::default());
    let looking = Looking { index: index.clone(), clock: clock.clone(), effort, script: Mutex::new(script.into()) };
    let sweeper = Sweeper {
        index: index.clone(),
        attendant: Arc::new(looking),
        canaries: signs.clone(),
        heartbeats: signs.clone(),
        janitor: janitor(Arc::new(LetterBox::default()), Arc::new(MemoryStore::default())),
        watchman: Watchman { store: jobs.clone(), queue: jobs, clock: clock.clone() },
        clock: clock.clone(),
    };
    World { index, signs, clock, sweeper }
}

fn sweeping(shards: Vec<Vec<DueEntry>>) -> World {
    world(Index { shards: Mutex::new(shards), ..Index::default() }, Signs::default(), Vec::new(), Duration::ZERO)
}

impl World {
    /// A tick with 90 s, as the template gives it.
    async fn tick(&self) -> Result<Tally, TickError> {
        self.sweeper.tick(after(self.clock.now(), seconds(90))).await
    }

    /// When entries were looked after, in seconds from the start.
    fn looked_at(&self) -> Vec<u64> {
        self.index.looked.lock().unwrap().iter().map(|(_, at)| between(start(), *at).as_secs()).collect()
    }
}

#[tokio::test]
async fn a_tick_of_a_quiet_system_is_eight_reads_a_mark_and_a_canary() {
    let w = sweeping(Vec::new());
    let tally = w.tick().await.unwrap();
    assert_eq!(tally, Tally { rounds: 1, ..Tally::default() });
    assert_eq!(*w.index.reads.lock().unwrap(), 8);
    assert_eq!(*w.signs.canaries.lock().unwrap(), [Canary { sent_at: start() }]);
    let standing = Standing { depth: Some(Depth::default()), oldest: None };
    assert_eq!(*w.signs.standing.lock().unwrap(), [standing], "as it was before the canary");
    assert_eq!(*w.signs.marks.lock().unwrap(), [(start(), tally)]);
    assert_eq!(w.clock.now(), start(), "it does not wait");
}

#[tokio::test]
async fn what_falls_due_before_the_next_tick_is_waited_for_and_nothing_later() {
    let w = sweeping(vec![vec![entry(0), entry(30)], vec![entry(31), entry(69), entry(71)], vec![entry(500)]]);
    let tally = w.tick().await.unwrap();
    assert_eq!(w.looked_at(), [0, 30, 32, 69], "one round per moment that something is due at, two seconds apart at least");
    assert_eq!((tally.entries, tally.removed, tally.rounds), (4, 4, 4));
    let marks = w.signs.marks.lock().unwrap();
    assert_eq!(marks.len(), 2, "the first at once, for whoever asks whether the sweeper lives");
    assert_eq!(marks[1].1, tally);
}

#[tokio::test]
async fn an_entry_that_was_moved_on_to_soon_is_waited_for() {
    let script = vec![(Done::Moved, Some(after(start(), seconds(20))))];
    let w = world(Index { shards: Mutex::new(vec![vec![entry(0)]]), ..Index::default() }, Signs::default(), script, Duration::ZERO);
    assert_eq!(w.tick().await.unwrap().rounds, 2);
    assert_eq!(between(start(), w.clock.now()), seconds(20));
}

#[tokio::test]
async fn a_tick_ends_before_its_invocation_does() {
    let w = sweeping(vec![vec![entry(30), entry(60)]]);
    w.sweeper.tick(after(start(), seconds(45))).await.unwrap();
    assert_eq!(w.looked_at(), [30], "35 s are left of 45");
    // Entries that take long: none is begun after the end.
    let entries = (0..100).map(|n| DueEntry { at: start(), run: RunId::new(after(start(), seconds(n))), ..entry(0) }).collect();
    let w = world(Index { shards: Mutex::new(vec![entries]), ..Index::default() }, Signs::default(), Vec::new(), seconds(9));
    let tally = w.tick().await.unwrap();
    assert_eq!(tally.entries, 8, "70 s of work, each begun before they were over");
}

#[tokio::test]
async fn a_failure_on_one_entry_stops_neither_the_others_nor_the_clock() {
    let entries = vec![entry(0), DueEntry { run: RunId::new(after(start(), seconds(1))), ..entry(0) }];
    let index = Index { failing: vec![entries[0].run], shards: Mutex::new(vec![entries]), ..Index::default() };
    let w = world(index, Signs::default(), Vec::new(), Duration::ZERO);
    let tally = w.tick().await.unwrap();
    assert_eq!((tally.entries, tally.failed, tally.removed, tally.rounds), (2, 1, 1, 1), "it stays due, and is the next tick's");
}

#[tokio::test]
async fn a_shard_that_cannot_be_read_fails_the_tick_after_the_others_are_swept() {
    let index = Index { broken_shard: Some(0), shards: Mutex::new(vec![vec![], vec![entry(0)]]), ..Index::default() };
    let w = world(index, Signs::default(), Vec::new(), Duration::ZERO);
    assert_eq!(w.tick().await, Err(TickError::Blind));
    assert_eq!((w.looked_at(), w.signs.marks.lock().unwrap()[0].1.unread), (vec![0], 1));
}

#[tokio::test]
async fn a_sweeper_that_cannot_give_a_sign_of_life_sweeps_all_the_same() {
    let index = Index { shards: Mutex::new(vec![vec![entry(0)]]), ..Index::default() };
    let w = world(index, Signs { is_down: true, ..Signs::default() }, Vec::new(), Duration::ZERO);
    assert_eq!(w.tick().await, Err(TickError::Mute));
    assert_eq!(w.looked_at(), [0]);
}

#[tokio::test]
async fn a_round_takes_a_bounded_number_of_entries_and_the_next_one_goes_on() {
    let many = |shard: i64| {
        (0..1_500_i64).map(move |n| DueEntry { run: RunId::new(Timestamp::from_millisecond(shard * 10_000 + n).unwrap()), ..entry(0) })
    };
    let w = sweeping((1..=8).map(|shard| many(shard).collect()).collect());
    let tally = w.tick().await.unwrap();
    assert_eq!((tally.entries, tally.rounds), (12_000, 2));
    assert_eq!(*w.index.reads.lock().unwrap(), 8 * (20 + 11));
}

#[tokio::test]
async fn what_is_done_about_a_run_is_said_with_its_tenant_and_attempt() {
    let mut w = sweeping(Vec::new());
    let (store, queue) = (Arc::new(MemoryStore::default()), Arc::new(MemoryQueue::default()));
    let (mut lost, ended) = (a_run_in(RunState::Running, 1), a_run_in(RunState::Completed, 1));
    lost.attempts = 1;
    lost.lease_to("worker".into(), after(start(), seconds(75)), Some("m".into()));
    [&lost, &ended].into_iter().for_each(|run| store.put(run.clone()));
    w.sweeper.index = store.clone();
    w.sweeper.janitor = janitor(Arc::new(LetterBox::with(&[ended.task().to_body()])), store.clone());
    let (journal, backlog, clock) = (store, queue.clone(), w.clock.clone());
    w.sweeper.attendant = Arc::new(Caretaker { journal, queue, backlog, clock, max_attempts: 3 });
    w.clock.advance(seconds(120));
    let heard = listen();
    assert_eq!(w.tick().await.unwrap().requeued, 1);
    for (run, attempt) in [(&lost, json!(2)), (&ended, Value::Null)] {
        let lines = heard.lines("run.id", run.id);
        assert!(!lines.is_empty(), "nothing was said of {}", run.id);
        for line in lines {
            assert_eq!((&line["tenant"], &line["attempt"]), (&json!("acme"), &attempt), "{line}");
        }
    }
}

#[tokio::test]
async fn a_run_that_falls_due_in_the_course_of_a_tick_is_noted_too() {
    let late = entry(5);
    let w = sweeping(vec![vec![late.clone()]]);
    *w.index.waiting.lock().unwrap() = [(late.run, late.at)].into_iter().collect();
    assert!(w.tick().await.unwrap().rounds > 1);
    let standing = w.signs.standing.lock().unwrap();
    let noted: Vec<_> = standing.iter().map(|standing| standing.oldest.as_ref().map(|oldest| oldest.run)).collect();
    assert_eq!(noted, [None, Some(late.run)]);
}

#[tokio::test]
async fn a_tick_notes_the_run_that_has_waited_longest_and_the_next_one_looks_whether_it_still_does() {
    let (first, second) = (entry(0), entry(1));
    let w = sweeping(vec![vec![second.clone()], vec![first.clone()]]);
    w.clock.advance(seconds(2));
    let waiting = |entries: &[&DueEntry]| *w.index.waiting.lock().unwrap() = entries.iter().map(|it| (it.run, it.at)).collect();
    let noted = || w.signs.standing.lock().unwrap().last().and_then(|standing| Some(standing.oldest.as_ref()?.run));
    waiting(&[&second, &first]);
    assert_eq!((w.tick().await.unwrap().entries, noted()), (2, Some(first.run)));
    assert_eq!((w.tick().await.unwrap().entries, noted()), (1, Some(first.run)), "the index has none of them any more");
    waiting(&[&second]);
    w.index.shards.lock().unwrap()[0].push(second.clone());
    assert_eq!((w.tick().await.unwrap().entries, noted()), (2, Some(second.run)), "the one before was taken up");
    waiting(&[]);
    assert_eq!((w.tick().await.unwrap().entries, noted()), (1, None));
}

fn janitor(letters: Arc<LetterBox>, records: Arc<MemoryStore>) -> Janitor {
    Janitor { letters, records, book: Arc::new(MemoryLetters::default()), clock: Arc::new(FixedClock::at("2026-01-02T03:04:05Z")) }
}

fn a_run_in(state: RunState, epoch: u64) -> Run {
    Run { state, epoch, ..a_run(&"acme".parse().unwrap(), start()) }
}

#[tokio::test]
async fn the_janitor_deletes_what_means_nothing_and_leaves_the_dead_and_the_poison() {
    let store = Arc::new(MemoryStore::default());
    let (mut deleted, mut kept) = (vec![Canary { sent_at: start() }.to_body()], vec!["poison".to_owned(), String::new()]);
    for state in RunState::ALL {
        let run = a_run_in(state, 3);
        store.put(run.clone());
        deleted.push(Run { epoch: 2, ..run.clone() }.task().to_body());
        let needs_none = matches!(state, RunState::Completed | RunState::Failed | RunState::Cancelled | RunState::Waiting);
        if needs_none { &mut deleted } else { &mut kept }.push(run.task().to_body());
    }
    deleted.push(a_run_in(RunState::Dead, 1).task().to_body());
    let letters = Arc::new(LetterBox::with(&[kept.clone(), deleted.clone()].concat()));
    assert_eq!(janitor(letters.clone(), store).tidy(start()).await, 13);
    assert_eq!(letters.bodies(), kept);
    assert!(letters.hidden.lock().unwrap().is_empty());
}

#[tokio::test]
async fn of_two_letters_of_one_message_the_janitor_leaves_the_same_one_in_whatever_order_it_sees_them() {
    let store = Arc::new(MemoryStore::default());
    let dead = a_run_in(RunState::Dead, 3);
    store.put(dead.clone());
    for ids in [["m1", "m2"], ["m2", "m1"]] {
        let letters = ids.map(|id| Letter { id: id.into(), body: dead.task().to_body(), receipt: id.into(), ..Letter::default() });
        let letters = Arc::new(LetterBox { letters: Mutex::new(letters.to_vec()), ..LetterBox::default() });
        assert_eq!(janitor(letters.clone(), store.clone()).tidy(start()).await, 1);
        assert_eq!(letters.letters.lock().unwrap()[0].id, "m1");
    }
}

#[tokio::test]
async fn a_letter_that_shows_up_again_during_a_look_that_took_too_long_is_no_other_letter() {
    let store = Arc::new(MemoryStore::default());
    let dead = a_run_in(RunState::Dead, 3);
    store.put(dead.clone());
    let letters =
        ["r1", "r2"].map(|receipt| Letter { id: "m1".into(), body: dead.task().to_body(), receipt: receipt.into(), ..Letter::default() });
    let letters = Arc::new(LetterBox { letters: Mutex::new(letters.to_vec()), ..LetterBox::default() });
    assert_eq!(janitor(letters.clone(), store).tidy(start()).await, 0);
}

#[tokio::test]
async fn the_janitor_notes_poison_and_deletes_it_once_somebody_has_decided_so() {
    let letters = Arc::new(LetterBox::with(&["poison".to_owned(), "other".to_owned()]));
    let (book, mut janitor) = (Arc::new(MemoryLetters::default()), janitor(letters.clone(), Arc::default()));
    janitor.book = book.clone();
    assert_eq!(janitor.tidy(start()).await, 0);
    let mut record = book.records.lock().unwrap()[&LetterId::of("poison")].clone();
    assert_eq!((record.status, record.receives), (LetterStatus::Open, 0));
    (record.status, record.covers, record.version) = (LetterStatus::Discarded, Some(janitor.clock.now()), 2);
    assert!(book.put_letter(&record).await.unwrap());
    assert_eq!((janitor.tidy(start()).await, letters.bodies()), (1, vec!["other".to_owned()]));
    *book.is_down.lock().unwrap() = true;
    assert_eq!((janitor.tidy(start()).await, letters.bodies()), (0, vec!["other".to_owned()]), "in doubt it stays");
}

#[tokio::test]
async fn a_look_of_the_janitor_is_bounded_one_follows_the_other_while_they_find_something_and_none_beside_a_move() {
    let letters = Arc::new(LetterBox::with(&vec![Canary { sent_at: start() }.to_body(); 1_230]));
    assert_eq!(janitor(letters.clone(), Arc::default()).tidy(start()).await, 500, "time is over: one look");
    assert_eq!(janitor(letters.clone(), Arc::default()).tidy(after(start(), seconds(45))).await, 730);
    let letters = Arc::new(LetterBox { is_being_moved: true, ..LetterBox::with(&vec![Canary { sent_at: start() }.to_body(); 30]) });
    assert_eq!(janitor(letters.clone(), Arc::default()).tidy(start()).await, 0);
    assert_eq!(letters.bodies().len(), 30);
}

#[tokio::test]
async fn whatever_goes_wrong_the_janitor_gives_back_what_it_holds() {
    let store = Arc::new(MemoryStore::default());
    let dead = a_run_in(RunState::Dead, 1);
    store.put(dead.clone());
    let bodies = [dead.task().to_body(), Canary { sent_at: start() }.to_body()];
    let letters = Arc::new(LetterBox { cannot_delete: true, ..LetterBox::with(&bodies) });
    assert_eq!(janitor(letters.clone(), store.clone()).tidy(start()).await, 0);
    assert_eq!(letters.bodies(), [bodies[0].clone()], "the other one shows up again in a few seconds");
    // A run that cannot be read is no reason to delete its letter.
    store.set_down(true);
    let letters = Arc::new(LetterBox::with(&[a_run_in(RunState::Completed, 1).task().to_body()]));
    assert_eq!(janitor(letters.clone(), store).tidy(start()).await, 0);
    assert_eq!(letters.bodies().len(), 1);
}
