//! Poison letters in DynamoDB.
//!
//! | item | pk | sk |
//! |---|---|---|
//! | what is known of a letter | `#letters#<partition>` | `<letter>` |
//! | its text | `#letter#<letter>` | `body` |
//!
//! They stand apart, because a list reads the first and not the second, which may have 300 KB. No tenant has these keys: `#` ends every
//! tenant's part of one.

use async_trait::async_trait;
use aws_sdk_dynamodb::error::SdkError;
use futures_util::future::try_join_all;

use super::items::{Item, Key, SHARDS, Table, n, s};
use super::query::{PAGES, Stretch};
use super::unavailable;
use crate::domain::id::LetterId;
use crate::engine::ports::JournalError;
use crate::letters::{LetterBook, LetterRecord};

fn record_key(id: LetterId) -> Key {
    Key { pk: format!("#letters#{}", id.shard(SHARDS)), sk: id.to_string() }
}

fn body_key(id: LetterId) -> Key {
    Key { pk: format!("#letter#{id}"), sk: "body".into() }
}

fn record_of(item: Item) -> Result<LetterRecord, JournalError> {
    serde_dynamo::from_item(item).map_err(unavailable)
}

#[async_trait]
impl LetterBook for Table {
    async fn letter(&self, id: LetterId) -> Result<Option<LetterRecord>, JournalError> {
        self.get(record_key(id)).await?.map(record_of).transpose()
    }

    async fn body(&self, id: LetterId) -> Result<Option<String>, JournalError> {
        Ok(self.get(body_key(id)).await?.and_then(|item| item.get("body")?.as_s().ok().cloned()))
    }

    async fn keep(&self, record: &LetterRecord, body: &str) -> Result<(), JournalError> {
        let mut item = body_key(record.id).into_item();
        item.insert("body".into(), s(body));
        // Not renewed with the record: the queues do not keep a message for as long.
        item.insert("expires_at".into(), n(record.expires_at));
        self.client.put_item().table_name(&self.name).set_item(Some(item)).send().await.map(|_| ()).map_err(unavailable)
    }

    async fn put_letter(&self, record: &LetterRecord) -> Result<bool, JournalError> {
        let mut item: Item = serde_dynamo::to_item(record).map_err(unavailable)?;
        item.extend(record_key(record.id).into_item());
        let before = record.version.saturating_sub(1);
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

    async fn letters(&self, limit: usize) -> Result<Vec<LetterRecord>, JournalError> {
        let each = limit.div_ceil(usize::from(SHARDS));
        let shards = (0..SHARDS).map(|shard| self.letters_of(shard, each));
        Ok(try_join_all(shards).await?.into_iter().flatten().collect())
    }
}

impl Table {
    async fn letters_of(&self, shard: u8, limit: usize) -> Result<Vec<LetterRecord>, JournalError> {
        let pk = format!("#letters#{shard}");
        let (mut letters, mut from): (Vec<LetterRecord>, _) = (Vec::new(), LetterId::PREFIX.to_owned());
        for _ in 0..PAGES {
            let stretch = Stretch { pk: pk.clone(), from: from.clone(), to: "ltr_~".into() };
            // A page ends at a megabyte, whatever the limit.
            let page = self.items(&stretch, Some(limit - letters.len())).await?;
            let Some(last) = page.last().and_then(|item| item.get("sk")?.as_s().ok().cloned()) else { break };
            letters.extend(page.into_iter().map(record_of).collect::<Result<Vec<_>, _>>()?);
            if letters.len() >= limit {
                break;
            }
            // The least text behind it.
            from = format!("{last}\u{0}");
        }
        Ok(letters)
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::Client;
    use aws_sdk_dynamodb::operation::put_item::{PutItemError, PutItemOutput};
    use aws_sdk_dynamodb::operation::query::QueryOutput;
    use aws_sdk_dynamodb::types::error::ConditionalCheckFailedException;
    use aws_smithy_mocks::{RuleMode, mock, mock_client};
    use jiff::Timestamp;

    use super::*;
    use crate::letters::{Decision, LetterStatus, Sighting};

    fn record() -> LetterRecord {
        let attributes = [("from".to_owned(), "crm".to_owned())].into();
        let sighting = Sighting { body: "poison", message_id: "m", sender: Some("AIDA"), attributes, ..Sighting::default() };
        LetterRecord::first(&sighting, "2026-01-02T03:04:05.678Z".parse().unwrap())
    }

    fn item(record: &LetterRecord) -> Item {
        let mut item: Item = serde_dynamo::to_item(record).unwrap();
        item.extend(record_key(record.id).into_item());
        item
    }

    #[test]
    fn a_letter_survives_the_table() {
        let mut record = record();
        assert_eq!(record_of(item(&record)).unwrap(), record);
        let decision = Decision { at: Timestamp::UNIX_EPOCH, by: "ana".into(), reason: "r".into(), to: LetterStatus::Moving, mended: true };
        (record.covers, record.decisions) = (Some(record.sent_at), vec![decision]);
        assert_eq!(record_of(item(&record)).unwrap(), record);
    }

    #[tokio::test]
    async fn only_the_next_version_of_a_letter_is_written() {
        for (version, condition) in [(1, "attribute_not_exists(pk)"), (7, "version = :before")] {
            let put = mock!(Client::put_item)
                .match_requests(move |put| put.condition_expression() == Some(condition))
                .then_output(|| PutItemOutput::builder().build());
            let lost = mock!(Client::put_item)
                .then_error(|| PutItemError::ConditionalCheckFailedException(ConditionalCheckFailedException::builder().build()));
            let table = Table::with_client(mock_client!(aws_sdk_dynamodb, RuleMode::Sequential, [&put, &lost]), "t".into());
            let record = LetterRecord { version, ..record() };
            assert!(table.put_letter(&record).await.unwrap());
            assert!(!table.put_letter(&record).await.unwrap(), "somebody else was faster");
        }
    }

    #[tokio::test]
    async fn a_list_goes_on_behind_the_last_letter_of_a_page() {
        let first = record();
        let last = item(&first);
        let behind = format!("{}\u{0}", first.id);
        let page = mock!(Client::query)
            .match_requests(|query| query.expression_attribute_values().is_some_and(|values| values[":from"] == s("ltr_")))
            .then_output(move || QueryOutput::builder().items(last.clone()).build());
        let end = mock!(Client::query)
            .match_requests(move |query| query.expression_attribute_values().is_some_and(|values| values[":from"] == s(&behind)))
            .then_output(|| QueryOutput::builder().set_items(Some(Vec::new())).build());
        let table = Table::with_client(mock_client!(aws_sdk_dynamodb, RuleMode::Sequential, [&page, &end]), "t".into());
        assert_eq!(table.letters_of(3, 10).await.unwrap(), [first]);
    }
}
