//! `reprise run …`.

use clap::{Args as ClapArgs, Subcommand};

use super::{Format, Target, key_value};

#[derive(Debug, ClapArgs)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(subcommand)]
    pub(crate) command: RunCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RunCommand {
    /// Ask an agent; prints the answer, or the id of the run when it goes on in the background
    Start(Start),
    /// One run: state, answer or error, tokens
    Show(Show),
    /// Follow the steps of a run until it ends
    Tail(Tail),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Start {
    /// The question or order; `-` reads it from standard input
    pub(crate) prompt: String,
    /// Which agent; left out: the built-in one
    #[arg(long)]
    pub(crate) agent: Option<String>,
    /// Go on with this conversation
    #[arg(long, value_name = "ID")]
    pub(crate) conversation: Option<String>,
    /// Do not wait for the answer
    #[arg(long)]
    pub(crate) background: bool,
    /// Kept with the run; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) metadata: Vec<(String, String)>,
    /// How to print it: for people, or for programs
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Show {
    pub(crate) id: String,
    /// How to print it: for people, or for programs
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Tail {
    pub(crate) id: String,
    /// Stop waiting after so many seconds (exit code 3); the run itself goes on
    #[arg(long, default_value_t = 900, value_name = "SECONDS")]
    pub(crate) timeout: u64,
}
