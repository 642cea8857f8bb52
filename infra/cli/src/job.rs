//! Jobs of the API: asking for one, waiting for it, and what it did. Used by `dlq` and `replay`.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::args::{Bulk, Format, given};
use crate::error::{Error, FAILED, INTERRUPTED, Result, UNFINISHED};
use crate::http::{Http, Method, segment};
use crate::out::{self, say};
use crate::pages;
use crate::screen::{Screen, bar, fields, runs, text};
use crate::stack::stop_on_signal;

/// A job moves within a second; while it does not, the interval doubles up to the slowest.
const FASTEST: Duration = Duration::from_millis(250);
const SLOWEST: Duration = Duration::from_secs(3);
/// A wait of minutes lives through this much without an answer: the job goes on all the same.
const PATIENCE: Duration = Duration::from_secs(60);
/// Failures that are shown after a job, among its first results; `--results` shows all.
const SHOWN: usize = 10;
const LOOKED_AT: usize = 1000;

/// One kind of job: where its jobs are, and which command looks at one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) path: &'static str,
    pub(crate) command: &'static str,
    /// What one of its results is called by.
    pub(crate) item: &'static str,
    /// What is done to runs, as the question says it.
    pub(crate) verb: &'static str,
    /// What a dry run says, for people.
    pub(crate) plan: fn(Screen, &Value) -> String,
}

/// Where an answer goes and how it is waited for.
pub(crate) struct Desk<'a> {
    pub(crate) http: &'a Http,
    pub(crate) screen: Screen,
    pub(crate) format: Format,
}

impl Desk<'_> {
    /// Asks for a job and waits for its end, as far as `bulk` says so.
    pub(crate) fn bulk(&self, kind: Kind, path: &str, body: &Map<String, Value>, bulk: &Bulk) -> Result<ExitCode> {
        match self.start(kind, path, body, bulk)? {
            Some(id) => self.wait(kind, &id, bulk.timeout),
            None => Ok(ExitCode::SUCCESS),
        }
    }

    /// Asks for a job: only what it would do (`--dry-run`), or, once it is clear how much that is, to do it. None: there is nothing
    /// to wait for.
    pub(crate) fn start(&self, kind: Kind, path: &str, body: &Map<String, Value>, bulk: &Bulk) -> Result<Option<String>> {
        let mut body = body.clone();
        body.extend(given([("rate", bulk.rate.map(Value::from)), ("concurrency", bulk.concurrency.map(Value::from))]));
        let try_out = || {
            let mut body = body.clone();
            body.insert("dry_run".to_owned(), true.into());
            dry(self.http.order(Method::POST, path, &body.into())?)
        };
        if bulk.dry_run {
            out::show(self.format, &try_out()?, |plan| (kind.plan)(self.screen, plan));
            return Ok(None);
        }
        if !bulk.yes && !self.is_wanted(kind, &try_out()?)? {
            return Ok(None);
        }
        let job = self.http.begin(path, &body.into())?;
        let id = text(&job["job_id"]);
        if bulk.no_wait {
            out::show(self.format, &job, |_| id);
            return Ok(None);
        }
        Ok(Some(id))
    }

    /// Shows the warnings of a plan, and asks if more than one run is meant.
    fn is_wanted(&self, kind: Kind, plan: &Value) -> Result<bool> {
        for warning in plan["warnings"].as_array().into_iter().flatten() {
            self.screen.remark(&format!("warning: {}", text(warning)));
        }
        let count = plan["count"].as_u64().or(plan["would_start"].as_u64()).unwrap_or_default();
        if count == 0 && plan["refused"].as_array().is_some_and(|refused| !refused.is_empty()) {
            out::show(self.format, plan, |plan| (kind.plan)(self.screen, plan));
            return Err(Error::new("nothing was done: all that was meant is refused"));
        }
        if count == 0 {
            out::show(self.format, plan, |plan| format!("nothing to do\n{}", (kind.plan)(self.screen, plan)));
        }
        if count > 1 {
            let more = if plan["complete"] == false { "more than " } else { "" };
            self.screen.confirm(&format!("{} {more}{}?", kind.verb, runs(count)))?;
        }
        Ok(count > 0)
    }

    /// Waits until a job has ended, and tells what it came to.
    pub(crate) fn wait(&self, kind: Kind, id: &str, timeout: u64) -> Result<ExitCode> {
        let job = self.until_end(kind, id, timeout)?;
        out::show(self.format, &job, render);
        if failed(&job) + skipped(&job) > 0 && self.format == Format::Table {
            self.others(kind, id)?;
        }
        Ok(self.code(&job))
    }

    /// Waits until a job has ended. An interruption, a time-out and a deployment that does not answer for long leave it as it is, and
    /// say how to come back to it.
    pub(crate) fn until_end(&self, kind: Kind, id: &str, timeout: u64) -> Result<Value> {
        let (begun, stop) = (Instant::now(), stop_on_signal()?);
        let (mut interval, mut before, mut answered) = (FASTEST, Value::Null, begun);
        let path = format!("{}/{}", kind.path, segment(id));
        loop {
            let failure = match self.http.fetch(&path) {
                Ok(job) if has_ended(&job) => {
                    self.screen.end_progress();
                    return Ok(job);
                }
                Ok(job) => {
                    interval = if job["counts"] == before["counts"] { (interval * 2).min(SLOWEST) } else { FASTEST };
                    (before, answered) = (job, Instant::now());
                    None
                }
                Err(error) if error.may_pass() => {
                    interval = (interval * 2).min(SLOWEST);
                    Some(error)
                }
                Err(error) => return Err(error.because(format!("the job {id} goes on"))),
            };
            let state = if before.is_null() { "nothing is known of it yet".to_owned() } else { line(&before) };
            self.screen.progress(&format!("{id}  {state}{}", if failure.is_some() { " · no answer" } else { "" }));
            let unfinished = |why: &str, code| {
                self.screen.end_progress();
                let hint = format!("it goes on; look with `{0} {id} --wait`, cancel with `{0} {id} --cancel`", kind.command);
                let error = Error::new(format!("{why}: {state}")).with_code(code).with_hint(hint);
                Err(failure.iter().fold(error, |error, failure| error.because(failure.render())))
            };
            if stop.load(Ordering::Relaxed) {
                return unfinished("interrupted", INTERRUPTED);
            }
            if begun.elapsed() >= Duration::from_secs(timeout) {
                return unfinished(&format!("the job has not ended after {timeout} s"), UNFINISHED);
            }
            if failure.is_some() && answered.elapsed() >= PATIENCE {
                return unfinished(&format!("nobody could say for {} s how far it is", PATIENCE.as_secs()), UNFINISHED);
            }
            pause(interval, &stop);
        }
    }

    /// 0 when it was done, 1 when something failed, all was refused, or it did not come to its end.
    pub(crate) fn code(&self, job: &Value) -> ExitCode {
        let all_refused = skipped(job) > 0 && job["counts"]["done"] == 0;
        ExitCode::from(if job["status"] == "completed" && failed(job) == 0 && !all_refused { 0 } else { FAILED })
    }

    /// The first results that are not what was wanted.
    fn others(&self, kind: Kind, id: &str) -> Result<()> {
        let found = pages::fetch(self.http, &format!("{}/{}/results", kind.path, segment(id)), &Map::new(), "results", LOOKED_AT)?;
        let others = found["results"].as_array().into_iter().flatten().filter(|result| result["outcome"] != "done");
        let rows: Vec<_> =
            others.take(SHOWN).map(|result| [kind.item, "outcome", "detail"].map(|name| text(&result[name])).to_vec()).collect();
        say!("\n{}\n\nall of them: {} {id} --results", self.screen.table(&["what", "outcome", "because"], rows), kind.command);
        Ok(())
    }
}

/// `3 tool lookup`: a step by its place, kind and name.
pub(crate) fn step(step: &Value) -> Option<String> {
    let parts = [&step["index"], &step["kind"], &step["name"]].map(text);
    step.is_object().then(|| parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" "))
}

fn failed(job: &Value) -> u64 {
    job["counts"]["failed"].as_u64().unwrap_or_default()
}

fn skipped(job: &Value) -> u64 {
    job["counts"]["skipped"].as_u64().unwrap_or_default()
}

/// Sleeps, and wakes soon after an interruption.
pub(crate) fn pause(interval: Duration, stop: &AtomicBool) {
    let end = Instant::now() + interval;
    while Instant::now() < end && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(FASTEST.min(end.saturating_duration_since(Instant::now())));
    }
}

/// What a dry run answers; a deployment that does not know dry runs has done it.
pub(crate) fn dry(plan: Value) -> Result<Value> {
    if plan["dry_run"] == true {
        return Ok(plan);
    }
    Err(Error::new("this deployment does not know dry runs: it was done").because(plan).with_hint("deploy this version of Reprise"))
}

fn has_ended(job: &Value) -> bool {
    matches!(job["status"].as_str(), Some("completed" | "stopped" | "cancelled"))
}

/// `████░░░░  12/100 · 1 failed · waiting_for_canary`
fn line(job: &Value) -> String {
    let count = |name: &str| job["counts"][name].as_u64().unwrap_or_default();
    let settled = count("done") + count("skipped") + count("failed");
    let some = |name: &str| Some(count(name)).filter(|count| *count > 0).map(|count| format!(" · {count} {name}"));
    let parts: String = ["failed", "skipped", "in_flight"].into_iter().filter_map(some).collect();
    format!("{}{} · {}", bar(settled, count("selected").max(settled)), parts.replace('_', " "), text(&job["status"]).replace('_', " "))
}

/// One job, for people.
pub(crate) fn render(job: &Value) -> String {
    let count = |name: &str| job["counts"][name].as_u64().unwrap_or_default();
    let counts = ["selected", "done", "skipped", "failed", "in_flight"].map(|name| format!("{} {}", count(name), name.replace('_', " ")));
    let canary = &job["canary"];
    fields(&[
        ("job", text(&job["job_id"])),
        ("kind", text(&job["kind"])),
        ("status", text(&job["status"])),
        ("runs", counts.join(", ")),
        ("stopped", text(&job["stopped_because"])),
        (
            "canary",
            if canary.is_object() { format!("{} (the first {})", text(&canary["state"]), text(&canary["size"])) } else { String::new() },
        ),
        ("by", text(&job["created_by"])),
        ("reason", text(&job["reason"])),
        ("created", text(&job["created_at"])),
        ("ended", text(&job["ended_at"])),
    ])
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

/// What a dry run says, for people: how many, what would become of each, and which not and why.
pub(crate) fn plan(screen: Screen, plan: &Value) -> String {
    let mut parts = Vec::new();
    if let Some(count) = plan["count"].as_u64() {
        let part = if plan["complete"] == false { "; there are more than were looked at" } else { "" };
        parts.push(format!("meant: {}; nothing was changed{part}", runs(count)));
    }
    let rows = |name: &str| plan[name].as_array().map(Vec::as_slice).unwrap_or_default();
    let cells = |entry: &Value, names: &[&str]| names.iter().map(|name| text(&entry[*name])).collect::<Vec<_>>();
    if !rows("would").is_empty() {
        let names = ["run_id", "action", "from", "step", "agent"];
        parts.push(screen.table(&["run", "it would", "from", "step", "agent"], rows("would").iter().map(|entry| cells(entry, &names))));
    }
    if !rows("refused").is_empty() {
        let names = ["run_id", "code", "detail"];
        parts.push(screen.table(&["run", "refused", "because"], rows("refused").iter().map(|entry| cells(entry, &names))));
    }
    parts.extend(rows("warnings").iter().map(|warning| format!("warning: {}", text(warning))));
    if let Some(would) = plan["would"].as_object() {
        parts.push("nothing was changed; it would".to_owned());
        let cell = |value: &Value| step(value).unwrap_or_else(|| text(value));
        parts.push(fields(&would.iter().map(|(name, value)| (name.as_str(), cell(value))).collect::<Vec<_>>()));
    }
    parts.join("\n")
}
