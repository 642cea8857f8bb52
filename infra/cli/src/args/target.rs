//! Which deployment a command talks to, and how it prints what it has to say: the same flags on every command.

use clap::{Args as ClapArgs, ValueEnum};

/// Where the API is. The variables are read in `http::profile`, because a flag counts more than any of them.
#[derive(Debug, Clone, Default, ClapArgs)]
#[command(next_help_heading = "Which deployment")]
pub(crate) struct Target {
    /// Its address [env: REPRISE_URL=] [default: http://localhost:8000]
    #[arg(long, global = true)]
    pub(crate) url: Option<String>,
    /// Its name in ~/.config/reprise/config.toml ($REPRISE_CONFIG): address and how requests are allowed [env: REPRISE_PROFILE=]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) profile: Option<String>,
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
