//! The journal of a run, step by step.

use serde_json::Value;

use crate::error::Result;
use crate::http::{Http, segment};
use crate::out::brief;

/// One line of a step is cut here.
const WIDTH: usize = 160;

/// The steps with an index above `after`, in order, whatever the size of a page.
pub(crate) fn fetch_after(http: &Http, id: &str, after: u64) -> Result<Vec<Value>> {
    let mut steps = Vec::new();
    let mut query = String::new();
    loop {
        let page = http.fetch(&format!("/v1/runs/{}/steps{query}", segment(id)))?;
        steps.extend(page["steps"].as_array().into_iter().flatten().filter(|step| index(step) > after).cloned());
        match page["next_cursor"].as_str() {
            Some(cursor) => query = format!("?cursor={}", segment(cursor)),
            None => return Ok(steps),
        }
    }
}

/// The place of a step in the journal, from 1.
pub(crate) fn index(step: &Value) -> u64 {
    step["index"].as_u64().unwrap_or_default()
}

/// `#2 tool   0.1 s  clock({}) → 12:00`
pub(crate) fn render(step: &Value) -> String {
    let kind = step["kind"].as_str().unwrap_or("?");
    let what = match kind {
        "model" => model(step),
        "tool" => tool(step),
        _ => step.to_string(),
    };
    format!("#{:<3} {kind:<6} {:>7}  {}", index(step), duration(step), brief(&what, WIDTH))
}

fn model(step: &Value) -> String {
    let name = step["model"].as_str().unwrap_or_default();
    let message = &step["message"];
    let said = text_of(&message["content"]).unwrap_or_default();
    let calls: Vec<String> = message["tool_calls"].as_array().into_iter().flatten().map(call).collect();
    [format!("{name}:"), said, calls.join(", ")].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

fn tool(step: &Value) -> String {
    let mark = if step["is_error"] == true { "error: " } else { "" };
    format!("{} → {mark}{}", call(&step["call"]), text_of(&step["output"]).unwrap_or_default())
}

fn call(call: &Value) -> String {
    format!("{}({})", call["name"].as_str().unwrap_or_default(), text_of(&call["arguments"]).unwrap_or_default())
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Some(value.to_string()),
    }
}

fn duration(step: &Value) -> String {
    let time = |name: &str| step[name].as_str()?.parse::<jiff::Timestamp>().ok();
    match (time("started_at"), time("ended_at")) {
        (Some(start), Some(end)) => format!("{:.1} s", end.duration_since(start).as_secs_f64()),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tool_step_shows_call_result_and_duration() {
        let step = json!({"index": 2, "kind": "tool", "started_at": "2026-11-22T00:00:00.000Z", "ended_at": "2026-11-22T00:00:00.250Z",
            "call": {"name": "clock", "arguments": {}}, "output": "12:00", "is_error": false});
        assert_eq!(render(&step), "#2   tool     0.2 s  clock({}) → 12:00");
    }

    #[test]
    fn nothing_of_a_step_reaches_the_terminal_raw() {
        let hostile = "\u{1b}]52;c;cm0gLXJm\u{7}\u{9b}2J\u{202e}";
        let arguments = json!({ hostile: hostile });
        for step in [
            json!({"index": 1, "kind": "tool", "call": {"name": hostile, "arguments": arguments}, "output": hostile, "is_error": true}),
            json!({"index": 1, "kind": "model", "model": hostile, "message": {"content": hostile, "tool_calls": [{"name": hostile, "arguments": hostile}]}}),
            json!({"index": 1, "kind": "other", "text": hostile}),
            json!({"index": 1, "kind": hostile}),
        ] {
            // The last word has the place where lines are written.
            let line = crate::out::printable(&render(&step));
            assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "{line:?}");
        }
    }

    #[test]
    fn a_model_step_shows_what_it_said_and_what_it_wants() {
        let step = json!({"index": 1, "kind": "model", "model": "m", "message": {"content": "let me see", "tool_calls": [{"name": "clock", "arguments": {}}]}});
        assert!(render(&step).ends_with("m: let me see clock({})"));
    }
}
