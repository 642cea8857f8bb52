//! `reprise stack status`: which processes of the stack live, where they listen, what is deployed.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::args::Format;
use crate::error::{FAILED, Result};
use crate::out::{print_json, say};
use crate::stack::layout::Layout;
use crate::stack::process::{self, EMULATOR, MODEL, WATCH};
use crate::stack::settings::Settings;

/// Exit code 0 when the emulator runs and something is deployed on it.
pub(crate) fn execute(layout: &Layout, format: Format) -> Result<ExitCode> {
    let status = describe(layout);
    match format {
        Format::Json | Format::Jsonl => print_json(format, &status),
        Format::Table => print(&status),
    }
    Ok(ExitCode::from(if status["running"] == true { 0 } else { FAILED }))
}

fn describe(layout: &Layout) -> Value {
    let settings = Settings::recorded(layout);
    let outputs: Value =
        std::fs::read(layout.outputs_file()).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or(Value::Null);
    let address = |name: &str| {
        let settings = settings.as_ref()?;
        match name {
            EMULATOR => Some(settings.emulator_url()),
            MODEL => Some(settings.model_url()),
            _ => None,
        }
    };
    let processes: Vec<Value> = [EMULATOR, MODEL, WATCH].iter().map(|name| match process::alive(layout, name) {
        Some(record) => json!({"name": name, "running": true, "pid": record.pid, "started_at": record.started_at, "address": address(name), "log": layout.short(&layout.log_file(name))}),
        None => json!({"name": name, "running": false}),
    }).collect();
    let running = processes[0]["running"] == true && outputs.is_object();
    json!({"stack": layout.name, "running": running, "url": settings.map(|settings| settings.url()), "processes": processes, "outputs": outputs})
}

fn print(status: &Value) {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let state = if status["running"] == true {
        format!("up on {}", text(&status["url"]))
    } else {
        "not running (start it with `make run`)".to_owned()
    };
    say!("stack `{}`: {state}", text(&status["stack"]));
    for process in status["processes"].as_array().into_iter().flatten().filter(|process| process["running"] == true) {
        let address = process["address"].as_str().map(|address| format!(" at {address}")).unwrap_or_default();
        say!("  {:<9} pid {}{address}, since {}", text(&process["name"]), process["pid"], text(&process["started_at"]));
    }
    if status["running"] != true {
        return;
    }
    for (name, value) in status["outputs"].as_object().into_iter().flatten() {
        say!("  {name:<14} {}", text(value));
    }
}
