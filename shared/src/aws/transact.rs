//! Transactions: all of their items or none, and what is tried again.

use std::time::Duration;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::{Delete, Put, ReturnValuesOnConditionCheckFailure as OnFailure, TransactWriteItem, Update};

use super::expression::Expression;
use super::items::{Item, Key, Table};
use super::unavailable;
use crate::engine::ports::JournalError;

/// A transaction that collided with another, or was throttled, had no effect, and the SDK does not look into its reasons: it is
/// tried again so often, after a back-off that doubles from this.
const TRIES: u32 = 6;
const BACKOFF: Duration = Duration::from_millis(50);
/// Another transaction was at work on one of the items.
const COLLIDED: &str = "TransactionConflict";
/// The table had no capacity for it.
const THROTTLED: [&str; 3] = ["ThrottlingError", "ProvisionedThroughputExceeded", "RequestLimitExceeded"];

/// Why a transaction was not carried out.
pub(super) enum Refused {
    /// The condition of the item with this index failed; the item as it is, if asked for.
    Condition(usize, Option<Item>),
    /// The table could not be reached.
    Error(JournalError),
}

impl From<JournalError> for Refused {
    fn from(error: JournalError) -> Self {
        Self::Error(error)
    }
}

/// How long to wait before the next try.
pub(super) fn backoff(attempt: u32) -> Duration {
    BACKOFF.saturating_mul(1 << attempt.min(10)).mul_f64(fastrand::f64())
}

/// `result` of a builder whose required fields are all set here.
fn built<T>(result: Result<T, aws_sdk_dynamodb::error::BuildError>) -> Result<T, JournalError> {
    result.map_err(unavailable)
}

impl Table {
    /// All of these or none.
    pub(super) async fn transact(&self, items: Vec<TransactWriteItem>) -> Result<(), Refused> {
        for attempt in 1.. {
            // The SDK adds a token, so that its own retries of one call have one effect.
            let sent = self.client.transact_write_items().set_transact_items(Some(items.clone())).send().await;
            let error = match sent {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            let reasons = match &error {
                SdkError::ServiceError(e) => match e.err() {
                    TransactWriteItemsError::TransactionCanceledException(e) => e.cancellation_reasons(),
                    _ => &[],
                },
                _ => &[],
            };
            if let Some(index) = reasons.iter().position(|reason| reason.code() == Some("ConditionalCheckFailed")) {
                return Err(Refused::Condition(index, reasons[index].item().cloned()));
            }
            let codes = || reasons.iter().filter_map(|reason| reason.code());
            let is_throttled = codes().any(|code| THROTTLED.contains(&code));
            let will_pass = is_throttled || codes().any(|code| code == COLLIDED);
            if !will_pass || attempt >= TRIES {
                // A refusal for reasons of its own is an answer to the SDK, which counts all others. Collisions say nothing of the table.
                if is_throttled {
                    self.meter.store_error();
                }
                return Err(unavailable(error).into());
            }
            tokio::time::sleep(backoff(attempt)).await;
        }
        unreachable!("the loop returns")
    }

    /// One update. A transaction at work on the same item refuses it, which is over in a moment; the SDK takes that for final.
    pub(super) async fn update_alone(&self, update: UpdateItemFluentBuilder) -> Result<UpdateItemOutput, SdkError<UpdateItemError>> {
        for attempt in 1..TRIES {
            match update.clone().send().await {
                Err(SdkError::ServiceError(error)) if error.err().is_transaction_conflict_exception() => {
                    tokio::time::sleep(backoff(attempt)).await;
                }
                other => return other,
            }
        }
        update.send().await
    }

    /// Puts a whole item, on the expression's condition.
    pub(super) fn put(&self, item: Item, expression: Expression) -> Result<TransactWriteItem, JournalError> {
        let parts = expression.into_parts();
        let put = Put::builder()
            .table_name(&self.name)
            .set_item(Some(item))
            .set_condition_expression(parts.condition)
            .set_expression_attribute_names(parts.names)
            .set_expression_attribute_values(parts.values);
        Ok(TransactWriteItem::builder().put(built(put.build())?).build())
    }

    /// The same; a refusal says what is there.
    pub(super) fn put_or_tell(&self, item: Item, expression: Expression) -> Result<TransactWriteItem, JournalError> {
        let mut write = self.put(item, expression)?;
        if let Some(put) = &mut write.put {
            put.return_values_on_condition_check_failure = Some(OnFailure::AllOld);
        }
        Ok(write)
    }

    /// Puts an item that is not there yet.
    pub(super) fn put_new(&self, item: Item) -> Result<TransactWriteItem, JournalError> {
        self.put(item, Expression::default().if_absent("pk"))
    }

    /// Changes an item, on the expression's condition.
    pub(super) fn update(&self, key: Key, expression: Expression) -> Result<TransactWriteItem, JournalError> {
        let parts = expression.into_parts();
        let update = Update::builder()
            .table_name(&self.name)
            .set_key(Some(key.into_item()))
            .update_expression(parts.update)
            .set_condition_expression(parts.condition)
            .set_expression_attribute_names(parts.names)
            .set_expression_attribute_values(parts.values);
        Ok(TransactWriteItem::builder().update(built(update.build())?).build())
    }

    /// The same; a refusal says what is there.
    pub(super) fn update_or_tell(&self, key: Key, expression: Expression) -> Result<TransactWriteItem, JournalError> {
        let mut write = self.update(key, expression)?;
        if let Some(update) = &mut write.update {
            update.return_values_on_condition_check_failure = Some(OnFailure::AllOld);
        }
        Ok(write)
    }

    /// Removes an item, if it is there.
    pub(super) fn delete(&self, key: Key) -> Result<TransactWriteItem, JournalError> {
        let delete = Delete::builder().table_name(&self.name).set_key(Some(key.into_item()));
        Ok(TransactWriteItem::builder().delete(built(delete.build())?).build())
    }
}
