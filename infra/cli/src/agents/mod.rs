//! `reprise agents`: checks, compiles, shows and compares the definitions of `infra/agents` (ADR 0009). No stack is needed.
//!
//! The compiler itself is the crate `agent-files`; this is its command line.

mod compile;
mod diff;
mod optimize;
mod show;
mod validate;

pub(crate) use compile::into_folder;
pub(crate) use optimize::Metric;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use agent_files::agent_folder;
use agent_files::domain::agent_files::{Refusal, SourceFile, seal};
use agent_files::domain::bundle_file::BundleFile;

use crate::args::{Agents, AgentsCommand};
use crate::config::Env;
use crate::error::{Error, Result};
use crate::stack::repository;

pub(crate) fn execute(agents: &Agents, env: &Env) -> Result<ExitCode> {
    let folder = Folder::find(agents.dir.as_deref())?;
    match &agents.command {
        AgentsCommand::Validate(validate) => validate::execute(&folder, validate),
        AgentsCommand::Compile(compile) => compile::execute(&folder, compile),
        AgentsCommand::Show(show) => show::execute(&folder, show),
        AgentsCommand::Optimize(optimize) => optimize::execute(&folder, optimize, env),
        AgentsCommand::Diff(diff) => diff::execute(&folder, diff),
    }
}

/// Where the definitions are.
pub(crate) struct Folder {
    path: PathBuf,
    /// As it is printed.
    shown: String,
}

impl Folder {
    /// The folder that was named, or that of the checkout.
    pub(crate) fn find(named: Option<&Path>) -> Result<Self> {
        if let Some(path) = named {
            return Ok(Self { path: path.to_path_buf(), shown: path.display().to_string() });
        }
        let shown = agent_files::domain::agent_files::FOLDER;
        Ok(Self { path: repository()?.join(shown), shown: shown.to_owned() })
    }

    fn read(&self) -> Result<Vec<SourceFile>> {
        agent_folder::read(&self.path).map_err(|error| Error::unreachable("the definitions cannot be read").because(error))
    }

    /// What the files say; an error lists all that is wrong with them.
    fn compile(&self) -> Result<(Vec<SourceFile>, BundleFile)> {
        let files = self.read()?;
        match seal(&files) {
            Ok(sealed) => Ok((files, sealed)),
            Err(refusals) => {
                let mut error = Error::new(format!("{} in {}", problems(refusals.len()), self.shown));
                for refusal in &refusals {
                    error = error.because(self.told(refusal));
                }
                Err(error)
            }
        }
    }

    /// A refusal as editors and terminals know it: `file:line: field: problem`.
    fn told(&self, refusal: &Refusal) -> String {
        let mut text = if refusal.file.is_empty() { self.shown.clone() } else { format!("{}/{}", self.shown, refusal.file) };
        if let Some(line) = refusal.line {
            text.push_str(&format!(":{line}"));
        }
        for part in [&refusal.field, &refusal.problem].into_iter().filter(|part| !part.is_empty()) {
            text.push_str(&format!(": {part}"));
        }
        text
    }
}

fn problems(count: usize) -> String {
    if count == 1 { "1 problem".to_owned() } else { format!("{count} problems") }
}

/// Enough of a version to tell it from others.
fn short(version: &str) -> &str {
    version.get(..8).unwrap_or(version)
}
