//! `reprise incident`: what is wrong, written down while it is wrong.
//!
//! Read next: `words.rs` for what is sent to others and the review, `bundle.rs` for the archive.

mod bundle;
mod redact;
mod words;

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::args::{Incident, IncidentCommand, IncidentStatus, ListIncidents, OpenIncident, ReviewIncident, Severity, UpdateIncident};
use crate::config::Env;
use crate::error::{Error, Result};
use crate::http::{Http, Method, segment};
use crate::out::{say, show, show_rows};
use crate::pages;
use crate::screen::{Screen, text};

/// Above the gateway's 29 s, so that its own answer is seen.
const CALL_LIMIT: Duration = Duration::from_secs(35);
/// Long enough for every address that is well; a deployment that hangs must not keep its own bundle back.
const BUNDLE_LIMIT: Duration = Duration::from_secs(10);

pub(crate) fn execute(incident: &Incident, env: &Env) -> Result<ExitCode> {
    let (http, screen, format) = (Http::to(&incident.target, env, CALL_LIMIT)?, Screen::of(env), incident.format);
    let order = |method, id: &str, rest: &str, body: &Value| http.order(method, &format!("/v1/incidents/{}{rest}", segment(id)), body);
    match &incident.command {
        IncidentCommand::Open(wanted) => {
            show(format, &open(&http, wanted)?, |it| format!("{}\n\n{}", words::card(it), words::update(it, now())))
        }
        IncidentCommand::Ack(named) => show(format, &order(Method::PATCH, &named.id, "", &json!({"acknowledge": true}))?, words::card),
        IncidentCommand::Update(wanted) => {
            show(format, &order(Method::PATCH, &wanted.id, "", &changes(wanted))?, |it| words::update(it, now()));
        }
        IncidentCommand::Note(note) => show(format, &order(Method::POST, &note.id, "/notes", &json!({"text": note.text}))?, words::card),
        IncidentCommand::Resolve(wanted) => {
            let mut body = json!({"status": "RESOLVED", "force": wanted.force});
            if let Some(text) = &wanted.text {
                body["text"] = text.as_str().into();
            }
            show(format, &order(Method::PATCH, &wanted.id, "", &body)?, |it| {
                format!("{}\n\n{}", words::update(it, now()), words::after(it))
            });
        }
        IncidentCommand::List(wanted) => list(&http, screen, incident, wanted)?,
        IncidentCommand::Show(named) => {
            show(format, &whole(&http, &named.id)?, |it| format!("{}\n\n{}", words::card(it), words::timeline(it)))
        }
        IncidentCommand::Bundle(wanted) => {
            let http = Http::to(&incident.target, env, BUNDLE_LIMIT)?;
            show(format, &bundle::execute(&http, wanted, env, screen)?, bundle::render);
        }
        IncidentCommand::Review(wanted) => review(&http, wanted)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn now() -> jiff::Timestamp {
    crate::clock::now()
}

fn open(http: &Http, wanted: &OpenIncident) -> Result<Value> {
    let mut body = json!({"title": wanted.title, "severity": word(wanted.severity), "acknowledge": !wanted.not_mine});
    if let Some(impact) = &wanted.impact {
        body["impact"] = impact.as_str().into();
    }
    if let Some(at) = wanted.detected_at {
        body["detected_at"] = at.to_string().into();
    }
    http.order(Method::POST, "/v1/incidents", &body)
}

fn changes(wanted: &UpdateIncident) -> Value {
    let fields = [
        ("text", wanted.text.clone()),
        ("status", wanted.status.map(word::<IncidentStatus>)),
        ("severity", wanted.severity.map(word::<Severity>)),
        ("impact", wanted.impact.clone()),
        ("root_cause", wanted.root_cause.clone()),
        ("mitigation", wanted.mitigation.clone()),
    ];
    let mut body: Map<String, Value> = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))).collect();
    body.extend(wanted.next_update.map(|minutes| ("next_update_minutes".to_owned(), minutes.into())));
    body.extend(wanted.force.then(|| ("force".to_owned(), true.into())));
    body.into()
}

fn word<T: clap::ValueEnum>(value: T) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn list(http: &Http, screen: Screen, incident: &Incident, wanted: &ListIncidents) -> Result<()> {
    let status = wanted.status.map(|status| ("status".to_owned(), word(status).into()));
    let found = pages::fetch(http, "/v1/incidents", &status.into_iter().collect(), "incidents", wanted.limit)?;
    show_rows(incident.format, &found, "incidents", |found| {
        let rows = found["incidents"].as_array().into_iter().flatten().map(|it| {
            let due = |at: &Value, is_over: bool| format!("{}{}", text(at), if is_over { " OVERDUE" } else { "" });
            let clock = text(&it["acknowledge"]["clock"]);
            let next = &it["next_update"];
            vec![
                text(&it["incident_id"]),
                text(&it["severity"]),
                text(&it["status"]),
                clock,
                if next.is_null() { String::new() } else { due(&next["due"], next["is_overdue"] == true) },
                text(&it["title"]),
            ]
        });
        screen.table(&["incident", "severity", "status", "response", "next update", "title"], rows)
    });
    Ok(())
}

/// An incident with all of its timeline.
fn whole(http: &Http, id: &str) -> Result<Value> {
    let path = format!("/v1/incidents/{}", segment(id));
    let mut whole = http.fetch(&path)?;
    while let Some(cursor) = whole["next_cursor"].as_str().map(str::to_owned) {
        let mut page = http.fetch(&format!("{path}?cursor={cursor}"))?;
        if let (Some(timeline), Value::Array(more)) = (whole["timeline"].as_array_mut(), page["timeline"].take()) {
            timeline.extend(more);
        }
        whole["next_cursor"] = page["next_cursor"].take();
    }
    Ok(whole)
}

fn review(http: &Http, wanted: &ReviewIncident) -> Result<()> {
    let document = words::review(&whole(http, &wanted.id)?);
    let Some(out) = &wanted.out else {
        say!("{document}");
        return Ok(());
    };
    let failed = |error: std::io::Error| Error::unreachable(format!("cannot write {}", out.display())).because(error);
    // A review that somebody has begun to fill in is not written over.
    let mut file = std::fs::File::options().write(true).create_new(true).open(out).map_err(failed)?;
    std::io::Write::write_all(&mut file, format!("{document}\n").as_bytes()).map_err(failed)?;
    say!("{}", out.display());
    Ok(())
}
