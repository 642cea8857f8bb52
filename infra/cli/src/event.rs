//! `reprise event`: tells what happened, and shows what was told.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::args::{Event, EventCommand, ListEvents, Publish, given, rfc3339};
use crate::config::Env;
use crate::error::{Error, Result};
use crate::http::{Http, segment};
use crate::out::{self, read_stdin, show_rows};
use crate::pages;
use crate::screen::{Screen, fields, text};

/// Above the gateway's 29 s, so that its own answer is seen.
const CALL_LIMIT: Duration = Duration::from_secs(35);

pub(crate) fn execute(event: &Event, env: &Env) -> Result<ExitCode> {
    let http = Http::to(&event.target, env, CALL_LIMIT)?;
    match &event.command {
        EventCommand::Publish(publish) => out::show(event.format, &self::publish(&http, publish)?, render),
        EventCommand::Show { id } => out::show(event.format, &http.fetch(&format!("/v1/events/{}", segment(id)))?, render),
        EventCommand::List(list) => {
            let found = pages::fetch(&http, "/v1/events", &query(list), "events", list.limit)?;
            show_rows(event.format, &found, "events", |found| table(Screen::of(env), found));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn publish(http: &Http, publish: &Publish) -> Result<Value> {
    let said = match publish.payload.as_str() {
        "-" => read_stdin()?,
        payload => match payload.strip_prefix('@') {
            Some(path) => {
                std::fs::read_to_string(path).map_err(|error| Error::unreachable(format!("{path} cannot be read")).because(error))?
            }
            None => payload.to_owned(),
        },
    };
    let payload: Value = serde_json::from_str(&said).map_err(|error| {
        Error::unreachable("the payload is not JSON").because(error).with_hint("a text has quotes in JSON: --payload '\"text\"'")
    })?;
    let text = |value: &Option<String>| value.as_ref().map(|value| json!(value));
    let body = given([
        ("type", Some(json!(publish.kind))),
        ("source", Some(json!(publish.source))),
        ("payload", Some(payload)),
        ("id", text(&publish.id)),
        ("correlation_id", text(&publish.correlation_id)),
        ("causation_id", text(&publish.causation_id)),
        ("trace_id", text(&publish.trace_id)),
    ]);
    http.begin("/v1/events", &body.into())
}

fn query(list: &ListEvents) -> serde_json::Map<String, Value> {
    given([
        ("type", list.kind.as_ref().map(|kind| json!(kind))),
        ("source", list.source.as_ref().map(|source| json!(source))),
        ("since", list.since.map(|time| json!(rfc3339(time)))),
        ("until", list.until.map(|time| json!(rfc3339(time)))),
    ])
}

fn table(screen: Screen, found: &Value) -> String {
    let rows: Vec<_> = found["events"].as_array().into_iter().flatten().map(row).collect();
    if rows.is_empty() {
        return "no events".to_owned();
    }
    let more = if found["next_cursor"].is_null() { "" } else { "\n\nmore with a higher --limit" };
    format!("{}{more}", screen.table(&["event", "type", "source", "at", "runs"], rows))
}

fn row(event: &Value) -> Vec<String> {
    let matches = event["matches"].as_array().into_iter().flatten();
    let runs: Vec<_> = matches.map(|found| &found["run_id"]).chain([&event["run_id"]]).filter(|run| !run.is_null()).map(text).collect();
    vec![text(&event["event_id"]), text(&event["type"]), text(&event["source"]), text(&event["created_at"]), runs.join(" ")]
}

fn render(event: &Value) -> String {
    let matches = event["matches"].as_array().into_iter().flatten();
    let made: Vec<_> = matches
        .map(|found| {
            let parts = [text(&found["trigger"]), text(&found["agent"]), text(&found["outcome"]), text(&found["run_id"])];
            parts.join("  ").trim_end().to_owned()
        })
        .collect();
    fields(&[
        ("event", text(&event["event_id"])),
        ("type", text(&event["type"])),
        ("source", text(&event["source"])),
        ("id", text(&event["id"])),
        ("at", text(&event["created_at"])),
        ("correlation", text(&event["correlation_id"])),
        ("causation", text(&event["causation_id"])),
        ("trace", text(&event["trace_id"])),
        ("run", text(&event["run_id"])),
        ("triggers", if made.is_empty() { "none matched".to_owned() } else { made.join("\n") }),
        ("payload", if event["payload"].is_null() { String::new() } else { format!("{:#}", event["payload"]) }),
    ])
}
