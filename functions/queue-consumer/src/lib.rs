//! What the queue consumer does with a batch: each message is a run, all runs of a batch advance at the same time
//! (waiting for models is what costs money), and each has its own outcome.

mod poison;

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use futures_util::FutureExt;
use futures_util::future::{Either, join_all, select};
use jiff::Timestamp;
use shared::aws::TaskQueue;
use shared::config::{ConfigError, EngineSettings, Environment, variables};
use shared::domain::clock::after;
use shared::domain::failure::FailureCode;
use shared::domain::task::{Canary, Message, TRACEPARENT, Task};
use shared::domain::trace::TraceContext;
use shared::engine::ports::JournalError;
use shared::engine::{Advance, Delivery, Engine, Hold, Limits, Window};
use shared::heartbeat::Heartbeats;
use shared::letters::LetterBook;
use shared::telemetry::{chain, span};
use tracing::Instrument as _;

/// What is left of an invocation for the last writes and the answer.
const FAREWELL: Duration = Duration::from_secs(5);
/// A deadline in the past is no deadline: the local watcher sends such. This is the time assumed then.
const UNKNOWN_DEADLINE: Duration = Duration::from_secs(120);
/// A message that is on its way to the dead-letter queue need not wait on its way.
const AT_ONCE: Duration = Duration::ZERO;

/// The function's configuration.
pub struct Settings {
    /// Where the runs are.
    pub table_name: String,
    /// How runs are worked on.
    pub engine: EngineSettings,
}

impl Settings {
    /// Reads all variables.
    ///
    /// # Errors
    /// Names the one that is missing or wrong.
    pub fn read(env: &Environment) -> Result<Self, ConfigError> {
        Ok(Self { table_name: env.required(variables::TABLE_NAME)?, engine: EngineSettings::read(env)? })
    }
}

/// Decides when messages come back. Best effort: the lease in the record is the truth.
#[async_trait]
pub trait Visibility: Send + Sync {
    /// Hides these messages for `duration` from now, in one call.
    async fn hide(&self, receipts: &[String], duration: Duration);
}

#[async_trait]
impl Visibility for TaskQueue {
    async fn hide(&self, receipts: &[String], duration: Duration) {
        Self::hide(self, receipts, duration).await;
    }
}

/// The queue consumer.
pub struct Consumer {
    /// Advances runs.
    pub engine: Engine,
    /// Hides messages.
    pub visibility: Arc<dyn Visibility>,
    /// Hears of canaries.
    pub heartbeats: Arc<dyn Heartbeats>,
    /// Where messages are noted that are no tasks.
    pub letters: Arc<dyn LetterBook>,
}

impl Consumer {
    /// Works through a batch until `deadline_ms` (milliseconds since 1970) and says which messages are not done.
    ///
    /// # Errors
    /// Never: a batch does not fail for its messages.
    pub async fn handle(&self, batch: SqsEvent, deadline_ms: u64) -> Result<SqsBatchResponse, Infallible> {
        let count = batch.records.len();
        let receipts: Vec<String> = batch.records.iter().filter_map(|message| message.receipt_handle.clone()).collect();
        // Before anything else: from here on a killed worker's messages come back after a lease, not after the queue's time-out.
        self.visibility.hide(&receipts, self.engine.limits.lease + Limits::LEASE_MARGIN).await;
        let window = self.window(deadline_ms);
        let done = Done::default();
        let work = join_all(batch.records.iter().enumerate().map(|(place, message)| self.settle(message, place, window, &done)));
        let outcomes = match select(pin!(work), pin!(self.keep_hidden(&done))).await {
            Either::Left((outcomes, _)) => outcomes,
            Either::Right((never, _)) => match never {},
        };
        let not_done: Vec<_> = outcomes.into_iter().flatten().collect();
        tracing::info!(messages = count, not_done = not_done.len(), "batch");
        let mut response = SqsBatchResponse::default();
        response.batch_item_failures = not_done;
        Ok(response)
    }

    fn window(&self, deadline_ms: u64) -> Window {
        let now = self.engine.clock.now();
        let deadline = i64::try_from(deadline_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let deadline = deadline.filter(|deadline| *deadline > now).unwrap_or_else(|| after(now, UNKNOWN_DEADLINE));
        let farewell = jiff::SignedDuration::try_from(FAREWELL).unwrap_or_default();
        Window { deadline: deadline.checked_sub(farewell).unwrap_or(deadline), cut_calls: false }
    }

    /// Messages are deleted only when the whole batch is done: until then those that are done already must not come back.
    async fn keep_hidden(&self, done: &Done) -> Infallible {
        let lease = self.engine.limits.lease;
        loop {
            self.engine.clock.sleep(lease / 3).await;
            let receipts = done.receipts();
            if !receipts.is_empty() {
                self.visibility.hide(&receipts, lease + Limits::LEASE_MARGIN).await;
            }
        }
    }

    /// One message: done (`None`), or to come back.
    async fn settle(&self, message: &SqsMessage, place: usize, window: Window, done: &Done) -> Option<BatchItemFailure> {
        let id = message.message_id.clone().unwrap_or_default();
        let receipt = message.receipt_handle.as_deref().unwrap_or_default();
        let come_back = match self.advance(message, &id, place, receipt, window).await {
            Outcome::Done => {
                done.add(receipt);
                return None;
            }
            Outcome::AsItIs => None,
            Outcome::After(duration) => Some(duration),
        };
        if let Some(duration) = come_back {
            self.visibility.hide(&[receipt.to_owned()], duration).await;
        }
        let mut failure = BatchItemFailure::default();
        failure.item_identifier = id;
        Some(failure)
    }

    async fn advance(&self, message: &SqsMessage, name: &str, place: usize, receipt: &str, window: Window) -> Outcome {
        let task = match Message::from_body(message.body.as_deref().unwrap_or_default()) {
            Ok(Message::Run(task)) => task,
            Ok(Message::Canary(canary)) => return self.heard(&canary).await,
            Err(_) => return poison::note(self.letters.as_ref(), message, self.engine.clock.now()).await,
        };
        let delivery = Delivery { sent_at: sent_at(message), ..self.engine.delivery(name, place, receive_count(message)) };
        let around = span::message(&task, name, delivery.deliveries, sent_from(message));
        self.take_up(&task, &delivery, receipt, window).instrument(around).await
    }

    async fn take_up(&self, task: &Task, delivery: &Delivery, receipt: &str, window: Window) -> Outcome {
        let hold = MessageHold { visibility: self.visibility.as_ref(), receipt };
        let advanced = AssertUnwindSafe(self.engine.take_up(task, delivery, window, &hold)).catch_unwind().await;
        let advanced = match advanced {
            // After its last delivery the message becomes a dead letter: not for a run that has ended, nor without a word on record.
            Ok(Ok(Advance::Lost) | Err(_)) if delivery.deliveries >= self.engine.limits.max_attempts => {
                self.settle_unsettled(task, delivery, FailureCode::JournalUnavailable).await
            }
            Ok(advanced) => advanced,
            Err(_) => {
                tracing::error!(run.id = %task.run, deliveries = delivery.deliveries, "the worker panicked");
                self.settle_unsettled(task, delivery, FailureCode::WorkerPanicked).await
            }
        };
        match advanced {
            Ok(Advance::Ended { .. } | Advance::HandedOver | Advance::Waiting | Advance::Stale) => Outcome::Done,
            Ok(Advance::Again { after }) => Outcome::After(after),
            Ok(Advance::Dead) => Outcome::After(AT_ONCE),
            Ok(Advance::Lost) => Outcome::AsItIs,
            Err(error) => {
                tracing::error!(run.id = %task.run, deliveries = delivery.deliveries, error = %chain(&error), "run could not be advanced");
                // The lease may be ours still: no use to come back before it ends.
                Outcome::AsItIs
            }
        }
    }

    /// A canary that cannot be noted is done all the same: that no mark is made is what is to be seen.
    async fn heard(&self, canary: &Canary) -> Outcome {
        if let Err(error) = self.heartbeats.arrived(canary, self.engine.clock.now()).await {
            tracing::warn!(error = %chain(&error), "the arrival of a canary could not be noted");
        }
        Outcome::Done
    }

    async fn settle_unsettled(&self, task: &Task, delivery: &Delivery, code: FailureCode) -> Result<Advance, JournalError> {
        let settled = AssertUnwindSafe(self.engine.settle_unsettled(task, delivery, code)).catch_unwind().await;
        settled.unwrap_or(Ok(Advance::Lost))
    }
}

/// The receipts of the messages of a batch that are done while others are not.
#[derive(Default)]
struct Done(Mutex<Vec<String>>);

impl Done {
    fn add(&self, receipt: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(receipt.to_owned());
    }

    fn receipts(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What becomes of a message.
enum Outcome {
    /// It may be deleted.
    Done,
    /// It comes back after the time.
    After(Duration),
    /// It comes back when it does.
    AsItIs,
}

/// Deliveries so far. A message without a count is taken as new.
fn receive_count(message: &SqsMessage) -> u32 {
    message.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1)
}

/// Where it was sent, as a trace shows it.
fn sent_from(message: &SqsMessage) -> Option<TraceContext> {
    message.message_attributes.get(TRACEPARENT)?.string_value.as_deref()?.parse().ok()
}

/// When the queue got it: a message that is moved back from the dead-letter queue counts as sent then.
fn sent_at(message: &SqsMessage) -> Option<Timestamp> {
    Timestamp::from_millisecond(message.attributes.get("SentTimestamp")?.parse().ok()?).ok()
}

struct MessageHold<'a> {
    visibility: &'a dyn Visibility,
    receipt: &'a str,
}

#[async_trait]
impl Hold for MessageHold<'_> {
    async fn extend(&self, duration: Duration) {
        self.visibility.hide(&[self.receipt.to_owned()], duration).await;
    }
}

#[cfg(test)]
mod tests;
