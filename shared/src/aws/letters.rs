//! The dead-letter queue as the janitor sees it: letter by letter.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::types::{ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, MessageSystemAttributeName};
use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::queue::{DeadLetters, LONGEST_VISIBILITY, depth, seconds};
use super::unavailable;
use crate::engine::ports::JournalError;
use crate::sweep::janitor::{Letter, Letters};

/// What SQS takes in one call.
const BATCH: usize = 10;
/// SQS's words for a move task that works on the queue, or is about to stop.
const AT_WORK: [&str; 2] = ["RUNNING", "CANCELLING"];

#[async_trait]
impl Letters for DeadLetters {
    async fn to_look_at(&self) -> Result<u64, JournalError> {
        let depth = depth(&self.client, &self.url).await?;
        if depth == 0 {
            return Ok(0);
        }
        let tasks = self.client.list_message_move_tasks().source_arn(&self.arn).send().await.map_err(unavailable)?;
        let is_moved = tasks.results().iter().any(|task| task.status().is_some_and(|status| AT_WORK.contains(&status)));
        Ok(if is_moved { 0 } else { depth })
    }

    async fn take(&self, hidden: Duration) -> Result<Vec<Letter>, JournalError> {
        // A wait makes SQS ask all its servers; without one it looks at a few and often finds nothing.
        let receive = self.client.receive_message().queue_url(&self.url).max_number_of_messages(10).wait_time_seconds(1);
        let receive = receive.visibility_timeout(seconds(hidden, LONGEST_VISIBILITY));
        let receive = receive.message_system_attribute_names(MessageSystemAttributeName::SentTimestamp);
        let receive = receive.message_system_attribute_names(MessageSystemAttributeName::SenderId);
        let messages = receive.send().await.map_err(unavailable)?.messages.unwrap_or_default();
        let letter = |message: aws_sdk_sqs::types::Message| {
            let told = |name| message.attributes.as_ref().and_then(|told| told.get(&name));
            let sent_at = told(MessageSystemAttributeName::SentTimestamp).and_then(|at| Timestamp::from_millisecond(at.parse().ok()?).ok());
            let sender = told(MessageSystemAttributeName::SenderId).cloned();
            let (id, receipt) = (message.message_id?, message.receipt_handle?);
            Some(Letter { id, body: message.body.unwrap_or_default(), receipt, sent_at, sender })
        };
        Ok(messages.into_iter().filter_map(letter).collect())
    }

    async fn delete(&self, letters: &[Letter]) -> Result<(), JournalError> {
        try_join_all(letters.chunks(BATCH).map(|batch| async move {
            let entry = |(i, letter): (usize, &Letter)| {
                DeleteMessageBatchRequestEntry::builder().id(i.to_string()).receipt_handle(&letter.receipt).build()
            };
            let entries = batch.iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>().map_err(unavailable)?;
            let sent = self.client.delete_message_batch().queue_url(&self.url).set_entries(Some(entries)).send().await;
            all_done(sent.map_err(unavailable)?.failed.len())
        }))
        .await
        .map(|_| ())
    }

    async fn give_back(&self, letters: &[Letter]) -> Result<(), JournalError> {
        try_join_all(letters.chunks(BATCH).map(|batch| async move {
            let entry = |(i, letter): (usize, &Letter)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(i.to_string()).receipt_handle(&letter.receipt);
                entry.visibility_timeout(0).build()
            };
            let entries = batch.iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>().map_err(unavailable)?;
            let sent = self.client.change_message_visibility_batch().queue_url(&self.url).set_entries(Some(entries)).send().await;
            all_done(sent.map_err(unavailable)?.failed.len())
        }))
        .await
        .map(|_| ())
    }
}

fn all_done(failed: usize) -> Result<(), JournalError> {
    if failed == 0 { Ok(()) } else { Err(JournalError::Unavailable(format!("{failed} messages of a batch were refused").into())) }
}
