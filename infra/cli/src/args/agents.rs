//! `reprise agents …`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::{Format, Target};
use crate::agents::Metric;

#[derive(Debug, ClapArgs)]
pub(crate) struct Agents {
    /// Folder of the definitions (left out: infra/agents of this checkout)
    #[arg(long, global = true, value_name = "FOLDER")]
    pub(crate) dir: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: AgentsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentsCommand {
    /// Tell all that is wrong, with file, line and field: exit 0 when all holds, 1 when not
    Validate(Validate),
    /// Write the checksummed bundle, and the files that it was made from, into the folder that is packed with the functions
    Compile(Compile),
    /// One agent with all its defaults, or all of them
    Show(ShowAgent),
    /// Choose few-shot examples for an agent by how well it does with them, and compile them into the bundle
    Optimize(Box<Optimize>),
    /// What the files change of a bundle: exit 1 when an agent changed and its version did not
    Diff(Diff),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Validate {
    /// How to print it: for people, or for programs
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Compile {
    /// Where to (left out: target/agents of this checkout)
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// Write nothing; exit 1 when the folder is not what the files say
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ShowAgent {
    /// Which (left out: all, in a line each)
    pub(crate) name: Option<String>,
    /// How to print it: for people, or for programs
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Diff {
    /// A bundle, or a folder with one or with definitions (left out: target/agents of this checkout)
    #[arg(value_name = "BUNDLE|FOLDER")]
    pub(crate) base: Option<PathBuf>,
    /// How to print it: for people, or for programs
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Optimize {
    /// Which agent
    pub(crate) agent: String,
    /// Lines of {"input": …, "output": …}: half are chosen from, the others are what is scored
    #[arg(long, value_name = "FILE.jsonl")]
    pub(crate) data: PathBuf,
    /// exact, contains, f1, json (share of expected fields), or a rule as JSON
    #[arg(long)]
    pub(crate) metric: Metric,
    /// Least score of an answer that becomes an example
    #[arg(long, default_value_t = 1.0, value_name = "0..1")]
    pub(crate) threshold: f64,
    /// Examples at most
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=32))]
    pub(crate) max_examples: u32,
    /// Sets of examples that are drawn at random, besides the ones that are always tried
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) draws: u32,
    /// Draws the same again
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) target: Target,
    /// Keep every answer in this file
    #[arg(long, value_name = "FILE.jsonl", conflicts_with = "replay")]
    pub(crate) record: Option<PathBuf>,
    /// Ask nobody: take the answers from such a file
    #[arg(long, value_name = "FILE.jsonl")]
    pub(crate) replay: Option<PathBuf>,
    /// Write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}
