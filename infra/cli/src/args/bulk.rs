//! What actions on many runs have in common.

use clap::Args as ClapArgs;

/// Limits of a bulk action, and how to ask for it.
#[derive(Debug, Clone, Default, ClapArgs)]
#[command(next_help_heading = "Many at once")]
pub(crate) struct Bulk {
    /// So many a second at most
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<u32>,
    /// So many unfinished at a time
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<u32>,
    /// Only tell what would happen
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask before more than one run is changed
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Do not wait for the job; print its id
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Stop waiting after so many seconds (exit code 3); the job goes on
    #[arg(long, default_value_t = 3600, value_name = "SECONDS")]
    pub(crate) timeout: u64,
}

/// What is different this time.
#[derive(Debug, Clone, Default, ClapArgs)]
#[command(next_help_heading = "How they run")]
pub(crate) struct Change {
    /// Begin anew; left out: go on at the step that failed, and pay for nothing twice
    #[arg(long)]
    pub(crate) from_start: bool,
    /// With this model instead, as openai::gpt-4o
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// With this agent instead
    #[arg(long, value_name = "AGENT")]
    pub(crate) with_agent: Option<String>,
}
