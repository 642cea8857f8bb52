//! Dead runs put back or given up: one at once, several as a job.

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::{DISCARDS, JOBS};
use crate::args::{Bulk, Change, Discard, RetryAll, RetryDead, Selection, given};
use crate::error::{Error, Result};
use crate::http::{Method, segment};
use crate::job::{Desk, dry, plan};
use crate::out;
use crate::screen::text;

/// What a retry says beyond which runs.
fn retry_body(change: &Change, force: bool, reason: Option<&str>) -> Map<String, Value> {
    given([
        ("from", change.from_start.then(|| json!("start"))),
        ("model", change.model.as_ref().map(|model| json!(model))),
        ("agent", change.with_agent.as_ref().map(|agent| json!(agent))),
        ("force", force.then_some(json!(true))),
        ("reason", reason.map(|reason| json!(reason))),
    ])
}

fn canary(size: Option<u32>, timeout: Option<u32>) -> Map<String, Value> {
    let canary = size.map(|size| match timeout {
        Some(seconds) => json!({"size": size, "timeout_seconds": seconds}),
        None => json!(size),
    });
    given([("canary", canary)])
}

pub(super) fn some(desk: &Desk<'_>, retry: &RetryDead) -> Result<ExitCode> {
    let mut body = retry_body(&retry.change, retry.force, retry.reason.as_deref());
    if let (Some(id), None) = (single(&retry.selection, &retry.bulk), retry.canary) {
        if let Some(path) = &retry.input {
            body.insert("input".to_owned(), input(path)?);
        }
        return one(desk, id, "retry", body, retry.bulk.dry_run);
    }
    if retry.input.is_some() {
        return Err(Error::unreachable("--input is for one run").with_hint("name the run, without --canary, --rate or --concurrency"));
    }
    body.extend(canary(retry.canary, retry.canary_timeout));
    body.extend(selected(&retry.selection)?);
    desk.bulk(JOBS, "/v1/dlq/retry", &body, &retry.bulk)
}

pub(super) fn all(desk: &Desk<'_>, retry: &RetryAll) -> Result<ExitCode> {
    let mut body = retry_body(&retry.change, retry.force, retry.reason.as_deref());
    body.extend(given([("tenant", retry.tenant.as_ref().map(|tenant| json!(tenant)))]));
    if !retry.native {
        body.extend(canary(retry.canary, retry.canary_timeout));
        return desk.bulk(JOBS, "/v1/dlq/retry-all", &body, &retry.bulk);
    }
    if !retry.bulk.yes {
        desk.screen.confirm("move every message of the dead-letter queue back, of all tenants?")?;
    }
    body.extend(given([("native", Some(json!(true))), ("rate", retry.bulk.rate.map(Value::from))]));
    let moved = desk.http.order(Method::POST, "/v1/dlq/retry-all", &body.into())?;
    out::show(desk.format, &moved, |moved| match moved["status"].as_str() {
        Some("already_running") => "the queue is being moved already".to_owned(),
        _ => "the queue moves its messages back; `reprise dlq list` shows what is left".to_owned(),
    });
    Ok(ExitCode::SUCCESS)
}

pub(super) fn discard(desk: &Desk<'_>, discard: &Discard) -> Result<ExitCode> {
    let mut body = given([("reason", Some(json!(discard.reason)))]);
    if let Some(id) = single(&discard.selection, &discard.bulk).filter(|_| !discard.bulk.dry_run) {
        return one(desk, id, "discard", body, false);
    }
    body.extend(selected(&discard.selection)?);
    desk.bulk(DISCARDS, "/v1/dlq/discard", &body, &discard.bulk)
}

/// The one run that is named, where nothing makes a job of it.
fn single<'a>(selection: &'a Selection, bulk: &Bulk) -> Option<&'a str> {
    let plain = selection.filters.fields().is_empty() && !selection.all && bulk.rate.is_none() && bulk.concurrency.is_none();
    match selection.ids.as_slice() {
        [id] if plain => Some(id),
        _ => None,
    }
}

fn one(desk: &Desk<'_>, id: &str, action: &str, mut body: Map<String, Value>, is_dry: bool) -> Result<ExitCode> {
    body.extend(is_dry.then(|| ("dry_run".to_owned(), json!(true))));
    let done = desk.http.order(Method::POST, &format!("/v1/dlq/{}/{action}", segment(id)), &body.into())?;
    let done = if is_dry { dry(done)? } else { done };
    out::show(desk.format, &done, |done| match (is_dry, action) {
        (true, _) => plan(desk.screen, done),
        (false, "retry") => format!("{id} is {}; follow it with: reprise run tail {id}", text(&done["status"])),
        (false, _) => format!("{id} is {}", text(&done["status"])),
    });
    Ok(ExitCode::SUCCESS)
}

/// Exactly one way to say which: an empty choice would be all of them, and that has to be said.
fn selected(selection: &Selection) -> Result<Map<String, Value>> {
    let filter = selection.filters.fields();
    let ways = [
        ("ids", (!selection.ids.is_empty()).then(|| json!(selection.ids))),
        ("filter", (!filter.is_empty()).then(|| json!(filter))),
        ("all", selection.all.then_some(json!(true))),
    ];
    match ways.iter().filter(|(_, value)| value.is_some()).count() {
        1 => Ok(given(ways)),
        0 => Err(Error::unreachable("which runs? nothing says it")
            .with_hint("name them, filter them (`--code`, `--agent`, `--since`, …), or say `--all`")),
        _ => Err(Error::unreachable("name runs, filter them, or say --all: only one of the three")),
    }
}

fn input(path: &Path) -> Result<Value> {
    let wrong = |error: &dyn std::fmt::Display| Error::unreachable(format!("{} is no input", path.display())).because(error);
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    serde_json::from_str(&text).map_err(|error| wrong(&error))
}
