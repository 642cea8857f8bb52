//! One dead run, with all that explains it.

use std::process::ExitCode;

use serde_json::Value;

use crate::args::ShowDead;
use crate::error::Result;
use crate::http::segment;
use crate::job::{Desk, step};
use crate::out;
use crate::run::steps;
use crate::run::view::transition;
use crate::screen::{ago, fields, text};

pub(super) fn execute(desk: &Desk<'_>, wanted: &ShowDead) -> Result<ExitCode> {
    let path = format!("/v1/dlq/{}", segment(&wanted.id));
    if wanted.raw {
        let found = desk.http.fetch(&format!("{path}/payload"))?;
        out::show(desk.format, &found, |found| fields(&[("payload", laid_out(&found["payload"])), ("input", laid_out(&found["input"]))]));
    } else {
        out::show(desk.format, &desk.http.fetch(&path)?, render);
    }
    Ok(ExitCode::SUCCESS)
}

fn render(entry: &Value) -> String {
    let error = &entry["error"];
    let lines =
        |name: &str, line: fn(&Value) -> String| entry[name].as_array().into_iter().flatten().map(line).collect::<Vec<_>>().join("\n");
    let usage = &entry["usage"];
    let spent = format!("{} in, {} out", text(&usage["input_tokens"]), text(&usage["output_tokens"]));
    let died = entry["age_seconds"].as_u64().map(|seconds| format!("{} ({} ago)", text(&entry["died_at"]), ago(seconds)));
    let redacted: Vec<_> = entry["redacted"].as_array().into_iter().flatten().map(text).collect();
    fields(&[
        ("run", text(&entry["run_id"])),
        ("error", format!("{}: {}", text(&error["code"]), text(&error["message"]))),
        ("fingerprint", text(&entry["fingerprint"])),
        ("provider", text(&error["provider"])),
        (
            "failed step",
            format!("{} {}", step(&entry["failed_step"]).unwrap_or_default(), text(&entry["failed_step"]["arguments"])).trim().to_owned(),
        ),
        ("agent", text(&entry["agent"])),
        ("event", [&entry["event_id"], &entry["event_type"], &entry["source"]].map(text).join("  ").trim().to_owned()),
        ("trigger", text(&entry["trigger"])),
        ("conversation", text(&entry["conversation_id"])),
        ("attempts", text(&entry["attempts"])),
        ("redrives", text(&entry["redrives"])),
        ("tokens", if usage.is_object() { spent } else { String::new() }),
        ("cost", entry["cost_usd"].as_f64().map(|dollars| format!("{dollars} US$")).unwrap_or_default()),
        ("created", text(&entry["created_at"])),
        ("first failed", text(&entry["first_failed_at"])),
        ("last failed", text(&entry["last_failed_at"])),
        ("died", died.unwrap_or_default()),
        (
            "failures",
            lines("failures", |f| {
                format!("{}  attempt {}  {}: {}", text(&f["at"]), text(&f["attempt"]), text(&f["code"]), text(&f["message"]))
            }),
        ),
        ("transitions", lines("transitions", transition)),
        ("journal", lines("journal", steps::render)),
        ("", if entry["journal_complete"] == false { "the rest: reprise run tail".to_owned() } else { String::new() }),
        ("input", if entry["input"] == entry["payload"] { String::new() } else { laid_out(&entry["input"]) }),
        ("payload", laid_out(&entry["payload"])),
        ("redacted", redacted.join(", ")),
    ])
}

/// JSON over several lines, or nothing.
fn laid_out(value: &Value) -> String {
    if value.is_null() { String::new() } else { format!("{value:#}") }
}
