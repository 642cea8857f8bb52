//! A table whose requests are seen as they go out, to count and to measure them.

use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::config::{Credentials, Region};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_http_client::test_util::infallible_client_fn;
use serde_json::{Map, Value, json};

use super::super::Table;
use super::super::fleet::CountsFailures;
use super::super::items::Item;
use crate::metrics::Meter;

/// One request as it went out.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// E.g. `TransactWriteItems`.
    pub(super) operation: String,
    /// Its body.
    pub(super) body: Value,
    /// Bytes of the body.
    pub(super) bytes: usize,
}

pub(super) type Log = Arc<Mutex<Vec<Request>>>;

/// A table that answers as told: a status and a body for each operation and request.
pub(super) fn table(answer: impl Fn(&str, &Value) -> (u16, Value) + Send + Sync + 'static) -> (Table, Log) {
    let log = Log::default();
    let seen = log.clone();
    let transport = infallible_client_fn(move |request| {
        let target = request.headers()["x-amz-target"].to_str().unwrap();
        let operation = target.rsplit('.').next().unwrap().to_owned();
        let bytes = request.body().bytes().unwrap();
        let body: Value = serde_json::from_slice(bytes).unwrap();
        let (status, answer) = answer(&operation, &body);
        seen.lock().unwrap().push(Request { operation, body, bytes: bytes.len() });
        http::Response::builder().status(status).body(answer.to_string()).unwrap()
    });
    let meter = Arc::new(Meter::default());
    let config = aws_sdk_dynamodb::Config::builder()
        .interceptor(CountsFailures(meter.clone()))
        .behavior_version_latest()
        .region(Region::from_static("eu-central-1"))
        .credentials_provider(Credentials::for_tests())
        .http_client(transport)
        .build();
    (Table { meter, ..Table::with_client(aws_sdk_dynamodb::Client::from_conf(config), "t".into()) }, log)
}

/// An item as it stands in requests and answers.
pub(super) fn json_of(item: &Item) -> Value {
    fn one(value: &AttributeValue) -> Value {
        match value {
            AttributeValue::S(text) => json!({"S": text}),
            AttributeValue::N(number) => json!({"N": number}),
            AttributeValue::Bool(is) => json!({"BOOL": is}),
            AttributeValue::L(list) => json!({"L": list.iter().map(one).collect::<Vec<_>>()}),
            AttributeValue::M(map) => json!({"M": map.iter().map(|(name, value)| (name.clone(), one(value))).collect::<Map<_, _>>()}),
            other => panic!("not stored: {other:?}"),
        }
    }
    item.iter().map(|(name, value)| (name.clone(), one(value))).collect::<Map<_, _>>().into()
}

/// The size of an item by DynamoDB's rules: names and texts by their bytes, numbers by half their digits and one, a list or map
/// by three, and one for each element.
pub(super) fn size_of(item: &Value) -> usize {
    fn one(value: &Value) -> usize {
        let Some((kind, value)) = value.as_object().and_then(|typed| typed.iter().next()) else { panic!("not an attribute: {value}") };
        match (kind.as_str(), value) {
            ("S", Value::String(text)) => text.len(),
            ("N", Value::String(digits)) => digits.len().div_ceil(2) + 1,
            ("BOOL", _) => 1,
            ("L", Value::Array(list)) => 3 + list.iter().map(|value| 1 + one(value)).sum::<usize>(),
            ("M", Value::Object(map)) => 3 + map.iter().map(|(name, value)| 1 + name.len() + one(value)).sum::<usize>(),
            _ => panic!("not stored: {kind}"),
        }
    }
    item.as_object().unwrap().iter().map(|(name, value)| name.len() + one(value)).sum()
}
