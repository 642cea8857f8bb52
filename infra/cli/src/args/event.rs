//! `reprise event …`, `reprise conversation …` and `reprise history …`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use jiff::Timestamp;

use super::filters::moment;
use super::{Format, Target};

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  reprise event publish ticket.opened --source crm/eu --payload '{\"ticket\":{\"id\":\"T-1\"}}'\n  reprise event list --type ticket.opened --since 2h\n  reprise event show evt_01J…"
)]
pub(crate) struct Event {
    #[command(flatten)]
    pub(crate) target: Target,
    /// How to print it
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    #[command(subcommand)]
    pub(crate) command: EventCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EventCommand {
    /// Tell what happened; triggers make runs of it
    #[command(
        after_help = "Examples:\n  reprise event publish ticket.opened --source crm/eu --payload @ticket.json --id T-1\n  jq -c . ticket.json | reprise event publish ticket.opened --source crm/eu --payload -"
    )]
    Publish(Publish),
    /// Events, the last first
    List(ListEvents),
    /// One event with its payload and what each trigger made of it
    Show {
        /// The event
        id: String,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Publish {
    /// What happened, as ticket.opened
    #[arg(value_name = "TYPE")]
    pub(crate) kind: String,
    /// Where, as crm/eu
    #[arg(long)]
    pub(crate) source: String,
    /// What it says: JSON, @FILE, or `-` for standard input
    #[arg(long, default_value = "{}", value_name = "JSON|@FILE|-")]
    pub(crate) payload: String,
    /// Your own id of it: sent again, it is the same event
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// The story that it belongs to
    #[arg(long, value_name = "ID")]
    pub(crate) correlation_id: Option<String>,
    /// The event that caused it
    #[arg(long, value_name = "ID")]
    pub(crate) causation_id: Option<String>,
    /// The trace that it belongs to
    #[arg(long, value_name = "ID")]
    pub(crate) trace_id: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ListEvents {
    /// Of this type
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<String>,
    /// From this source
    #[arg(long)]
    pub(crate) source: Option<String>,
    /// Since then: a time or an age (2h)
    #[arg(long, value_name = "TIME|AGE", value_parser = moment)]
    pub(crate) since: Option<Timestamp>,
    /// Before then
    #[arg(long, value_name = "TIME|AGE", value_parser = moment)]
    pub(crate) until: Option<Timestamp>,
    /// How many at most
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub(crate) limit: usize,
}

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  reprise conversation show conv_01J…\n  reprise conversation export conv_01J… --out talk.jsonl\n  reprise conversation delete conv_01J… --yes"
)]
pub(crate) struct Conversation {
    #[command(flatten)]
    pub(crate) target: Target,
    /// How to print it
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    #[command(subcommand)]
    pub(crate) command: ConversationCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConversationCommand {
    /// What was said, turn by turn, and what waits
    Show {
        /// The conversation
        id: String,
        /// How many turns at most
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: usize,
    },
    /// All of its turns, a line of JSON each
    Export {
        /// The conversation
        id: String,
        /// Into this file, which is there whole or not at all
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Delete it with its runs, journals and turns; deleted is deleted
    Delete {
        /// The conversation
        id: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct History {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(subcommand)]
    pub(crate) command: HistoryCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HistoryCommand {
    /// Every run, failures included, a line of JSON each
    #[command(
        after_help = "Examples:\n  reprise history export --since 24h --out history.jsonl\n  reprise history export --since 7d --status failed | jq -r '[.run_id, .error.code] | @tsv'"
    )]
    Export(Export),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Export {
    /// Begun since then: a time or an age (24h)
    #[arg(long, value_name = "TIME|AGE", value_parser = moment)]
    pub(crate) since: Option<Timestamp>,
    /// Begun before then
    #[arg(long, value_name = "TIME|AGE", value_parser = moment)]
    pub(crate) until: Option<Timestamp>,
    /// The agent
    #[arg(long)]
    pub(crate) agent: Option<String>,
    /// How it stands
    #[arg(long)]
    pub(crate) status: Option<String>,
    /// A line for each run: what is written anyway
    #[arg(long)]
    pub(crate) jsonl: bool,
    /// Into this file, which is there whole or not at all
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}
