//! Requests as API Gateway hands them to a function, built on a recorded event.

use lambda_http::Request;
use serde_json::{Map, Value, json};

use crate::document::Operation;

/// A request in the making.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) route: String,
    id: Option<String>,
    headers: Vec<(String, String)>,
    query: Vec<(String, String)>,
    body: Value,
    is_base64: bool,
    caller: Caller,
}

/// Whom API Gateway says that a request comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Caller {
    /// It does not say.
    Nobody,
    /// An authorizer of the operator's own: tenant, principal.
    Authorized(&'static str, &'static str),
    /// The same with scopes.
    Scoped(&'static str, &'static str, &'static str),
    /// A signature: account, ARN.
    Signed(&'static str, &'static str),
}

/// The account that owns the API.
const OWNER_ACCOUNT: &str = "123456789012";
/// Who operates it.
pub(crate) const OWNER: Caller = Caller::Signed(OWNER_ACCOUNT, "arn:aws:iam::123456789012:user/ops");
/// Who calls unless a test says otherwise.
pub(crate) const ANA: Caller = Caller::Authorized("acme", "ana");

/// The id of every request.
pub(crate) const REQUEST_ID: &str = "7f3c1a52-8f0e-4c55-9b1d-2f6a0d9c4e11";

/// What is told of a backup; the sum is that of nothing.
pub(crate) const BACKUP: &str = r#"{"began_at": "2026-01-01T00:00:00Z", "items": 7, "bytes": 99, "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}"#;

pub(crate) fn get(route: &str) -> Asked {
    asked("GET", route)
}

pub(crate) fn post(route: &str) -> Asked {
    asked("POST", route)
}

/// `POST /v1/agent` with that body.
pub(crate) fn ask(body: &Value) -> Asked {
    post("/v1/agent").body(body.to_string())
}

/// A request that fits the document: with this id where the path has one, and the least body that is taken.
pub(crate) fn good(operation: &Operation<'_>, id: impl Into<String>) -> Asked {
    let request = asked(&operation.method, operation.path).id(id);
    match operation.id() {
        "startRun" => request.body(r#"{"prompt": "why?"}"#),
        id if id.ends_with("ChatCompletion") => {
            request.body(r#"{"model": "assistant", "messages": [{"role": "user", "content": "why?"}]}"#)
        }
        "publishEvent" => request.body(r#"{"type": "t", "source": "s", "payload": null}"#),
        "retryMany" => request.body(r#"{"all": true}"#),
        "retryAll" | "cancelJob" | "cancelReplay" => request.body("{}"),
        "startReplay" => request.body(r#"{"all": true}"#),
        "discardMany" => request.body(r#"{"all": true, "reason": "old"}"#),
        "listProviders" => request.from(OWNER),
        "disableProvider" | "enableProvider" | "pinProvider" => request.body(r#"{"name": "script"}"#).from(OWNER),
        "unpinProvider" => request.body("{}").from(OWNER),
        "listIncidents" | "showIncident" | "readItems" | "lastBackups" => request.from(OWNER),
        "openIncident" => request.body(r#"{"title": "models time out", "severity": "P1"}"#).from(OWNER),
        "updateIncident" => request.body(r#"{"status": "IDENTIFIED"}"#).from(OWNER),
        "noteOnIncident" => request.body(r#"{"text": "seen"}"#).from(OWNER),
        "noteBackup" => request.body(BACKUP).from(OWNER),
        "writeItems" => request.body(r#"{"items": [{"pk": {"S": "acme#mark#x"}, "sk": {"S": "mark"}}]}"#).from(OWNER),
        "retryRun" => request.body("{}"),
        "discardRun" => request.body(r#"{"reason": "spam"}"#),
        "readDeadPayload" | "listLetters" | "showLetter" => request.from(OWNER),
        "moveLetter" | "discardLetter" => request.body(r#"{"reason": "a test gone wrong"}"#).from(OWNER),
        "answerRun" => request.body(r#"{"question_id": "q2", "answer": "yes"}"#),
        _ if operation.body.get("requestBody").is_some() => panic!("what is a good body of {}?", operation.id()),
        _ => request,
    }
}

pub(crate) fn asked(method: &str, route: &str) -> Asked {
    let (method, route, headers, query) = (method.to_owned(), route.to_owned(), Vec::new(), Vec::new());
    Asked { method, route, id: None, headers, query, body: Value::Null, is_base64: false, caller: ANA }
}

impl Asked {
    pub(crate) fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    pub(crate) fn query(mut self, name: &str, value: impl Into<String>) -> Self {
        self.query.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<String>) -> Self {
        self.body = Value::String(body.into());
        self
    }

    /// A body that is no text, already in base 64.
    pub(crate) fn base64(mut self, body: &str) -> Self {
        self.is_base64 = true;
        self.body(body)
    }

    pub(crate) fn from(mut self, caller: Caller) -> Self {
        self.caller = caller;
        self
    }

    /// The event, as `lambda_http` reads it off the wire.
    pub(crate) fn into_request(self) -> Request {
        let mut event: Value = serde_json::from_str(include_str!("../fixtures/events/agent-api/ask.json")).expect("a fixture is JSON");
        // `<id>/<index>` where the path has both.
        let id = self.id.as_deref().unwrap_or_default();
        let (id, index) = if self.route.contains("{index}") { id.split_once('/').unwrap_or((id, "1")) } else { (id, "") };
        let path = self.route.replace("{id}", id).replace("{index}", index);
        event["resource"] = json!(self.route);
        event["path"] = json!(path);
        event["httpMethod"] = json!(self.method);
        event["pathParameters"] = match (&self.id, index) {
            (None, _) => Value::Null,
            (Some(_), "") => json!({ "id": id }),
            (Some(_), index) => json!({ "id": id, "index": index }),
        };
        if !self.query.is_empty() {
            let mut all: Map<String, Value> = Map::new();
            for (name, value) in &self.query {
                let values = all.entry(name.as_str()).or_insert_with(|| json!([]));
                values.as_array_mut().expect("an array").push(json!(value));
            }
            event["queryStringParameters"] = self.query.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
            event["multiValueQueryStringParameters"] = Value::Object(all);
        }
        for (name, value) in self.headers {
            event["headers"][&name] = json!(value);
            let all = event["multiValueHeaders"].as_object_mut().expect("headers").entry(name).or_insert_with(|| json!([]));
            all.as_array_mut().expect("an array").push(json!(value));
        }
        event["body"] = self.body;
        event["isBase64Encoded"] = json!(self.is_base64);
        let context = &mut event["requestContext"];
        context["accountId"] = json!(OWNER_ACCOUNT);
        context["resourcePath"] = json!(self.route);
        context["path"] = json!(format!("/live{path}"));
        context["httpMethod"] = json!(self.method);
        context["requestId"] = json!(REQUEST_ID);
        match self.caller {
            Caller::Nobody => {}
            Caller::Authorized(tenant, principal) => context["authorizer"] = json!({"tenant": tenant, "principalId": principal}),
            Caller::Scoped(tenant, principal, scopes) => {
                context["authorizer"] = json!({"tenant": tenant, "principalId": principal, "scopes": scopes});
            }
            Caller::Signed(account, arn) => {
                context["identity"]["accountId"] = json!(account);
                context["identity"]["userArn"] = json!(arn);
            }
        }
        lambda_http::request::from_str(&event.to_string()).expect("an event of API Gateway")
    }
}
