//! What the adapters make of the services' answers, on the real clients with mocked transports.

mod bytes;
mod calls;
mod claims;
mod erasing;
mod events;
mod fleet;
mod queue;
mod reading;
mod wire;
mod writes;

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::CancellationReason;
use aws_sdk_dynamodb::types::error::TransactionCanceledException;

use super::items::Item;
use crate::domain::clock::Clock;
use crate::domain::message::{Message, ToolCall};
use crate::domain::run::Run;
use crate::domain::step::{FinishReason, ModelStep, Step, StepBody, ToolStep, Usage};
use crate::fakes::{FixedClock, a_run};

fn clock() -> FixedClock {
    FixedClock::at("2026-01-02T03:04:05Z")
}

fn run() -> Run {
    a_run(&"acme".parse().unwrap(), clock().now())
}

fn tool_step(index: u32, output: String) -> Step {
    let at = clock().now();
    let call = ToolCall { id: "c".into(), name: "clock".into(), arguments: serde_json::json!({}) };
    Step {
        index,
        started_at: at,
        ended_at: at,
        body: StepBody::Tool(ToolStep { call, output, is_error: false, full: None, stand_in: None }),
    }
}

fn model_step(index: u32, message: Message) -> Step {
    let at = clock().now();
    let (provider, model) = ("openai".into(), "m".into());
    let usage = Usage { input_tokens: 10, output_tokens: 5, ..Usage::default() };
    let body = ModelStep::new(provider, model, message, FinishReason::Stop, usage);
    Step { index, started_at: at, ended_at: at, body: StepBody::Model(body) }
}

/// A cancelled transaction: the code of each of its items, and what was there.
fn cancelled(codes: &[(&str, Option<Item>)]) -> TransactWriteItemsError {
    let reasons = codes.iter().map(|(code, item)| CancellationReason::builder().code(*code).set_item(item.clone()).build());
    let error = TransactionCanceledException::builder().set_cancellation_reasons(Some(reasons.collect())).build();
    TransactWriteItemsError::TransactionCanceledException(error)
}

/// A table whose calls end as the rules tell, one after the other.
macro_rules! table {
    ($($rule:expr),+) => {
        crate::aws::Table::with_client(
            aws_smithy_mocks::mock_client!(aws_sdk_dynamodb, aws_smithy_mocks::RuleMode::Sequential, [$(&$rule),+]),
            "t".into(),
        )
    };
}
use table;
