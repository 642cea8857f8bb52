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
use crate::http::{Http, segment};
use crate::screen::{Screen, fields, text};
use crate::stack::{Emulator, FUNCTIONS, Layout, Settings, repository};

/// What is asked of the deployment, and in which file the answer goes.
const ASKED: [(&str, &str); 16] = [
    ("health/live.json", "/health"),
    ("health/ready.json", "/api/production/ready"),
    ("health/detailed.json", "/health/detailed"),
    (HEALTH, "/api/production/health"),
    ("health/metrics.json", "/metrics"),
    ("queue/heartbeat.json", "/api/production/queue/heartbeat"),
    (DEAD, "/v1/dlq?limit=20"),
    ("dead_letters/stats.json", "/v1/dlq/stats"),
    ("dead_letters/jobs.json", "/v1/dlq/jobs?limit=20"),
    ("dead_letters/letters.json", "/v1/dlq/letters?limit=20"),
    ("runs/dead.json", "/v1/runs?status=dead&limit=20"),
    (FAILED, "/v1/runs?status=failed&limit=20"),
    ("runs/running.json", "/v1/runs?status=running&limit=20"),
    ("usage.json", "/v1/usage"),
    ("providers.json", "/v1/providers"),
    (AGENTS, "/v1/agents"),
];
/// Answers that other files are made of.
const HEALTH: &str = "health/production.json";
const DEAD: &str = "dead_letters/sample.json";
const FAILED: &str = "runs/failed.json";
const AGENTS: &str = "agents.json";
/// What a run tells of its errors; a run has its prompt and its answer as well.
const OF_ERRORS: [&str; 11] =
    ["run_id", "agent", "status", "error", "failures", "attempts", "steps", "created_at", "ended_at", "died_at", "trace_id"];
/// Errors of each function's log.
const ERRORS: usize = 50;
/// What is said where no local stack is behind the address.
const NO_SETTINGS: &str =
    r#"the API tells no settings: aws cloudformation describe-stacks --stack-name "$STACK" --query 'Stacks[0].Parameters'"#;
const NO_LOGS: &str = r#"errors/runs.json has what runs tell of their errors; the logs of functions are in CloudWatch: aws logs filter-log-events --log-group-name "/aws/lambda/$STACK-queue-consumer" --filter-pattern '"ERROR"'"#;

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
    let notes: &[&str] = if local.is_some() { &[] } else { &[NO_SETTINGS, NO_LOGS] };
    let mut documents = vec![("settings.json".to_owned(), json!({ "functions": variables, "notes": notes }))];
    if let Some(id) = &wanted.id {
        let incident = super::whole(http, id).unwrap_or_else(|error| json!({ "error": error.render() }));
        documents.push(("incident.json".to_owned(), incident));
    }
    screen.progress(&format!("asking {} addresses", ASKED.len()));
    let answers = side_by_side(http, &ASKED);
    let body = |file: &str| answers.iter().find(|(name, _)| name == file).map_or(&Value::Null, |(_, answer)| &answer["body"]);
    documents.push(("versions.json".to_owned(), versions(body(HEALTH), body(AGENTS))));
    documents.push(("errors/runs.json".to_owned(), errors_of_runs(http, body(DEAD), body(FAILED))));
    documents.extend(answers);
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
        "local_stack": local.as_ref().map(|_| &wanted.stack), "notes": notes, "parts": parts, "sha256": sum_of(&parts),
    });
    writer.finish(&cleaner.clean(&manifest))?;
    let files: Vec<&String> = parts.iter().map(|part| &part.name).collect();
    Ok(json!({"file": out, "files": files, "local_stack": manifest["local_stack"], "notes": notes}))
}

pub(super) fn render(made: &Value) -> String {
    let lines = |list: &Value| list.as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join("\n");
    fields(&[("file", text(&made["file"])), ("holds", lines(&made["files"])), ("left out", lines(&made["notes"]))])
}

/// The answers, by their files. Side by side: a deployment that hangs is when one wants this, and each answer may take all of its time.
fn side_by_side(http: &Http, wanted: &[(impl AsRef<str> + Sync, impl AsRef<str> + Sync)]) -> Vec<(String, Value)> {
    std::thread::scope(|scope| {
        let asking: Vec<_> = wanted.iter().map(|(file, path)| (file, scope.spawn(move || asked(http, path.as_ref())))).collect();
        asking.into_iter().map(|(file, answer)| (file.as_ref().to_owned(), answer.join().unwrap_or_default())).collect()
    })
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

/// What all went wrong with the runs that died or failed last, as they tell it: no log is needed for that. Null: they could not be listed.
fn errors_of_runs(http: &Http, dead: &Value, failed: &Value) -> Value {
    let told = |run: &Value| -> Value {
        OF_ERRORS.iter().filter_map(|name| Some(((*name).to_owned(), run.get(name)?.clone()))).collect::<Map<_, _>>().into()
    };
    let dead = dead["entries"].as_array().map(|entries| entries.iter().map(told).collect::<Vec<_>>());
    let failed = failed["runs"].as_array().map(|runs| {
        let paths: Vec<_> = runs.iter().map(|run| ("", format!("/v1/runs/{}", segment(&text(&run["run_id"]))))).collect();
        let whole = side_by_side(http, &paths).into_iter();
        // A list has the last failure only, which is what there is if a run does not answer for itself.
        whole
            .zip(runs)
            .map(|((_, answer), run)| told(if answer["body"]["run_id"].is_string() { &answer["body"] } else { run }))
            .collect::<Vec<_>>()
    });
    json!({ "dead": dead, "failed": failed })
}

/// What this command is, what the checkout is that it was started in, if it is one, and what is deployed, as far as it says so.
fn versions(health: &Value, agents: &Value) -> Value {
    let git = |arguments: &[&str]| {
        let root = repository().ok()?;
        let said = Command::new("git").arg("-C").arg(root).args(arguments).output().ok().filter(|said| said.status.success())?;
        Some(String::from_utf8_lossy(&said.stdout).trim().to_owned())
    };
    json!({
        "deployed": {"version": health["version"], "stack": health["environment"], "agents": agents["bundle"]},
        "command": {"version": env!("CARGO_PKG_VERSION")},
        "checkout": {
            "commit": git(&["rev-parse", "HEAD"]),
            "changed_files": git(&["status", "--porcelain"]).map(|changed| changed.lines().count()),
            "latest_commits": git(&["log", "--oneline", "-10"]).map(|log| log.lines().map(str::to_owned).collect::<Vec<_>>()),
        },
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
