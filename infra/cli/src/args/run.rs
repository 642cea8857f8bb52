//! `reprise run …`.

use clap::{Args as ClapArgs, Subcommand};
use jiff::Timestamp;

use super::filters::moment;
use super::{Format, Target, key_value};

const EXAMPLES: &str = "\
Examples:
  reprise run start \"What can you do?\"
  reprise run start --background --agent triage \"$(cat ticket.txt)\"
  reprise run list --status dead --since 2h
  reprise run tail run_01J…
  reprise run answer run_01J… \"Yes, ship it\"
  reprise run answer run_01J… --approve

Exit codes: 0 done, or the run completed; 1 it ended otherwise, or was refused; 2 nothing answered; 3 `tail` stopped waiting.";

#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) target: Target,
    /// How to print it
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    #[command(subcommand)]
    pub(crate) command: RunCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RunCommand {
    /// Ask an agent; prints the answer, or the id of the run when it goes on in the background
    #[command(after_help = "Examples:\n  reprise run start \"What can you do?\"\n  git diff | reprise run start --agent review -")]
    Start(Start),
    /// Runs, the last first
    #[command(after_help = "Example:\n  reprise run list --status failed --since 24h --format jsonl | jq -r .run_id")]
    List(ListRuns),
    /// One run: state, answer or error, tokens
    #[command(after_help = "Example:\n  reprise run show run_01J… --format json | jq .usage")]
    Show(Show),
    /// Follow the steps of a run until it ends; in JSON, a line for each step and one for the run
    #[command(after_help = "Example:\n  reprise run tail run_01J… --timeout 60")]
    Tail(Tail),
    /// Let runs stop
    #[command(after_help = "Example:\n  reprise run list --status waiting --format jsonl | jq -r .run_id | xargs reprise run cancel")]
    Cancel(Cancel),
    /// Give a run what it waits for: an answer, or leave to make a tool call
    #[command(
        after_help = "Examples:\n  reprise run answer run_01J… \"In Berlin\"\n  reprise run answer run_01J… --reject \"Too expensive\""
    )]
    Answer(Answer),
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
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ListRuns {
    /// queued, running, waiting, completed, failed, dead or cancelled
    #[arg(long)]
    pub(crate) status: Option<String>,
    /// The agent
    #[arg(long)]
    pub(crate) agent: Option<String>,
    /// Begun since then: a time or an age (2h)
    #[arg(long, value_name = "TIME|AGE", value_parser = moment)]
    pub(crate) since: Option<Timestamp>,
    /// Begun before then
    #[arg(long, value_name = "TIME|AGE", value_parser = moment)]
    pub(crate) until: Option<Timestamp>,
    /// How many at most
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub(crate) limit: usize,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Show {
    /// The run
    pub(crate) id: String,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Tail {
    /// The run
    pub(crate) id: String,
    /// Stop waiting after so many seconds (exit code 3); the run itself goes on
    #[arg(long, default_value_t = 900, value_name = "SECONDS")]
    pub(crate) timeout: u64,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Cancel {
    /// The runs
    #[arg(required = true, value_name = "RUN")]
    pub(crate) ids: Vec<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Answer {
    /// The run
    pub(crate) id: String,
    /// The answer, or why a call is not allowed; `-` reads it from standard input
    #[arg(required_unless_present_any = ["approve", "reject"])]
    pub(crate) answer: Option<String>,
    /// The call may be made
    #[arg(long, conflicts_with = "reject")]
    pub(crate) approve: bool,
    /// The call may not be made
    #[arg(long)]
    pub(crate) reject: bool,
    /// Which question; left out: the one that it waits for now
    #[arg(long, value_name = "ID")]
    pub(crate) question: Option<String>,
}
