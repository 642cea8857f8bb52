//! What belongs to a run or a conversation, read back.

use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_smithy_mocks::mock;

use super::super::chunks::{PART, step_items};
use super::super::items::{Item, Key, archive_item, event_item, input_item, turn_item};
use super::{clock, model_step, run, table, tool_step};
use crate::domain::clock::Clock;
use crate::domain::event::AgentInput;
use crate::domain::id::RunId;
use crate::domain::message::Message;
use crate::domain::run::{Archive, Run};
use crate::domain::turn::{Turn, TurnEnd};
use crate::engine::ports::{Journal, JournalError};
use crate::fakes::an_event;
use crate::operate::Records;

fn page(items: Vec<Item>, next: Option<Item>) -> QueryOutput {
    QueryOutput::builder().set_items(Some(items)).set_last_evaluated_key(next).build()
}

fn some_key() -> Item {
    Key::run(&run().tenant, run().id).into_item()
}

#[tokio::test]
async fn a_journal_is_read_over_pages_that_end_within_a_step() {
    let run = Run { steps: 3, ..run() };
    let steps = [tool_step(1, "a".into()), tool_step(2, "b".repeat(2 * PART)), tool_step(3, "c".into())];
    let items: Vec<Item> = steps.iter().flat_map(|step| step_items(&run, step).unwrap()).collect();
    assert_eq!(items.len(), 5);
    let (first, rest) = (items[..2].to_vec(), items[2..].to_vec());
    let rule = mock!(aws_sdk_dynamodb::Client::query)
        .sequence()
        .output(move || page(first.clone(), Some(some_key())))
        .output(move || page(rest.clone(), None))
        .build();
    assert_eq!(table!(rule).steps(&run).await.unwrap(), steps);
}

#[tokio::test]
async fn a_limit_counts_steps_and_not_items() {
    let run = Run { steps: 3, ..run() };
    let steps = [tool_step(1, "a".repeat(2 * PART)), tool_step(2, "b".into())];
    let items: Vec<Item> = steps.iter().flat_map(|step| step_items(&run, step).unwrap()).collect();
    // The store cuts where the limit of items is, first 2, then the 2 parts that lack and 1 more step.
    let (first, rest) = (items[..2].to_vec(), items[2..4].to_vec());
    let begin = mock!(aws_sdk_dynamodb::Client::query)
        .match_requests(|query| query.limit() == Some(2))
        .then_output(move || page(first.clone(), Some(some_key())));
    let rest = mock!(aws_sdk_dynamodb::Client::query)
        .match_requests(|query| query.limit() == Some(2) && query.exclusive_start_key().is_some())
        .then_output(move || page(rest.clone(), Some(some_key())));
    let table = table!(begin, rest);
    assert_eq!(table.steps_after(&run.tenant, run.id, 0, 2).await.unwrap(), steps);
    assert_eq!((begin.num_calls(), rest.num_calls()), (1, 1));
}

#[tokio::test]
async fn a_journal_that_is_shorter_than_its_record_says_is_not_gone_on_with() {
    let run = Run { steps: 2, ..run() };
    let items = step_items(&run, &tool_step(1, "a".into())).unwrap();
    let rule = mock!(aws_sdk_dynamodb::Client::query).then_output(move || page(items.clone(), None));
    assert!(matches!(table!(rule).steps(&run).await, Err(JournalError::Unavailable(_))));
}

#[tokio::test]
async fn what_cannot_be_read_at_once_is_an_error_and_not_a_shorter_history() {
    let run = run();
    let rule = mock!(aws_sdk_dynamodb::Client::query).sequence().output(|| page(Vec::new(), Some(some_key()))).times(64).build();
    assert!(matches!(table!(rule).history(&run).await, Err(JournalError::Unavailable(_))));
}

#[tokio::test]
async fn history_is_the_turns_before_and_finds_a_long_answer_in_its_step() {
    let run = run();
    let turn = |id: RunId, question: &str| Turn::new(id, vec![Message::user(question)], run.created_at);
    let earlier = RunId::lower_bound(clock().now());
    let short = Turn { response: Some("short".into()), ended: Some(TurnEnd::Completed), ..turn(earlier, "one") };
    let long = Turn { response_step: Some(1), ended: Some(TurnEnd::Completed), ..turn(earlier, "two") };
    let rolled_back = Turn { ended: Some(TurnEnd::RolledBack), ..turn(earlier, "three") };
    let items: Vec<Item> = [&short, &long, &rolled_back, &turn(run.id, "now")].iter().map(|turn| turn_item(&run, turn).unwrap()).collect();
    let answer = "because ".repeat(50_000);
    let steps = step_items(&run, &model_step(1, Message::assistant(&answer))).unwrap();
    let turns = mock!(aws_sdk_dynamodb::Client::query).then_output(move || page(items.clone(), None));
    let step = mock!(aws_sdk_dynamodb::Client::query).then_output(move || page(steps.clone(), None));
    let expected = [Message::user("one"), Message::assistant("short"), Message::user("two"), Message::assistant(answer)];
    assert_eq!(table!(turns, step).history(&run).await.unwrap(), expected);
}

#[tokio::test]
async fn an_answer_that_is_not_where_its_turn_says_is_an_error_and_not_forgotten() {
    let run = run();
    let turn = Turn { response_step: Some(1), ..Turn::new(RunId::lower_bound(clock().now()), Vec::new(), run.created_at) };
    let item = turn_item(&run, &turn).unwrap();
    let turns = mock!(aws_sdk_dynamodb::Client::query).then_output(move || page(vec![item.clone()], None));
    let nothing = mock!(aws_sdk_dynamodb::Client::query).then_output(|| page(Vec::new(), None));
    assert!(matches!(table!(turns, nothing).history(&run).await, Err(JournalError::NotFound)));
}

#[tokio::test]
async fn a_run_of_a_trigger_has_its_own_input_and_any_other_its_events() {
    let run = run();
    let event = an_event(run.created_at);
    let item = event_item(&run.tenant, &event).unwrap();
    let rule = mock!(aws_sdk_dynamodb::Client::get_item)
        .match_requests(|get| get.key().unwrap()["sk"].as_s().unwrap() == "event")
        .then_output(move || GetItemOutput::builder().set_item(Some(item.clone())).build());
    assert_eq!(table!(rule).input(&run).await.unwrap().prompt, "why?");

    let triggered = Run { trigger: Some("t".into()), ..run };
    let input = AgentInput { prompt: "rendered".into(), ..AgentInput::default() };
    let item = input_item(&triggered, &input).unwrap();
    let rule = mock!(aws_sdk_dynamodb::Client::get_item)
        .match_requests(|get| get.key().unwrap()["sk"].as_s().unwrap() == "input")
        .then_output(move || GetItemOutput::builder().set_item(Some(item.clone())).build());
    assert_eq!(table!(rule).input(&triggered).await.unwrap(), input);
}

#[tokio::test]
async fn archives_are_read_only_where_there_are_any() {
    let run = run();
    let archive = Archive { index: 1, transitions: run.transitions.clone(), failures: Vec::new() };
    let item = archive_item(&run, &archive).unwrap();
    let rule = mock!(aws_sdk_dynamodb::Client::query).then_output(move || page(vec![item.clone()], None));
    let table = table!(rule);
    assert_eq!(table.archives(&run).await.unwrap(), []);
    assert_eq!(rule.num_calls(), 0);
    assert_eq!(table.archives(&Run { archives: 1, ..run }).await.unwrap(), [archive]);
}
