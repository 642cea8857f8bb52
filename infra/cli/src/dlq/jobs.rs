//! Bulk actions: which there are, and one of them.

use std::process::ExitCode;

use serde_json::{Map, Value};

use super::JOBS;
use crate::args::Job;
use crate::error::Result;
use crate::http::{Method, segment};
use crate::job::{Desk, jobs, render};
use crate::out::{self, show_rows};
use crate::pages;
use crate::screen::{Screen, text};

pub(super) fn list(desk: &Desk<'_>, limit: usize) -> Result<ExitCode> {
    let found = pages::fetch(desk.http, JOBS.path, &Map::new(), "jobs", limit)?;
    show_rows(desk.format, &found, "jobs", |found| jobs(desk.screen, found));
    Ok(ExitCode::SUCCESS)
}

/// Shows a job, waits for it, shows what it did, or cancels it.
pub(super) fn one(desk: &Desk<'_>, wanted: &Job) -> Result<ExitCode> {
    let path = format!("{}/{}", JOBS.path, segment(&wanted.id));
    if wanted.wait {
        // Whether it is there at all and may be looked at is known at once; only the wait is patient.
        desk.http.fetch(&path)?;
        return desk.wait(JOBS, &wanted.id, wanted.timeout);
    }
    if wanted.results {
        let found = pages::fetch(desk.http, &format!("{path}/results"), &Map::new(), "results", usize::MAX)?;
        show_rows(desk.format, &found, "results", |found| results(desk.screen, found));
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

fn results(screen: Screen, found: &Value) -> String {
    let row = |result: &Value| [JOBS.item, "outcome", "at", "detail"].map(|name| text(&result[name])).to_vec();
    screen.table(&[JOBS.item, "outcome", "at", "detail"], found["results"].as_array().into_iter().flatten().map(row))
}
