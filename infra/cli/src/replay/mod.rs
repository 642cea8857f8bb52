//! `reprise replay`: past events as new runs, and how they differ from the old ones; `reprise replays`: those that there were.

mod compare;

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::args::{Bulk, Replay, Replays, given};
use crate::config::Env;
use crate::error::{Error, Result};
use crate::http::{Http, Method, segment};
use crate::job::{Desk, Kind, jobs, render};
use crate::out::{self, show_rows};
use crate::pages;
use crate::screen::{Screen, runs, text};

/// Above the gateway's 29 s, so that its own answer is seen.
const CALL_LIMIT: Duration = Duration::from_secs(35);
const REPLAYS: Kind = Kind { path: "/v1/replays", command: "reprise replays", item: "id", verb: "start", plan };

pub(crate) fn execute(replay: &Replay, env: &Env) -> Result<ExitCode> {
    let http = Http::to(&replay.target, env, CALL_LIMIT)?;
    let desk = Desk { http: &http, screen: Screen::of(env), format: replay.format };
    let body = body(replay)?;
    let is_one = replay.runs.len() == 1;
    // One run is what was named: there is nothing to ask.
    let bulk = Bulk { yes: replay.bulk.yes || is_one, ..replay.bulk.clone() };
    if bulk.dry_run || bulk.no_wait || !(replay.compare || is_one) {
        return desk.bulk(REPLAYS, REPLAYS.path, &body, &bulk);
    }
    let Some(id) = desk.start(REPLAYS, REPLAYS.path, &body, &bulk)? else { return Ok(ExitCode::SUCCESS) };
    let job = desk.until_end(REPLAYS, &id, bulk.timeout)?;
    let unfinished = compare::show_ended(&desk, &id, bulk.timeout)?;
    Ok(unfinished.map_or_else(|| desk.code(&job), ExitCode::from))
}

fn body(replay: &Replay) -> Result<Map<String, Value>> {
    let filter = replay.past.fields();
    let ways = [
        ("runs", (!replay.runs.is_empty()).then(|| json!(replay.runs))),
        ("events", (!replay.past.events.is_empty()).then(|| json!(replay.past.events))),
        ("filter", (!filter.is_empty()).then(|| json!(filter))),
        ("all", replay.all.then_some(json!(true))),
    ];
    match ways.iter().filter(|(_, value)| value.is_some()).count() {
        1 => {}
        0 => {
            return Err(Error::unreachable("which events? nothing says it")
                .with_hint("name runs or events, filter them (`--last 2h`, `--type`, `--status`, …), or say `--all`"));
        }
        _ => return Err(Error::unreachable("name runs, name events, filter, or say --all: only one of the four")),
    }
    let mut body = given(ways);
    body.extend(given([
        ("model", replay.model.as_ref().map(|model| json!(model))),
        ("agent", replay.with_agent.as_ref().map(|agent| json!(agent))),
        ("with_side_effects", replay.with_side_effects.then_some(json!(true))),
        ("reason", replay.reason.as_ref().map(|reason| json!(reason))),
    ]));
    Ok(body)
}

/// What a dry run says: which triggers would match.
fn plan(_: Screen, plan: &Value) -> String {
    let part = if plan["complete"] == false { " of the events that were looked at; there are more" } else { "" };
    let mut lines = vec![format!(
        "events: {}; they would start {}{part}; nothing was started",
        text(&plan["events"]),
        runs(plan["would_start"].as_u64().unwrap_or_default())
    )];
    lines.extend(plan["matches"].as_array().into_iter().flatten().map(|found| {
        let trigger = if found["trigger"].is_null() { String::new() } else { format!(" by trigger {}", text(&found["trigger"])) };
        let old = if found["replay_of"].is_null() { " (new)".to_owned() } else { format!(" (was {})", text(&found["replay_of"])) };
        format!("+ {} {}{trigger} → {}{old}", text(&found["event_id"]), text(&found["type"]), text(&found["agent"]))
    }));
    lines.extend(
        plan["would_skip"].as_array().into_iter().flatten().map(|skip| format!("- {}: {}", text(&skip["id"]), text(&skip["detail"]))),
    );
    lines.extend(plan["warnings"].as_array().into_iter().flatten().map(|warning| format!("! {}", text(warning))));
    lines.join("\n")
}

/// The replays that there were, or one of them.
pub(crate) fn look(replays: &Replays, env: &Env) -> Result<ExitCode> {
    let http = Http::to(&replays.target, env, CALL_LIMIT)?;
    let desk = Desk { http: &http, screen: Screen::of(env), format: replays.format };
    let Some(id) = &replays.id else {
        let found = pages::fetch(&http, REPLAYS.path, &Map::new(), "jobs", replays.limit)?;
        show_rows(replays.format, &found, "jobs", |found| jobs(desk.screen, found));
        return Ok(ExitCode::SUCCESS);
    };
    let path = format!("{}/{}", REPLAYS.path, segment(id));
    if replays.cancel {
        let job = http.order(Method::POST, &format!("{path}/cancel"), &json!({}))?;
        out::show(replays.format, &job, render);
        return Ok(ExitCode::SUCCESS);
    }
    // Whether it is there at all is known at once; only the wait is patient.
    let mut job = http.fetch(&path)?;
    if replays.wait {
        job = desk.until_end(REPLAYS, id, replays.timeout)?;
    }
    if replays.compare {
        compare::show(&desk, id)?;
    } else {
        out::show(replays.format, &job, render);
    }
    Ok(if replays.wait { desk.code(&job) } else { ExitCode::SUCCESS })
}
