//! One reader's way through a run.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select;
use jiff::Timestamp;
use tokio::sync::watch;

use super::{Reader, RunEvent, Told};
use crate::domain::clock::{after, between};
use crate::domain::delta::{LONGEST_PIECE, Position, Try, piece};
use crate::domain::run::Run;
use crate::domain::state::RunState;
use crate::domain::step::{ModelStep, Purpose, Step, StepBody};
use crate::domain::waiting::Waiting;
use crate::engine::News;
use crate::engine::ports::JournalError;
use crate::operate::answer_of;
use crate::telemetry::chain;

/// Between two looks at a run that says something; more and more while it says nothing, up to the longest.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often a run's record is looked at whose worker is here and says what there is to know.
const LOOK: Duration = Duration::from_secs(20);
/// After a store that did not answer.
const RECOVERY: Duration = Duration::from_secs(1);
/// How long a mark holds that somebody reads along; it is renewed when half of that is over.
const WATCH: Duration = Duration::from_secs(90);
/// What is read at once.
const STEPS: usize = 20;
const DELTAS: usize = 20;

pub(super) struct Follower {
    reader: Reader,
    at: Position,
    /// What is known and not told yet.
    ready: VecDeque<Told>,
    changes: Option<watch::Receiver<()>>,
    has_begun: bool,
    is_over: bool,
    /// What the reader was told that the run waits for.
    waits_for: Option<Waiting>,
    /// Whether a worker somewhere is at the step, as far as known.
    is_running: bool,
    /// The delta that comes next of the step that is read.
    next_delta: Option<(Try, u32)>,
    look_at: Timestamp,
    pause: Duration,
}

impl Follower {
    pub(super) fn new(reader: Reader) -> Self {
        let changes = reader.live.as_ref().map(|live| live.changes());
        Self {
            at: reader.from,
            reader,
            ready: VecDeque::new(),
            changes,
            has_begun: false,
            is_over: false,
            waits_for: None,
            is_running: false,
            next_delta: None,
            look_at: Timestamp::UNIX_EPOCH,
            pause: SHORTEST_PAUSE,
        }
    }

    pub(super) async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some(told) = self.ready.pop_front() {
                return Some(told);
            }
            if self.is_over || self.reader.clock.now() >= self.reader.until {
                return None;
            }
            match self.advance().await {
                Ok(()) if self.ready.is_empty() && !self.is_over => self.wait().await,
                Ok(()) => self.pause = SHORTEST_PAUSE,
                Err(error) => {
                    tracing::warn!(run.id = %self.reader.run, error = %chain(&error), "a run could not be read, trying again");
                    self.sleep(RECOVERY).await;
                }
            }
        }
    }

    async fn advance(&mut self) -> Result<(), JournalError> {
        if let Some(live) = self.reader.live.clone().filter(|_| self.has_begun) {
            match live.news(self.at) {
                News::Text(attempt, text) => {
                    self.begin(attempt);
                    self.tell_text(&text);
                    return Ok(());
                }
                News::Finished => return self.read_steps().await,
                News::Nothing if self.reader.clock.now() < self.look_at => return Ok(()),
                News::Nothing => {}
                News::Over => (self.reader.live, self.changes) = (None, None),
            }
        } else if self.is_running {
            self.read_deltas().await?;
            if !self.ready.is_empty() {
                return Ok(());
            }
        }
        self.look().await
    }

    /// Looks at the record, and goes by what it says.
    async fn look(&mut self) -> Result<(), JournalError> {
        self.look_at = after(self.reader.clock.now(), LOOK);
        let Some(run) = self.reader.records.run(&self.reader.tenant, self.reader.run).await? else {
            // It was deleted meanwhile: there is nothing to tell of it.
            self.is_over = true;
            return Ok(());
        };
        if !self.has_begun {
            self.has_begun = true;
            self.tell(RunEvent::Run(Box::new(run.clone())));
        }
        self.is_running = run.state == RunState::Running;
        if run.steps >= self.at.step {
            return self.read_steps().await;
        }
        if run.state != RunState::Waiting {
            self.waits_for = None;
        }
        match run.state {
            RunState::Completed => {
                let response = answer_of(self.reader.records.as_ref(), &run).await?.unwrap_or_default();
                self.end(RunEvent::Done { run: Box::new(run), response });
            }
            RunState::Failed | RunState::Dead => self.end(RunEvent::Failed(Box::new(run))),
            RunState::Cancelled => self.end(RunEvent::Cancelled(Box::new(run))),
            RunState::Waiting | RunState::Queued | RunState::Running => {
                self.keep_watch(&run).await?;
                if run.state == RunState::Waiting && self.waits_for != run.waiting {
                    self.waits_for.clone_from(&run.waiting);
                    self.tell(RunEvent::Waiting(Box::new(run)));
                }
            }
        }
        Ok(())
    }

    /// Has the worker keep what is said, wherever it is.
    async fn keep_watch(&mut self, run: &Run) -> Result<(), JournalError> {
        let now = self.reader.clock.now();
        let marked = run.watched_until_ms.and_then(|until| Timestamp::from_millisecond(until).ok());
        if marked.is_some_and(|until| until >= after(now, WATCH / 2)) {
            return Ok(());
        }
        self.reader.records.watch(&self.reader.tenant, self.reader.run, after(now, WATCH)).await
    }

    /// Steps that are finished.
    async fn read_steps(&mut self) -> Result<(), JournalError> {
        let Reader { records, tenant, run, .. } = &self.reader;
        for step in records.steps_after(tenant, *run, self.at.step - 1, STEPS).await? {
            // In order and without a gap, whatever the store does.
            if step.index == self.at.step {
                self.tell_step(step);
            }
        }
        Ok(())
    }

    fn tell_step(&mut self, step: Step) {
        if let StepBody::Model(ModelStep { purpose: Purpose::Act, message, stream_try, .. }) = &step.body {
            let text = message.content.as_deref().unwrap_or_default();
            let attempt = stream_try.as_ref().and_then(|attempt| attempt.parse().ok());
            if self.at.offset > 0 && (self.at.attempt != attempt || !text.is_char_boundary(self.at.offset)) {
                self.reset(attempt);
            }
            self.at.attempt = attempt;
            self.tell_text(text.get(self.at.offset..).unwrap_or_default());
        }
        self.at = Position::before(step.index + 1);
        self.next_delta = None;
        self.ready.push_back(Told { id: Some(self.at), event: RunEvent::Step(Box::new(step.in_brief())) });
    }

    /// What was said of the step so far, as its worker has kept it.
    async fn read_deltas(&mut self) -> Result<(), JournalError> {
        let Reader { records, tenant, run, .. } = &self.reader;
        let from = self.next_delta.or_else(|| Some((self.at.attempt?, 1)));
        for delta in records.deltas(tenant, *run, self.at.step, from, DELTAS).await? {
            if self.at.attempt.is_some_and(|attempt| attempt > delta.attempt) {
                continue;
            }
            self.begin(delta.attempt);
            let read = self.at.offset.checked_sub(delta.start);
            match read.and_then(|read| delta.text.get(read..)) {
                Some(text) => self.tell_text(text),
                // It was read before.
                None if read.is_some() => {}
                // The one before it was kept once more, with more text, because the store did not say that it had it.
                None => {
                    self.next_delta = None;
                    break;
                }
            }
            self.next_delta = Some((delta.attempt, delta.seq + 1));
        }
        Ok(())
    }

    /// Goes on with the text of that try.
    fn begin(&mut self, attempt: Try) {
        if self.at.attempt != Some(attempt) {
            if self.at.offset > 0 {
                self.reset(Some(attempt));
            }
            self.at.attempt = Some(attempt);
        }
    }

    fn reset(&mut self, attempt: Option<Try>) {
        self.at = Position { attempt, offset: 0, ..self.at };
        self.ready.push_back(Told { id: Some(self.at), event: RunEvent::Reset { step: self.at.step } });
    }

    fn tell_text(&mut self, mut text: &str) {
        while !text.is_empty() {
            let (part, rest) = text.split_at(piece(text, LONGEST_PIECE).len());
            self.at.offset += part.len();
            self.ready.push_back(Told { id: Some(self.at), event: RunEvent::Delta { step: self.at.step, text: part.to_owned() } });
            text = rest;
        }
    }

    fn tell(&mut self, event: RunEvent) {
        self.ready.push_back(Told { id: None, event });
    }

    fn end(&mut self, event: RunEvent) {
        self.is_over = true;
        self.tell(event);
    }

    /// Until there may be something new.
    async fn wait(&mut self) {
        if let Some(changes) = &mut self.changes {
            let clock = Arc::clone(&self.reader.clock);
            let silence = clock.sleep(between(clock.now(), self.look_at.min(self.reader.until)));
            select(pin!(changes.changed()), pin!(silence)).await;
        } else {
            self.sleep(self.pause).await;
            self.pause = (self.pause * 3 / 2).min(LONGEST_PAUSE);
        }
    }

    async fn sleep(&self, pause: Duration) {
        let left = between(self.reader.clock.now(), self.reader.until);
        self.reader.clock.sleep(pause.min(left)).await;
    }
}
