//! Which runs are dead, and how many died of what.

use std::process::ExitCode;

use clap::ValueEnum as _;
use serde_json::Value;

use crate::args::{Filters, ListDead};
use crate::error::Result;
use crate::job::{Desk, step};
use crate::out::show_rows;
use crate::pages;
use crate::screen::{Screen, ago, runs, text};

pub(super) fn list(desk: &Desk<'_>, wanted: &ListDead) -> Result<ExitCode> {
    let mut query = wanted.filters.fields();
    let sort = wanted.sort.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    query.insert("sort".to_owned(), sort.into());
    let found = pages::fetch(desk.http, "/v1/dlq", &query, "entries", wanted.limit)?;
    let is_narrowed = wanted.filters.fields().keys().any(|name| name != "tenant");
    show_rows(desk.format, &found, "entries", |found| dead(desk.screen, found, is_narrowed));
    Ok(ExitCode::SUCCESS)
}

fn dead(screen: Screen, found: &Value, is_narrowed: bool) -> String {
    let entries = found["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    if entries.is_empty() {
        return "no dead runs".to_owned();
    }
    let rows = entries.iter().map(|entry| {
        vec![
            text(&entry["run_id"]),
            entry["age_seconds"].as_u64().map(ago).unwrap_or_default(),
            text(&entry["error"]["code"]),
            text(&entry["error"]["provider"]),
            text(&entry["agent"]),
            text(&entry["attempts"]),
            step(&entry["failed_step"]).unwrap_or_else(|| text(&entry["steps"])),
            text(&entry["redrives"]),
            text(&entry["error"]["message"]),
        ]
    });
    let table = screen.table(&["run", "dead for", "error", "provider", "agent", "attempts", "step", "redrives", "message"], rows);
    let more = if found["next_cursor"].is_null() { "" } else { "; more with a higher --limit" };
    let queue = found["queue"]["approximate_messages"].as_u64().map(|count| format!("; {count} messages on the queue")).unwrap_or_default();
    // The count is of all that are dead, whatever was asked for.
    let (shown, count) = (entries.len(), text(&found["count"]));
    let shown = if is_narrowed { format!("{shown} shown, {count} dead in all") } else { format!("{shown} of {count} shown") };
    format!("{table}\n\n{shown}{more}{queue}")
}

pub(super) fn stats(desk: &Desk<'_>, filters: &Filters) -> Result<ExitCode> {
    let found = desk.http.fetch(&format!("/v1/dlq/stats{}", pages::encoded(&filters.fields())))?;
    show_rows(desk.format, &found, "groups", |found| groups(desk.screen, found));
    Ok(ExitCode::SUCCESS)
}

fn groups(screen: Screen, found: &Value) -> String {
    let groups = found["groups"].as_array().map(Vec::as_slice).unwrap_or_default();
    if groups.is_empty() {
        return "no dead runs".to_owned();
    }
    let rows = groups.iter().map(|group| {
        let agents: Vec<_> = group["agents"].as_array().into_iter().flatten().map(text).collect();
        vec![
            text(&group["fingerprint"]),
            text(&group["count"]),
            text(&group["code"]),
            text(&group["provider"]),
            text(&group["first_died_at"]),
            text(&group["last_died_at"]),
            agents.join(", "),
            text(&group["message"]),
        ]
    });
    let table = screen.table(&["fingerprint", "runs", "error", "provider", "since", "last", "agents", "message"], rows);
    let part = if found["complete"] == false { " that were looked at; narrow it (--since) for exact numbers" } else { "" };
    format!("{table}\n\n{} dead{part}", runs(found["count"].as_u64().unwrap_or_default()))
}
