//! `reprise run list`: runs, the last first.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::args::{Format, ListRuns, given, rfc3339};
use crate::error::Result;
use crate::http::Http;
use crate::out::show_rows;
use crate::pages;
use crate::screen::{Screen, text};

pub(super) fn execute(http: &Http, screen: Screen, list: &ListRuns, format: Format) -> Result<ExitCode> {
    let query = given([
        ("status", list.status.as_ref().map(|status| json!(status))),
        ("agent", list.agent.as_ref().map(|agent| json!(agent))),
        ("since", list.since.map(|time| json!(rfc3339(time)))),
        ("until", list.until.map(|time| json!(rfc3339(time)))),
    ]);
    let found = pages::fetch(http, "/v1/runs", &query, "runs", list.limit)?;
    show_rows(format, &found, "runs", |found| table(screen, found));
    Ok(ExitCode::SUCCESS)
}

fn table(screen: Screen, found: &Value) -> String {
    let rows: Vec<_> = found["runs"].as_array().into_iter().flatten().map(row).collect();
    if rows.is_empty() {
        return "no runs".to_owned();
    }
    let more = if found["next_cursor"].is_null() { "" } else { "\n\nmore with a higher --limit" };
    format!("{}{more}", screen.table(&["run", "status", "agent", "trigger", "steps", "attempts", "tokens", "created", "error"], rows))
}

fn row(run: &Value) -> Vec<String> {
    let usage = &run["usage"];
    let tokens = usage["input_tokens"].as_u64().unwrap_or_default() + usage["output_tokens"].as_u64().unwrap_or_default();
    vec![
        text(&run["run_id"]),
        text(&run["status"]),
        text(&run["agent"]),
        text(&run["trigger"]),
        text(&run["steps"]),
        text(&run["attempts"]),
        tokens.to_string(),
        text(&run["created_at"]),
        text(&run["error"]["code"]),
    ]
}
