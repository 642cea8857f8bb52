//! What tests do with runs.

use std::time::Duration;

use serde_json::{Value, json};

use crate::Stack;
use crate::client::{Answer, list, text};
use crate::wait_for;

/// A killed worker's run waits for the end of its lease (16 s) and of its message's invisibility (21 s) before it goes on.
pub const LONG: Duration = Duration::from_secs(90);

impl Stack {
    /// `POST /v1/agent`.
    #[track_caller]
    pub fn ask(&self, body: &Value) -> Answer {
        self.api.post("/v1/agent", body)
    }

    /// `POST /v1/agent` with an idempotency key.
    #[track_caller]
    #[must_use]
    pub fn ask_once(&self, key: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        self.api.send("POST", "/v1/agent", &headers, body.to_string().into_bytes())
    }

    /// `POST /v1/runs/{id}/answer`.
    #[track_caller]
    pub fn reply(&self, run: &str, question: &str, answer: &str) -> Answer {
        self.api.post(&format!("/v1/runs/{run}/answer"), &json!({"question_id": question, "answer": answer}))
    }

    /// Accepts a background run; its id.
    #[track_caller]
    pub fn start(&self, prompt: &str) -> String {
        text(&self.ask(&json!({"prompt": prompt, "background": true})).must(202), "run_id")
    }

    /// `GET /v1/runs/{id}`.
    #[track_caller]
    #[must_use]
    pub fn run(&self, id: &str) -> Value {
        self.api.get(&format!("/v1/runs/{id}")).must(200)
    }

    /// `GET /v1/runs/{id}/steps`, the first 100.
    #[track_caller]
    #[must_use]
    pub fn steps(&self, id: &str) -> Vec<Value> {
        list(&self.api.get(&format!("/v1/runs/{id}/steps?limit=100")).must(200), "steps").to_vec()
    }

    /// The run, once its status is `status`.
    #[track_caller]
    pub fn wait_until(&self, id: &str, status: &str) -> Value {
        wait_for(&format!("{id} to be {status}"), LONG, || {
            let run = self.run(id);
            if run["status"] == status { Ok(run) } else { Err(run) }
        })
    }
}
