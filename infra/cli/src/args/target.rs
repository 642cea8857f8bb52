//! Which deployment a command talks to, and how it prints what it has to say: the same flags on every command.

use clap::{Args as ClapArgs, ValueEnum};

/// Where the API is.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Target {
    /// Address of the stack
    #[arg(long, global = true, env = "REPRISE_URL", default_value = "http://localhost:8000")]
    pub(crate) url: String,
}

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[value(alias = "text")]
    Table,
    /// For programs: one document
    Json,
    /// For programs: a document in each line
    Jsonl,
}
