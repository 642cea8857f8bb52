//! What the sweeper's adapters make of the services' answers, on the real clients with mocked transports.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::put_item::{PutItemError, PutItemOutput};
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::types::error::{ConditionalCheckFailedException, ResourceNotFoundException};
use aws_sdk_sqs::operation::change_message_visibility_batch::ChangeMessageVisibilityBatchOutput;
use aws_sdk_sqs::operation::delete_message_batch::DeleteMessageBatchOutput;
use aws_sdk_sqs::operation::get_queue_attributes::GetQueueAttributesOutput;
use aws_sdk_sqs::operation::list_message_move_tasks::ListMessageMoveTasksOutput;
use aws_sdk_sqs::operation::receive_message::ReceiveMessageOutput;
use aws_sdk_sqs::operation::send_message::SendMessageOutput;
use aws_sdk_sqs::types::{BatchResultErrorEntry, ListMessageMoveTasksResultEntry, Message, QueueAttributeName};
use aws_smithy_mocks::{RuleMode, mock, mock_client};
use jiff::Timestamp;

use super::items::{Item, s};
use super::*;
use crate::domain::clock::after;
use crate::domain::id::RunId;
use crate::domain::task::Canary;
use crate::heartbeat::{Depth, Heartbeats};
use crate::sweep::janitor::{Letter, Letters};
use crate::sweep::{CanaryQueue, DueEntry, DueIndex};

fn now() -> Timestamp {
    "2026-01-02T03:04:05.678Z".parse().unwrap()
}

fn entry() -> DueEntry {
    DueEntry { at: now(), tenant: "acme".parse().unwrap(), run: RunId::new(now()) }
}

/// The entry as the index projects it.
fn projected(entry: &DueEntry) -> Item {
    HashMap::from([
        ("pk".to_owned(), s(format!("acme#run#{}", entry.run))),
        ("sk".to_owned(), s("run")),
        ("gsi3pk".to_owned(), s("due#5")),
        ("gsi3sk".to_owned(), s(format!("1767323045678#acme#{}", entry.run))),
    ])
}

macro_rules! table {
    ($rule:expr) => {
        Table::with_client(mock_client!(aws_sdk_dynamodb, RuleMode::Sequential, [&$rule]), "t".into())
    };
}

macro_rules! dead_letters {
    ($($rule:expr),+) => {
        DeadLetters::with_client(mock_client!(aws_sdk_sqs, RuleMode::MatchAny, [$(&$rule),+]), "q".into(), "arn".into())
    };
}

#[tokio::test]
async fn the_index_is_read_earliest_first_and_goes_on_behind_an_entry() {
    let (known, asked) = (entry(), entry());
    let item = projected(&known);
    let first = mock!(aws_sdk_dynamodb::Client::query)
        .match_requests(|q| {
            q.index_name() == Some("due")
                && q.limit() == Some(50)
                && q.scan_index_forward() != Some(false)
                && q.exclusive_start_key().is_none()
        })
        .then_output(move || QueryOutput::builder().items(item.clone()).build());
    assert_eq!(table!(first).due(5, None, 50).await.unwrap(), [known]);

    let behind = projected(&asked);
    let next = mock!(aws_sdk_dynamodb::Client::query)
        .match_requests(move |q| q.exclusive_start_key() == Some(&behind))
        .then_output(|| QueryOutput::builder().build());
    assert_eq!(table!(next).due(5, Some(&asked), 50).await.unwrap(), []);
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_is_an_error_and_not_nothing() {
    let mut item = projected(&entry());
    item.insert("gsi3sk".into(), s("soon#acme#run_x"));
    let rule = mock!(aws_sdk_dynamodb::Client::query).then_output(move || QueryOutput::builder().items(item.clone()).build());
    assert!(table!(rule).due(5, None, 50).await.is_err());
}

#[tokio::test]
async fn an_older_canary_changes_nothing_and_an_outage_is_told() {
    let canary = Canary { sent_at: now() };
    let at = after(now(), Duration::from_millis(64));
    let noted = mock!(aws_sdk_dynamodb::Client::put_item)
        .match_requests(|put| {
            let item = put.item().cloned().unwrap_or_default();
            item.get("pk") == Some(&s("#heartbeat")) && item.get("latency_ms").is_some_and(|n| n.as_n() == Ok(&"64".to_owned()))
        })
        .then_output(|| PutItemOutput::builder().build());
    table!(noted).arrived(&canary, at).await.unwrap();
    let older = mock!(aws_sdk_dynamodb::Client::put_item)
        .then_error(|| PutItemError::ConditionalCheckFailedException(ConditionalCheckFailedException::builder().build()));
    table!(older).arrived(&canary, at).await.unwrap();
    let gone = mock!(aws_sdk_dynamodb::Client::put_item)
        .then_error(|| PutItemError::ResourceNotFoundException(ResourceNotFoundException::builder().build()));
    assert!(table!(gone).arrived(&canary, at).await.is_err());
}

#[tokio::test]
async fn a_canary_goes_out_at_once_in_a_group_of_its_own() {
    let rule = mock!(aws_sdk_sqs::Client::send_message)
        .match_requests(|send| send.message_group_id() == Some("#canary") && send.delay_seconds().is_none())
        .then_output(|| SendMessageOutput::builder().build());
    let queue = TaskQueue::with_client(mock_client!(aws_sdk_sqs, [&rule]), "q".into());
    queue.send_canary(&Canary { sent_at: now() }).await.unwrap();
}

#[tokio::test]
async fn a_queue_tells_all_of_its_depth_or_nothing() {
    use QueueAttributeName::{ApproximateNumberOfMessages, ApproximateNumberOfMessagesDelayed, ApproximateNumberOfMessagesNotVisible};
    let full = mock!(aws_sdk_sqs::Client::get_queue_attributes).then_output(|| {
        let answer = GetQueueAttributesOutput::builder().attributes(ApproximateNumberOfMessages, "3");
        answer.attributes(ApproximateNumberOfMessagesNotVisible, "2").attributes(ApproximateNumberOfMessagesDelayed, "1").build()
    });
    assert_eq!(dead_letters!(full).depth_in_full().await.unwrap(), Depth { waiting: 3, in_flight: 2, delayed: 1 });
    let part = mock!(aws_sdk_sqs::Client::get_queue_attributes).then_output(|| depth_of("3"));
    assert!(dead_letters!(part).depth_in_full().await.is_err());
}

fn depth_of(depth: &'static str) -> GetQueueAttributesOutput {
    GetQueueAttributesOutput::builder().attributes(QueueAttributeName::ApproximateNumberOfMessages, depth).build()
}

#[tokio::test]
async fn an_empty_queue_costs_the_janitor_one_call_and_a_move_keeps_it_away() {
    let empty = mock!(aws_sdk_sqs::Client::get_queue_attributes).then_output(|| depth_of("0"));
    assert_eq!(dead_letters!(empty).to_look_at().await.unwrap(), 0);
    for (status, expected) in [("RUNNING", 0), ("CANCELLING", 0), ("COMPLETED", 3)] {
        let depth = mock!(aws_sdk_sqs::Client::get_queue_attributes).then_output(|| depth_of("3"));
        let moves = mock!(aws_sdk_sqs::Client::list_message_move_tasks)
            .match_requests(|list| list.source_arn() == Some("arn"))
            .then_output(move || {
                ListMessageMoveTasksOutput::builder().results(ListMessageMoveTasksResultEntry::builder().status(status).build()).build()
            });
        assert_eq!(dead_letters!(depth, moves).to_look_at().await.unwrap(), expected, "{status}");
    }
}

#[tokio::test]
async fn letters_are_hidden_for_as_long_as_told() {
    let rule = mock!(aws_sdk_sqs::Client::receive_message)
        .match_requests(|receive| receive.visibility_timeout() == Some(5) && receive.max_number_of_messages() == Some(10))
        .then_output(|| {
            ReceiveMessageOutput::builder().messages(Message::builder().message_id("m").body("b").receipt_handle("r").build()).build()
        });
    let taken = dead_letters!(rule).take(Duration::from_secs(5)).await.unwrap();
    assert_eq!(taken, [Letter { id: "m".into(), body: "b".into(), receipt: "r".into(), ..Letter::default() }]);
}

#[tokio::test]
async fn letters_are_deleted_and_given_back_ten_at_a_time() {
    let letters: Vec<_> =
        (0..25).map(|n| Letter { id: n.to_string(), body: String::new(), receipt: n.to_string(), ..Letter::default() }).collect();
    let delete = mock!(aws_sdk_sqs::Client::delete_message_batch)
        .match_requests(|batch| batch.entries().len() <= 10)
        .then_output(|| DeleteMessageBatchOutput::builder().set_successful(Some(vec![])).set_failed(Some(vec![])).build().unwrap());
    dead_letters!(delete).delete(&letters).await.unwrap();
    assert_eq!(delete.num_calls(), 3);
    let back = mock!(aws_sdk_sqs::Client::change_message_visibility_batch)
        .match_requests(|batch| batch.entries().iter().all(|entry| entry.visibility_timeout() == Some(0)))
        .then_output(|| {
            ChangeMessageVisibilityBatchOutput::builder().set_successful(Some(vec![])).set_failed(Some(vec![])).build().unwrap()
        });
    dead_letters!(back).give_back(&letters).await.unwrap();
    assert_eq!(back.num_calls(), 3);
    let refused = mock!(aws_sdk_sqs::Client::delete_message_batch).then_output(|| {
        let failed = BatchResultErrorEntry::builder().id("0").sender_fault(false).code("no").build().unwrap();
        DeleteMessageBatchOutput::builder().set_successful(Some(vec![])).failed(failed).build().unwrap()
    });
    assert!(dead_letters!(refused).delete(&letters[..1]).await.is_err(), "a part that was refused is not done");
}
