//! `reprise incident bundle`: how things are, in one archive that may be sent to others. Every document goes through the [`Cleaner`].
//!
//! A deployment that answers nothing still makes a bundle: what could not be had says why.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Map, Value, json};

use super::redact::Cleaner;
use crate::archive::{Writer, sum_of};
use crate::args::BundleIncident;
use crate::config::Env;
use crate::error::Result;
use crate::http::Http;
use crate::screen::{Screen, fields, text};
use crate::stack::{Emulator, FUNCTIONS, Layout, Settings, repository};

/// What is asked of the deployment, and in which file the answer goes.
const ASKED: [(&str, &str); 15] = [
    ("health/live.json", "/health"),
    ("health/ready.json", "/api/production/ready"),
    ("health/detailed.json", "/health/detailed"),
    ("health/metrics.json", "/metrics"),
    ("queue/heartbeat.json", "/api/production/queue/heartbeat"),
    ("dead_letters/sample.json", "/v1/dlq?limit=20"),
    ("dead_letters/stats.json", "/v1/dlq/stats"),
    ("dead_letters/jobs.json", "/v1/dlq/jobs?limit=20"),
    ("dead_letters/letters.json", "/v1/dlq/letters?limit=20"),
    ("runs/dead.json", "/v1/runs?status=dead&limit=20"),
    ("runs/failed.json", "/v1/runs?status=failed&limit=20"),
    ("runs/running.json", "/v1/runs?status=running&limit=20"),
    ("usage.json", "/v1/usage"),
    ("providers.json", "/v1/providers"),
    ("agents.json", "/v1/agents"),
];
/// Errors of each function's log.
const ERRORS: usize = 50;

/// Says what is in it.
pub(super) fn execute(http: &Http, wanted: &BundleIncident, env: &Env, screen: Screen) -> Result<Value> {
    let now = crate::clock::now();
    let named = || PathBuf::from(now.strftime("reprise-incident-%Y%m%dT%H%M%SZ.tar.gz").to_string());
    let out = wanted.out.clone().unwrap_or_else(named);
    let mut writer = Writer::create(&out)?;
    let mut cleaner = Cleaner::of(env);
    let local = Local::of(http, &wanted.stack);
    let variables = local.as_ref().map(Local::variables);
    for of_function in variables.iter().flat_map(Map::values).filter_map(Value::as_object) {
        cleaner.learn_from(of_function);
    }
    let mut documents = vec![("versions.json".to_owned(), versions()), ("settings.json".to_owned(), json!({ "functions": variables }))];
    if let Some(id) = &wanted.id {
        let incident = super::whole(http, id).unwrap_or_else(|error| json!({ "error": error.render() }));
        documents.push(("incident.json".to_owned(), incident));
    }
    screen.progress(&format!("asking {} addresses", ASKED.len()));
    // Side by side: a deployment that hangs is when one wants this, and each answer may take all of its time.
    documents.extend(std::thread::scope(|scope| {
        let asked = ASKED.map(|(file, path)| (file, scope.spawn(move || asked(http, path))));
        asked.map(|(file, answer)| (file.to_owned(), answer.join().unwrap_or_default()))
    }));
    if let Some(local) = &local {
        documents.extend(FUNCTIONS.map(|function| (format!("errors/{function}.json"), local.errors(function))));
    }
    screen.end_progress();
    for (file, document) in &documents {
        writer.add(file, format!("{:#}\n", cleaner.clean(document)).as_bytes())?;
    }
    let parts = writer.parts().to_vec();
    let manifest = json!({
        "format": "reprise-debug-bundle", "version": 1, "created_at": now, "incident": wanted.id, "url": http.base(),
        "local_stack": local.as_ref().map(|_| &wanted.stack), "parts": parts, "sha256": sum_of(&parts),
    });
    writer.finish(&cleaner.clean(&manifest))?;
    Ok(json!({"file": out, "files": parts.iter().map(|part| &part.name).collect::<Vec<_>>(), "local_stack": manifest["local_stack"]}))
}

pub(super) fn render(made: &Value) -> String {
    let files: Vec<String> = made["files"].as_array().into_iter().flatten().map(text).collect();
    let logs =
        if made["local_stack"].is_null() { "no local stack is behind this address: logs and settings are in CloudWatch" } else { "" };
    fields(&[("file", text(&made["file"])), ("holds", files.join("\n")), ("left out", logs.to_owned())])
}

/// An answer whatever it is, or why there is none.
fn asked(http: &Http, path: &str) -> Value {
    match http.get(path) {
        Ok(reply) => {
            let body = reply.json();
            json!({"path": path, "status": reply.status, "body": if body.is_null() { reply.body.into() } else { body }})
        }
        Err(error) => json!({"path": path, "error": error.render()}),
    }
}

/// What this is, and what this checkout is, if it is one.
fn versions() -> Value {
    let git = |arguments: &[&str]| {
        let root = repository().ok()?;
        let said = Command::new("git").arg("-C").arg(root).args(arguments).output().ok().filter(|said| said.status.success())?;
        Some(String::from_utf8_lossy(&said.stdout).trim().to_owned())
    };
    json!({
        "reprise": env!("CARGO_PKG_VERSION"),
        "commit": git(&["rev-parse", "HEAD"]),
        "changed_files": git(&["status", "--porcelain"]).map(|changed| changed.lines().count()),
        "latest_commits": git(&["log", "--oneline", "-10"]).map(|log| log.lines().map(str::to_owned).collect::<Vec<_>>()),
    })
}

/// The local stack behind an address.
struct Local {
    emulator: Emulator,
    layout: Layout,
}

impl Local {
    fn of(http: &Http, stack: &str) -> Option<Self> {
        let layout = Layout::find(stack).ok()?;
        let settings = Settings::recorded(&layout)?;
        let same = [settings.url(), settings.url().replace("localhost", "127.0.0.1")].iter().any(|url| url == http.base());
        same.then(|| Some(Self { emulator: Emulator::new(&settings).ok()?, layout }))?
    }

    /// The variables of each function.
    fn variables(&self) -> Map<String, Value> {
        let of = |function: &str| match self.emulator.variables(&self.layout.function_name(function)) {
            Ok(variables) => Value::Object(variables),
            Err(error) => json!({ "error": error.render() }),
        };
        FUNCTIONS.iter().map(|function| ((*function).to_owned(), of(function))).collect()
    }

    /// The latest errors of a function's log.
    fn errors(&self, function: &str) -> Value {
        match self.emulator.log_events(&self.layout.function_name(function), 0) {
            Ok(events) => {
                let bad = |message: &str| ["\"ERROR\"", "\"WARN\"", "panicked"].iter().any(|word| message.contains(word));
                let lines: Vec<&str> = events.iter().map(|event| event.message.trim_end()).filter(|message| bad(message)).collect();
                json!(lines[lines.len().saturating_sub(ERRORS)..])
            }
            Err(error) => json!({ "error": error.render() }),
        }
    }
}
