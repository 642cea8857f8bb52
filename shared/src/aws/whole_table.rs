//! The table as a whole, in DynamoDB's own JSON.

use async_trait::async_trait;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure as OnFailure};
use serde_json::{Map, Value, json};

use super::items::{Item, Table, s};
use super::transact::backoff;
use super::unavailable;
use crate::backup::{BackupError, Put, RawItem, RawKey, RawPage, Segment, WholeTable, fitting};
use crate::engine::ports::JournalError;

/// How deep DynamoDB nests at most.
const DEEPEST: usize = 32;
/// How often a write that met a transaction is tried again.
const TRIES: u32 = 6;

/// An attribute as DynamoDB's JSON has it. We store no binary ones, and a copy that left one out would be none.
fn to_json(value: &AttributeValue) -> Option<Value> {
    Some(match value {
        AttributeValue::S(text) => json!({ "S": text }),
        AttributeValue::N(number) => json!({ "N": number }),
        AttributeValue::Bool(is) => json!({ "BOOL": is }),
        AttributeValue::Null(is) => json!({ "NULL": is }),
        AttributeValue::Ss(texts) => json!({ "SS": texts }),
        AttributeValue::Ns(numbers) => json!({ "NS": numbers }),
        AttributeValue::L(list) => json!({ "L": list.iter().map(to_json).collect::<Option<Vec<_>>>()? }),
        AttributeValue::M(map) => {
            let fields = map.iter().map(|(name, value)| Some((name.clone(), to_json(value)?)));
            json!({ "M": fields.collect::<Option<Map<_, _>>>()? })
        }
        _ => return None,
    })
}

fn from_json(value: &Value, depth: usize) -> Result<AttributeValue, String> {
    if depth > DEEPEST {
        return Err("is nested too deep".into());
    }
    let fields = value.as_object().filter(|fields| fields.len() == 1).ok_or("has an attribute that is no value of DynamoDB")?;
    let Some((kind, value)) = fields.iter().next() else { return Err("has an empty attribute".into()) };
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or(format!("has a value of {kind} that is none"));
    let texts = |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Result<Vec<_>, _>>();
    Ok(match kind.as_str() {
        "S" => AttributeValue::S(text(value)?),
        "N" => AttributeValue::N(text(value)?),
        "BOOL" => AttributeValue::Bool(value.as_bool().ok_or("has a value of BOOL that is none")?),
        "NULL" => AttributeValue::Null(value.as_bool().ok_or("has a value of NULL that is none")?),
        "SS" => AttributeValue::Ss(texts(value)?),
        "NS" => AttributeValue::Ns(texts(value)?),
        "L" => {
            let list = value.as_array().ok_or("has a value of L that is none")?;
            AttributeValue::L(list.iter().map(|value| from_json(value, depth + 1)).collect::<Result<_, _>>()?)
        }
        "M" => {
            let map = value.as_object().ok_or("has a value of M that is none")?;
            let fields = map.iter().map(|(name, value)| Ok((name.clone(), from_json(value, depth + 1)?)));
            AttributeValue::M(fields.collect::<Result<_, String>>()?)
        }
        _ => return Err("has an attribute of a kind that is never stored here".into()),
    })
}

fn raw(item: &Item) -> Result<RawItem, JournalError> {
    let fields = item.iter().map(|(name, value)| Some((name.clone(), to_json(value)?)));
    fields.collect::<Option<RawItem>>().ok_or_else(|| JournalError::Unavailable("an item has a binary attribute".into()))
}

fn stored(item: &RawItem) -> Result<Item, String> {
    item.iter().map(|(name, value)| Ok((name.clone(), from_json(value, 1)?))).collect()
}

#[async_trait]
impl WholeTable for Table {
    fn table_name(&self) -> &str {
        &self.name
    }

    async fn read_page(&self, segment: Segment, after: Option<&RawKey>) -> Result<RawPage, BackupError> {
        let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let start = after.map(|key| Item::from([("pk".to_owned(), s(&key.pk)), ("sk".to_owned(), s(&key.sk))]));
        let scan = self
            .client
            .scan()
            .table_name(&self.name)
            .segment(number(segment.index))
            .total_segments(number(segment.of))
            .consistent_read(true)
            .set_exclusive_start_key(start);
        let page = scan.send().await.map_err(|error| match &error {
            // All else of the request is ours.
            SdkError::ServiceError(e) if after.is_some() && e.err().code() == Some("ValidationException") => BackupError::BadCursor,
            _ => unavailable(error).into(),
        })?;
        let items = page.items.unwrap_or_default().iter().map(raw).collect::<Result<_, _>>()?;
        let part = |key: &Item, name: &str| key.get(name).and_then(|value| value.as_s().ok()).cloned();
        let next = page.last_evaluated_key.and_then(|key| Some(RawKey { pk: part(&key, "pk")?, sk: part(&key, "sk")? }));
        Ok(fitting(RawPage { items, next }))
    }

    async fn put_if_absent(&self, item: &RawItem) -> Result<Result<Put, String>, JournalError> {
        let stored = match stored(item) {
            Ok(stored) => stored,
            Err(problem) => return Ok(Err(problem)),
        };
        let put = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(stored.clone()))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(OnFailure::AllOld);
        for attempt in 1.. {
            let error = match put.clone().send().await {
                Ok(_) => return Ok(Ok(Put::Written)),
                Err(SdkError::ServiceError(error)) => error.into_err(),
                Err(error) => return Err(unavailable(error)),
            };
            match error {
                PutItemError::ConditionalCheckFailedException(there) => {
                    let is_same = there.item.as_ref() == Some(&stored);
                    return Ok(Ok(if is_same { Put::Unchanged } else { Put::Kept }));
                }
                PutItemError::TransactionConflictException(_) if attempt < TRIES => tokio::time::sleep(backoff(attempt)).await,
                error if error.code() == Some("ValidationException") => return Ok(Err("is refused by the table".into())),
                error => return Err(unavailable(error)),
            }
        }
        unreachable!("the loop returns")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_attribute_survives_its_json() {
        let all = json!({
            "S": {"S": "ü\u{0}\""}, "N": {"N": "12345678901234567890.5"}, "BOOL": {"BOOL": false}, "NULL": {"NULL": true},
            "SS": {"SS": ["a", "b"]}, "NS": {"NS": ["1", "2"]}, "L": {"L": [{"S": ""}, {"L": []}]}, "M": {"M": {"x": {"M": {}}}},
        });
        let Value::Object(item) = all else { panic!("an object") };
        assert_eq!(raw(&stored(&item).unwrap()).unwrap(), item);
    }

    #[test]
    fn what_is_no_attribute_is_refused_and_a_binary_one_is_not_left_out() {
        let deep = (0..40).fold(json!({"S": "x"}), |value, _| json!({"L": [value]}));
        for bad in
            [json!("x"), json!({}), json!({"S": 7}), json!({"N": 7}), json!({"S": "a", "N": "1"}), json!({"B": "eA=="}), json!(null), deep]
        {
            let item = RawItem::from_iter([("a".to_owned(), bad.clone())]);
            assert!(stored(&item).is_err(), "{bad}");
        }
        let binary = Item::from([("b".to_owned(), AttributeValue::B(aws_sdk_dynamodb::primitives::Blob::new([1])))]);
        assert!(raw(&binary).is_err());
    }
}
