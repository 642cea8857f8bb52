//! What the probes read of the table, and what they keep in it for each other.
//!
//! | item | pk | sk |
//! |---|---|---|
//! | what the last probe found that asked the queues and the providers | `#probe` | `found` |
//!
//! It is written by one of the probes of a period, whoever claims it, and read by all: see the function `health`. The item is only as good
//! as the table that it comes from, so reading it never hides that the table is away.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::types::KeysAndAttributes;
use futures_util::future::try_join;
use jiff::Timestamp;

use super::items::{Item, Table, n, s};
use super::sweep::{HEARTBEAT, SWEEPER, WORKER};
use super::unavailable;
use crate::engine::Breakers;
use crate::engine::ports::JournalError;
use crate::heartbeat::{Arrival, Found, Marks, Seen};

const PROBE: &str = "#probe";
const FOUND: &str = "found";

impl Table {
    /// Marks, providers and what an earlier probe found: two calls, side by side.
    ///
    /// # Errors
    /// When the table does not answer, or something cannot be read.
    pub async fn seen(&self) -> Result<Seen, JournalError> {
        let ((marks, found), board) = try_join(self.signs(), self.board()).await?;
        Ok(Seen { marks, board, found })
    }

    /// The marks of the sweeper and the consumer, as the last ones left them.
    ///
    /// # Errors
    /// When the table does not answer, or a mark cannot be read.
    pub async fn marks(&self) -> Result<Marks, JournalError> {
        self.signs().await.map(|(marks, _)| marks)
    }

    /// Whether the caller is the one who asks the queues and the providers now: nobody has claimed that since `before`.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn claim_probe(&self, now: Timestamp, before: Timestamp) -> Result<bool, JournalError> {
        let claim = self.client.update_item().table_name(&self.name).key("pk", s(PROBE)).key("sk", s(FOUND));
        let claim = claim
            .update_expression("SET claimed_ms = :now")
            .condition_expression("attribute_not_exists(claimed_ms) OR claimed_ms <= :before")
            .expression_attribute_values(":now", n(now.as_millisecond()))
            .expression_attribute_values(":before", n(before.as_millisecond()));
        match claim.send().await {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => Ok(false),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Keeps what was found for the probes of this period.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn keep_found(&self, found: &Found) -> Result<(), JournalError> {
        let keep = self.client.update_item().table_name(&self.name).key("pk", s(PROBE)).key("sk", s(FOUND));
        let keep = keep
            // Not `found`: that is a reserved word.
            .update_expression("SET at_ms = :at, told = :told")
            .expression_attribute_values(":at", n(found.at.as_millisecond()))
            .expression_attribute_values(":told", s(found.text.as_str()));
        keep.send().await.map(|_| ()).map_err(unavailable)
    }

    async fn signs(&self) -> Result<(Marks, Option<Found>), JournalError> {
        let key = |pk: &str, sk: &str| Item::from([("pk".to_owned(), s(pk)), ("sk".to_owned(), s(sk))]);
        let keys = [(HEARTBEAT, SWEEPER), (HEARTBEAT, WORKER), (PROBE, FOUND)].map(|(pk, sk)| key(pk, sk));
        let keys = KeysAndAttributes::builder().set_keys(Some(keys.into())).build().map_err(unavailable)?;
        let answer = self.client.batch_get_item().request_items(&self.name, keys).send().await.map_err(unavailable)?;
        if answer.unprocessed_keys.is_some_and(|keys| !keys.is_empty()) {
            return Err(JournalError::Unavailable("the table did not read all marks".into()));
        }
        let (mut marks, mut found) = (Marks::default(), None);
        for item in answer.responses.unwrap_or_default().remove(&self.name).unwrap_or_default() {
            match item.get("sk").and_then(|sk| sk.as_s().ok()).map(String::as_str) {
                Some(SWEEPER) => {
                    marks.swept_at = Some(time_of(&item, "at")?);
                    marks.first_swept_at = time_of(&item, "first_at").ok();
                    // Another version may have written them. They are written anew with each tick: until then there are none.
                    let depths = item.get("depths").cloned().and_then(|depths| serde_dynamo::from_attribute_value(depths).ok());
                    marks.depths = depths.unwrap_or_default();
                    marks.oldest = item.get("oldest").cloned().and_then(|oldest| serde_dynamo::from_attribute_value(oldest).ok());
                }
                Some(WORKER) => marks.arrived = Some(Arrival { sent_at: time_of(&item, "sent_at")?, at: time_of(&item, "at")? }),
                Some(_) | None => found = found_of(&item),
            }
        }
        Ok((marks, found))
    }
}

/// `None` if it was claimed and not yet found.
fn found_of(item: &Item) -> Option<Found> {
    let at = Timestamp::from_millisecond(item.get("at_ms")?.as_n().ok()?.parse().ok()?).ok()?;
    Some(Found { at, text: item.get("told")?.as_s().ok()?.clone() })
}

fn time_of(item: &Item, name: &str) -> Result<Timestamp, JournalError> {
    let time = item.get(name).and_then(|value| value.as_s().ok()?.parse().ok());
    time.ok_or_else(|| JournalError::Unavailable("a mark of the heartbeat cannot be read".into()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemOutput;
    use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
    use aws_sdk_dynamodb::types::AttributeValue;
    use aws_sdk_dynamodb::types::error::ConditionalCheckFailedException;
    use aws_smithy_mocks::{RuleMode, mock, mock_client};

    use super::*;
    use crate::domain::clock::after;
    use crate::domain::id::RunId;
    use crate::heartbeat::{Depth, DepthAt, Heartbeats, Oldest, REMEMBERED, Standing};
    use crate::sweep::Tally;

    fn now() -> Timestamp {
        "2026-01-02T03:04:05.678Z".parse().unwrap()
    }

    fn item(sk: &str, fields: &[(&str, AttributeValue)]) -> Item {
        let keys = [("sk", s(sk))];
        keys.iter().chain(fields).map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    macro_rules! table {
        ($($rule:expr),+) => {
            Table::with_client(mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [$(&$rule),+]), "t".into())
        };
    }

    macro_rules! holding {
        ($items:expr) => {{
            let items: Vec<Item> = $items;
            mock!(aws_sdk_dynamodb::Client::batch_get_item)
                .match_requests(|get| get.request_items().is_some_and(|tables| tables["t"].keys().len() == 3))
                .then_output(move || BatchGetItemOutput::builder().responses("t", items.clone()).build())
        }};
    }

    #[tokio::test]
    async fn the_marks_are_read_as_they_were_written_and_a_fresh_table_has_none() {
        let (at, arrived) = (s("2026-01-02T03:04:05.678Z"), s("2026-01-02T03:04:05.742Z"));
        let depth = Depth { waiting: 3, in_flight: 2, delayed: 1 };
        let depths = serde_dynamo::to_attribute_value([DepthAt { at: now(), depth }]).unwrap();
        let oldest = Oldest { tenant: "acme".parse().unwrap(), run: RunId::new(now()), since: now() };
        let kept = serde_dynamo::to_attribute_value(&oldest).unwrap();
        let rule = holding!(vec![
            item("found", &[("at_ms", n(1_000)), ("told", s("{}"))]),
            item("worker", &[("at", arrived), ("sent_at", at.clone())]),
            item("sweeper", &[("at", at.clone()), ("first_at", at), ("depths", depths), ("oldest", kept)]),
        ]);
        let (marks, found) = table!(rule).signs().await.unwrap();
        let arrived = Arrival { sent_at: now(), at: after(now(), Duration::from_millis(64)) };
        assert_eq!(
            marks,
            Marks {
                first_swept_at: Some(now()),
                swept_at: Some(now()),
                depths: vec![DepthAt { at: now(), depth }],
                oldest: Some(oldest),
                arrived: Some(arrived),
            }
        );
        let odd = item("sweeper", &[("at", s("2026-01-02T03:04:05.678Z")), ("depths", s("of another version")), ("oldest", n(1))]);
        let (odd, _) = table!(holding!(vec![odd])).signs().await.unwrap();
        assert_eq!(odd, Marks { swept_at: Some(now()), ..Marks::default() }, "depths that cannot be read are none");
        assert_eq!(found, Some(Found { at: Timestamp::from_second(1).unwrap(), text: "{}".into() }));
        assert_eq!(table!(holding!(Vec::new())).signs().await.unwrap(), (Marks::default(), None));
        assert!(table!(holding!(vec![item("worker", &[])])).marks().await.is_err(), "a mark that says less is none");
        let claimed = table!(holding!(vec![item("found", &[("claimed_ms", n(1))])])).signs().await.unwrap();
        assert_eq!(claimed.1, None, "claimed, and not yet found");
    }

    #[tokio::test]
    async fn marks_that_could_not_all_be_read_are_no_marks() {
        let keys = KeysAndAttributes::builder().keys(HashMap::new()).build().unwrap();
        let rule = mock!(aws_sdk_dynamodb::Client::batch_get_item)
            .then_output(move || BatchGetItemOutput::builder().unprocessed_keys("t", keys.clone()).build());
        assert!(table!(rule).marks().await.is_err());
    }

    #[tokio::test]
    async fn one_probe_claims_a_period() {
        let before = Timestamp::from_millisecond(now().as_millisecond() - 3_000).unwrap();
        let won = mock!(aws_sdk_dynamodb::Client::update_item)
            .match_requests(|update| update.condition_expression().is_some_and(|condition| condition.contains("claimed_ms <= :before")))
            .then_output(|| UpdateItemOutput::builder().build());
        assert!(table!(won).claim_probe(now(), before).await.unwrap());
        let lost = mock!(aws_sdk_dynamodb::Client::update_item)
            .then_error(|| UpdateItemError::ConditionalCheckFailedException(ConditionalCheckFailedException::builder().build()));
        assert!(!table!(lost).claim_probe(now(), before).await.unwrap());
    }

    #[tokio::test]
    async fn the_mark_of_a_tick_says_when_and_what_and_keeps_the_last_depths() {
        let depth = |waiting| DepthAt { at: now(), depth: Depth { waiting, ..Depth::default() } };
        let before: Vec<DepthAt> = (0..REMEMBERED as u64).map(depth).collect();
        let held =
            item("sweeper", &[("at", s("2026-01-02T03:04:05.678Z")), ("depths", serde_dynamo::to_attribute_value(&before).unwrap())]);
        let said = |update: &aws_sdk_dynamodb::operation::update_item::UpdateItemInput, name: &str| {
            update.expression_attribute_values().and_then(|values| values.get(name)).cloned()
        };
        let resent = move |update: &aws_sdk_dynamodb::operation::update_item::UpdateItemInput| {
            let tally = said(update, ":tally");
            tally.and_then(|tally| tally.as_m().ok()?.get("resent")?.as_n().ok().cloned()).as_deref() == Some("2")
                && said(update, ":at") == Some(s("2026-01-02T03:04:05.678Z"))
        };
        let noted = mock!(aws_sdk_dynamodb::Client::update_item)
            .match_requests(move |update| {
                let depths: Option<Vec<DepthAt>> = said(update, ":depths").and_then(|value| serde_dynamo::from_attribute_value(value).ok());
                let waiting = depths.map(|depths| depths.iter().map(|depth| depth.depth.waiting).collect::<Vec<_>>());
                let is_forgotten = update.update_expression().is_some_and(|update| update.ends_with(" REMOVE oldest"));
                resent(update) && waiting == Some(vec![1, 2, 3, 4, 5, 99]) && is_forgotten
            })
            .then_output(|| UpdateItemOutput::builder().build());
        let tally = Tally { resent: 2, ..Tally::default() };
        let nobody_waits = Standing { depth: Some(depth(99).depth), oldest: None };
        table!(holding!(vec![held]), noted).swept(now(), &tally, Some(&nobody_waits)).await.unwrap();
        let kept = mock!(aws_sdk_dynamodb::Client::update_item)
            .match_requests(move |update| {
                let is_as_it_was = update.update_expression().is_some_and(|update| !update.contains("oldest"));
                resent(update) && said(update, ":depths").is_none() && is_as_it_was
            })
            .then_output(|| UpdateItemOutput::builder().build());
        table!(kept).swept(now(), &tally, None).await.unwrap();
        let oldest = Oldest { tenant: "acme".parse().unwrap(), run: RunId::new(now()), since: now() };
        let expected = serde_dynamo::to_attribute_value(&oldest).unwrap();
        let waiting = mock!(aws_sdk_dynamodb::Client::update_item)
            .match_requests(move |update| {
                resent(update) && said(update, ":depths").is_none() && said(update, ":oldest").as_ref() == Some(&expected)
            })
            .then_output(|| UpdateItemOutput::builder().build());
        table!(waiting).swept(now(), &tally, Some(&Standing { depth: None, oldest: Some(oldest) })).await.unwrap();
    }
}
