//! The events in DynamoDB, as lists read them: ids out of the index `by_time`, then the events themselves.

use async_trait::async_trait;
use futures_util::future::try_join_all;

use super::items::{Key, SHARDS, Table, event_of, event_partition, s};
use super::unavailable;
use crate::domain::event::Event;
use crate::domain::id::{EventId, TenantId};
use crate::engine::ports::JournalError;
use crate::operate::{EventRange, Events, Order};

#[async_trait]
impl Events for Table {
    async fn event_ids(&self, tenant: &TenantId, range: EventRange, order: Order, limit: usize) -> Result<Vec<EventId>, JournalError> {
        let shards = (0..SHARDS).map(|shard| self.shard_event_ids(event_partition(tenant, shard), range, order, limit));
        let mut ids: Vec<EventId> = try_join_all(shards).await?.into_iter().flatten().collect();
        ids.sort_unstable();
        if order == Order::NewestFirst {
            ids.reverse();
        }
        ids.truncate(limit);
        Ok(ids)
    }

    async fn events(&self, tenant: &TenantId, ids: &[EventId]) -> Result<Vec<Event>, JournalError> {
        let items = self.get_all(ids.iter().map(|id| Key::event(tenant, *id))).await?;
        items.iter().map(event_of).collect()
    }
}

impl Table {
    async fn shard_event_ids(
        &self,
        partition: String,
        range: EventRange,
        order: Order,
        limit: usize,
    ) -> Result<Vec<EventId>, JournalError> {
        let page = self
            .client
            .query()
            .table_name(&self.name)
            .index_name("by_time")
            .key_condition_expression("gsi1pk = :pk AND gsi1sk BETWEEN :from AND :to")
            .expression_attribute_values(":pk", s(partition))
            .expression_attribute_values(":from", s(range.after.map_or_else(|| EventId::PREFIX.into(), String::from)))
            .expression_attribute_values(":to", s(range.before.map_or_else(|| "evt_~".into(), String::from)))
            .scan_index_forward(order == Order::OldestFirst)
            // The bounds are inclusive, ours are not.
            .limit(i32::try_from(limit.saturating_add(2)).unwrap_or(i32::MAX));
        let items = page.send().await.map_err(unavailable)?.items.unwrap_or_default();
        let ids = items.iter().filter_map(|item| item.get("gsi1sk")?.as_s().ok()?.parse().ok());
        Ok(ids.filter(|id| Some(*id) != range.before && Some(*id) != range.after).collect())
    }
}
