//! What the adapters make of the services' answers, on the real clients with mocked transports.

use aws_sdk_dynamodb::operation::transact_write_items::{TransactWriteItemsError, TransactWriteItemsOutput};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::CancellationReason;
use aws_sdk_dynamodb::types::error::{ConditionalCheckFailedException, TransactionCanceledException};
use aws_sdk_sqs::error::ErrorMetadata;
use aws_sdk_sqs::operation::send_message::SendMessageOutput;
use aws_sdk_sqs::operation::start_message_move_task::StartMessageMoveTaskError;
use aws_sdk_sqs::types::error::InvalidAddress;
use aws_smithy_mocks::{RuleMode, mock, mock_client};

use super::items::{Item, run_item};
use super::*;
use crate::domain::clock::{Clock, after};
use crate::domain::id::{ConversationId, RunId};
use crate::domain::run::Run;
use crate::domain::state::RunState;
use crate::domain::turn::Conversation;
use crate::engine::ports::{AcceptError, Acceptance, Claim, Journal, Lease, Queue, Refusal};
use crate::fakes::{FixedClock, a_run, an_event};
use crate::operate::{DeadLetterQueue, Move, Records};

fn clock() -> FixedClock {
    FixedClock::at("2026-01-02T03:04:05Z")
}

fn run() -> Run {
    a_run(&"acme".parse().unwrap(), clock().now())
}

fn cancelled(codes: &[(&str, Option<Item>)]) -> TransactWriteItemsError {
    let reasons = codes.iter().map(|(code, item)| CancellationReason::builder().code(*code).set_item(item.clone()).build());
    let error = TransactionCanceledException::builder().set_cancellation_reasons(Some(reasons.collect())).build();
    TransactWriteItemsError::TransactionCanceledException(error)
}

/// A table whose transactions end as told, one after the other.
macro_rules! table {
    ($rule:expr) => {
        Table::with_client(mock_client!(aws_sdk_dynamodb, RuleMode::Sequential, [&$rule]), "t".into())
    };
}

#[tokio::test]
async fn a_failed_condition_of_a_write_means_that_the_lease_is_lost() {
    let rule = mock!(aws_sdk_dynamodb::Client::transact_write_items).then_error(|| cancelled(&[("ConditionalCheckFailed", None)]));
    assert!(matches!(table!(rule).release(&run()).await, Err(JournalError::Lost)));
}

#[tokio::test]
async fn a_collision_of_transactions_is_tried_again_and_not_for_ever() {
    let rule = mock!(aws_sdk_dynamodb::Client::transact_write_items)
        .sequence()
        .error(|| cancelled(&[("None", None), ("TransactionConflict", None)]))
        .times(2)
        .output(|| TransactWriteItemsOutput::builder().build())
        .build();
    table!(rule).release(&run()).await.unwrap();
    assert_eq!(rule.num_calls(), 3);
    let rule = mock!(aws_sdk_dynamodb::Client::transact_write_items)
        .sequence()
        .error(|| cancelled(&[("TransactionConflict", None)]))
        .times(9)
        .build();
    assert!(matches!(table!(rule).release(&run()).await, Err(JournalError::Unavailable(_))));
    assert_eq!(rule.num_calls(), 6);
}

/// How accepting ends when the conversation, as it stands, refuses.
async fn accept_refused_by(stored: Option<Conversation>) -> AcceptError {
    let acceptance = Acceptance { event: an_event(clock().now()), run: run() };
    let rule = mock!(aws_sdk_dynamodb::Client::transact_write_items).then_error(move || {
        let item = stored.as_ref().map(|conversation| serde_dynamo::to_item(conversation).unwrap());
        cancelled(&[("ConditionalCheckFailed", item)])
    });
    table!(rule).accept(&acceptance).await.unwrap_err()
}

#[tokio::test]
async fn accepting_is_one_call_and_its_refusals_are_told_apart() {
    let acceptance = Acceptance { event: an_event(clock().now()), run: run() };
    let rule = mock!(aws_sdk_dynamodb::Client::transact_write_items).then_output(|| TransactWriteItemsOutput::builder().build());
    table!(rule).accept(&acceptance).await.unwrap();
    assert_eq!(rule.num_calls(), 1);

    let now = after(clock().now(), Duration::from_secs(1));
    let last = RunId::new(now);
    let free = Conversation { id: ConversationId::new(now), active_run: None, last_run: Some(last), created_at: now, updated_at: now };
    let busy = Conversation { active_run: Some(last), ..free.clone() };
    assert!(matches!(accept_refused_by(None).await, AcceptError::NoConversation));
    assert!(matches!(accept_refused_by(Some(busy)).await, AcceptError::ConversationBusy));
    assert!(matches!(accept_refused_by(Some(free)).await, AcceptError::OutOfOrder { last: found } if found == last));
}

async fn claim(stored: Option<Run>, attempt: u32) -> Claim {
    let task = run().task();
    let stored = stored.map(|stored| Run { id: task.run, ..stored });
    let now = clock().now();
    let lease = Lease { owner: "me".into(), now, until: after(now, Duration::from_secs(60)), attempt };
    let rule = mock!(aws_sdk_dynamodb::Client::update_item).then_error(move || {
        let item = stored.as_ref().map(|run| run_item(run).unwrap());
        UpdateItemError::ConditionalCheckFailedException(ConditionalCheckFailedException::builder().set_item(item).build())
    });
    table!(rule).claim(&task, &lease).await.unwrap()
}

#[tokio::test]
async fn a_refused_claim_says_why() {
    let now_ms = clock().now().as_millisecond();
    let base = run();
    assert!(matches!(claim(None, 1).await, Claim::Refused(Refusal::Missing)));
    let newer = Run { epoch: 2, ..base.clone() };
    assert!(matches!(claim(Some(newer), 1).await, Claim::Refused(Refusal::Stale { current: 2, .. })));
    let held = Run { state: RunState::Running, lease_owner: Some("other".into()), lease_until_ms: now_ms + 1, ..base.clone() };
    assert!(matches!(claim(Some(held), 1).await, Claim::Refused(Refusal::Leased { .. })));
    let dead = Run { state: RunState::Dead, ..base.clone() };
    assert!(matches!(claim(Some(dead), 2).await, Claim::Refused(Refusal::Ended(RunState::Dead))));
    let done = Run { state: RunState::Completed, ..base };
    assert!(matches!(claim(Some(done), 1).await, Claim::Refused(Refusal::Ended(RunState::Completed))));
}

#[tokio::test]
async fn a_claim_raises_the_lease_and_knows_whether_a_worker_died() {
    let now = clock().now();
    let lease = Lease { owner: "me".into(), now, until: after(now, Duration::from_secs(60)), attempt: 2 };
    for (state, was_abandoned) in [(RunState::Queued, false), (RunState::Running, true)] {
        let stored = Run { state, lease_no: 4, lease_owner: (state == RunState::Running).then(|| "gone".into()), ..run() };
        let task = stored.task();
        let rule = mock!(aws_sdk_dynamodb::Client::update_item)
            .then_output(move || UpdateItemOutput::builder().set_attributes(Some(run_item(&stored).unwrap())).build());
        let Claim::Taken(claimed) = table!(rule).claim(&task, &lease).await.unwrap() else { panic!("refused") };
        assert_eq!((claimed.was_abandoned, claimed.run.lease_no, claimed.run.attempts), (was_abandoned, 5, 2));
    }
}

#[tokio::test]
async fn a_run_is_cancelled_even_if_its_conversation_is_somebody_elses() {
    let rule = mock!(aws_sdk_dynamodb::Client::transact_write_items)
        .sequence()
        .error(|| cancelled(&[("None", None), ("ConditionalCheckFailed", None)]))
        .output(|| TransactWriteItemsOutput::builder().build())
        .build();
    Records::cancel(&table!(rule), &run()).await.unwrap();
    assert_eq!(rule.num_calls(), 2);
}

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
    assert!(matches!(queue.start_move().await, Err(JournalError::Unavailable(_))));
}

#[tokio::test]
async fn a_second_move_while_one_runs_is_known_as_such() {
    let rule = mock!(aws_sdk_sqs::Client::start_message_move_task).then_error(|| {
        let text = "There is already a task running. Only one active task is allowed for a source queue arn at a given time.";
        StartMessageMoveTaskError::generic(ErrorMetadata::builder().code("InvalidParameterValue").message(text).build())
    });
    let queue = DeadLetters::with_client(mock_client!(aws_sdk_sqs, [&rule]), "q".into(), "arn".into());
    assert_eq!(queue.start_move().await.unwrap(), Move::AlreadyRunning);
}

#[tokio::test]
async fn a_throttled_transaction_is_tried_again() {
    let rule = mock!(aws_sdk_dynamodb::Client::transact_write_items)
        .sequence()
        .error(|| cancelled(&[("ThrottlingError", None)]))
        .error(|| cancelled(&[("None", None), ("ProvisionedThroughputExceeded", None)]))
        .output(|| TransactWriteItemsOutput::builder().build())
        .build();
    table!(rule).release(&run()).await.unwrap();
}
