//! Removing records for good. What says where the rest is goes last, so that a removal that was cut off can be done again.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{DeleteRequest, WriteRequest};

use super::items::{Item, Key, Table, run_of, s};
use super::query::{PAGES, too_much};
use super::transact::{Refused, backoff};
use super::unavailable;
use crate::domain::id::{RunId, TenantId};
use crate::engine::ports::JournalError;

/// What DynamoDB takes at once.
const BATCH: usize = 25;
/// How often what a batch left undone is tried again.
const TRIES: u32 = 6;

impl Table {
    /// A run with everything that is its own. Its turn goes together with its record: the turn is how a deletion finds the run, the
    /// record how it finds the turn.
    pub(super) async fn erase_run(&self, tenant: &TenantId, id: RunId) -> Result<(), JournalError> {
        let record = Key::run(tenant, id);
        self.erase_partition_but(&record).await?;
        let Some(run) = self.get(Key::run(tenant, id)).await?.map(run_of).transpose()? else { return Ok(()) };
        let mut last = vec![self.delete(record)?, self.delete(Key::turn(tenant, run.conversation, id))?];
        // An event of triggers is no part of a conversation: its other runs stand on it. Nor is that of a replay: it was there before.
        if run.trigger.is_none() && run.replay.is_none() {
            last.push(self.delete(Key::event(tenant, run.event))?);
        }
        self.transact(last).await.map_err(|refused| match refused {
            Refused::Condition(..) => JournalError::Lost,
            Refused::Error(error) => error,
        })
    }

    /// All items of a partition, `last` at the end.
    pub(super) async fn erase_partition(&self, last: Key) -> Result<(), JournalError> {
        self.erase_partition_but(&last).await?;
        self.delete_all(vec![last.into_item()]).await
    }

    async fn erase_partition_but(&self, kept: &Key) -> Result<(), JournalError> {
        let mut start = None;
        for _ in 0..PAGES {
            let page = self.keys(&kept.pk, start).await?;
            let others: Vec<Item> = page.items.into_iter().filter(|item| item.get("sk") != Some(&s(&kept.sk))).collect();
            for batch in others.chunks(BATCH) {
                self.delete_all(batch.to_vec()).await?;
            }
            start = page.next;
            if start.is_none() {
                return Ok(());
            }
        }
        Err(too_much())
    }

    /// Removes the items with these keys, at most [`BATCH`].
    async fn delete_all(&self, keys: Vec<Item>) -> Result<(), JournalError> {
        let request = |key: Item| {
            let delete = DeleteRequest::builder().set_key(Some(key)).build().map_err(unavailable)?;
            Ok(WriteRequest::builder().delete_request(delete).build())
        };
        let mut left: Vec<WriteRequest> = keys.into_iter().map(request).collect::<Result<_, JournalError>>()?;
        for attempt in 1..=TRIES {
            let batch = self.client.batch_write_item().set_request_items(Some(HashMap::from([(self.name.clone(), left)])));
            let done = batch.send().await.map_err(unavailable)?;
            left = done.unprocessed_items.unwrap_or_default().into_values().flatten().collect();
            if left.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(backoff(attempt)).await;
        }
        Err(JournalError::Unavailable("the table did not keep up with a deletion".into()))
    }
}
