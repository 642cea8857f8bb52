//! The functions from behind: invoking one, and keeping the queue from its consumer.

use serde_json::{Value, json};

use crate::Stack;
use crate::client::{list, text};

/// The event source mapping of a queue, switched off; dropped, it is on again.
pub struct Paused<'a> {
    stack: &'a Stack,
    path: String,
}

impl Stack {
    /// Invokes a function as a schedule does: nobody waits for it.
    ///
    /// # Panics
    /// When it is not taken.
    #[track_caller]
    pub fn invoke(&self, function: &str) {
        let path = format!("/2015-03-31/functions/{}-{function}/invocations", self.name);
        let taken = self.emulator.send("POST", &path, &[("x-amz-invocation-type", "Event")], b"{}".to_vec());
        assert_eq!(taken.status, 202, "{}", taken.body);
    }

    /// From now on the consumer gets no messages.
    ///
    /// # Panics
    /// When there is no mapping.
    #[track_caller]
    #[must_use]
    pub fn pause_consumer(&self) -> Paused<'_> {
        self.pause("queue-consumer")
    }

    /// From now on a function gets no messages of its queue.
    ///
    /// # Panics
    /// When there is no mapping.
    #[track_caller]
    #[must_use]
    pub fn pause(&self, function: &str) -> Paused<'_> {
        let found = self.emulator.get(&format!("/2015-03-31/event-source-mappings/?FunctionName={}-{function}", self.name)).must(200);
        let Some(mapping) = list(&found, "EventSourceMappings").first() else { panic!("no mapping: {found}") };
        let paused = Paused { stack: self, path: format!("/2015-03-31/event-source-mappings/{}", text(mapping, "UUID")) };
        paused.enable(false);
        paused
    }
}

impl Paused<'_> {
    fn enable(&self, enabled: bool) {
        let headers = [("content-type", "application/json")];
        let body: Value = json!({"Enabled": enabled});
        let answer = self.stack.emulator.send("PUT", &self.path, &headers, body.to_string().into_bytes());
        assert!(answer.status < 300, "{}: {}", answer.asked, answer.body);
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.enable(true);
    }
}
