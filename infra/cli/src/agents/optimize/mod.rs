//! `reprise agents optimize`: few-shot examples for an agent, chosen by a stated metric (`metric`) with a search that says what it
//! tried (`search`). The agent itself answers, on a stack, with its tools and its chain of models; or a record of such answers does
//! (`asking`). What is found is a file of its own, which the compiler puts into the bundle with its scores.

mod asking;
mod metric;
mod search;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use agent_files::domain::agent_files::optimized::{OptimizedFile, basis};
use agent_files::domain::agent_files::{OPTIMIZED, SourceFile, seal};
use agent_files::domain::bundle_file::BundleFile;
use agent_files::domain::canonical::sha256;
use agent_files::domain::definition::{Agent, Optimized};

pub(crate) use metric::Metric;
use search::{Found, Plan, Row};

use super::{Folder, compile, show};
use crate::args::Optimize;
use crate::config::Env;
use crate::error::{Error, Result};
use crate::out::say;
use crate::stack::repository;

/// Fewer say nothing: half of them are scored.
const LEAST_ROWS: usize = 4;

pub(crate) fn execute(folder: &Folder, optimize: &Optimize, env: &Env) -> Result<ExitCode> {
    if !(0.0..=1.0).contains(&optimize.threshold) {
        return Err(Error::unreachable("--threshold must be from 0 to 1"));
    }
    let file = format!("{OPTIMIZED}{}.json", optimize.agent);
    let (bare, agent) = without_chosen(folder, &file, &optimize.agent)?;
    let data = fs::read_to_string(&optimize.data).map_err(|error| unreadable(&optimize.data, error))?;
    let rows = rows(&optimize.data, &data)?;
    let plan = Plan {
        metric: optimize.metric.clone(),
        threshold: optimize.threshold,
        most: optimize.max_examples as usize,
        draws: optimize.draws as usize,
        seed: optimize.seed,
    };
    let mut asked = asking::Asked::new(optimize, &agent, &bare.sha256, env)?;
    let found = search::search(&rows, &plan, &mut asked)?;
    for (name, size, score) in &found.tried {
        say!("{score:.3}  {name}, {size} examples");
    }
    say!("{} of {} rows scored; before {:.3}, after {:.3}", found.scored_rows, rows.len(), found.before, found.after);
    if found.examples.is_empty() {
        say!("no set of examples does better than none: nothing is written");
        return Ok(ExitCode::SUCCESS);
    }
    if optimize.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    let path = folder.path.join(&file);
    write(&path, &chosen(&agent, &plan, found, asked.models(), sha256(&data)))?;
    say!("wrote {}", path.display());
    let out = repository()?.join(compile::OUT);
    let version = compile::into_folder(folder, &out)?;
    say!("compiled into {}; version {}", out.display(), super::short(&version));
    say!("raise `version` in {}.yaml: the agent answers differently now", optimize.agent);
    Ok(ExitCode::SUCCESS)
}

/// The definitions without what an earlier optimization has chosen for the agent: it must not be scored with that.
fn without_chosen(folder: &Folder, file: &str, name: &str) -> Result<(BundleFile, Agent)> {
    let files: Vec<SourceFile> = folder.read()?.into_iter().filter(|source| source.name != file).collect();
    let sealed = seal(&files).map_err(|refusals| {
        refusals.iter().fold(Error::new(format!("{} does not hold", folder.shown)), |error, refusal| error.because(folder.told(refusal)))
    })?;
    let agent = sealed.bundle.agents.iter().find(|agent| agent.name == name).cloned();
    let agent = agent.ok_or_else(|| show::unknown(name, &sealed.bundle))?;
    Ok((sealed, agent))
}

fn rows(path: &Path, data: &str) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    for (i, line) in data.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |problem: String| Error::new(format!("{}:{}: {problem}", path.display(), i + 1));
        let row: Row =
            serde_json::from_str(line).map_err(|error| wrong(format!("is not {{\"input\": text, \"output\": text}}: {error}")))?;
        if row.input.trim().is_empty() {
            return Err(wrong("`input` is empty".into()));
        }
        if rows.iter().any(|other| other.input == row.input) {
            return Err(wrong("has the input of another line: it could be chosen from and scored too".into()));
        }
        rows.push(row);
    }
    if rows.len() < LEAST_ROWS {
        return Err(Error::new(format!("{} has {} rows; {LEAST_ROWS} are the least", path.display(), rows.len())));
    }
    Ok(rows)
}

fn chosen(agent: &Agent, plan: &Plan, found: Found, model: String, data_sha256: String) -> OptimizedFile {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let optimized = Optimized {
        examples: count(found.examples.len()),
        metric: plan.metric.name(),
        before: found.before,
        after: found.after,
        model,
        seed: plan.seed,
        data_sha256,
        training_rows: count(found.training_rows),
        scored_rows: count(found.scored_rows),
    };
    OptimizedFile { agent: agent.name.clone(), basis: basis(agent), found: optimized, examples: found.examples }
}

fn write(path: &Path, file: &OptimizedFile) -> Result<()> {
    let unwritable = |error: std::io::Error| Error::new(format!("cannot write {}", path.display())).because(error);
    let text = serde_json::to_string_pretty(file).map_err(|error| Error::new("the examples cannot be written").because(error))?;
    fs::create_dir_all(path.parent().unwrap_or(path)).map_err(unwritable)?;
    fs::write(path, text + "\n").map_err(unwritable)
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::unreachable(format!("{} cannot be read", path.display())).because(error)
}
