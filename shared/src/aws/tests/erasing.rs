//! Removing records for good.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::operation::batch_write_item::BatchWriteItemOutput;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsOutput;
use aws_smithy_mocks::mock;

use super::super::items::{Item, Key, run_item};
use super::{run, table};
use crate::domain::run::Run;
use crate::engine::ports::JournalError;
use crate::operate::{Erasure, Records};

fn partition(run: &Run, steps: u32) -> Vec<Item> {
    let steps = (1..=steps).map(|index| Key::step(&run.tenant, run.id, index).into_item());
    std::iter::once(Key::run(&run.tenant, run.id).into_item()).chain(steps).collect()
}

/// Erases a run of 30 steps; gives back what the last transaction removed.
async fn erase(run: &Run) -> Vec<String> {
    let (all, record) = (partition(run, 30), run_item(run).unwrap());
    let (first, rest) = (all[..20].to_vec(), all[20..].to_vec());
    let key = first[19].clone();
    let pages = mock!(aws_sdk_dynamodb::Client::query)
        .sequence()
        .output(move || QueryOutput::builder().set_items(Some(first.clone())).set_last_evaluated_key(Some(key.clone())).build())
        .output(move || QueryOutput::builder().set_items(Some(rest.clone())).build())
        .build();
    let kept = record["sk"].clone();
    let batches = mock!(aws_sdk_dynamodb::Client::batch_write_item)
        .match_requests(move |batch| {
            let requests = &batch.request_items().unwrap()["t"];
            requests.len() <= 25 && requests.iter().all(|request| request.delete_request().unwrap().key()["sk"] != kept)
        })
        .then_output(|| BatchWriteItemOutput::builder().build());
    let get =
        mock!(aws_sdk_dynamodb::Client::get_item).then_output(move || GetItemOutput::builder().set_item(Some(record.clone())).build());
    let removed = Arc::new(Mutex::new(Vec::new()));
    let seen = removed.clone();
    let last = mock!(aws_sdk_dynamodb::Client::transact_write_items)
        .match_requests(move |request| {
            let sort_key = |item: &aws_sdk_dynamodb::types::TransactWriteItem| item.delete().unwrap().key()["sk"].as_s().unwrap().clone();
            *seen.lock().unwrap() = request.transact_items().iter().map(sort_key).collect();
            true
        })
        .then_output(|| TransactWriteItemsOutput::builder().build());
    let client = aws_smithy_mocks::mock_client!(aws_sdk_dynamodb, aws_smithy_mocks::RuleMode::MatchAny, [&pages, &batches, &get, &last]);
    super::super::Table::with_client(client, "t".into()).erase(&run.tenant, Erasure::Run(run.id)).await.unwrap();
    assert_eq!((pages.num_calls(), batches.num_calls(), last.num_calls()), (2, 2, 1));
    let removed = removed.lock().unwrap();
    removed.clone()
}

#[tokio::test]
async fn a_run_goes_with_all_its_pages_and_its_turn_and_record_go_last_and_together() {
    let run = run();
    assert_eq!(erase(&run).await, ["run".to_owned(), format!("turn#{}", run.id), "event".to_owned()]);
}

#[tokio::test]
async fn an_event_of_triggers_outlives_one_of_its_runs() {
    let run = Run { trigger: Some("t".into()), ..run() };
    assert_eq!(erase(&run).await, ["run".to_owned(), format!("turn#{}", run.id)]);
}

#[tokio::test]
async fn what_a_batch_leaves_undone_is_done_again_and_not_for_ever() {
    let run = run();
    let items = partition(&run, 2);
    let undone = || {
        let delete =
            aws_sdk_dynamodb::types::DeleteRequest::builder().set_key(Some(Key::run(&super::run().tenant, super::run().id).into_item()));
        let request = aws_sdk_dynamodb::types::WriteRequest::builder().delete_request(delete.build().unwrap()).build();
        BatchWriteItemOutput::builder().set_unprocessed_items(Some(HashMap::from([("t".to_owned(), vec![request])]))).build()
    };
    let query = mock!(aws_sdk_dynamodb::Client::query).then_output(move || QueryOutput::builder().set_items(Some(items.clone())).build());
    let get = mock!(aws_sdk_dynamodb::Client::get_item).then_output(|| GetItemOutput::builder().build());
    let batch = mock!(aws_sdk_dynamodb::Client::batch_write_item)
        .sequence()
        .output(undone)
        .output(|| BatchWriteItemOutput::builder().build())
        .build();
    table!(query, batch, get).erase(&run.tenant, Erasure::Run(run.id)).await.unwrap();
    assert_eq!(batch.num_calls(), 2, "there is no record any more: an earlier deletion was cut off behind it");

    let items = partition(&run, 2);
    let query = mock!(aws_sdk_dynamodb::Client::query).then_output(move || QueryOutput::builder().set_items(Some(items.clone())).build());
    let batch = mock!(aws_sdk_dynamodb::Client::batch_write_item).sequence().output(undone).times(9).build();
    assert!(matches!(table!(query, batch).erase(&run.tenant, Erasure::Run(run.id)).await, Err(JournalError::Unavailable(_))));
    assert_eq!(batch.num_calls(), 6);
}
