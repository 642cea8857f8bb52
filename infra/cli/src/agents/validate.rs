//! `reprise agents validate`: all that is wrong with the files, at once.

use std::process::ExitCode;

use agent_files::domain::agent_files::seal;
use serde_json::json;

use super::{Folder, problems, short};
use crate::args::{Format, Validate};
use crate::error::{FAILED, Result};
use crate::out::{print_json, printable, say};

pub(crate) fn execute(folder: &Folder, validate: &Validate) -> Result<ExitCode> {
    let read = seal(&folder.read()?);
    let refusals = read.as_ref().err().map(Vec::as_slice).unwrap_or_default();
    match (validate.format, &read) {
        (Format::Json | Format::Jsonl, _) => {
            let told = |refusal: &agent_files::domain::agent_files::Refusal| json!({"file": refusal.file, "line": refusal.line, "field": refusal.field, "problem": refusal.problem});
            let version = read.as_ref().ok().map(|sealed| &sealed.sha256);
            let report = json!({
                "valid": read.is_ok(),
                "folder": folder.shown,
                "version": version,
                "problems": refusals.iter().map(told).collect::<Vec<_>>(),
            });
            print_json(validate.format, &report);
        }
        (Format::Table, Ok(sealed)) => {
            let bundle = &sealed.bundle;
            let (agents, triggers, prices) = (bundle.agents.len(), bundle.triggers.len(), bundle.prices.len());
            say!("{}: {agents} agents, {triggers} triggers, {prices} prices hold; version {}", folder.shown, short(&sealed.sha256));
        }
        (Format::Table, Err(_)) => {
            for refusal in refusals {
                say!("{}", printable(&folder.told(refusal)));
            }
            say!("{}", problems(refusals.len()));
        }
    }
    Ok(if read.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}
