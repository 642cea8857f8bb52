//! The functions from behind: invoking one, and keeping the queue from its consumer.

use serde_json::{Value, json};

use crate::Stack;
use crate::client::{list, text};

/// The event source mapping of a queue, switched off; dropped, it is on again.
pub struct Paused<'a> {
    stack: &'a Stack,
    path: String,
}

/// A function with other settings; dropped, it has its own again.
pub struct Reconfigured<'a> {
    stack: &'a Stack,
    path: String,
    before: Value,
}

/// The schedule of the sweeper, switched off; dropped, it is on again.
pub struct Unscheduled<'a>(&'a Stack);

impl Stack {
    /// Sets variables of a function, whose sandboxes start anew with them.
    ///
    /// # Panics
    /// When there is no such function, or it cannot be changed.
    #[track_caller]
    #[must_use]
    pub fn reconfigure(&self, function: &str, variables: &[(&str, &str)]) -> Reconfigured<'_> {
        let path = format!("/2015-03-31/functions/{}-{function}/configuration", self.name);
        let before = self.emulator.get(&path).must(200)["Environment"]["Variables"].clone();
        let mut changed = before.clone();
        for (name, value) in variables {
            changed[*name] = json!(value);
        }
        let reconfigured = Reconfigured { stack: self, path, before };
        reconfigured.set(&changed);
        reconfigured
    }

    /// The first model of the deployment's chain: the name of its provider, and its own.
    ///
    /// # Panics
    /// When it cannot be asked for.
    #[track_caller]
    #[must_use]
    pub fn first_model(&self) -> (String, String) {
        let path = format!("/2015-03-31/functions/{}-health/configuration", self.name);
        let chain = text(&self.emulator.get(&path).must(200)["Environment"]["Variables"], "MODEL");
        let first = chain.split(',').next().unwrap_or_default().trim().to_owned();
        (first.split("::").next().unwrap_or_default().to_owned(), first)
    }

    /// From now on the sweeper ticks only when it is invoked.
    ///
    /// # Panics
    /// When there is no schedule.
    #[track_caller]
    #[must_use]
    pub fn unschedule_sweeper(&self) -> Unscheduled<'_> {
        let unscheduled = Unscheduled(self);
        unscheduled.say("DisableRule");
        unscheduled
    }

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

impl Reconfigured<'_> {
    #[track_caller]
    fn set(&self, variables: &Value) {
        let body = json!({"Environment": {"Variables": variables}});
        let headers = [("content-type", "application/json")];
        let answer = self.stack.emulator.send("PUT", &self.path, &headers, body.to_string().into_bytes());
        assert!(answer.status < 300, "{}: {}", answer.asked, answer.body);
    }
}

impl Drop for Reconfigured<'_> {
    fn drop(&mut self) {
        self.set(&self.before);
    }
}

impl Unscheduled<'_> {
    #[track_caller]
    fn say(&self, operation: &str) {
        let target = format!("AWSEvents.{operation}");
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target.as_str())];
        let rule = json!({"Name": format!("{}-sweeper", self.0.name)});
        let answer = self.0.emulator.send("POST", "/", &headers, rule.to_string().into_bytes());
        assert_eq!(answer.status, 200, "{operation}: {}", answer.body);
    }
}

impl Drop for Unscheduled<'_> {
    fn drop(&mut self) {
        self.say("EnableRule");
    }
}
