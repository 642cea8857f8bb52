//! Old and new runs of a replay, side by side.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::REPLAYS;
use crate::error::{INTERRUPTED, Result, UNFINISHED};
use crate::http::segment;
use crate::job::{Desk, pause};
use crate::out::{printable, show_rows};
use crate::pages;
use crate::screen::{Screen, text};
use crate::stack::stop_on_signal;

/// Up to so many are shown with their answers; more have a line each.
const IN_FULL: usize = 3;

/// A run that was started takes seconds at least; who waits longer looks less often.
const FIRST_LOOK: Duration = Duration::from_millis(500);
const SLOWEST_LOOK: Duration = Duration::from_secs(8);

/// Shows what there is.
pub(super) fn show(desk: &Desk<'_>, id: &str) -> Result<()> {
    show_rows(desk.format, &fetch(desk, id)?, "results", |found| render(desk.screen, found));
    Ok(())
}

/// Shows them once the new runs have ended or wait for a person: a job has ended when its runs are started. After so many seconds, and
/// when interrupted, it shows what there is.
pub(super) fn show_ended(desk: &Desk<'_>, id: &str, timeout: u64) -> Result<Option<u8>> {
    let (begun, stop, mut interval) = (Instant::now(), stop_on_signal()?, FIRST_LOOK);
    let mut results = Results::new(id);
    loop {
        results.look(desk)?;
        let left = results.rows().filter(|result| goes_on(result)).count();
        let code = match left {
            0 => None,
            _ if stop.load(Ordering::Relaxed) => Some(INTERRUPTED),
            _ if begun.elapsed() >= Duration::from_secs(timeout) => Some(UNFINISHED),
            left => {
                desk.screen.progress(&format!("{left} of {} new runs go on", results.rows().count()));
                pause(interval, &stop);
                interval = (interval * 2).min(SLOWEST_LOOK);
                continue;
            }
        };
        desk.screen.end_progress();
        let found = json!({"results": results.rows().collect::<Vec<_>>(), "next_cursor": null});
        show_rows(desk.format, &found, "results", |found| render(desk.screen, found));
        if code.is_some() {
            desk.screen.remark(&format!("{left} of the new runs go on; look again with `reprise replays {id} --compare`"));
        }
        return Ok(code);
    }
}

/// The results of a job that has ended, page by page: what cannot change any more is not read again.
struct Results {
    path: String,
    /// Where each page begins, and what was on it.
    pages: Vec<(Value, Vec<Value>)>,
}

impl Results {
    fn new(id: &str) -> Self {
        Self { path: format!("{}/{}/results", REPLAYS.path, segment(id)), pages: Vec::new() }
    }

    fn rows(&self) -> impl Iterator<Item = &Value> {
        self.pages.iter().flat_map(|(_, rows)| rows)
    }

    /// Reads all pages the first time, and then those on which a run goes on.
    fn look(&mut self, desk: &Desk<'_>) -> Result<()> {
        if self.pages.is_empty() {
            let mut cursor = Value::Null;
            return pages::each(desk.http, &self.path, &Map::new(), "results", usize::MAX, |page, rows| {
                let next = page["next_cursor"].clone();
                self.pages.push((std::mem::replace(&mut cursor, next), rows));
                Ok(ControlFlow::Continue(()))
            });
        }
        for (cursor, rows) in self.pages.iter_mut().filter(|(_, rows)| rows.iter().any(goes_on)) {
            let cursor = (!cursor.is_null()).then(|| ("cursor".to_owned(), cursor.clone()));
            match pages::fetch(desk.http, &self.path, &cursor.into_iter().collect(), "results", rows.len()) {
                Ok(page) => *rows = page["results"].as_array().cloned().unwrap_or_default(),
                // What was seen before stays; the next look may say more.
                Err(error) if error.may_pass() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn goes_on(result: &Value) -> bool {
    matches!(result["new"]["status"].as_str(), Some("queued" | "running"))
}

fn fetch(desk: &Desk<'_>, id: &str) -> Result<Value> {
    pages::fetch(desk.http, &format!("{}/{}/results", REPLAYS.path, segment(id)), &Map::new(), "results", usize::MAX)
}

fn render(screen: Screen, found: &Value) -> String {
    let results = found["results"].as_array().map(Vec::as_slice).unwrap_or_default();
    if results.is_empty() {
        return "nothing was started".to_owned();
    }
    let shown: Vec<_> = if results.len() <= IN_FULL {
        results.iter().map(|result| in_full(screen, result)).collect()
    } else {
        let names = ["event", "old", "new", "status", "answer", "steps", "tokens", "cost US$", "seconds"];
        vec![screen.table(&names, results.iter().map(row))]
    };
    format!("{}\n\n{}", shown.join("\n\n"), summary(results))
}

/// `3 → 4`, or one of them where they are the same.
fn both(old: &str, new: &str) -> String {
    if old == new { old.to_owned() } else { format!("{} → {}", dash(old), dash(new)) }
}

fn dash(text: &str) -> &str {
    if text.is_empty() { "–" } else { text }
}

fn tokens(run: &Value) -> String {
    let count = |name: &str| run[name].as_u64();
    match (count("input_tokens"), count("output_tokens")) {
        (None, None) => String::new(),
        (input, output) => (input.unwrap_or_default() + output.unwrap_or_default()).to_string(),
    }
}

fn seconds(run: &Value) -> String {
    run["duration_ms"].as_f64().map(|ms| format!("{:.1}", ms / 1000.0)).unwrap_or_default()
}

fn answer(result: &Value) -> &'static str {
    match (result["old"].is_object(), result["new"].is_object(), result["difference"]["same_answer"].as_bool()) {
        (_, false, _) => "not started",
        (false, true, _) => "new",
        (true, true, Some(true)) => "same",
        (true, true, Some(false)) => "differs",
        (true, true, None) => "–",
    }
}

fn row(result: &Value) -> Vec<String> {
    let (old, new) = (&result["old"], &result["new"]);
    let of = |name: &str| both(&text(&old[name]), &text(&new[name]));
    vec![
        text(&result["event_id"]),
        text(&old["run_id"]),
        text(&new["run_id"]),
        of("status"),
        answer(result).to_owned(),
        of("steps"),
        both(&tokens(old), &tokens(new)),
        of("cost_usd"),
        both(&seconds(old), &seconds(new)),
    ]
}

fn in_full(screen: Screen, result: &Value) -> String {
    let (old, new) = (&result["old"], &result["new"]);
    if !new.is_object() {
        return format!("{} {}: {}", text(&result["id"]), text(&result["outcome"]), text(&result["detail"]));
    }
    let difference = |name: &str| match result["difference"][name].as_f64() {
        Some(by) if by != 0.0 => format!("{by:+}"),
        _ => String::new(),
    };
    let line = |name: &str, cell: &dyn Fn(&Value) -> String, by: String| vec![name.to_owned(), cell(old), cell(new), by];
    let rows = [
        line("run", &|run| text(&run["run_id"]), String::new()),
        line("agent", &|run| text(&run["agent"]), String::new()),
        line("status", &|run| text(&run["status"]), String::new()),
        line("error", &|run| text(&run["error"]["code"]), String::new()),
        line("steps", &|run| text(&run["steps"]), difference("steps")),
        line("input tokens", &|run| text(&run["input_tokens"]), difference("input_tokens")),
        line("output tokens", &|run| text(&run["output_tokens"]), difference("output_tokens")),
        line("cost US$", &|run| text(&run["cost_usd"]), difference("cost_usd")),
        line("duration ms", &|run| text(&run["duration_ms"]), difference("duration_ms")),
    ];
    let rows = rows.into_iter().filter(|row| !(row[1].is_empty() && row[2].is_empty()));
    let head = [text(&result["event_id"]), text(&result["trigger"])].join(" ");
    let said = |run: &Value| printable(run["answer"].as_str().unwrap_or("–")).trim().replace('\n', "\n  ");
    let answers = match answer(result) {
        "same" => format!("the same answer\n  {}", said(new)),
        _ => format!("old answer\n  {}\nnew answer\n  {}", said(old), said(new)),
    };
    format!("{}\n{}\n{answers}", head.trim(), screen.table(&["", "old", "new", "difference"], rows))
}

/// `10 compared: 8 same answers, 2 differ, …`
fn summary(results: &[Value]) -> String {
    let count = |word: &str| results.iter().filter(|result| answer(result) == word).count();
    let unfinished = results.iter().filter(|result| goes_on(result) || result["new"]["status"] == "waiting").count();
    let sum = |name: &str| results.iter().filter_map(|result| result["difference"][name].as_f64()).sum::<f64>();
    let mut parts = vec![format!("{} the same, {} different, {} new", count("same"), count("differs"), count("new"))];
    let tokens = sum("input_tokens") + sum("output_tokens");
    let unknown = results.iter().any(|result| result["difference"].is_object() && result["difference"]["cost_usd"].is_null());
    // Added to nothing, so that there is no -0.
    let cost = (sum("cost_usd") * 1e6).round() / 1e6 + 0.0;
    parts.push(format!("tokens {tokens:+}, cost {}", if unknown { "unknown".to_owned() } else { format!("{cost:+.6} US$") }));
    let left_out = count("not started");
    if left_out > 0 {
        parts.push(format!("{left_out} not started"));
    }
    if unfinished > 0 {
        parts.push(format!("{unfinished} still going on"));
    }
    parts.join("; ")
}
