//! `reprise agents show`: one agent with all its defaults, or all of them in a line each.

use std::process::ExitCode;

use agent_files::domain::definition::{Agent, Bundle};
use serde_json::{Value, json};

use super::{Folder, short};
use crate::args::{Format, ShowAgent};
use crate::error::{Error, Result};
use crate::out::{brief, print_json, printable, say, show_rows};

pub(crate) fn execute(folder: &Folder, show: &ShowAgent) -> Result<ExitCode> {
    let (_, sealed) = folder.compile()?;
    let Some(name) = &show.name else {
        match show.format {
            Format::Json | Format::Jsonl => {
                let whole = json!({"version": sealed.sha256, "agents": sealed.bundle.agents});
                show_rows(show.format, &whole, "agents", |_| String::new());
            }
            Format::Table => {
                for agent in &sealed.bundle.agents {
                    say!("{:<24} {:>4}  {}", agent.name, agent.version, brief(&agent.description, 90));
                }
                say!("version {}", short(&sealed.sha256));
            }
        }
        return Ok(ExitCode::SUCCESS);
    };
    let agent = sealed.bundle.agents.iter().find(|agent| agent.name == *name).ok_or_else(|| unknown(name, &sealed.bundle))?;
    match show.format {
        Format::Json | Format::Jsonl => print_json(show.format, &json!(agent)),
        Format::Table => say!("{}", printable(&rendered(agent, &sealed.bundle))),
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn unknown(name: &str, bundle: &Bundle) -> Error {
    let names: Vec<_> = bundle.agents.iter().map(|agent| agent.name.as_str()).collect();
    Error::unreachable(format!("there is no agent `{name}`")).with_hint(format!("there are: {}", names.join(", ")))
}

/// Field by field, as in the file, with what the file leaves out.
fn rendered(agent: &Agent, bundle: &Bundle) -> String {
    let mut lines = vec![format!("{} version {}: {}", agent.name, agent.version, agent.description)];
    let mut line = |field: &str, text: String| lines.push(format!("{field:<20} {text}"));
    let models: Vec<_> = agent.models.iter().map(ToString::to_string).collect();
    line("models", if models.is_empty() { "those of the deployment".into() } else { models.join(", then ") });
    line("sampling", compact(&json!(agent.sampling)));
    line("reasoning_effort", agent.effort.map_or_else(|| "the model's own".into(), |effort| compact(&json!(effort))));
    let tools = agent.tools.iter().map(|tool| {
        let approval = if tool.approval { ", asks for approval" } else { "" };
        let limit = tool.max_calls.map(|most| format!(", at most {most} calls")).unwrap_or_default();
        format!("{}{approval}{limit}", tool.name)
    });
    line("tools", tools.collect::<Vec<_>>().join("; "));
    line("parallel_tool_calls", agent.parallel_tool_calls.to_string());
    line("strategy", compact(&json!(agent.strategy)));
    line("output", agent.output.as_ref().map_or_else(|| "any text".into(), |output| compact(&json!(output))));
    line("caps", compact(&json!(agent.caps)));
    let triggers: Vec<_> =
        bundle.triggers.iter().filter(|trigger| trigger.agent == agent.name).map(|t| format!("{} ({})", t.name, t.kind)).collect();
    line("triggers", triggers.join(", "));
    line("examples", agent.examples.len().to_string());
    if let Some(found) = &agent.optimized {
        let (metric, before, after) = (&found.metric, found.before, found.after);
        line("optimized", format!("{} examples; {metric} {before:.3} before, {after:.3} after", found.examples));
    }
    lines.push(format!("instructions\n  {}", agent.instructions.replace('\n', "\n  ")));
    lines.join("\n")
}

fn compact(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) if fields.is_empty() => "the model's own".into(),
        other => other.to_string(),
    }
}
