//! The queue's adapter.

use aws_sdk_sqs::error::ErrorMetadata;
use aws_sdk_sqs::operation::send_message::SendMessageOutput;
use aws_sdk_sqs::operation::start_message_move_task::StartMessageMoveTaskError;
use aws_sdk_sqs::types::error::InvalidAddress;
use aws_smithy_mocks::{mock, mock_client};

use super::super::*;
use super::run;
use crate::engine::ports::{JournalError, Queue};
use crate::operate::{DeadLetterQueue, Move};

#[tokio::test]
async fn every_message_carries_its_tenant_as_its_group() {
    let rule = mock!(aws_sdk_sqs::Client::send_message)
        .match_requests(|request| request.message_group_id() == Some("acme") && request.delay_seconds() == Some(2))
        .then_output(|| SendMessageOutput::builder().build());
    let queue = TaskQueue::with_client(mock_client!(aws_sdk_sqs, [&rule]), "q".into());
    queue.send(&run().task(), Duration::from_millis(1500)).await.unwrap();
    assert_eq!(rule.num_calls(), 1);
}

#[tokio::test]
async fn an_unknown_error_of_a_move_is_an_outage_and_not_a_move() {
    let rule = mock!(aws_sdk_sqs::Client::start_message_move_task)
        .then_error(|| StartMessageMoveTaskError::InvalidAddress(InvalidAddress::builder().message("no").build()));
    let queue = DeadLetters::with_client(mock_client!(aws_sdk_sqs, [&rule]), "q".into(), "arn".into());
    assert!(matches!(queue.start_move(None).await, Err(JournalError::Unavailable(_))));
}

#[tokio::test]
async fn a_second_move_while_one_runs_is_known_as_such() {
    let rule = mock!(aws_sdk_sqs::Client::start_message_move_task).then_error(|| {
        let text = "There is already a task running. Only one active task is allowed for a source queue arn at a given time.";
        StartMessageMoveTaskError::generic(ErrorMetadata::builder().code("InvalidParameterValue").message(text).build())
    });
    let queue = DeadLetters::with_client(mock_client!(aws_sdk_sqs, [&rule]), "q".into(), "arn".into());
    assert_eq!(queue.start_move(None).await.unwrap(), Move::AlreadyRunning);
}

/// What one task costs to send: how many calls, and how long the message is with its attributes (SQS counts names, types and values).
async fn sent(is_collecting: bool) -> (usize, usize) {
    use opentelemetry_sdk::Resource;
    use tracing_subscriber::layer::SubscriberExt as _;

    use crate::telemetry::outbox::Outbox;

    let outbox = Outbox::new("http://127.0.0.1:1", None, Resource::builder_empty().build()).unwrap();
    let _collecting = is_collecting.then(|| crate::fakes::subscribe(tracing_subscriber::registry().with(outbox.layer(false))));
    let bytes = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = bytes.clone();
    let rule = mock!(aws_sdk_sqs::Client::send_message)
        .match_requests(move |request| {
            let named = |name: &str, value: &aws_sdk_sqs::types::MessageAttributeValue| {
                name.len() + value.data_type().len() + value.string_value().unwrap_or_default().len()
            };
            let attributes = request.message_attributes().into_iter().flatten().map(|(name, value)| named(name, value)).sum::<usize>();
            seen.lock().unwrap().push(request.message_body().unwrap_or_default().len() + attributes);
            true
        })
        .then_output(|| SendMessageOutput::builder().build());
    let queue = TaskQueue::with_client(mock_client!(aws_sdk_sqs, [&rule]), "q".into());
    queue.send(&run().task(), Duration::ZERO).await.unwrap();
    let longest = bytes.lock().unwrap().iter().copied().max().unwrap_or_default();
    (rule.num_calls(), longest)
}

#[tokio::test]
async fn a_trace_costs_a_message_seventy_bytes_and_no_call_and_nothing_where_nobody_collects() {
    let (plain, traced) = (sent(false).await, sent(true).await);
    assert_eq!((plain.0, traced.0), (1, 1));
    assert_eq!(traced.1 - plain.1, "traceparent".len() + "String".len() + 55);
}
