//! Breakers, and what operators say of providers, in DynamoDB.
//!
//! | item | pk | sk |
//! |---|---|---|
//! | breaker | `#providers` | `breaker#<provider>::<model>` |
//! | what is switched off | `#providers` | `disabled#<name>` |
//! | pin | `#providers` | `pin` |
//! | failures of one window | `#failures#<provider>::<model>` | `<version>#<window>` |
//!
//! The first three are read together, by one query, and written only when something changes. Counts stand apart, in a partition for
//! each model (ADR 0020 has the arithmetic). No tenant has these keys: `#` ends every tenant's part of one.

use async_trait::async_trait;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::items::{Item, Table, n, s};
use super::unavailable;
use crate::domain::board::{Board, Disabled, Pin};
use crate::domain::breaker::{Breaker, Tally};
use crate::domain::definition::ModelRef;
use crate::engine::Breakers;
use crate::engine::ports::JournalError;
use crate::operate::Switches;

const PROVIDERS: &str = "#providers";
const BREAKER: &str = "breaker#";
const DISABLED: &str = "disabled#";
const PIN: &str = "pin";
/// Seconds for which a count is kept: longer than any window.
const KEPT: i64 = 2 * 3_600;

impl Table {
    async fn read_board(&self, consistent: bool) -> Result<Board, JournalError> {
        let query = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", s(PROVIDERS))
            .consistent_read(consistent);
        let mut board = Board::default();
        let mut start = None;
        loop {
            let page = query.clone().set_exclusive_start_key(start).send().await.map_err(unavailable)?;
            for item in page.items.unwrap_or_default() {
                let sk = item.get("sk").and_then(|sk| sk.as_s().ok()).map(String::as_str).unwrap_or_default();
                if sk.starts_with(BREAKER) {
                    let breaker: Breaker = body(&item)?;
                    board.breakers.insert(breaker.target.clone(), breaker);
                } else if sk.starts_with(DISABLED) {
                    board.disabled.push(body(&item)?);
                } else if sk == PIN {
                    board.pin = Some(body(&item)?);
                }
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(board);
            }
        }
    }

    async fn put_word(&self, sk: String, word: &impl Serialize) -> Result<(), JournalError> {
        let put = self.client.put_item().table_name(&self.name).set_item(Some(item(sk, word)?));
        put.send().await.map(|_| ()).map_err(unavailable)
    }

    async fn forget_word(&self, sk: String) -> Result<(), JournalError> {
        let delete = self.client.delete_item().table_name(&self.name).key("pk", s(PROVIDERS)).key("sk", s(sk));
        delete.send().await.map(|_| ()).map_err(unavailable)
    }
}

fn item(sk: String, word: &impl Serialize) -> Result<Item, JournalError> {
    let body = serde_json::to_string(word).map_err(unavailable)?;
    Ok(Item::from([("pk".to_owned(), s(PROVIDERS)), ("sk".to_owned(), s(sk)), ("body".to_owned(), s(body))]))
}

fn body<T: DeserializeOwned>(item: &Item) -> Result<T, JournalError> {
    let text = item.get("body").and_then(|body| body.as_s().ok()).map(String::as_str).unwrap_or_default();
    serde_json::from_str(text).map_err(unavailable)
}

#[async_trait]
impl Breakers for Table {
    async fn board(&self) -> Result<Board, JournalError> {
        self.read_board(false).await
    }

    async fn change(&self, breaker: &Breaker) -> Result<bool, JournalError> {
        let mut item = item(format!("{BREAKER}{}", breaker.target), breaker)?;
        item.insert("version".to_owned(), n(breaker.version));
        let before = breaker.version.saturating_sub(1);
        let condition = if before == 0 { "attribute_not_exists(pk)" } else { "version = :before" };
        let mut put = self.client.put_item().table_name(&self.name).set_item(Some(item)).condition_expression(condition);
        if before > 0 {
            put = put.expression_attribute_values(":before", n(before));
        }
        match put.send().await {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => Ok(false),
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn count(&self, model: &ModelRef, version: u64, window: i64, tally: Tally, now: Timestamp) -> Result<Tally, JournalError> {
        let update = self
            .client
            .update_item()
            .table_name(&self.name)
            .key("pk", s(format!("#failures#{model}")))
            .key("sk", s(format!("{version}#{window}")))
            .update_expression("ADD calls :calls, points :points SET expires_at = :expires_at")
            .expression_attribute_values(":calls", n(tally.calls))
            .expression_attribute_values(":points", n(tally.points))
            .expression_attribute_values(":expires_at", n(now.as_second() + KEPT))
            .return_values(ReturnValue::AllNew);
        let found = update.send().await.map_err(unavailable)?.attributes.unwrap_or_default();
        let number = |name: &str| found.get(name).and_then(|value: &AttributeValue| value.as_n().ok()?.parse().ok());
        match (number("calls"), number("points")) {
            (Some(calls), Some(points)) => Ok(Tally { calls, points }),
            _ => Err(JournalError::Unavailable("a count of failures cannot be read".into())),
        }
    }
}

#[async_trait]
impl Switches for Table {
    async fn board_now(&self) -> Result<Board, JournalError> {
        self.read_board(true).await
    }

    async fn disable(&self, disabled: &Disabled) -> Result<(), JournalError> {
        self.put_word(format!("{DISABLED}{}", disabled.name), disabled).await
    }

    async fn enable(&self, name: &str) -> Result<(), JournalError> {
        self.forget_word(format!("{DISABLED}{name}")).await
    }

    async fn pin(&self, pin: Option<&Pin>) -> Result<(), JournalError> {
        match pin {
            Some(pin) => self.put_word(PIN.to_owned(), pin).await,
            None => self.forget_word(PIN.to_owned()).await,
        }
    }
}
