//! What functions log.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::Stack;
use crate::client::{list, text};

/// The most that one call gives.
const MOST: u32 = 10_000;

impl Stack {
    /// The lines that a function has logged since then, oldest first.
    ///
    /// # Panics
    /// When the log cannot be read.
    #[track_caller]
    #[must_use]
    pub fn lines(&self, function: &str, since: Timestamp) -> Vec<String> {
        let group = format!("/aws/lambda/{}-{function}", self.name);
        let wanted = json!({"logGroupName": group, "startTime": since.as_millisecond(), "limit": MOST});
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", "Logs_20140328.FilterLogEvents")];
        let found = self.emulator.send("POST", "/", &headers, wanted.to_string().into_bytes()).must(200);
        assert!(found["nextToken"].is_null(), "{function} has logged more than {MOST} lines since {since}");
        list(&found, "events").iter().map(|event: &Value| text(event, "message")).collect()
    }
}
