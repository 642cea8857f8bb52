//! Letters over memory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::*;
use crate::domain::clock::{Clock, after};
use crate::fakes::{FixedClock, MemoryLetters};
use crate::sweep::janitor::{Letter, Letters};

/// A dead-letter queue with these letters on it.
#[derive(Default)]
struct Pile {
    letters: Mutex<Vec<Letter>>,
    hidden: Mutex<Vec<Letter>>,
    is_being_moved: bool,
}

#[async_trait]
impl Letters for Pile {
    async fn to_look_at(&self) -> Result<u64, JournalError> {
        Ok(if self.is_being_moved { 0 } else { self.letters.lock().unwrap().len() as u64 })
    }

    async fn take(&self, _hidden: Duration) -> Result<Vec<Letter>, JournalError> {
        let mut letters = self.letters.lock().unwrap();
        let count = letters.len().min(10);
        let taken: Vec<_> = letters.drain(..count).collect();
        self.hidden.lock().unwrap().extend_from_slice(&taken);
        Ok(taken)
    }

    async fn delete(&self, letters: &[Letter]) -> Result<(), JournalError> {
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
    book: Arc<MemoryLetters>,
    queue: Arc<Pile>,
    clock: Arc<FixedClock>,
    desk: LetterDesk,
}

fn world() -> World {
    let (book, queue) = (Arc::new(MemoryLetters::default()), Arc::new(Pile::default()));
    let clock = Arc::new(FixedClock::at("2026-01-02T03:04:05Z"));
    let desk = LetterDesk { book: book.clone(), queue: book.clone(), dead_letters: queue.clone(), clock: clock.clone() };
    World { book, queue, clock, desk }
}

impl World {
    /// The message is delivered that the queue got `ago` seconds before now.
    async fn deliver(&self, body: &str, ago: u64) -> Standing {
        let sighting = Sighting { body, message_id: "m", sent_at: Some(self.ago(ago)), is_delivery: true, ..Sighting::default() };
        seen(self.book.as_ref(), &sighting, self.clock.now()).await.unwrap()
    }

    /// The janitor meets it.
    async fn meet(&self, body: &str, ago: u64) -> Standing {
        let sighting = Sighting { body, sent_at: Some(self.ago(ago)), ..Sighting::default() };
        seen(self.book.as_ref(), &sighting, self.clock.now()).await.unwrap()
    }

    fn ago(&self, seconds: u64) -> Timestamp {
        self.clock.now().checked_sub(jiff::SignedDuration::from_secs(i64::try_from(seconds).unwrap())).unwrap()
    }

    fn record(&self, body: &str) -> LetterRecord {
        self.book.records.lock().unwrap()[&LetterId::of(body)].clone()
    }

    fn lies_there(&self, body: &str, ago: u64) {
        let letter = Letter { id: body.into(), body: body.into(), receipt: body.into(), sent_at: Some(self.ago(ago)), sender: None };
        self.queue.letters.lock().unwrap().push(letter);
    }

    fn bodies(&self) -> Vec<String> {
        assert!(self.queue.hidden.lock().unwrap().is_empty(), "all that was looked at is given back");
        self.queue.letters.lock().unwrap().iter().map(|letter| letter.body.clone()).collect()
    }
}

#[tokio::test]
async fn a_letter_is_noted_once_with_each_delivery_counted() {
    let w = world();
    for _ in 0..3 {
        assert_eq!(w.deliver("poison", 9).await, Standing::Open);
        w.clock.advance(Duration::from_secs(1));
    }
    let record = w.record("poison");
    assert_eq!((record.receives, record.version, record.status), (3, 3, LetterStatus::Open));
    assert_eq!((record.bytes, record.is_whole, record.preview.as_str(), record.problem.as_str()), (6, true, "poison", "is not JSON"));
    assert_eq!(record.last_seen_at, after(record.first_seen_at, Duration::from_secs(2)));
    assert_eq!(w.book.bodies.lock().unwrap()[&record.id], "poison");
}

#[tokio::test]
async fn the_beginning_of_a_letter_has_no_secret_that_the_whole_of_it_hides() {
    let (w, body) = (world(), format!(r#"{{"passwords": ["hunter2"], "text": "{}"}}"#, "long ".repeat(100)));
    w.deliver(&body, 1).await;
    let record = w.record(&body);
    assert!(record.preview.contains("long") && !record.preview.contains("hunter2"), "{}", record.preview);
    assert_eq!(w.book.bodies.lock().unwrap()[&record.id], body);
}

#[tokio::test]
async fn a_letter_that_only_lies_there_is_written_once_an_hour() {
    let w = world();
    assert_eq!(w.meet("poison", 5).await, Standing::Open);
    for minute in 1..60 {
        w.clock.advance(Duration::from_secs(60));
        assert_eq!(w.meet("poison", 5 + 60 * minute).await, Standing::Known);
    }
    assert_eq!((w.record("poison").version, w.record("poison").receives), (1, 0));
    w.clock.advance(Duration::from_secs(60));
    assert_eq!(w.meet("poison", 5 + 3_600).await, Standing::Open);
    assert_eq!(w.record("poison").version, 2);
}

#[tokio::test]
async fn what_was_discarded_means_nothing_and_what_is_sent_later_is_a_new_matter() {
    let w = world();
    w.deliver("poison", 5).await;
    w.lies_there("other", 5);
    w.lies_there("poison", 5);
    let discarded = w.desk.discard(LetterId::of("poison"), "ana", "a test gone wrong").await.unwrap();
    assert_eq!((discarded.status, w.bodies()), (LetterStatus::Discarded, vec!["other".to_owned()]));
    assert_eq!((w.deliver("poison", 5).await, w.meet("poison", 6).await), (Standing::Settled, Standing::Settled));
    assert_eq!(w.record("poison"), discarded);
    w.clock.advance(Duration::from_secs(60));
    assert_eq!(w.deliver("poison", 1).await, Standing::Open);
    let reopened = w.record("poison");
    assert_eq!((reopened.status, reopened.receives, reopened.decisions.len()), (LetterStatus::Open, 2, 1));
}

#[tokio::test]
async fn a_letter_that_is_moved_is_sent_once_and_noted_before_and_after() {
    let w = world();
    w.deliver("poison", 5).await;
    w.lies_there("poison", 5);
    let moved = w.desk.move_back(LetterId::of("poison"), Some("{}"), "ana", "the sender forgot the run").await.unwrap();
    assert_eq!((moved.status, moved.decisions[0].mended, w.bodies()), (LetterStatus::Moved, true, Vec::new()));
    assert_eq!(*w.book.sent.lock().unwrap(), ["{}"]);
    for refused in [w.desk.move_back(moved.id, None, "ana", "again").await, w.desk.discard(moved.id, "ana", "again").await] {
        assert!(matches!(refused, Err(LetterError::NotOpen(LetterStatus::Moved))), "{refused:?}");
    }
    assert_eq!(w.book.sent.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_letter_that_comes_back_as_it_was_sent_is_open_again() {
    let w = world();
    w.deliver("poison", 5).await;
    w.desk.move_back(LetterId::of("poison"), None, "ana", "try it").await.unwrap();
    w.clock.advance(Duration::from_secs(1));
    assert_eq!(w.deliver("poison", 0).await, Standing::Open);
    assert_eq!(w.record("poison").status, LetterStatus::Open);
}

#[tokio::test]
async fn a_move_that_broke_off_shows_and_may_be_asked_again() {
    let w = world();
    w.deliver("poison", 5).await;
    let mut record = w.record("poison");
    let decision = Decision { at: w.clock.now(), by: "ana".into(), reason: "r".into(), to: LetterStatus::Moving, mended: false };
    record.decide(decision);
    assert!(w.book.put_letter(&record).await.unwrap());
    // Whether it was sent is not known: the message itself stays what it is.
    assert_eq!(w.deliver("poison", 5).await, Standing::Open);
    assert_eq!(w.record("poison").status, LetterStatus::Moving);
    let moved = w.desk.move_back(record.id, None, "ana", "again").await.unwrap();
    assert_eq!((moved.status, moved.decisions.len()), (LetterStatus::Moved, 2));
}

#[tokio::test]
async fn what_was_not_kept_whole_can_be_mended_or_discarded_but_not_moved() {
    let w = world();
    let long = "ü".repeat(KEPT_BYTES);
    w.deliver(&long, 5).await;
    let record = w.record(&long);
    assert_eq!((record.bytes, record.is_whole), (2 * KEPT_BYTES as u64, false));
    assert_eq!(w.book.bodies.lock().unwrap()[&record.id].len(), KEPT_BYTES);
    assert!(matches!(w.desk.move_back(record.id, None, "ana", "r").await, Err(LetterError::NotWhole)));
    assert_eq!(w.record(&long), record);
    assert_eq!(w.desk.discard(record.id, "ana", "r").await.unwrap().status, LetterStatus::Discarded);
}

#[tokio::test]
async fn a_search_keeps_away_from_a_move_task() {
    let mut w = world();
    w.queue = Arc::new(Pile { is_being_moved: true, ..Pile::default() });
    w.desk.dead_letters = w.queue.clone();
    w.deliver("poison", 5).await;
    w.lies_there("poison", 5);
    w.desk.discard(LetterId::of("poison"), "ana", "r").await.unwrap();
    assert_eq!(w.bodies(), ["poison"], "whoever meets it next deletes it");
}

#[tokio::test]
async fn a_write_that_somebody_else_was_faster_with_is_tried_again() {
    let w = world();
    w.deliver("poison", 5).await;
    *w.book.losses.lock().unwrap() = 2;
    assert_eq!(w.desk.discard(LetterId::of("poison"), "ana", "r").await.unwrap().status, LetterStatus::Discarded);
    *w.book.losses.lock().unwrap() = 99;
    assert_eq!(w.deliver("other", 5).await, Standing::Open, "it goes its way without a note");
}

#[tokio::test]
async fn a_list_is_paged_newest_first_without_gap_or_repetition() {
    let w = world();
    for n in 0..25 {
        w.deliver(&format!("poison {n}"), 5).await;
        w.clock.advance(Duration::from_secs(u64::from(n % 3 == 0)));
    }
    w.desk.discard(LetterId::of("poison 7"), "ana", "r").await.unwrap();
    let (mut after, mut found) = (None, Vec::new());
    loop {
        let page = w.desk.list(LetterStatus::is_open, after, 10).await.unwrap();
        assert!(page.complete && page.letters.len() <= 10);
        found.extend(page.letters.iter().map(|letter| (letter.first_seen_at, letter.id)));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found.len(), 24);
    assert!(found.is_sorted_by(|one, other| one > other));
}

#[test]
fn what_is_wrong_with_a_letter_is_told() {
    for (body, word) in [
        ("", "not JSON"),
        ("{\"a\": 1}", "no version"),
        ("[1]", "no version"),
        ("{\"v\": 99, \"run\": 1}", "version 99"),
        ("{\"v\": 1, \"run\": \"x\"}", "version 1"),
    ] {
        assert!(problem_of(body).contains(word), "{body}: {}", problem_of(body));
    }
}
