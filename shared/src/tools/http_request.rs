//! The tool kind `http_request`: requests that the model writes, to hosts that the definition lists.

use std::collections::BTreeMap;

use async_trait::async_trait;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use serde::Deserialize;
use serde_json::{Value, json};

use super::guard::{FetchError, Guard, Request, is_told};
use super::service::IDEMPOTENCY_KEY;
use super::{Tool, ToolContext, ToolTraits};
use crate::domain::tool_definition::HostRule;
use crate::engine::ports::ToolSpec;
use crate::telemetry::chain;

/// Bytes of a body that are read.
const MOST_READ: usize = 1_000_000;
/// Headers that a model may set: they say what it sends and wants. None of them says who it is.
const HEADERS: [&str; 7] = ["accept", "accept-language", "content-type", "if-match", "if-modified-since", "if-none-match", "range"];

/// Sends requests.
pub(super) struct HttpRequest {
    name: String,
    description: String,
    methods: Vec<Method>,
    hosts: String,
    guard: Guard,
    traits: ToolTraits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    url: String,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Option<Value>,
}

impl HttpRequest {
    /// Of these hosts.
    pub(super) fn new(
        name: &str,
        description: Option<&str>,
        hosts: &[HostRule],
        methods: &[String],
        traits: ToolTraits,
    ) -> Result<Self, String> {
        let listed: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let methods: Result<Vec<Method>, _> = methods.iter().map(|method| method.parse()).collect();
        Ok(Self {
            name: name.to_owned(),
            description: description.unwrap_or("Sends an HTTP request and gives its answer.").to_owned(),
            methods: methods.map_err(|_| "methods: holds what is no HTTP method")?,
            hosts: listed.join(", "),
            guard: Guard::new(hosts.to_vec()).map_err(|error| format!("the HTTP client cannot be built: {error}"))?,
            traits,
        })
    }
}

#[async_trait]
impl Tool for HttpRequest {
    fn spec(&self) -> ToolSpec {
        let methods: Vec<&str> = self.methods.iter().map(Method::as_str).collect();
        let mut properties = json!({
            "url": {"type": "string", "description": format!("https://…, on one of these hosts: {}", self.hosts)},
            "headers": {"type": "object", "additionalProperties": {"type": "string"}, "propertyNames": {"enum": HEADERS}},
        });
        if methods.len() > 1 {
            properties["method"] = json!({"enum": methods, "description": format!("{} if absent", methods[0])});
        }
        if self.methods.iter().any(has_body) {
            properties["body"] = json!({"description": "a text, or JSON that is sent as such"});
        }
        let parameters = json!({"type": "object", "properties": properties, "required": ["url"], "additionalProperties": false});
        ToolSpec { name: self.name.clone(), description: self.description.clone(), parameters }
    }

    fn traits(&self) -> ToolTraits {
        self.traits
    }

    async fn call(&self, arguments: &Value, context: &ToolContext<'_>) -> Result<String, String> {
        let arguments = Arguments::deserialize(arguments).map_err(|error| format!("arguments: {error}"))?;
        let request = self.request(arguments, context.key)?;
        let is_safe = request.method.is_safe();
        let failed = |error: FetchError| {
            if error.leaves_doubt() && !is_safe {
                context.doubt.note();
            }
            tracing::warn!(tool = %self.name, error = %chain(&error), "a request of a model had no answer");
            error.to_string()
        };
        let answer = self.guard.send(request).await.map_err(failed)?;
        let headers: BTreeMap<&str, &str> = answer
            .headers
            .iter()
            .filter(|(name, _)| is_told(name))
            .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
            .collect();
        let mut told = json!({"status": answer.status.as_u16(), "url": answer.url, "headers": headers});
        let (bytes, is_all) = answer.body.beginning(MOST_READ).await.map_err(failed)?;
        let size = bytes.len();
        match text_of(bytes, is_all) {
            Some(text) => told["body"] = text.into(),
            None => told["body_bytes"] = size.into(),
        }
        if !is_all {
            told["body_is_cut_at"] = MOST_READ.into();
        }
        Ok(told.to_string())
    }
}

impl HttpRequest {
    fn request(&self, arguments: Arguments, key: &str) -> Result<Request, String> {
        let method = match &arguments.method {
            Some(name) => self.methods.iter().find(|method| method.as_str() == name).cloned(),
            None => self.methods.first().cloned(),
        };
        let method = method.ok_or("method: is not one that this tool sends")?;
        let mut headers = HeaderMap::new();
        for (name, value) in &arguments.headers {
            let allowed = HEADERS.iter().find(|allowed| allowed.eq_ignore_ascii_case(name));
            let name = allowed.ok_or_else(|| format!("headers: `{name}` may not be set; these may: {}", HEADERS.join(", ")))?;
            let value = HeaderValue::try_from(value).map_err(|_| format!("headers.{name}: has characters that no header can hold"))?;
            headers.insert(HeaderName::from_static(name), value);
        }
        let mut request = Request::new(method.clone(), arguments.url);
        match arguments.body {
            Some(_) if !has_body(&method) => return Err(format!("body: {method} has none")),
            Some(Value::String(text)) => request.body = Some(text.into_bytes()),
            Some(body) => request = request.json(&body),
            None => {}
        }
        request.headers.extend(headers);
        if !method.is_safe() {
            request.headers.insert(IDEMPOTENCY_KEY, HeaderValue::try_from(key).map_err(|_| "the call has no key")?);
        }
        Ok(request)
    }
}

fn has_body(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE)
}

/// The text, if it is one; of a text that was cut, up to the last whole character.
fn text_of(bytes: Vec<u8>, is_all: bool) -> Option<String> {
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let end = error.utf8_error().valid_up_to();
            let mut bytes = error.into_bytes();
            let is_only_cut = !is_all && bytes.len() - end < 4;
            bytes.truncate(end);
            is_only_cut.then(|| String::from_utf8(bytes).ok()).flatten()
        }
    }
}
