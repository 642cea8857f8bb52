//! What there is to know of a run whose promise was broken, in one file, while the stack is still there to be asked.

use std::path::Path;

use serde_json::{Value, json};
use tests::Stack;
use tests::client::text;

use crate::facts::Facts;
use crate::judge::Verdict;

/// Most files that are written.
const MOST: usize = 12;

/// Writes `<run>.json` for the runs that violations name; their names.
///
/// # Errors
/// When the folder cannot be written.
pub(crate) fn write(stack: &Stack, facts: &Facts, verdict: &Verdict, folder: &str) -> std::io::Result<Vec<String>> {
    let mut runs: Vec<&str> = verdict.violations.iter().filter_map(|violation| run_in(&violation.subject, &violation.detail)).collect();
    runs.sort_unstable();
    runs.dedup();
    runs.truncate(MOST);
    for run in &runs {
        let text = serde_json::to_string_pretty(&case(stack, facts, run))?;
        std::fs::write(Path::new(folder).join(format!("{run}.json")), text)?;
    }
    Ok(runs.into_iter().map(str::to_owned).collect())
}

/// Everything with a time is sorted by it.
fn case(stack: &Stack, facts: &Facts, run: &str) -> Value {
    let log = stack.emulator.get(&format!("/__reprise/requests?contains={run}")).json();
    let entries = log["requests"].as_array().cloned().unwrap_or_default();
    let request = |entry: &Value| {
        let call = format!("{} {} {} {}", text(entry, "operation"), entry["status"], text(entry, "fault"), function_of(entry));
        json!({"at": entry["at"], "took_ms": entry["duration_ms"], "aws": call, "body": entry["body"]})
    };
    let mut events: Vec<Value> = entries.iter().map(request).collect();
    let calls = facts.calls.iter().filter(|call| call.run == run);
    events.extend(calls.map(|call| {
        let outcome = if call.delivered { "delivered" } else { "not delivered" };
        json!({"at": call.at, "took_ms": call.ended_at - call.at, "model": format!("step {} {} {} {outcome}", call.step, call.status, call.fault)})
    }));
    let owners = facts.writes.claims.get(run).cloned().unwrap_or_default();
    let is_owner = |stream: &str| owners.iter().any(|claim| claim.stream == stream);
    events.extend(
        facts
            .hurts
            .iter()
            .filter(|hurt| is_owner(&hurt.stream))
            .map(|hurt| json!({"at": hurt.at, "until": hurt.until, "hurt": format!("{} {}", hurt.kind.name(), hurt.stream)})),
    );
    events.sort_by_key(|event| event["at"].as_i64());
    let shown = |path: &str| stack.api.try_send("GET", path, &[], Vec::new()).map_or_else(Value::String, |answer| answer.json());
    json!({
        "run": shown(&format!("/v1/runs/{run}")),
        "steps": shown(&format!("/v1/runs/{run}/steps")),
        "owners": owners.iter().map(|claim| json!({"at": claim.at, "worker": claim.stream})).collect::<Vec<_>>(),
        "events": events,
    })
}

fn function_of(entry: &Value) -> String {
    text(entry, "user_agent").split("app/").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or("-").to_owned()
}

/// The run that a violation is about.
fn run_in<'a>(subject: &'a str, detail: &'a str) -> Option<&'a str> {
    [subject, detail].into_iter().find_map(|text| {
        let begin = text.find("run_")?;
        text.get(begin..begin + "run_".len() + 26)
    })
}
