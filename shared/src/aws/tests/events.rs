//! Events out of the index, then as they are.

use serde_json::{Value, json};

use super::super::items::{SHARDS, event_item};
use super::wire::{json_of, table};
use super::{clock, run};
use crate::domain::clock::Clock;
use crate::domain::event::Event;
use crate::domain::id::EventId;
use crate::fakes::an_event;
use crate::operate::{EventFilter, EventRange, Events, Order, list_events};

/// What the index answers with: this event, if it is the partition that its item names.
fn index_page(item: &Value, request: &Value) -> Value {
    let is_there = request["ExpressionAttributeValues"][":pk"] == item["gsi1pk"];
    let keys = json!({"pk": item["pk"], "sk": item["sk"], "gsi1pk": item["gsi1pk"], "gsi1sk": item["gsi1sk"]});
    if is_there { json!({"Items": [keys], "Count": 1}) } else { json!({"Items": [], "Count": 0}) }
}

#[tokio::test]
async fn a_list_of_events_is_a_query_of_each_shard_and_one_batch() {
    let event: Event = an_event(clock().now());
    let item = json_of(&event_item(&run().tenant, &event).unwrap());
    let (table, log) = table(move |operation, request| match operation {
        "Query" => (200, index_page(&item, request)),
        _ => (200, json!({"Responses": {"t": [item]}})),
    });
    let page = list_events(&table, &run().tenant, &EventFilter::default(), Order::NewestFirst, None, 10).await.unwrap();
    assert_eq!((page.events, page.next), (vec![event.clone()], None));
    let log = log.lock().unwrap();
    let queries: Vec<&Value> = log.iter().filter(|request| request.operation == "Query").map(|request| &request.body).collect();
    assert_eq!((queries.len(), log.len()), (usize::from(SHARDS), usize::from(SHARDS) + 1));
    for query in queries {
        assert_eq!((&query["IndexName"], &query["ScanIndexForward"]), (&json!("by_time"), &json!(false)));
        assert!(query["ExpressionAttributeValues"][":pk"]["S"].as_str().unwrap().starts_with("acme#events#"), "{query}");
    }
    let batch = &log.last().unwrap().body["RequestItems"]["t"];
    assert_eq!((&batch["ConsistentRead"], &batch["Keys"][0]["pk"]["S"]), (&json!(true), &json!(format!("acme#event#{}", event.id))));
}

#[tokio::test]
async fn the_bounds_of_a_range_are_not_in_it() {
    let (first, middle, last) = (event_at(1), event_at(2), event_at(3));
    let ids = [first, middle, last];
    let (table, _) = table(move |_, request| {
        let is_first_shard = request["ExpressionAttributeValues"][":pk"]["S"] == "acme#events#0";
        let items: Vec<Value> = ids.iter().filter(|_| is_first_shard).map(|id| json!({"gsi1sk": {"S": id.to_string()}})).collect();
        (200, json!({"Items": items, "Count": items.len()}))
    });
    let range = EventRange { after: Some(first), before: Some(last) };
    assert_eq!(table.event_ids(&run().tenant, range, Order::OldestFirst, 10).await.unwrap(), [middle]);
}

fn event_at(ms: i64) -> EventId {
    EventId::lower_bound(jiff::Timestamp::from_millisecond(ms).unwrap())
}
