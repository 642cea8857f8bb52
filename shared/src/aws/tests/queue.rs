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
