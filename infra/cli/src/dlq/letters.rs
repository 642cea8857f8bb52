//! Messages on the queue that are none of ours.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use crate::args::{Letters, LettersCommand, given};
use crate::error::{Error, Result};
use crate::http::{Method, segment};
use crate::job::Desk;
use crate::out::{self, show_rows};
use crate::pages;
use crate::screen::{Screen, fields, text};

/// How many are listed when nothing says so.
const LISTED: usize = 20;

pub(super) fn execute(desk: &Desk<'_>, letters: &Letters) -> Result<ExitCode> {
    let command = |id: &str, action: &str, body: Map<String, Value>| {
        let done = desk.http.order(Method::POST, &format!("/v1/dlq/letters/{}/{action}", segment(id)), &body.into())?;
        out::show(desk.format, &done, |done| format!("{id} is {}", text(&done["status"])));
        Ok(ExitCode::SUCCESS)
    };
    match &letters.command {
        None => list(desk, "open", LISTED),
        Some(LettersCommand::List(wanted)) => list(desk, &wanted.status, wanted.limit),
        Some(LettersCommand::Show { id }) => {
            out::show(desk.format, &desk.http.fetch(&format!("/v1/dlq/letters/{}", segment(id)))?, render);
            Ok(ExitCode::SUCCESS)
        }
        Some(LettersCommand::Move { id, body, reason }) => {
            let mended = body.as_ref().map(|path| {
                std::fs::read_to_string(path)
                    .map_err(|error| Error::unreachable(format!("{} cannot be read", path.display())).because(error))
            });
            command(id, "move", given([("body", mended.transpose()?.map(|text| json!(text))), ("reason", Some(json!(reason)))]))
        }
        Some(LettersCommand::Discard { id, reason }) => command(id, "discard", given([("reason", Some(json!(reason)))])),
    }
}

fn list(desk: &Desk<'_>, status: &str, limit: usize) -> Result<ExitCode> {
    let found = pages::fetch(desk.http, "/v1/dlq/letters", &given([("status", Some(json!(status)))]), "letters", limit)?;
    show_rows(desk.format, &found, "letters", |found| table(desk.screen, found));
    Ok(ExitCode::SUCCESS)
}

fn table(screen: Screen, found: &Value) -> String {
    let names = ["letter_id", "status", "first_seen_at", "receives", "problem", "body_preview"];
    let rows: Vec<_> =
        found["letters"].as_array().into_iter().flatten().map(|letter| names.map(|name| text(&letter[name])).to_vec()).collect();
    if rows.is_empty() {
        return "no such messages".to_owned();
    }
    screen.table(&["letter", "status", "first seen", "receives", "problem", "body"], rows)
}

fn render(letter: &Value) -> String {
    let pairs = letter.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), text(value)));
    fields(&pairs.collect::<Vec<_>>())
}
