//! Lists of conditional writes.

use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsOutput;
use aws_sdk_dynamodb::types::TransactWriteItem;
use aws_smithy_mocks::mock;

use super::super::chunks::PART;
use super::super::items::{Item, conversation_item, key_item, n, s};
use super::{cancelled, clock, run, table, tool_step};
use crate::domain::clock::Clock;
use crate::domain::conversation::Conversation;
use crate::domain::id::{ConversationId, RunId};
use crate::domain::idempotency::{KeyOutcome, RequestKey, UsedKey};
use crate::domain::run::Run;
use crate::domain::spend::Spend;
use crate::domain::state::RunState;
use crate::domain::turn::{Turn, TurnEnd};
use crate::engine::ports::{Answer, ConversationWrite, Found, Guard, Journal, Mark, Write, WriteError};

const REFUSED: &str = "ConditionalCheckFailed";

/// The items that a list of writes becomes.
async fn items_of(writes: &[Write<'_>]) -> Vec<TransactWriteItem> {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let seen = sent.clone();
    let rule = mock!(aws_sdk_dynamodb::Client::transact_write_items)
        .match_requests(move |request| {
            *seen.lock().unwrap() = request.transact_items().to_vec();
            true
        })
        .then_output(|| TransactWriteItemsOutput::builder().build());
    table!(rule).write(writes).await.unwrap();
    assert_eq!(rule.num_calls(), 1, "a list of writes is one call");
    let items = sent.lock().unwrap();
    items.clone()
}

/// The condition of an item, with its names and values in the place of their aliases.
fn condition(item: &TransactWriteItem) -> String {
    let (text, names, values) = match (&item.put, &item.update) {
        (Some(put), _) => (put.condition_expression(), put.expression_attribute_names(), put.expression_attribute_values()),
        (_, Some(update)) => (update.condition_expression(), update.expression_attribute_names(), update.expression_attribute_values()),
        _ => panic!("neither put nor update"),
    };
    spelled_out(text.unwrap(), names, values)
}

fn spelled_out(text: &str, names: Option<&std::collections::HashMap<String, String>>, values: Option<&Item>) -> String {
    let mut aliases: Vec<(String, String)> = names.into_iter().flatten().map(|(alias, name)| (alias.clone(), name.clone())).collect();
    aliases.extend(values.into_iter().flatten().map(|(alias, value)| {
        let value = value.as_s().or_else(|_| value.as_n()).cloned().unwrap_or_else(|_| format!("{value:?}"));
        (alias.clone(), value)
    }));
    // The longest first: one alias may be the beginning of another.
    aliases.sort_by_key(|(alias, _)| std::cmp::Reverse(alias.len()));
    aliases.iter().fold(text.to_owned(), |text, (alias, name)| text.replace(alias, name))
}

fn conversation_of(run: &Run) -> Conversation {
    Conversation { id: run.conversation, ..Conversation::new(run.conversation, run.id, run.created_at) }
}

fn used_key() -> UsedKey {
    let key = RequestKey { digest: "d1".into(), fingerprint: "f1".into() };
    UsedKey::new(&key, KeyOutcome::Run(run().id), clock().now())
}

#[tokio::test]
async fn the_record_of_a_run_is_written_only_over_the_one_that_was_read() {
    let run = Run { state: RunState::Running, epoch: 3, lease_no: 7, lease_until_ms: 99, steps: 4, due_ms: Some(55), ..run() };
    let ended = Run { due_ms: None, ..run.clone() };
    let (held, new) = (Guard::Held { lease_no: 7, steps: 4 }, Guard::New);
    for (guard, expected) in [
        (new, "attribute_not_exists(pk)".to_owned()),
        (held, "state = running AND lease_no = 7 AND steps = 4".to_owned()),
        (
            Guard::Seen(run.seen()),
            "state = running AND epoch = 3 AND lease_no = 7 AND lease_until_ms = 99 AND steps = 4 AND due_ms = 55".to_owned(),
        ),
        (
            Guard::Seen(ended.seen()),
            "state = running AND epoch = 3 AND lease_no = 7 AND lease_until_ms = 99 AND steps = 4 AND attribute_not_exists(due_ms)"
                .to_owned(),
        ),
    ] {
        assert_eq!(condition(&items_of(&[Write::Run(&run, guard)]).await[0]), expected, "{guard:?}");
    }
}

#[tokio::test]
async fn a_step_counts_itself_on_condition_that_it_is_the_next_one_of_the_lease() {
    let run = Run { state: RunState::Running, lease_no: 7, steps: 4, attempts: 1, cost_micros: None, ..run() };
    let step = tool_step(5, "noon".into());
    let items = items_of(&[Write::Progress(&run, &step), Write::Step(&run, &step)]).await;
    assert_eq!(condition(&items[0]), "state = running AND lease_no = 7 AND steps = 4");
    let update = items[0].update().unwrap();
    let text = spelled_out(update.update_expression(), update.expression_attribute_names(), None);
    assert_eq!(
        text, "SET steps = :steps_, usage = :usage, attempts = :attempts, updated_at = :updated_at REMOVE cost_micros, abandoned",
        "a cost that is not known any more goes, and so does the mark of a worker that vanished; nothing else is touched"
    );
    assert_eq!(update.expression_attribute_values().unwrap()[":steps_"], n(5));
    assert_eq!(condition(&items[1]), "attribute_not_exists(pk)");
    let vanished = Run { abandoned: true, cost_micros: Some(12), ..run };
    let items = items_of(&[Write::Progress(&vanished, &step)]).await;
    let update = items[0].update().unwrap();
    assert!(spelled_out(update.update_expression(), update.expression_attribute_names(), None).contains("abandoned = :abandoned"));
}

#[tokio::test]
async fn what_a_run_adds_is_written_once() {
    let mut run = run();
    run.transitions = vec![run.transitions[0].clone(); 11];
    let archive = run.spill().unwrap();
    let input = crate::domain::event::AgentInput::default();
    let turn = Turn::new(run.id, Vec::new(), run.created_at);
    let event = crate::fakes::an_event(run.created_at);
    let writes = [Write::Archive(&run, &archive), Write::Input(&run, &input), Write::Event(&run.tenant, &event), Write::Turn(&run, &turn)];
    let items = items_of(&writes).await;
    let sort_keys: Vec<&str> = items.iter().map(|item| item.put().unwrap().item()["sk"].as_s().unwrap().as_str()).collect();
    assert_eq!(sort_keys, ["archive#000001", "input", "event", &format!("turn#{}", run.id)]);
    assert!(items.iter().all(|item| condition(item) == "attribute_not_exists(pk)"));
}

#[tokio::test]
async fn a_turn_ends_where_it_is_and_says_where_a_long_answer_stands() {
    let run = run();
    for (answer, attribute) in [
        (None, None),
        (Some(Answer::Text("because")), Some(("response", s("because")))),
        (Some(Answer::InStep(3)), Some(("response_step", n(3)))),
    ] {
        let items = items_of(&[Write::EndTurn(&run, TurnEnd::RolledBack, answer)]).await;
        assert_eq!(condition(&items[0]), "attribute_exists(pk)");
        let values = items[0].update().unwrap().expression_attribute_values().unwrap();
        assert_eq!(values[":ended"], s("rolled_back"));
        assert_eq!(values.len(), 1 + usize::from(attribute.is_some()));
        assert!(attribute.is_none_or(|(name, value)| values[&format!(":{name}")] == value));
    }
}

#[tokio::test]
async fn a_conversation_is_taken_left_and_written_only_as_the_port_says() {
    let run = run();
    let conversation = Conversation { version: 8, ..conversation_of(&run) };
    let id = run.id;
    for (write, expected) in [
        (ConversationWrite::Open(&conversation), "attribute_not_exists(pk)".to_owned()),
        (
            ConversationWrite::TakeFree(&run),
            format!(
                "attribute_exists(pk) AND attribute_not_exists(active_run) AND attribute_not_exists(is_being_deleted) AND \
                 (attribute_not_exists(last_run) OR last_run < {id})"
            ),
        ),
        (ConversationWrite::LeaveAlone(&run, Spend::NONE), format!("active_run = {id} AND attribute_not_exists(line)")),
        (ConversationWrite::Put(&conversation), "version = 7".to_owned()),
    ] {
        let items = items_of(&[Write::Conversation(&run.tenant, write)]).await;
        assert_eq!(condition(&items[0]), expected);
    }
}

#[tokio::test]
async fn the_first_write_that_was_refused_is_named_whatever_the_ones_before_it_became() {
    let run = Run { state: RunState::Running, lease_no: 1, ..run() };
    let step = tool_step(1, "x".repeat(2 * PART));
    let stored = Conversation { line: vec![RunId::new(clock().now())], ..conversation_of(&run) };
    let item = conversation_item(&run.tenant, &stored).unwrap();
    let rule = mock!(aws_sdk_dynamodb::Client::transact_write_items).then_error(move || {
        // The step is three items.
        cancelled(&[("None", None), ("None", None), ("None", None), ("None", None), (REFUSED, Some(item.clone()))])
    });
    let leave = Write::Conversation(&run.tenant, ConversationWrite::LeaveAlone(&run, Spend::NONE));
    let writes = [Write::Run(&run, Guard::Held { lease_no: 1, steps: 0 }), Write::Step(&run, &step), leave];
    match table!(rule).write(&writes).await {
        Err(WriteError::Refused { index: 2, found: Found::Conversation(found) }) => assert_eq!(*found, stored),
        other => panic!("{other:?}"),
    }
    let rule =
        mock!(aws_sdk_dynamodb::Client::transact_write_items).then_error(|| cancelled(&[("None", None), ("None", None), (REFUSED, None)]));
    assert!(
        matches!(table!(rule).write(&writes).await, Err(WriteError::Refused { index: 1, found: Found::Nothing })),
        "a part of the step"
    );
    assert_eq!(rule.num_calls(), 1, "what was refused is not tried again");
}

#[tokio::test]
async fn a_key_that_counts_tells_what_it_was_used_for() {
    let used = used_key();
    let tenant = run().tenant;
    let item = key_item(&tenant, &used).unwrap();
    let rule = mock!(aws_sdk_dynamodb::Client::transact_write_items).then_error(move || cancelled(&[(REFUSED, Some(item.clone()))]));
    let new = UsedKey { fingerprint: "other".into(), ..used.clone() };
    match table!(rule).write(&[Write::Key(&tenant, &new)]).await {
        Err(WriteError::Refused { index: 0, found: Found::Key(found) }) => assert_eq!(found, used),
        other => panic!("{other:?}"),
    }
    let items = items_of(&[Write::Key(&tenant, &new)]).await;
    let now = new.created_at.as_second();
    assert_eq!(condition(&items[0]), format!("(attribute_not_exists(pk) OR expires_at <= {now})"), "the table removes it days late");
    assert_eq!(items[0].put().unwrap().item()["expires_at"], n(now + 86_400), "the table's time to live is in seconds");
}

fn mark() -> Mark {
    Mark { key: "m".into(), limit: 3, now: clock().now(), expires_at: clock().now().as_second() + 60 }
}

fn marked(count: u32, expires_in: i64) -> Item {
    [("count".to_owned(), n(count)), ("expires_at".to_owned(), n(clock().now().as_second() + expires_in))].into()
}

#[tokio::test]
async fn a_mark_is_refused_at_its_limit() {
    let rule = mock!(aws_sdk_dynamodb::Client::transact_write_items).then_error(|| cancelled(&[(REFUSED, Some(marked(3, 1)))]));
    let (tenant, mark) = (run().tenant, mark());
    assert!(matches!(
        table!(rule).write(&[Write::Mark(&tenant, &mark)]).await,
        Err(WriteError::Refused { index: 0, found: Found::Nothing })
    ));
    assert_eq!(rule.num_calls(), 1);
    let now = mark.now.as_second();
    let expected = format!("(attribute_not_exists(pk) OR (expires_at > {now} AND count < 3))");
    assert_eq!(condition(&items_of(&[Write::Mark(&tenant, &mark)]).await[0]), expected);
}

#[tokio::test]
async fn a_mark_whose_window_is_over_begins_its_next_one() {
    let began_anew = |request: &aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsInput| {
        let update = request.transact_items()[0].update().unwrap();
        condition(&request.transact_items()[0]).starts_with("expires_at <= ")
            && update.expression_attribute_values().unwrap()[":count"] == n(1)
    };
    let old = mock!(aws_sdk_dynamodb::Client::transact_write_items).then_error(|| cancelled(&[(REFUSED, Some(marked(3, 0)))]));
    let new = mock!(aws_sdk_dynamodb::Client::transact_write_items)
        .match_requests(began_anew)
        .then_output(|| TransactWriteItemsOutput::builder().build());
    let (tenant, mark) = (run().tenant, mark());
    table!(old, new).write(&[Write::Mark(&tenant, &mark)]).await.unwrap();
    assert_eq!((old.num_calls(), new.num_calls()), (1, 1));
    // Another writer begins it first, and it is full at once: the limit holds.
    let old = mock!(aws_sdk_dynamodb::Client::transact_write_items).then_error(|| cancelled(&[(REFUSED, Some(marked(3, 0)))]));
    let full = mock!(aws_sdk_dynamodb::Client::transact_write_items)
        .sequence()
        .error(|| cancelled(&[(REFUSED, Some(marked(3, 60)))]))
        .times(2)
        .build();
    assert!(matches!(table!(old, full).write(&[Write::Mark(&tenant, &mark)]).await, Err(WriteError::Refused { index: 0, .. })));
}

#[tokio::test]
async fn a_collision_or_a_throttle_is_tried_again_and_not_for_ever() {
    let run = run();
    let write = [Write::Run(&run, Guard::Seen(run.seen()))];
    for code in ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"] {
        let rule = mock!(aws_sdk_dynamodb::Client::transact_write_items)
            .sequence()
            .error(move || cancelled(&[("None", None), (code, None)]))
            .times(2)
            .output(|| TransactWriteItemsOutput::builder().build())
            .build();
        table!(rule).write(&write).await.unwrap();
        assert_eq!(rule.num_calls(), 3);
    }
    let rule = mock!(aws_sdk_dynamodb::Client::transact_write_items)
        .sequence()
        .error(|| cancelled(&[("TransactionConflict", None)]))
        .times(9)
        .build();
    assert!(matches!(table!(rule).write(&write).await, Err(WriteError::Unavailable(_))));
    assert_eq!(rule.num_calls(), 6);
    let rule =
        mock!(aws_sdk_dynamodb::Client::transact_write_items).sequence().error(|| cancelled(&[("ValidationError", None)])).times(2).build();
    assert!(matches!(table!(rule).write(&write).await, Err(WriteError::Unavailable(_))), "no condition has failed");
    assert_eq!(rule.num_calls(), 1, "it will not pass by itself");
}

#[tokio::test]
async fn nothing_to_write_is_no_call() {
    let rule = mock!(aws_sdk_dynamodb::Client::transact_write_items).then_output(|| TransactWriteItemsOutput::builder().build());
    table!(rule).write(&[]).await.unwrap();
    assert_eq!(rule.num_calls(), 0);
}

#[tokio::test]
async fn records_of_a_conversation_are_its_tenants() {
    let run = run();
    let other = ConversationId::new(clock().now());
    let conversation = Conversation::new(other, run.id, run.created_at);
    let items = items_of(&[Write::Conversation(&run.tenant, ConversationWrite::Open(&conversation))]).await;
    assert_eq!(items[0].put().unwrap().item()["pk"], s(format!("acme#conv#{other}")));
}
