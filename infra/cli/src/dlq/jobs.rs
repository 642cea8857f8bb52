//! Bulk actions: which there are, and one of them.

use std::process::ExitCode;

use serde_json::{Map, Value};

use super::JOBS;
use crate::args::Job;
use crate::error::Result;
use crate::http::{Method, segment};
use crate::job::{Desk, Kind, render};
use crate::out::{self, show_rows};
use crate::pages;
use crate::screen::{Screen, text};

pub(super) fn list(desk: &Desk<'_>, limit: usize) -> Result<ExitCode> {
    let found = pages::fetch(desk.http, JOBS.path, &Map::new(), "jobs", limit)?;
    show_rows(desk.format, &found, "jobs", |found| jobs(desk.screen, found));
    Ok(ExitCode::SUCCESS)
}

/// A line for each job.
pub(crate) fn jobs(screen: Screen, found: &Value) -> String {
    let rows: Vec<_> = found["jobs"].as_array().into_iter().flatten().map(row).collect();
    if rows.is_empty() {
        return "no jobs".to_owned();
    }
    screen.table(&["job", "kind", "status", "selected", "done", "skipped", "failed", "created", "by", "reason"], rows)
}

fn row(job: &Value) -> Vec<String> {
    let counts = ["selected", "done", "skipped", "failed"].map(|name| text(&job["counts"][name]));
    let before = ["job_id", "kind", "status"].map(|name| text(&job[name]));
    let after = ["created_at", "created_by", "reason"].map(|name| text(&job[name]));
    before.into_iter().chain(counts).chain(after).collect()
}

/// Shows a job, waits for it, shows what it did, or cancels it.
pub(crate) fn one(desk: &Desk<'_>, kind: Kind, wanted: &Job) -> Result<ExitCode> {
    let path = format!("{}/{}", kind.path, segment(&wanted.id));
    if wanted.wait {
        return desk.wait(kind, &wanted.id, wanted.timeout);
    }
    if wanted.results {
        let found = pages::fetch(desk.http, &format!("{path}/results"), &Map::new(), "results", usize::MAX)?;
        show_rows(desk.format, &found, "results", |found| results(desk.screen, kind, found));
        return Ok(ExitCode::SUCCESS);
    }
    let job = if wanted.cancel {
        desk.http.order(Method::POST, &format!("{path}/cancel"), &Value::Object(Map::new()))?
    } else {
        desk.http.fetch(&path)?
    };
    out::show(desk.format, &job, render);
    Ok(ExitCode::SUCCESS)
}

fn results(screen: Screen, kind: Kind, found: &Value) -> String {
    let row = |result: &Value| [kind.item, "outcome", "at", "detail"].map(|name| text(&result[name])).to_vec();
    screen.table(&[kind.item, "outcome", "at", "detail"], found["results"].as_array().into_iter().flatten().map(row))
}
