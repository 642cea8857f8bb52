//! `reprise smoke`: what the operations manual asks of a stack after a deploy, with what it looks at in the answers. Every request is
//! made, whatever came of the one before it. The manual's model and tool are those of one stack; here they are those that
//! every deployment has.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::{FAILED, Result};
use crate::http::{Http, Reply};
use crate::out::{brief, say};

/// Above the gateway's 29 s, so that its own answer is seen.
pub(crate) const LIMIT: Duration = Duration::from_secs(35);

/// The agent of a request that names none; every agent is a model of the same name.
const AGENT: &str = "assistant";
const TOOLS: [&str; 2] = ["clock", "calculator"];

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
    /// Whether it asked for a call of a tool, which must have been made.
    calls: bool,
}

const SUMMARISE: &str = "Summarise the stack services in one sentence.";
const CONFIRM: &str = "Confirm that requests flow through the agent.";
const CALL: &str = "Use a tool to tell what time it is.";

/// A tool that the agent of this deployment has, is there without a definition, and waits for nobody; where it has none of these or does
/// not say, the first: the check shows what comes of it.
fn a_tool(http: &Http) -> &'static str {
    let listed = http.get("/v1/agents").ok().filter(Reply::is_success).map(|reply| reply.json()).unwrap_or_default();
    let agent = listed["agents"].as_array().into_iter().flatten().find(|agent| agent["name"] == AGENT);
    let has = |tool: &&str| agent.is_some_and(|agent| agent["tools"].as_array().is_some_and(|tools| tools.contains(&json!(tool))));
    TOOLS.into_iter().find(has).unwrap_or(TOOLS[0])
}

fn checks(tool: &str) -> [Check; 5] {
    let look = |name, path, filter, pointer| Check { name, path, body: None, filter, pointer, echoed: None, calls: false };
    let ask = |name, path, body: Value, filter, pointer, prompt| Check {
        calls: body.pointer("/metadata/tool_calls").is_some(),
        body: Some(body),
        echoed: Some(prompt),
        ..look(name, path, filter, pointer)
    };
    let arguments = if tool == "calculator" { json!({"expression": "6*7"}) } else { json!({"timezone": "UTC"}) };
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
            json!({"model": AGENT, "stream": false, "messages": [
                {"role": "system", "content": "You are a helpful agent."}, {"role": "user", "content": CONFIRM},
            ]}),
            ".choices[0].message",
            "/choices/0/message/content",
            CONFIRM,
        ),
        ask(
            "a tool call",
            "/v1/agent",
            json!({"prompt": CALL, "metadata": {"tools": [tool], "tool_calls": [{"name": tool, "args": arguments}]}}),
            ".metadata.tool_results[0]",
            "/metadata/tool_results/0",
            CALL,
        ),
    ]
}

/// Exit code 0 when every answer is as expected, 1 when one is not, 2 when nothing answers.
pub(crate) fn execute(http: &Http) -> Result<ExitCode> {
    let mut passed = 0;
    let checks = checks(a_tool(http));
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
    if check.calls && value["status"] != "ok" {
        return Some(format!("the tool was not called: {value}"));
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
        let [_, _, check, _, call] = checks("clock");
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
        let mut called = json!({"conversation_id": "c", "messages": [{"content": CALL}], "metadata": {"tool_results": [{"name": "clock", "status": "ok"}]}});
        assert_eq!(judge(&call, 200, &called), None);
        for status in ["missing", "skipped", "error"] {
            called["metadata"]["tool_results"][0]["status"] = json!(status);
            assert!(judge(&call, 200, &called).is_some(), "{status}: a tool that was not called is no success");
        }
        let [_, ready, ..] = checks("clock");
        assert!(judge(&ready, 200, &json!({"ready": false})).is_some(), "a probe that says no over a 200");
    }
}
