//! What a sandbox adds to the fleet's sums, and which calls count as failed.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::Table;
use super::run;
use super::wire::table;
use crate::domain::state::RunState;
use crate::engine::ports::{Guard, Journal, Write};
use crate::metrics::fleet::{Deltas, Fleet};

fn deltas() -> Deltas {
    let counters = BTreeMap::from([(r#"requests_total{status="200"}"#.to_owned(), 3.0), ("retries_total".to_owned(), 0.5)]);
    Deltas { counters, gauges: BTreeMap::from([("memory_usage_bytes", 1024.0)]) }
}

fn store_errors(table: &Table) -> f64 {
    table.meter.take().counters.iter().find(|(name, _)| name.to_string() == "db_connection_errors_total").map_or(0.0, |(_, sum)| *sum)
}

#[tokio::test]
async fn sums_are_added_to_and_gauges_replaced_in_one_call() {
    let (table, log) = table(|_, _| (200, json!({})));
    table.add("agent-api", 2, &deltas()).await.unwrap();
    let log = log.lock().unwrap();
    assert_eq!(log.len(), 1);
    let body = &log[0].body;
    assert_eq!(body["Key"], json!({"pk": {"S": "#metrics"}, "sk": {"S": "agent-api#2"}}));
    assert_eq!(body["UpdateExpression"], "ADD #0 :0, #1 :1 SET #2 = :2");
    assert_eq!(
        (&body["ExpressionAttributeNames"]["#0"], &body["ExpressionAttributeValues"][":0"]),
        (&json!("requests_total{status=\"200\"}"), &json!({"N": "3"}))
    );
    assert_eq!(
        (&body["ExpressionAttributeNames"]["#2"], &body["ExpressionAttributeValues"][":2"]),
        (&json!("memory_usage_bytes"), &json!({"N": "1024"}))
    );
}

#[tokio::test]
async fn adding_is_tried_once_because_a_second_try_might_count_twice() {
    let (table, log) = table(|_, _| (500, json!({})));
    assert!(table.add("agent-api", 0, &deltas()).await.is_err());
    assert_eq!(log.lock().unwrap().len(), 1);
    assert_eq!(store_errors(&table), 0.0, "nobody needs that write, so no alarm hears of it");
    assert!(table.sums().await.is_err());
    assert_eq!(store_errors(&table), 1.0, "of a read that somebody waits for it does");
}

#[tokio::test]
async fn all_sums_are_read_in_one_query() {
    let stored = json!({"pk": {"S": "#metrics"}, "sk": {"S": "queue-consumer#3"}, "retries_total": {"N": "7"}});
    let (table, log) = table(move |_, _| (200, json!({"Items": [stored], "Count": 1})));
    let sums = table.sums().await.unwrap();
    assert_eq!((sums[0].function.as_str(), sums[0].numbers["retries_total"], sums[0].numbers.len()), ("queue-consumer", 7.0, 1));
    assert_eq!(log.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_call_counts_as_failed_once_when_all_its_tries_are_over() {
    let kind = |name: &str| json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{name}"), "message": "m"});
    let cancelled = |code: &str| json!({"__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException", "CancellationReasons": [{"Code": code}]});
    let cases: [(u16, Value, f64); 7] = [
        (200, json!({}), 0.0),
        (400, cancelled("ConditionalCheckFailed"), 0.0),
        (400, cancelled("TransactionConflict"), 0.0),
        (400, cancelled("ThrottlingError"), 1.0),
        (400, kind("ResourceNotFoundException"), 1.0),
        (400, kind("AccessDeniedException"), 1.0),
        (500, kind("InternalServerError"), 1.0),
    ];
    for (status, body, counted) in cases {
        let said = body.clone();
        let (table, _) = table(move |_, _| (status, said.clone()));
        let _ = table.write(&[Write::Run(&run(), Guard::New)]).await;
        assert_eq!(store_errors(&table), counted, "{body}");
    }
}

#[tokio::test]
async fn what_was_refused_is_not_counted_as_done() {
    let body = json!({"__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException", "CancellationReasons": [{"Code": "ConditionalCheckFailed"}]});
    let ended = crate::domain::run::Run { state: RunState::Completed, ..run() };
    for (status, counted) in [(200, true), (400, false)] {
        let said = body.clone();
        let (table, _) = table(move |_, _| (status, if status == 200 { json!({}) } else { said.clone() }));
        let _ = table.write(&[Write::Run(&ended, Guard::Held { lease_no: 1, steps: 0 })]).await;
        let is_counted = table.meter.take().counters.keys().any(|name| name.to_string().starts_with("runs_total"));
        assert_eq!(is_counted, counted, "{status}");
    }
}
