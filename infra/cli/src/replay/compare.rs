//! Old and new runs of a replay, side by side.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::REPLAYS;
use crate::error::Result;
use crate::http::segment;
use crate::job::Desk;
use crate::out::{printable, show_rows};
use crate::pages;
use crate::screen::{Screen, text};

/// Up to so many are shown with their answers; more have a line each.
const IN_FULL: usize = 3;

/// A run that was started takes seconds at least; who waits longer looks less often, because a look reads all of the runs.
const FIRST_LOOK: Duration = Duration::from_millis(500);
const SLOWEST_LOOK: Duration = Duration::from_secs(8);

/// Shows what there is.
pub(super) fn show(desk: &Desk<'_>, id: &str) -> Result<()> {
    show_rows(desk.format, &fetch(desk, id)?, "results", |found| render(desk.screen, found));
    Ok(())
}

/// Shows them once the new runs have ended, or wait for a person, or so many seconds have passed: a job has ended when its runs are
/// started.
pub(super) fn show_ended(desk: &Desk<'_>, id: &str, timeout: u64) -> Result<()> {
    let (begun, mut interval) = (Instant::now(), FIRST_LOOK);
    loop {
        let found = fetch(desk, id)?;
        let results = found["results"].as_array().map(Vec::as_slice).unwrap_or_default();
        let left = results.iter().filter(|result| goes_on(result)).count();
        if left == 0 || begun.elapsed() >= Duration::from_secs(timeout) {
            desk.screen.end_progress();
            show_rows(desk.format, &found, "results", |found| render(desk.screen, found));
            return Ok(());
        }
        desk.screen.progress(&format!("{left} of {} new runs go on", results.len()));
        std::thread::sleep(interval);
        interval = (interval * 2).min(SLOWEST_LOOK);
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
