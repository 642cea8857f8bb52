//! `reprise agents diff`: what the files change of a bundle, and whether an agent that changed says so in its version.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use agent_files::domain::bundle_file::{BundleFile, FILE};
use agent_files::domain::definition::{Agent, Bundle};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Folder, compile, short};
use crate::args::{Diff, Format};
use crate::error::{Error, FAILED, Result};
use crate::out::{brief, print_json, say};
use crate::stack::repository;

pub(crate) fn execute(folder: &Folder, diff: &Diff) -> Result<ExitCode> {
    let base = diff.base.clone().map_or_else(|| Ok::<_, Error>(repository()?.join(compile::OUT)), Ok)?;
    let before = base_of(&base)?;
    let (_, after) = folder.compile()?;
    let report = Report::of(&before.bundle, &after.bundle);
    match diff.format {
        Format::Json | Format::Jsonl => {
            print_json(
                diff.format,
                &json!({"before": before.sha256, "after": after.sha256, "changes": report.changes, "problems": report.problems}),
            );
        }
        Format::Table => {
            say!("{} → {}", short(&before.sha256), short(&after.sha256));
            for change in &report.changes {
                say!("{}", change.told());
            }
            for problem in &report.problems {
                say!("problem: {problem}");
            }
        }
    }
    Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// A bundle, a folder that one was compiled into, or a folder of definitions.
fn base_of(path: &Path) -> Result<BundleFile> {
    let file = if path.is_dir() { path.join(FILE) } else { path.to_path_buf() };
    if path.is_dir() && !file.exists() {
        return Folder { path: path.to_path_buf(), shown: path.display().to_string() }.compile().map(|(_, sealed)| sealed);
    }
    let text = fs::read_to_string(&file).map_err(|error| {
        Error::unreachable(format!("{} cannot be read", file.display()))
            .because(error)
            .with_hint("name a bundle, or a folder of definitions; `reprise agents compile` makes a bundle")
    })?;
    BundleFile::open(&file.display().to_string(), &text).map_err(|error| Error::unreachable(error.to_string()))
}

/// One difference.
#[derive(Debug, PartialEq, Serialize)]
struct Change {
    /// E.g. `agents.assistant.caps.steps`.
    field: String,
    /// None: it is new.
    before: Option<Value>,
    /// None: it is gone.
    after: Option<Value>,
}

impl Change {
    fn told(&self) -> String {
        let brief = |value: &Value| brief(&value.to_string(), 120);
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => format!("~ {}: {} → {}", self.field, brief(before), brief(after)),
            (None, Some(after)) => format!("+ {}: {}", self.field, brief(after)),
            (Some(before), None) => format!("- {}: {}", self.field, brief(before)),
            (None, None) => self.field.clone(),
        }
    }
}

#[derive(Debug, Default)]
struct Report {
    changes: Vec<Change>,
    problems: Vec<String>,
}

impl Report {
    fn of(before: &Bundle, after: &Bundle) -> Self {
        let mut report = Self::default();
        let named = |agents: &[Agent], name: &str| agents.iter().find(|agent| agent.name == name).cloned();
        let mut names: Vec<_> = before.agents.iter().chain(&after.agents).map(|agent| agent.name.clone()).collect();
        names.sort();
        names.dedup();
        for name in names {
            let (old, new) = (named(&before.agents, &name), named(&after.agents, &name));
            report.compare(&format!("agents.{name}"), old.as_ref().map(|agent| json!(agent)), new.as_ref().map(|agent| json!(agent)));
            if let (Some(old), Some(new)) = (old, new) {
                report.judge(&old, &new);
            }
        }
        let keyed = |bundle: &Bundle| -> Value {
            let triggers = bundle.triggers.iter().map(|trigger| (trigger.name.clone(), json!(trigger)));
            let prices = bundle.prices.iter().map(|price| {
                let limit = price.max_input_tokens.map(|most| format!(" up to {most}")).unwrap_or_default();
                (format!("{}::{}{limit}", price.provider, price.model), json!(price))
            });
            let tools = bundle.tools.iter().map(|tool| (tool.name.clone(), json!(tool)));
            json!({"tools": tools.collect::<serde_json::Map<_, _>>(), "triggers": triggers.collect::<serde_json::Map<_, _>>(), "prices": prices.collect::<serde_json::Map<_, _>>()})
        };
        report.compare("", Some(keyed(before)), Some(keyed(after)));
        report
    }

    /// A run names the version of its agent: two definitions under one version could not be told apart.
    fn judge(&mut self, old: &Agent, new: &Agent) {
        let (name, before, after) = (&new.name, old.version, new.version);
        if after < before {
            self.problems.push(format!("{name}: version {after} is lower than {before}, which there was; raise it"));
        } else if after == before && old != new {
            self.problems.push(format!("{name}: its definition changed, and its version is still {after}; raise it to {}", after + 1));
        }
    }

    fn compare(&mut self, field: &str, before: Option<Value>, after: Option<Value>) {
        match (before, after) {
            (before, after) if before == after => {}
            (Some(Value::Object(mut before)), Some(Value::Object(mut after))) => {
                let mut names: Vec<_> = before.keys().chain(after.keys()).cloned().collect();
                names.sort();
                names.dedup();
                for name in names {
                    let path = if field.is_empty() { name.clone() } else { format!("{field}.{name}") };
                    // A field that is absent and one that says nothing are the same.
                    let said = |value: Option<Value>| value.filter(|value| !value.is_null());
                    self.compare(&path, said(before.remove(&name)), said(after.remove(&name)));
                }
            }
            (before, after) => self.changes.push(Change { field: field.to_owned(), before, after }),
        }
    }
}

#[cfg(test)]
mod tests {
    use agent_files::domain::agent_files::{SourceFile, compile};

    use super::*;

    const AGENT: &str = "name: assistant\nversion: 2\ndescription: Helps.\ninstructions: Be brief.\ntools: [clock]\n";

    fn bundle(text: &str) -> Bundle {
        compile(&[SourceFile { name: "assistant.yaml".into(), text: text.into() }]).unwrap()
    }

    fn told(from: &str, to: &str) -> (Vec<String>, Vec<String>) {
        let report = Report::of(&bundle(AGENT), &bundle(&AGENT.replace(from, to)));
        (report.changes.iter().map(Change::told).collect(), report.problems)
    }

    #[test]
    fn the_same_definitions_have_no_differences() {
        assert_eq!(told("x", "x"), (vec![], vec![]));
    }

    #[test]
    fn a_change_names_its_field_and_wants_a_higher_version() {
        let (changes, problems) = told("brief", "long");
        assert_eq!(changes, [r#"~ agents.assistant.instructions: "Be brief." → "Be long.""#]);
        assert_eq!(problems, ["assistant: its definition changed, and its version is still 2; raise it to 3"]);
        let (changes, problems) = told("version: 2\ndescription: Helps.", "version: 3\ndescription: Helps.\ncaps: {steps: 5, tokens: 9}");
        assert_eq!(
            changes,
            ["~ agents.assistant.caps.steps: 20 → 5", "+ agents.assistant.caps.tokens: 9", "~ agents.assistant.version: 2 → 3"]
        );
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(told("version: 2", "version: 1").1, ["assistant: version 1 is lower than 2, which there was; raise it"]);
    }

    #[test]
    fn triggers_come_and_go_without_a_version() {
        let (changes, problems) = told("[clock]\n", "[clock]\ntriggers: [{name: t, type: ticket.opened}]\n");
        assert!(changes.len() == 1 && changes[0].starts_with("+ triggers.t: {"), "{changes:?}");
        assert!(problems.is_empty(), "{problems:?}");
    }
}
