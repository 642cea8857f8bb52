//! The queue of jobs in SQS.

use std::time::Duration;

use async_trait::async_trait;

use super::queue::{LONGEST_DELAY, LONGEST_VISIBILITY, seconds};
use super::unavailable;
use crate::domain::job_message::JobMessage;
use crate::engine::ports::JournalError;
use crate::jobs::JobQueue;
use crate::telemetry::chain;

/// The queue of jobs.
#[derive(Debug, Clone)]
pub struct JobMessages {
    client: aws_sdk_sqs::Client,
    url: String,
}

impl JobMessages {
    /// The queue at that address.
    #[must_use]
    pub fn new(config: &aws_config::SdkConfig, url: String) -> Self {
        Self { client: aws_sdk_sqs::Client::new(config), url }
    }

    /// Hides a message for `duration` from now: what makes that of a killed worker come back. Best effort: one that cannot be hidden
    /// comes back with the queue's own time-out.
    pub async fn hide(&self, receipt: &str, duration: Duration) {
        let hide = self.client.change_message_visibility().queue_url(&self.url).receipt_handle(receipt);
        if let Err(error) = hide.visibility_timeout(seconds(duration, LONGEST_VISIBILITY)).send().await {
            tracing::warn!(error = %chain(&error), "the message of a job could not be hidden");
        }
    }
}

#[async_trait]
impl JobQueue for JobMessages {
    async fn send_job(&self, message: &JobMessage, delay: Duration) -> Result<(), JournalError> {
        let send = self.client.send_message().queue_url(&self.url).message_body(message.to_body());
        // Fair queueing, as for runs.
        let send = send.message_group_id(message.tenant.as_str()).delay_seconds(seconds(delay, LONGEST_DELAY));
        send.send().await.map(|_| ()).map_err(unavailable)
    }
}
