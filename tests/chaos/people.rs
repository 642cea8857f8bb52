//! The people beside the callers: one who changes their mind, one who is asked, and an operator who puts the dead back too early.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};
use tests::Stack;
use tests::client::text;

use crate::collect;
use crate::drive::say;
use crate::time::{now, pause};
use crate::work::DOOMED;

/// What a human says to every question.
pub(crate) const ANSWER: &str = "You may.";
/// How long somebody who was asked looks whether there is a question.
const ATTENTION: Duration = Duration::from_secs(60);
const BETWEEN_TRIES: Duration = Duration::from_millis(500);
const TRIES: u32 = 12;

/// What became of a wish to cancel a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Cancel {
    /// Nobody had it.
    #[default]
    No,
    /// Nobody knows: it was never answered with a success, and may have happened.
    Asked,
    /// It was confirmed at this time.
    Done(i64),
}

/// Cancels a run until somebody says what became of that.
pub(crate) fn cancel(stack: &Stack, run: &str) -> Cancel {
    for _ in 0..TRIES {
        match post(stack, &format!("/v1/runs/{run}/cancel"), &Value::Null) {
            (200, _) => return Cancel::Done(now()),
            (409, said) if said["code"] == "already_ended" => return Cancel::Asked,
            _ => pause(BETWEEN_TRIES),
        }
    }
    Cancel::Asked
}

/// Answers the question of a run as soon as there is one.
pub(crate) fn answer(stack: &Stack, run: &str) {
    let begun = Instant::now();
    while begun.elapsed() < ATTENTION {
        let shown = stack.api.try_send("GET", &format!("/v1/runs/{run}"), &[], Vec::new());
        let shown = shown.ok().and_then(|answer| serde_json::from_str::<Value>(&answer.body).ok()).unwrap_or_default();
        if answer_as_shown(stack, &shown) || shown["ended_at"].is_string() {
            return;
        }
        pause(BETWEEN_TRIES);
    }
}

/// Answers the questions that nobody has answered yet.
pub(crate) fn answer_all(stack: &Stack, waiting: &[Value]) {
    for run in waiting {
        let _open = answer_as_shown(stack, &stack.run(&text(run, "run_id")));
    }
}

/// Whether the run's question, if it has one, needs no answer any more.
fn answer_as_shown(stack: &Stack, run: &Value) -> bool {
    let Some(question) = run["waiting"]["question_id"].as_str() else { return false };
    let path = format!("/v1/runs/{}/answer", text(run, "run_id"));
    let (status, _) = post(stack, &path, &json!({"question_id": question, "answer": ANSWER}));
    // Refused is what somebody hears whose first answer was taken and the reply lost.
    status == 202 || status == 409
}

/// Puts dead runs back while things still fail, in all ways there are at the same moment. Until `is_over`.
pub(crate) fn operate(stack: &Stack, mut rng: Rng, retried: &Mutex<BTreeSet<String>>, is_over: impl Fn() -> bool) {
    let mut pause_ms = 4_000;
    while !is_over() {
        pause(Duration::from_millis(200));
        pause_ms -= 200;
        if pause_ms > 0 {
            continue;
        }
        pause_ms = rng.i64(3_000..9_000);
        let dead = dead(stack);
        let Some((run, prompt)) = dead.get(rng.usize(0..dead.len().max(1))) else { continue };
        retried.lock().unwrap_or_else(PoisonError::into_inner).extend(dead.iter().map(|(run, _)| run.clone()));
        if let Some(word) = prompt.strip_prefix(&format!("echo that {DOOMED} ")) {
            stack.heal(word);
        }
        say(&format!("an operator retries {run}, twice, and moves all {} dead letters back", dead.len()));
        let is_native = rng.bool();
        std::thread::scope(|scope| {
            let retry = || drop(post(stack, &format!("/v1/dlq/{run}/retry"), &Value::Null));
            scope.spawn(retry);
            scope.spawn(retry);
            // As a job, or by the queue's own move: both may meet with the others.
            drop(post(stack, "/v1/dlq/retry-all", &json!({"native": is_native})));
        });
    }
}

/// The dead and what they were asked, if that can be had now.
fn dead(stack: &Stack) -> Vec<(String, String)> {
    let shown = |path: &str| {
        let answer = stack.api.try_send("GET", path, &[], Vec::new()).ok().filter(|answer| answer.status == 200)?;
        serde_json::from_str::<Value>(&answer.body).ok()
    };
    let entries = shown("/v1/dlq?limit=100").map(|page| page["entries"].as_array().cloned().unwrap_or_default());
    let entry = |entry: &Value| {
        let run = text(entry, "run_id");
        let prompt = text(&shown(&format!("/v1/runs/{run}"))?, "prompt");
        Some((run, prompt))
    };
    entries.unwrap_or_default().iter().filter_map(entry).collect()
}

fn post(stack: &Stack, path: &str, body: &Value) -> (u16, Value) {
    let headers = [("content-type", "application/json")];
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    match stack.api.try_send("POST", path, &headers, body) {
        Ok(answer) => (answer.status, serde_json::from_str(&answer.body).unwrap_or_default()),
        Err(error) => (0, Value::String(error)),
    }
}

/// All runs of the dead-letter list were put back by somebody: their turns may come at any time.
pub(crate) fn note_dead(stack: &Stack, retried: &Mutex<BTreeSet<String>>) -> Vec<String> {
    let dead = collect::dead(stack);
    retried.lock().unwrap_or_else(PoisonError::into_inner).extend(dead.iter().cloned());
    dead
}
