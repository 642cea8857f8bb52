//! `reprise provider`: which models may be asked, and what an operator says of them.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::args::{Provider, ProviderCommand};
use crate::config::Env;
use crate::error::Result;
use crate::http::{Http, Method};
use crate::out::{brief, printable, show};

/// A read and a write of one table.
const CALL_LIMIT: Duration = Duration::from_secs(35);

/// Exit code 0 when it is done, 1 when it was refused, 2 when nothing answered. Every command shows what is known after it.
pub(crate) fn execute(provider: &Provider, env: &Env) -> Result<ExitCode> {
    let http = Http::to(&provider.target, env, CALL_LIMIT)?;
    let command = |name: &str, body: Value| http.order(Method::POST, &format!("/v1/providers/{name}"), &body);
    let known = match &provider.command {
        ProviderCommand::List => http.fetch("/v1/providers")?,
        ProviderCommand::Disable(named) => command("disable", json!({"name": named.name, "reason": named.reason}))?,
        ProviderCommand::Enable(named) => command("enable", json!({"name": named.name, "reason": named.reason}))?,
        ProviderCommand::Pin(named) => command("pin", json!({"name": named.name, "reason": named.reason}))?,
        ProviderCommand::Unpin(why) => command("unpin", json!({"reason": why.reason}))?,
    };
    show(provider.format, &known, render);
    Ok(ExitCode::SUCCESS)
}

/// A line for each model, with what keeps it from being asked.
fn render(body: &Value) -> String {
    let mut lines = Vec::new();
    let names = |list: &Value| list.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
    lines.push(format!("chain     {}", names(&body["chain"])));
    if body["pinned"].is_object() {
        lines.push(format!("pinned    {}{}", names(&body["pinned"]["to"]), said(&body["pinned"])));
    }
    for provider in body["providers"].as_array().into_iter().flatten() {
        let name = text(&provider["name"]);
        let models = provider["models"].as_array().map(Vec::as_slice).unwrap_or_default();
        if models.is_empty() {
            lines.push(
                format!("{:<9} {name}", if provider["disabled"].is_object() { "disabled" } else { "closed" })
                    + &said(&provider["disabled"]),
            );
        }
        for model in models {
            let word = [&model["disabled"], &provider["disabled"]].into_iter().find(|word| word.is_object());
            let state = match word {
                Some(_) => "disabled",
                None => model["breaker"]["state"].as_str().unwrap_or("closed"),
            };
            let breaker = &model["breaker"];
            let why = match (word, breaker["until"].as_str()) {
                (Some(word), _) => said(word),
                (None, Some(until)) => format!("  until {until}, {}", text(&breaker["cause"])),
                (None, None) => String::new(),
            };
            let opened = breaker["opened"].as_u64().filter(|n| *n > 0).map(|n| format!("  opened {n}x")).unwrap_or_default();
            lines.push(format!("{state:<9} {}{why}{opened}", text(&model["model"])));
        }
    }
    printable(&lines.join("\n"))
}

fn said(word: &Value) -> String {
    if !word.is_object() {
        return String::new();
    }
    let reason = brief(text(&word["reason"]), 60);
    let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    format!("  by {} at {}{reason}", text(&word["by"]), text(&word["at"]))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_model_has_a_line_with_what_keeps_it_from_being_asked() {
        let word = json!({"reason": "incident\u{1b}[2J", "by": "me", "at": "2026-11-22T00:00:00.000Z"});
        let body = json!({
            "chain": ["a::m", "b::m"], "pinned": {"to": ["b::m"], "reason": "", "by": "me", "at": "2026-11-22T00:00:00.000Z"},
            "providers": [
                {"name": "a", "disabled": word, "models": [{"model": "a::m", "disabled": null, "breaker": null}]},
                {"name": "b", "disabled": null, "models": [
                    {"model": "b::m", "disabled": null, "breaker": {"state": "open", "until": "soon", "cause": "provider_timeout", "opened": 2}},
                    {"model": "b::n", "disabled": null, "breaker": null}
                ]},
                {"name": "c", "disabled": null, "models": []}
            ]
        });
        let shown = render(&body);
        for line in [
            "chain     a::m, b::m",
            "pinned    b::m  by me at 2026-11-22T00:00:00.000Z",
            "disabled  a::m  by me at 2026-11-22T00:00:00.000Z: incident[2J",
            "open      b::m  until soon, provider_timeout  opened 2x",
            "closed    b::n",
            "closed    c",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line} is missing in\n{shown}");
        }
    }
}
