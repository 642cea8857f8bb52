//! What a run says while it says it: heard at once by whoever reads along in this process, and kept in the journal, piece by piece,
//! for those who read along elsewhere. The engine never waits for a reader, and a run that nobody reads along with writes nothing.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{Either, select};
use tokio::sync::watch;

use super::Hold;
use super::ports::{Journal, Sink};
use crate::domain::clock::Clock;
use crate::domain::delta::{Delta, LONGEST_PIECE, Position, Try, piece};
use crate::domain::run::Run;
use crate::telemetry::chain;

/// How often a piece is kept at most. Each is one write.
const PAUSE: Duration = Duration::from_millis(250);

/// What one worker has to say of one run. The lease that it was made under names its tries.
#[derive(Debug)]
pub struct Live {
    said: Mutex<Said>,
    /// Changes with everything that is said.
    news: watch::Sender<()>,
    /// Whether somebody in this process reads along.
    is_heard: bool,
}

#[derive(Debug, Default)]
struct Said {
    /// The step that is worked on: all before it are in the journal.
    step: u32,
    lease_no: u64,
    /// Tries of this worker so far.
    tries: u32,
    /// The try of that step.
    attempt: Option<Try>,
    /// What it has said.
    text: String,
    /// Whether a piece of it may be in the journal.
    is_kept: bool,
    watched_until_ms: Option<i64>,
    is_over: bool,
}

/// What there is to read from a position on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// More of the step's text: of the position's try from its offset on, or of another one from its beginning.
    Text(Try, String),
    /// The step is in the journal.
    Finished,
    /// Nothing yet.
    Nothing,
    /// Nothing any more: the worker is done with the run.
    Over,
}

impl Live {
    /// Of a run that somebody in this process reads along with.
    #[must_use]
    pub fn heard() -> Self {
        Self::new(true)
    }

    /// Of a run that somebody elsewhere may read along with.
    pub(super) fn unheard() -> Self {
        Self::new(false)
    }

    fn new(is_heard: bool) -> Self {
        Self { said: Mutex::default(), news: watch::Sender::new(()), is_heard }
    }

    /// The worker is done with the run, whatever became of it.
    pub fn end(&self) {
        self.change(|said| said.is_over = true);
    }

    /// The worker has come to that step of the run.
    pub(super) fn come_to(&self, step: u32, run: &Run) {
        self.change(|said| {
            (said.step, said.lease_no, said.watched_until_ms) = (step, run.lease_no, run.watched_until_ms);
            (said.attempt, said.is_kept) = (None, false);
            said.text.clear();
        });
    }

    /// Until when somebody elsewhere reads along.
    pub(super) fn watched_until(&self, until_ms: Option<i64>) {
        self.change(|said| said.watched_until_ms = until_ms);
    }

    /// The try that has given the step this text, if anybody has heard or read it as it came. Who has read something else, because a
    /// provider took back what it had said, begins anew.
    pub(super) fn told(&self, text: Option<&str>) -> Option<Try> {
        let said = self.said();
        let is_the_text = text.is_some_and(|text| text.starts_with(&said.text));
        said.attempt.filter(|_| is_the_text && (said.is_kept || (self.is_heard && !said.text.is_empty())))
    }

    /// What there is for a reader.
    pub(crate) fn news(&self, at: Position) -> News {
        let said = self.said();
        if said.step > at.step {
            return News::Finished;
        }
        if let Some(attempt) = said.attempt.filter(|_| said.step == at.step) {
            let read = if at.attempt == Some(attempt) { at.offset } else { 0 };
            if let Some(text) = said.text.get(read..).filter(|text| !text.is_empty()) {
                return News::Text(attempt, text.to_owned());
            }
        }
        if said.is_over { News::Over } else { News::Nothing }
    }

    /// Says when something changes from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// Makes a call, and keeps what is said meanwhile for as long as somebody reads along.
    pub(super) async fn beside<T>(&self, journal: &dyn Journal, clock: &dyn Clock, run: &Run, call: impl Future<Output = T>) -> T {
        match select(pin!(call), pin!(self.keep(journal, clock, run))).await {
            Either::Left((done, _)) => done,
            Either::Right((never, _)) => match never {},
        }
    }

    async fn keep(&self, journal: &dyn Journal, clock: &dyn Clock, run: &Run) -> Infallible {
        let mut changes = self.changes();
        let mut last: Option<Delta> = None;
        loop {
            let Some(delta) = self.next_piece(last.as_ref(), clock) else {
                // The sender is `self`: it does not go away.
                let _ = changes.changed().await;
                continue;
            };
            // Before it is: the call may be done, and this be dropped, before the store has said so.
            self.kept(delta.attempt);
            match journal.tell(run, &delta).await {
                Ok(()) => last = Some(delta),
                // The step itself will be there; this is for those who cannot wait for it.
                Err(error) => tracing::info!(run.id = %run.id, error = %chain(&error), "what was said so far could not be kept"),
            }
            clock.sleep(PAUSE).await;
        }
    }

    /// The text after the piece that was kept last, if somebody reads along.
    fn next_piece(&self, last: Option<&Delta>, clock: &dyn Clock) -> Option<Delta> {
        let said = self.said();
        let attempt = said.attempt?;
        let (seq, start) = last.filter(|last| last.attempt == attempt).map_or((1, 0), |last| (last.seq + 1, last.start + last.text.len()));
        let is_watched = said.watched_until_ms.is_some_and(|until| until > clock.now().as_millisecond());
        let text = said.text.get(start..).filter(|text| is_watched && !text.is_empty())?;
        Some(Delta { step: said.step, attempt, seq, start, text: piece(text, LONGEST_PIECE).to_owned() })
    }

    fn kept(&self, attempt: Try) {
        let mut said = self.said();
        said.is_kept |= said.attempt == Some(attempt);
    }

    fn change(&self, change: impl FnOnce(&mut Said)) {
        change(&mut self.said());
        self.news.send_replace(());
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Live {
    fn begin(&self) {
        self.change(|said| {
            said.tries += 1;
            said.attempt = Some(Try { lease_no: said.lease_no, number: said.tries });
            said.is_kept = false;
            said.text.clear();
        });
    }

    fn text(&self, part: &str) {
        self.change(|said| said.text.push_str(part));
    }
}

/// What makes the run come back, with what it says.
pub(super) struct Heard<'a> {
    pub(super) hold: &'a dyn Hold,
    pub(super) live: &'a Live,
}

#[async_trait]
impl Hold for Heard<'_> {
    async fn extend(&self, duration: Duration) {
        self.hold.extend(duration).await;
    }

    fn live(&self) -> Option<&Live> {
        Some(self.live)
    }
}
