//! `reprise smoke`: what the operations manual asks of a stack after a deploy, with what it looks at in the answers. Every request is
//! made, whatever came of the one before it.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::{FAILED, Result};
use crate::http::Http;
use crate::out::{brief, say};

/// Above the gateway's 29 s, so that its own answer is seen.
pub(crate) const LIMIT: Duration = Duration::from_secs(35);

/// One request, and what must be in its answer.
struct Check {
    name: &'static str,
    path: &'static str,
    /// A GET without one.
    body: Option<Value>,
    /// The manual's filter, and where its value stands.
    filter: &'static str,
    pointer: &'static str,
    /// What the answer must echo in its `messages`.
    echoed: Option<&'static str>,
}

const SUMMARISE: &str = "Summarise the stack services in one sentence.";
const CONFIRM: &str = "Confirm that requests flow through the agent.";
const FETCH: &str = "Use the web_fetch tool to gather two recent headlines about Qdrant.";

fn checks() -> [Check; 5] {
    let look = |name, path, filter, pointer| Check { name, path, body: None, filter, pointer, echoed: None };
    let ask =
        |name, path, body: Value, filter, pointer, prompt| Check { name, path, body: Some(body), filter, pointer, echoed: Some(prompt) };
    [
        look("liveness", "/healthz", ".status", "/status"),
        look("readiness", "/api/production/ready", ".ready", "/ready"),
        ask(
            "an answer",
            "/v1/agent",
            json!({"prompt": SUMMARISE, "metadata": {"source": "operations-smoke"}}),
            ".response",
            "/response",
            SUMMARISE,
        ),
        ask(
            "chat completions",
            "/v1/chat/completions",
            json!({"model": "ollama/llama3", "stream": false, "messages": [
                {"role": "system", "content": "You are a helpful agent."}, {"role": "user", "content": CONFIRM},
            ]}),
            ".choices[0].message",
            "/choices/0/message/content",
            CONFIRM,
        ),
        ask(
            "a tool call",
            "/v1/agent",
            json!({"prompt": FETCH, "metadata": {
                "tools": ["web_fetch"], "tool_calls": [{"name": "web_fetch", "args": {"url": "https://qdrant.tech"}}],
            }}),
            ".response",
            "/response",
            FETCH,
        ),
    ]
}

/// Exit code 0 when every answer is as expected, 1 when one is not, 2 when nothing answers.
pub(crate) fn execute(http: &Http) -> Result<ExitCode> {
    let mut passed = 0;
    let checks = checks();
    for check in &checks {
        let reply = match &check.body {
            None => http.get(check.path)?,
            Some(body) => http.post(check.path, &[("content-type", "application/json")], body.to_string().as_bytes())?,
        };
        let answer = reply.json();
        let problem = judge(check, reply.status, &answer);
        passed += usize::from(problem.is_none());
        let (word, found) = match &problem {
            None => {
                ("ok  ", format!("{} is {}", check.filter, brief(&answer.pointer(check.pointer).unwrap_or(&Value::Null).to_string(), 80)))
            }
            Some(problem) => ("FAIL", format!("{problem}: {}", brief(&reply.body, 240))),
        };
        say!("{word} {:<17} {:<22} HTTP {}  {found}", check.name, check.path, reply.status);
    }
    say!("{passed} of {} passed", checks.len());
    Ok(ExitCode::from(if passed == checks.len() { 0 } else { FAILED }))
}

/// What is wrong with an answer.
fn judge(check: &Check, status: u16, answer: &Value) -> Option<String> {
    if status != 200 {
        return Some("the status is not 200".to_owned());
    }
    let value = answer.pointer(check.pointer).unwrap_or(&Value::Null);
    if value.is_null() || *value == false || value.as_str().is_some_and(str::is_empty) {
        return Some(format!("{} is {value}", check.filter));
    }
    let echoed = check.echoed?;
    if !answer["conversation_id"].is_string() {
        return Some("there is no conversation_id".to_owned());
    }
    let is_echoed = answer["messages"].as_array().into_iter().flatten().any(|message| message["content"] == echoed);
    (!is_echoed).then(|| "the prompt is not among the messages".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_only_if_it_says_something_and_echoes_what_was_asked() {
        let [.., check, _, _] = checks();
        let good = json!({"response": "done", "conversation_id": "c", "messages": [{"content": SUMMARISE}]});
        assert_eq!(judge(&check, 200, &good), None);
        assert!(judge(&check, 202, &good).is_some());
        for (field, value) in
            [("response", json!("")), ("response", json!(null)), ("conversation_id", json!(null)), ("messages", json!([]))]
        {
            let mut bad = good.clone();
            bad[field] = value;
            assert!(judge(&check, 200, &bad).is_some(), "{field}");
        }
        let [_, ready, ..] = checks();
        assert!(judge(&ready, 200, &json!({"ready": false})).is_some(), "a probe that says no over a 200");
    }
}
