//! The few AWS calls that the command line makes to the emulator, over plain HTTP: Lambda (REST) and CloudWatch Logs (JSON 1.1).
//!
//! No SDK: it would double the build time of this binary, and the emulator checks no signature (a credential scope is enough).

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::http::{Http, Method, Reply, segment};
use crate::stack::settings::Settings;

/// The region of the emulator's default account; functions get the same.
pub(crate) const REGION: &str = "us-east-1";
/// An invocation may take as long as the slowest function: 300 s for the consumer.
const LIMIT: Duration = Duration::from_secs(310);
/// The most that FilterLogEvents gives at once.
const MOST_EVENTS: u32 = 10_000;

/// One line of a function's log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct LogEvent {
    /// Milliseconds since 1970.
    pub(crate) timestamp: i64,
    pub(crate) message: String,
}

pub(crate) struct Emulator {
    http: Http,
}

impl Emulator {
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        Ok(Self { http: Http::new(&settings.emulator_url(), LIMIT)? })
    }

    /// The variables of a deployed function.
    pub(crate) fn variables(&self, function: &str) -> Result<Map<String, Value>> {
        let reply = self.http.get(&format!("{}/configuration", path(function)));
        let body = accept(function, "read its configuration", reply?)?.json();
        Ok(body["Environment"]["Variables"].as_object().cloned().unwrap_or_default())
    }

    /// Replaces all variables of a deployed function.
    pub(crate) fn set_variables(&self, function: &str, variables: &Map<String, Value>) -> Result<()> {
        let body = json!({"Environment": {"Variables": variables}}).to_string();
        let reply = self.http.send(Method::PUT, &format!("{}/configuration", path(function)), &headers("lambda"), body.as_bytes());
        accept(function, "change its variables", reply?).map(|_| ())
    }

    /// Invokes a function and waits for its response; the second value says whether the function failed.
    pub(crate) fn invoke(&self, function: &str, event: &[u8]) -> Result<String> {
        let reply = self.http.post(&format!("{}/invocations", path(function)), &headers("lambda"), event);
        Ok(accept(function, "invoke it", reply?)?.body)
    }

    /// Invokes a function and waits for nothing.
    pub(crate) fn start(&self, function: &str, event: &[u8]) -> Result<()> {
        let mut headers = headers("lambda");
        headers.push(("x-amz-invocation-type", "Event"));
        let reply = self.http.post(&format!("{}/invocations", path(function)), &headers, event);
        accept(function, "invoke it", reply?).map(|_| ())
    }

    /// The log lines of a function since a time (milliseconds since 1970), oldest first. A function that never ran has none.
    pub(crate) fn log_events(&self, function: &str, since: i64) -> Result<Vec<LogEvent>> {
        let body = json!({"logGroupName": format!("/aws/lambda/{function}"), "startTime": since, "limit": MOST_EVENTS}).to_string();
        let mut headers = headers("logs");
        headers.push(("x-amz-target", "Logs_20140328.FilterLogEvents"));
        let reply = self.http.post("/", &headers, body.as_bytes())?;
        if reply.body.contains("ResourceNotFoundException") {
            return Ok(Vec::new());
        }
        let events = accept(function, "read its log", reply)?.json()["events"].take();
        serde_json::from_value(events).map_err(|error| Error::new("the emulator's log answer has another shape").because(error))
    }
}

fn path(function: &str) -> String {
    format!("/2015-03-31/functions/{}", segment(function))
}

/// The credential scope is how the emulator tells the service of a request.
fn headers(service: &str) -> Vec<(&'static str, &'static str)> {
    let (authorization, content_type) = match service {
        "logs" => (
            "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/logs/aws4_request, SignedHeaders=host, Signature=0",
            "application/x-amz-json-1.1",
        ),
        _ => {
            ("AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=0", "application/json")
        }
    };
    vec![("authorization", authorization), ("content-type", content_type)]
}

fn accept(function: &str, what: &str, reply: Reply) -> Result<Reply> {
    if reply.is_success() {
        return Ok(reply);
    }
    let error = Error::new(format!("the emulator would not {what}: {function} (HTTP {})", reply.status))
        .because(crate::out::brief(&reply.body, 400));
    Err(error.with_hint("is it deployed? `reprise stack status`, then `make run`"))
}
