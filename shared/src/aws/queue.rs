//! The queues in SQS.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{ChangeMessageVisibilityBatchRequestEntry, Message, MessageAttributeValue, QueueAttributeName};
use futures_util::future::join_all;
use tracing::Instrument as _;

use super::unavailable;
use crate::domain::task::{Canary, TRACEPARENT, Task};
use crate::domain::trace::TraceContext;
use crate::engine::ports::{JournalError, Queue};
use crate::heartbeat::Depth;
use crate::letters::TaskSender;
use crate::operate::{DeadLetterQueue, Move};
use crate::sweep::{Backlog, CanaryQueue};
use crate::telemetry::{chain, span};

/// SQS delays and hides messages for whole seconds, up to these.
pub(super) const LONGEST_DELAY: u64 = 900;
pub(super) const LONGEST_VISIBILITY: u64 = 43_200;
/// The message group of canaries. No tenant has that name.
const CANARIES: &str = "#canary";
/// The message group of poison letters that are sent back. No tenant has that name.
const LETTERS: &str = "#letters";
/// How many batches of ten a search of the dead-letter queue looks at.
const SEARCH_BATCHES: usize = 10;
/// How long a searched message is hidden if the search dies.
const SEARCH_VISIBILITY: i32 = 10;

/// The tasks queue.
#[derive(Debug, Clone)]
pub struct TaskQueue {
    client: aws_sdk_sqs::Client,
    url: String,
}

impl TaskQueue {
    /// The queue at that address.
    #[must_use]
    pub fn new(config: &aws_config::SdkConfig, url: String) -> Self {
        Self { client: aws_sdk_sqs::Client::new(config), url }
    }

    /// A queue behind a client of the caller's making, for tests.
    #[must_use]
    pub const fn with_client(client: aws_sdk_sqs::Client, url: String) -> Self {
        Self { client, url }
    }

    /// What stands on it.
    ///
    /// # Errors
    /// When the queue does not answer.
    pub async fn depth_in_full(&self) -> Result<Depth, JournalError> {
        depth_in_full(&self.client, &self.url).await
    }

    /// Hides messages for `duration` from now: what makes a killed worker's messages come back. One call.
    /// Best effort: a message that cannot be hidden comes back with the queue's own time-out.
    pub async fn hide(&self, receipts: &[String], duration: Duration) {
        let entries: Vec<_> = receipts
            .iter()
            .enumerate()
            .filter_map(|(i, receipt)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(i.to_string()).receipt_handle(receipt);
                entry.visibility_timeout(seconds(duration, LONGEST_VISIBILITY)).build().ok()
            })
            .collect();
        let sent = self.client.change_message_visibility_batch().queue_url(&self.url).set_entries(Some(entries)).send().await;
        match sent {
            Ok(done) if done.failed.is_empty() => {}
            Ok(done) => tracing::warn!(failed = done.failed.len(), "messages could not be hidden"),
            Err(error) => tracing::warn!(error = %chain(&error), "messages could not be hidden"),
        }
    }
}

#[async_trait]
impl Queue for TaskQueue {
    async fn send(&self, task: &Task, delay: Duration) -> Result<(), JournalError> {
        let (around, place) = span::sending(task);
        let message = self
            .client
            .send_message()
            .queue_url(&self.url)
            .message_body(task.to_body())
            // Not in the body: an older consumer, while a new version is deployed, would take that for poison.
            .set_message_attributes(place.and_then(traceparent))
            // Fair queueing: a tenant with many messages does not make the others wait.
            .message_group_id(task.tenant.as_str())
            .delay_seconds(seconds(delay, LONGEST_DELAY));
        message.send().instrument(around).await.map(|_| ()).map_err(unavailable)
    }
}

#[async_trait]
impl CanaryQueue for TaskQueue {
    async fn send_canary(&self, canary: &Canary) -> Result<(), JournalError> {
        // A group of its own, so that it waits behind no tenant's backlog: it asks whether the queue is served, not how busy it is.
        let message = self.client.send_message().queue_url(&self.url).message_body(canary.to_body()).message_group_id(CANARIES);
        message.send().await.map(|_| ()).map_err(unavailable)
    }

    async fn depth(&self) -> Result<Depth, JournalError> {
        self.depth_in_full().await
    }
}

#[async_trait]
impl TaskSender for TaskQueue {
    async fn send_text(&self, body: &str) -> Result<(), JournalError> {
        // In the line of its tenant, if it has one.
        let group = Task::from_body(body).map_or_else(|_| LETTERS.to_owned(), |task| task.tenant.to_string());
        let message = self.client.send_message().queue_url(&self.url).message_body(body).message_group_id(group);
        message.send().await.map(|_| ()).map_err(unavailable)
    }
}

#[async_trait]
impl Backlog for TaskQueue {
    async fn waiting(&self) -> Result<u64, JournalError> {
        depth(&self.client, &self.url).await
    }
}

/// The dead-letter queue.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    pub(super) client: aws_sdk_sqs::Client,
    pub(super) url: String,
    pub(super) arn: String,
}

impl DeadLetters {
    /// The queue at that address, with that name.
    #[must_use]
    pub fn new(config: &aws_config::SdkConfig, url: String, arn: String) -> Self {
        Self { client: aws_sdk_sqs::Client::new(config), url, arn }
    }

    /// A queue behind a client of the caller's making, for tests.
    #[must_use]
    pub const fn with_client(client: aws_sdk_sqs::Client, url: String, arn: String) -> Self {
        Self { client, url, arn }
    }

    /// What stands on it.
    ///
    /// # Errors
    /// When the queue does not answer.
    pub async fn depth_in_full(&self) -> Result<Depth, JournalError> {
        depth_in_full(&self.client, &self.url).await
    }

    /// Looks at one message: removes it if it is an older one of `task`'s run, else gives it back.
    async fn settle(&self, message: &Message, task: &Task) -> Result<bool, JournalError> {
        let Some(receipt) = message.receipt_handle() else { return Ok(false) };
        let is_old = message
            .body()
            .and_then(|body| Task::from_body(body).ok())
            .is_some_and(|found| found.tenant == task.tenant && found.run == task.run && found.epoch < task.epoch);
        if is_old {
            self.client.delete_message().queue_url(&self.url).receipt_handle(receipt).send().await.map_err(unavailable)?;
        } else {
            let give_back = self.client.change_message_visibility().queue_url(&self.url).receipt_handle(receipt).visibility_timeout(0);
            give_back.send().await.map_err(unavailable)?;
        }
        Ok(is_old)
    }
}

#[async_trait]
impl DeadLetterQueue for DeadLetters {
    async fn depth(&self) -> Result<u64, JournalError> {
        depth(&self.client, &self.url).await
    }

    async fn start_move(&self, rate: Option<u32>) -> Result<Move, JournalError> {
        let rate = rate.and_then(|rate| i32::try_from(rate).ok());
        let start = self.client.start_message_move_task().source_arn(&self.arn).set_max_number_of_messages_per_second(rate);
        match start.send().await {
            Ok(started) => Ok(Move::Started { handle: started.task_handle.unwrap_or_default() }),
            // SQS allows one move per queue at a time and has no error code of its own for it.
            Err(SdkError::ServiceError(e)) if e.err().message().is_some_and(|text| text.contains("already a task running")) => {
                Ok(Move::AlreadyRunning)
            }
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn forget(&self, task: &Task) -> Result<(), JournalError> {
        let mut held = Vec::new();
        let mut found = false;
        for _ in 0..SEARCH_BATCHES {
            // A wait makes SQS ask all its servers; without one it looks at a few and often finds nothing.
            let batch = self.client.receive_message().queue_url(&self.url).max_number_of_messages(10).wait_time_seconds(1);
            let batch = batch.visibility_timeout(SEARCH_VISIBILITY);
            let messages = batch.send().await.map_err(unavailable)?.messages.unwrap_or_default();
            if messages.is_empty() {
                break;
            }
            // Kept hidden until the end of the search, so that each batch is a new one.
            let (ours, others): (Vec<_>, Vec<_>) =
                messages.into_iter().partition(|m| m.body().is_some_and(|body| body.contains(&task.run.to_string())));
            held.extend(others);
            for message in &ours {
                found |= self.settle(message, task).await?;
            }
            if found {
                break;
            }
        }
        join_all(held.iter().map(|message| self.settle(message, task))).await.into_iter().collect::<Result<Vec<_>, _>>().map(|_| ())
    }
}

pub(super) async fn depth(client: &aws_sdk_sqs::Client, url: &str) -> Result<u64, JournalError> {
    let name = QueueAttributeName::ApproximateNumberOfMessages;
    let answer = client.get_queue_attributes().queue_url(url).attribute_names(name.clone()).send().await.map_err(unavailable)?;
    let depth = answer.attributes().and_then(|attributes| attributes.get(&name)?.parse().ok());
    depth.ok_or_else(|| JournalError::Unavailable("the queue did not tell its depth".into()))
}

async fn depth_in_full(client: &aws_sdk_sqs::Client, url: &str) -> Result<Depth, JournalError> {
    use QueueAttributeName::{
        ApproximateNumberOfMessages as Waiting, ApproximateNumberOfMessagesDelayed as Delayed,
        ApproximateNumberOfMessagesNotVisible as InFlight,
    };
    let ask = client.get_queue_attributes().queue_url(url).set_attribute_names(Some(vec![Waiting, InFlight, Delayed]));
    let answer = ask.send().await.map_err(unavailable)?;
    let number = |name: QueueAttributeName| {
        let number = answer.attributes().and_then(|attributes| attributes.get(&name)?.parse().ok());
        number.ok_or_else(|| JournalError::Unavailable("the queue did not tell its depth".into()))
    };
    Ok(Depth { waiting: number(Waiting)?, in_flight: number(InFlight)?, delayed: number(Delayed)? })
}

/// What a message says of its place in a trace.
fn traceparent(place: TraceContext) -> Option<HashMap<String, MessageAttributeValue>> {
    let value = MessageAttributeValue::builder().data_type("String").string_value(place.to_string()).build().ok()?;
    Some(HashMap::from([(TRACEPARENT.to_owned(), value)]))
}

pub(super) fn seconds(duration: Duration, most: u64) -> i32 {
    // Rounded up: a message must not come back before its lease has ended.
    let whole = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i32::try_from(whole.min(most)).unwrap_or(i32::MAX)
}
