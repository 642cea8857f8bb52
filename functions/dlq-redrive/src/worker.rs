//! What the function does when the queue of jobs wakes it: a slice of a job, in the time that the invocation has.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use jiff::Timestamp;
use serde_json::Value;
use shared::aws::JobMessages;
use shared::domain::clock::after;
use shared::domain::job::JobKind;
use shared::domain::job_message::JobMessage;
use shared::http::Deliveries;
use shared::jobs::{DeadWork, Kinds, LEASE, Taken, ToTheDead, Work, Worker};
use shared::operate::{DeadIndex, Redrive};
use shared::replay::{ReplayWork, Replayer};
use shared::telemetry::chain;

/// What is left of an invocation for what is begun, the last write and the next message: each call of the SDK may take 8 s.
const FAREWELL: Duration = Duration::from_secs(10);
/// A deadline in the past is no deadline: the local watcher sends such. This is the time assumed then.
const UNKNOWN_DEADLINE: Duration = Duration::from_secs(29);
/// How long after the end of a lease a message comes back.
const MARGIN: Duration = Duration::from_secs(1);

/// Decides when the messages of jobs come back. Best effort: the lease in the record is the truth.
#[async_trait]
pub trait Visibility: Send + Sync {
    /// Hides a message for `duration` from now.
    async fn hide(&self, receipt: &str, duration: Duration);
}

#[async_trait]
impl Visibility for JobMessages {
    async fn hide(&self, receipt: &str, duration: Duration) {
        Self::hide(self, receipt, duration).await;
    }
}

/// What this function's jobs do, kind by kind.
#[must_use]
pub fn kinds(redrive: &Redrive, index: &Arc<dyn DeadIndex>, replayer: &Replayer) -> Kinds {
    let work = |what| Arc::new(DeadWork { redrive: redrive.clone(), index: index.clone(), what }) as Arc<dyn Work>;
    Kinds::from([
        (JobKind::Retry, work(ToTheDead::Retry)),
        (JobKind::Discard, work(ToTheDead::Discard)),
        (JobKind::Replay, Arc::new(ReplayWork(replayer.clone()))),
    ])
}

/// Takes messages about jobs.
pub struct JobDeliveries {
    /// Works on jobs.
    pub worker: Worker,
    /// Hides messages.
    pub visibility: Arc<dyn Visibility>,
}

#[async_trait]
impl Deliveries for JobDeliveries {
    async fn deliver(&self, batch: Value, deadline_ms: u64) -> Result<Value, lambda_http::Error> {
        let mut response = SqsBatchResponse::default();
        for message in serde_json::from_value::<SqsEvent>(batch)?.records {
            if self.settle(&message, deadline_ms).await.is_none() {
                continue;
            }
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = message.message_id.unwrap_or_default();
            response.batch_item_failures.push(failure);
        }
        Ok(serde_json::to_value(response)?)
    }
}

/// A message that comes back.
struct ComesBack;

impl JobDeliveries {
    async fn settle(&self, message: &SqsMessage, deadline_ms: u64) -> Option<ComesBack> {
        let receipt = message.receipt_handle.as_deref().unwrap_or_default();
        let task = match JobMessage::from_body(message.body.as_deref().unwrap_or_default()) {
            Ok(task) => task,
            Err(error) => {
                tracing::error!(message = message.message_id, error = %error, "a message that is about no job, left for the dead-letter queue");
                return Some(ComesBack);
            }
        };
        // Before anything else: that of a killed worker comes back after a lease, not after the queue's time-out.
        self.visibility.hide(receipt, LEASE + MARGIN).await;
        match self.worker.take_up(&task, self.until(deadline_ms)).await {
            Ok(Taken::Done) => None,
            Ok(Taken::Again(pause)) => {
                self.visibility.hide(receipt, pause + MARGIN).await;
                Some(ComesBack)
            }
            Err(error) => {
                let (tenant, why) = (task.tenant.as_str(), chain(&error));
                tracing::error!(tenant, job.id = %task.job, error = why, "a job could not be gone on with; its message comes back");
                // The lease may be ours still: no use to come back before it ends.
                self.visibility.hide(receipt, LEASE + MARGIN).await;
                Some(ComesBack)
            }
        }
    }

    fn until(&self, deadline_ms: u64) -> Timestamp {
        let now = self.worker.clock.now();
        let deadline = i64::try_from(deadline_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let deadline = deadline.filter(|deadline| *deadline > now).unwrap_or_else(|| after(now, UNKNOWN_DEADLINE));
        let farewell = jiff::SignedDuration::try_from(FAREWELL).unwrap_or_default();
        deadline.checked_sub(farewell).unwrap_or(deadline)
    }
}
