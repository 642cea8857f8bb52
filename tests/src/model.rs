//! The model provider from behind: what it was asked, and healing.

use serde_json::Value;

use crate::Stack;
use crate::client::{list, number};

/// One call that the provider answered.
#[derive(Debug, Clone)]
pub struct ModelCall {
    /// The step that it was for: the number after the run's id in the idempotency key.
    pub step: u32,
    /// The HTTP status of the answer.
    pub status: u64,
    /// Roles and texts of the messages, without the agent's own instructions.
    pub messages: Vec<(String, String)>,
}

impl Stack {
    /// What the provider was asked for this run, oldest first. Calls whose caller went away are not in it.
    #[track_caller]
    #[must_use]
    pub fn model_calls(&self, run: &str) -> Vec<ModelCall> {
        let journal = self.model.get("/__aimock/journal?limit=1000").must(200);
        let Some(entries) = journal.as_array() else { panic!("the model's journal is no list: {journal}") };
        let mut calls: Vec<(u64, ModelCall)> = entries.iter().filter_map(|entry| call_of(entry, run)).collect();
        calls.sort_by_key(|(at, _)| *at);
        calls.into_iter().map(|(_, call)| call).collect()
    }

    /// From now on the provider answers prompts that contain `part`.
    #[track_caller]
    pub fn heal(&self, part: &str) {
        let healed = self.model.send("POST", "/reprise/heal", &[], part.as_bytes().to_vec());
        assert_eq!(healed.status, 200, "{}", healed.body);
    }
}

fn call_of(entry: &Value, run: &str) -> Option<(u64, ModelCall)> {
    let step = entry["headers"]["idempotency-key"].as_str()?.strip_prefix(run)?.strip_prefix(':')?.parse().ok()?;
    let told = |message: &Value| Some((message["role"].as_str()?.to_owned(), message["content"].as_str().unwrap_or_default().to_owned()));
    let messages = list(&entry["body"], "messages").iter().filter_map(told).filter(|(role, _)| role != "system").collect();
    Some((number(entry, "timestamp"), ModelCall { step, status: number(&entry["response"], "status"), messages }))
}
