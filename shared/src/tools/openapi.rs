//! The tool kind `openapi`: each operation of an HTTP API's document is a tool. What the document says was read when the files were
//! compiled; here is the call.

use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::guard::Request;
use super::service::{IDEMPOTENCY_KEY, Service, ServiceError};
use super::{Tool, ToolContext, ToolTraits};
use crate::domain::tool_definition::{Operation, Place};
use crate::engine::ports::ToolSpec;

/// Bytes of an answer that are read.
const MOST_READ: usize = 2_000_000;
/// All but what RFC 3986 calls unreserved: a parameter can neither end its part of the path nor climb out of it.
const IN_A_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~');

/// One operation.
pub(super) struct ApiOperation {
    pub(super) name: String,
    pub(super) operation: Operation,
    pub(super) service: Arc<Service>,
    pub(super) traits: ToolTraits,
}

#[async_trait]
impl Tool for ApiOperation {
    fn spec(&self) -> ToolSpec {
        let Operation { description, parameters, .. } = &self.operation;
        ToolSpec { name: self.name.clone(), description: description.clone(), parameters: parameters.clone() }
    }

    fn traits(&self) -> ToolTraits {
        self.traits
    }

    async fn call(&self, arguments: &Value, context: &ToolContext<'_>) -> Result<String, String> {
        let arguments = arguments.as_object().ok_or("arguments: must be an object")?;
        let request = self.request(arguments, context.key)?;
        let is_safe = request.method.is_safe();
        let noted = |error: ServiceError| {
            if error.leaves_doubt && !is_safe {
                context.doubt.note();
            }
            error
        };
        let answer = self.service.send(request).await.map_err(noted)?;
        let status = answer.status;
        let kind = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let (bytes, is_all) = answer.body.beginning(MOST_READ).await.map_err(|error| noted(self.service.failed(error)))?;
        let size = bytes.len();
        let mut told = json!({"status": status.as_u16()});
        match (serde_json::from_slice::<Value>(&bytes).ok().filter(|_| is_all), String::from_utf8(bytes)) {
            (Some(body), _) => told["body"] = body,
            (None, Ok(text)) => told["body"] = text.into(),
            (None, Err(_)) => {
                told["body_bytes"] = size.into();
                told["content_type"] = kind.into();
            }
        }
        if !is_all {
            told["body_is_cut_at"] = MOST_READ.into();
        }
        if status.is_success() { Ok(told.to_string()) } else { Err(told.to_string()) }
    }
}

impl ApiOperation {
    fn request(&self, arguments: &Map<String, Value>, key: &str) -> Result<Request, String> {
        let Operation { method, path, places, body, .. } = &self.operation;
        let method: Method = method.parse().map_err(|_| "the operation's method is none")?;
        let mut filled = path.clone();
        for (name, _) in places.iter().filter(|(_, place)| **place == Place::Path) {
            let text = arguments
                .get(name)
                .and_then(text_of)
                .filter(|text| !text.is_empty())
                .ok_or_else(|| format!("arguments/{name}: must be there"))?;
            filled = filled.replace(&format!("{{{name}}}"), &utf8_percent_encode(&text, IN_A_PATH).to_string());
        }
        let mut url = self.service.url(&filled);
        // `..` leads upwards however it is written, so what is read must be what was filled in.
        if !url.path().ends_with(filled.as_str()) {
            return Err("arguments: a parameter of the path would lead out of it".into());
        }
        let mut request = Service::request(method.clone(), &url);
        for (name, value) in arguments {
            match places.get(name) {
                Some(Place::Path) => {}
                Some(Place::Query) => {
                    let values = value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
                    for text in values.iter().filter_map(text_of) {
                        url.query_pairs_mut().append_pair(name, &text);
                    }
                }
                Some(Place::Header) => {
                    let header = HeaderName::try_from(name.as_str()).map_err(|_| format!("arguments/{name}: is no header"))?;
                    let text = text_of(value).unwrap_or_default();
                    let text =
                        HeaderValue::try_from(text).map_err(|_| format!("arguments/{name}: has characters that no header can hold"))?;
                    request.headers.insert(header, text);
                }
                None if body.as_ref() == Some(name) => request = request.json(value),
                // The schema takes no others.
                None => {}
            }
        }
        request.url = url.to_string();
        if !method.is_safe() {
            request.headers.insert(IDEMPOTENCY_KEY, HeaderValue::try_from(key).map_err(|_| "the call has no key")?);
        }
        Ok(request)
    }
}

/// A parameter as a text; nothing for what has none.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
