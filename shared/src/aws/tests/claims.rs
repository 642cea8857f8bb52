//! Leases: claimed, renewed, looked at.

use std::time::Duration;

use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::error::{ConditionalCheckFailedException, TransactionConflictException};
use aws_smithy_mocks::mock;

use super::super::items::{n, run_item, s};
use super::{clock, run, table};
use crate::domain::clock::{Clock, after};
use crate::domain::run::Run;
use crate::domain::state::RunState;
use crate::engine::ports::{Claim, Journal, JournalError, Lease, Refusal};

fn lease() -> Lease {
    let now = clock().now();
    Lease { owner: "me".into(), now, until: after(now, Duration::from_secs(60)), message: "m1".into(), sent_at: None }
}

fn refused(item: Option<super::Item>) -> UpdateItemError {
    UpdateItemError::ConditionalCheckFailedException(ConditionalCheckFailedException::builder().set_item(item).build())
}

/// How a claim of a task of epoch 1 ends when the store refuses it over that record.
async fn claim_refused_by(stored: Option<Run>) -> Refusal {
    let task = run().task();
    let stored = stored.map(|stored| Run { id: task.run, ..stored });
    let rule = mock!(aws_sdk_dynamodb::Client::update_item).then_error(move || refused(stored.as_ref().map(|run| run_item(run).unwrap())));
    match table!(rule).claim(&task, &lease()).await.unwrap() {
        Claim::Refused(refusal) => refusal,
        Claim::Taken(_) => panic!("taken"),
    }
}

#[tokio::test]
async fn a_refused_claim_says_why() {
    let now_ms = clock().now().as_millisecond();
    let base = run();
    assert_eq!(claim_refused_by(None).await, Refusal::Missing);
    let newer = Run { epoch: 2, ..base.clone() };
    assert_eq!(claim_refused_by(Some(newer)).await, Refusal::Stale { current: 2, state: RunState::Queued });
    let held = Run { state: RunState::Running, lease_owner: Some("other".into()), lease_until_ms: now_ms + 1, ..base.clone() };
    assert_eq!(claim_refused_by(Some(held.clone())).await, Refusal::Leased { until: held.lease_end() });
    for state in [RunState::Waiting, RunState::Completed, RunState::Failed, RunState::Cancelled] {
        assert_eq!(claim_refused_by(Some(Run { state, ..base.clone() })).await, Refusal::NotNow(state));
    }
    let dead = Run { state: RunState::Dead, message: Some("m1".into()), ..base };
    assert_eq!(claim_refused_by(Some(dead.clone())).await, Refusal::NotNow(RunState::Dead), "it is the message that it died of");
    let moved = Run { message: Some("m0".into()), ..dead };
    assert!(matches!(claim_refused_by(Some(moved)).await, Refusal::Redriven(_)));
}

#[tokio::test]
async fn a_claim_is_one_update_that_leaves_the_index_of_what_is_due_alone() {
    let stored = Run { lease_no: 4, attempts: 1, ..run() };
    let (task, old) = (stored.task(), stored.clone());
    let rule = mock!(aws_sdk_dynamodb::Client::update_item)
        .match_requests(|request| {
            let update = request.update_expression().unwrap();
            // What it removes is of the lease before.
            let update = update.strip_suffix(" REMOVE #renewals").unwrap();
            assert!(!update.contains("due") && !update.contains("gsi3") && !update.contains("REMOVE"), "{update}");
            assert_eq!(
                request.condition_expression().unwrap(),
                "#epoch = :epoch AND (#state = :state OR (#state = :state_ AND #lease_until_ms <= :lease_until_ms AND #lease_owner <> :lease_owner))"
            );
            let values = request.expression_attribute_values().unwrap();
            let (now, owner) = (n(clock().now().as_millisecond()), s("me"));
            assert_eq!((&values[":epoch"], &values[":state"], &values[":state_"]), (&n(1), &s("queued"), &s("running")));
            values[":lease_until_ms"] == now && values[":lease_owner"] == owner
        })
        .then_output(move || UpdateItemOutput::builder().set_attributes(Some(run_item(&old).unwrap())).build());
    let Claim::Taken(taken) = table!(rule).claim(&task, &lease()).await.unwrap() else { panic!("refused") };
    assert_eq!(rule.num_calls(), 1);
    assert_eq!(*taken, lease().take(stored), "the record as the claim leaves it");
    assert_eq!((taken.lease_no, taken.attempts, taken.abandoned, taken.transitions.len()), (5, 2, false, 2));
}

#[tokio::test]
async fn a_claim_of_a_run_whose_lease_lapsed_knows_that_a_worker_vanished() {
    let stored = Run { state: RunState::Running, lease_owner: Some("gone".into()), ..run() };
    let task = stored.task();
    let rule = mock!(aws_sdk_dynamodb::Client::update_item)
        .then_output(move || UpdateItemOutput::builder().set_attributes(Some(run_item(&stored).unwrap())).build());
    let Claim::Taken(taken) = table!(rule).claim(&task, &lease()).await.unwrap() else { panic!("refused") };
    assert!(taken.abandoned);
}

#[tokio::test]
async fn a_claim_that_the_transport_repeats_finds_itself_and_writes_nothing() {
    let stored = lease().take(run());
    let (task, found) = (stored.task(), stored.clone());
    let rule = mock!(aws_sdk_dynamodb::Client::update_item).then_error(move || refused(Some(run_item(&found).unwrap())));
    let Claim::Taken(taken) = table!(rule).claim(&task, &lease()).await.unwrap() else { panic!("refused") };
    assert_eq!(*taken, stored);
}

#[tokio::test]
async fn a_claim_and_a_renewal_that_meet_a_transaction_are_tried_again_and_not_for_ever() {
    let collides = || UpdateItemError::TransactionConflictException(TransactionConflictException::builder().build());
    let rule = |times| {
        let calls = mock!(aws_sdk_dynamodb::Client::update_item).sequence().error(collides).times(times);
        calls.output(|| UpdateItemOutput::builder().set_attributes(Some(run_item(&run()).unwrap())).build()).build()
    };
    let claims = rule(2);
    assert!(matches!(table!(claims).claim(&run().task(), &lease()).await.unwrap(), Claim::Taken(_)));
    let renews = rule(2);
    table!(renews).renew(&run(), clock().now()).await.unwrap();
    let never = rule(9);
    assert!(matches!(table!(never).renew(&run(), clock().now()).await, Err(JournalError::Unavailable(_))));
    assert_eq!((claims.num_calls(), renews.num_calls(), never.num_calls()), (3, 3, 6));
}

#[tokio::test]
async fn a_renewal_names_the_lease_and_a_refused_one_means_that_it_is_lost() {
    let held = Run { state: RunState::Running, lease_no: 5, ..run() };
    let until = after(clock().now(), Duration::from_secs(90));
    let rule = mock!(aws_sdk_dynamodb::Client::update_item)
        .match_requests(|request| {
            request.update_expression()
                == Some("SET #lease_until_ms = :lease_until_ms_, #renewals = if_not_exists(#renewals, :zero) + :one")
                && request.condition_expression()
                    == Some("#state = :state AND #lease_no = :lease_no AND #lease_until_ms <= :lease_until_ms")
                && request.expression_attribute_values().unwrap()[":lease_no"] == n(5)
        })
        .then_output(|| UpdateItemOutput::builder().build());
    table!(rule).renew(&held, until).await.unwrap();
    let rule = mock!(aws_sdk_dynamodb::Client::update_item).then_error(|| refused(None));
    assert!(matches!(table!(rule).renew(&held, until).await, Err(JournalError::Lost)));
}

#[tokio::test]
async fn a_look_at_the_lease_reads_two_attributes_and_sees_who_has_it() {
    let held = Run { state: RunState::Running, lease_no: 5, ..run() };
    for (state, lease_no, expected) in [("running", 5, true), ("running", 6, false), ("cancelled", 5, false)] {
        let rule = mock!(aws_sdk_dynamodb::Client::get_item)
            .match_requests(|get| {
                get.projection_expression() == Some("#state, lease_no, watched_until_ms") && get.consistent_read() == Some(true)
            })
            .then_output(move || GetItemOutput::builder().item("state", s(state)).item("lease_no", n(lease_no)).build());
        assert_eq!(table!(rule).look(&held).await.unwrap().is_held, expected, "{state} {lease_no}");
    }
    let rule = mock!(aws_sdk_dynamodb::Client::get_item).then_output(|| GetItemOutput::builder().build());
    assert!(!table!(rule).look(&held).await.unwrap().is_held, "a run that was deleted is nobody's");
}
