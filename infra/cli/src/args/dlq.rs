//! `reprise dlq …`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

use super::bulk::{Bulk, Change};
use super::filters::Filters;
use super::{Format, Target};

const EXAMPLES: &str = "\
Examples:
  reprise dlq stats                                            what died, by kind of failure
  reprise dlq list --code provider_timeout --since 2h
  reprise dlq show run_01J…                                    why, at which step, with what payload
  reprise dlq retry run_01J…                                   from the step that failed
  reprise dlq retry --fingerprint 3f9a… --canary 3 --rate 10   three first; the others if those do not fail the same way
  reprise dlq retry-all --dry-run                              what would happen
  reprise dlq discard --code invalid_output --reason \"fixed upstream\"

Exit codes: 0 done, 1 some failed, all were refused or the job was stopped, 2 it could not be asked, 3 the job is still going on, 130 interrupted (the job goes on).";

#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Dlq {
    #[command(flatten)]
    pub(crate) target: Target,
    /// How to print it
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    #[command(subcommand)]
    pub(crate) command: DlqCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// The dead runs, the last first; looking changes nothing
    #[command(
        after_help = "Examples:\n  reprise dlq list --provider openai --since 12h --sort -tokens\n  reprise dlq list --limit 1000 --format jsonl | jq -r .run_id"
    )]
    List(ListDead),
    /// One dead run: errors, transitions, journal, the step that failed, the payload without secrets
    #[command(after_help = "Example:\n  reprise dlq show run_01J… --raw --format json | jq .payload")]
    Show(ShowDead),
    /// How many died of what
    #[command(after_help = "Example:\n  reprise dlq stats --since 24h")]
    Stats(Filters),
    /// Put back one run, several, or those that fit
    #[command(
        after_help = "Examples:\n  reprise dlq retry run_01J… --from-start --model openai::gpt-4o\n  reprise dlq retry run_01J… --input mended.json\n  reprise dlq retry --agent triage --since 2h --canary 3 --reason \"the provider is back\""
    )]
    Retry(Box<RetryDead>),
    /// Put back all of them
    #[command(after_help = "Examples:\n  reprise dlq retry-all --dry-run\n  reprise dlq retry-all --rate 20 --canary 5 --yes")]
    RetryAll(RetryAll),
    /// Give up one run, several, or those that fit; they stay in the history with the reason
    #[command(after_help = "Example:\n  reprise dlq discard --code invalid_output --until 7d --reason \"customers were told\"")]
    Discard(Box<Discard>),
    /// The bulk actions, the last first
    Jobs(Jobs),
    /// One bulk action: how far it is; wait for it, see what it did, or cancel it
    #[command(
        after_help = "Examples:\n  reprise dlq job job_01J… --wait\n  reprise dlq job job_01J… --results --format jsonl\n  reprise dlq job job_01J… --cancel"
    )]
    Job(Job),
    /// Messages on the queue that are none of ours: see, mend, move or discard them (operators only)
    #[command(
        after_help = "Examples:\n  reprise dlq letters\n  reprise dlq letters show ltr_…\n  reprise dlq letters move ltr_… --body mended.json --reason \"a comma was missing\""
    )]
    Letters(Letters),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ListDead {
    #[command(flatten)]
    pub(crate) filters: Filters,
    /// By what, `-` for the greatest first
    #[arg(long, value_enum, allow_hyphen_values = true, default_value_t = Sort::LastDead)]
    pub(crate) sort: Sort,
    /// How many at most
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub(crate) limit: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    #[value(name = "-died_at")]
    LastDead,
    #[value(name = "died_at")]
    FirstDead,
    #[value(name = "-created_at")]
    LastCreated,
    #[value(name = "created_at")]
    FirstCreated,
    #[value(name = "-attempts")]
    Attempts,
    #[value(name = "-tokens")]
    Tokens,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ShowDead {
    /// The run
    pub(crate) id: String,
    /// The payload as it is, secrets included; needs its own permission
    #[arg(long)]
    pub(crate) raw: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Selection {
    /// The runs
    #[arg(value_name = "RUN")]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) filters: Filters,
    /// Really all of them
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RetryDead {
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) change: Change,
    /// Another input for the one run: a file with {\"prompt\": …} as `POST /v1/agent` takes it; it begins anew
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Stop after the first N if one of them fails as it did before
    #[arg(long, value_name = "N")]
    pub(crate) canary: Option<u32>,
    /// How long the first N may take
    #[arg(long, value_name = "SECONDS", requires = "canary")]
    pub(crate) canary_timeout: Option<u32>,
    /// Also runs that were put back too often already
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) bulk: Bulk,
    /// Why; kept with who and when
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RetryAll {
    #[command(flatten)]
    pub(crate) change: Change,
    /// Another tenant's, or `*` for all (operators only)
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// By the queue's own move task: no limits but --rate, no results, and only operators may
    #[arg(long, conflicts_with_all = ["from_start", "model", "with_agent", "tenant", "canary", "force", "concurrency", "dry_run", "no_wait"])]
    pub(crate) native: bool,
    /// Stop after the first N if one of them fails as it did before
    #[arg(long, value_name = "N")]
    pub(crate) canary: Option<u32>,
    /// How long the first N may take
    #[arg(long, value_name = "SECONDS", requires = "canary")]
    pub(crate) canary_timeout: Option<u32>,
    /// Also runs that were put back too often already
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) bulk: Bulk,
    /// Why; kept with who and when
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Discard {
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// Why; kept with who and when
    #[arg(long)]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) bulk: Bulk,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Jobs {
    /// How many at most
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub(crate) limit: usize,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Job {
    /// The job
    pub(crate) id: String,
    /// Wait until it has ended
    #[arg(long)]
    pub(crate) wait: bool,
    /// Stop waiting after so many seconds (exit code 3)
    #[arg(long, default_value_t = 3600, value_name = "SECONDS", requires = "wait")]
    pub(crate) timeout: u64,
    /// What it did, run by run
    #[arg(long, conflicts_with = "wait")]
    pub(crate) results: bool,
    /// Let it stop; what it has done stays done
    #[arg(long, conflicts_with_all = ["wait", "results"])]
    pub(crate) cancel: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Letters {
    /// Left out: list them
    #[command(subcommand)]
    pub(crate) command: Option<LettersCommand>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ListLetters {
    /// open, moved, discarded or all
    #[arg(long, default_value = "open", value_parser = ["open", "moved", "discarded", "all"])]
    pub(crate) status: String,
    /// How many at most
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub(crate) limit: usize,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LettersCommand {
    /// Those that nobody has settled, the last first
    List(ListLetters),
    /// One, with its whole body (secrets taken out)
    Show {
        /// The letter
        id: String,
    },
    /// Send it to the tasks queue, mended if a body is given
    Move {
        /// The letter
        id: String,
        /// A file with what to send instead
        #[arg(long, value_name = "FILE")]
        body: Option<PathBuf>,
        /// Why; kept with who and when
        #[arg(long)]
        reason: String,
    },
    /// Take it off the queue; what it said is kept
    Discard {
        /// The letter
        id: String,
        /// Why; kept with who and when
        #[arg(long)]
        reason: String,
    },
}
