//! `reprise incident …`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use jiff::Timestamp;

use super::{Format, Target};

const EXAMPLES: &str = "\
Examples:
  reprise incident open \"Runs die of provider_timeout\" --severity P1 --impact \"every third answer is late\"
  reprise incident update inc_01J… --status IDENTIFIED --root-cause \"the provider's key has expired\"
  reprise incident note inc_01J… \"the logs name one key only\"
  reprise incident bundle inc_01J…                             everything one needs to look into it, in one archive, without secrets
  reprise incident update inc_01J… --status MONITORING --mitigation \"a new key\"
  reprise incident resolve inc_01J…                            once the fix was watched for 30 minutes
  reprise incident review inc_01J… --out review.md

Somebody must have taken a P0 within 15 minutes, a P1 within 1 hour, a P2 within 4 hours, a P3 within 24 hours. An update is due every
30 minutes, and prints what to send to the others. The review is due within 48 hours of the end.
Exit codes: 0 done, 1 it was refused, 2 it could not be asked. `list` and `show` say 0 even if a clock has run out: `--format json` has it.";

#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Incident {
    #[command(flatten)]
    pub(crate) target: Target,
    /// How to print it
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    #[command(subcommand)]
    pub(crate) command: IncidentCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IncidentCommand {
    /// Write down that something is wrong; starts the clocks
    Open(OpenIncident),
    /// Take it: stops the response clock
    Ack(NamedIncident),
    /// Say what is known or done now, and print what to send to the others
    Update(UpdateIncident),
    /// Add to the timeline; tells nobody
    Note(NoteOnIncident),
    /// It is over
    Resolve(ResolveIncident),
    /// Incidents, the newest first
    List(ListIncidents),
    /// One incident with its clocks and its timeline
    Show(NamedIncident),
    /// Health, queue, dead letters, failed runs, errors, versions and settings as one archive, without secrets
    Bundle(BundleIncident),
    /// The document of the review: timeline, durations, and what is left to write
    Review(ReviewIncident),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct NamedIncident {
    /// Which
    pub(crate) id: String,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct OpenIncident {
    /// What is wrong, in a line
    pub(crate) title: String,
    /// How bad: P0 nothing works, P3 hardly anybody notices
    #[arg(long, value_enum)]
    pub(crate) severity: Severity,
    /// Who notices what
    #[arg(long)]
    pub(crate) impact: Option<String>,
    /// When it was noticed, if not now: the response clock begins there
    #[arg(long, value_name = "TIME")]
    pub(crate) detected_at: Option<Timestamp>,
    /// Somebody else takes it: the response clock goes on
    #[arg(long)]
    pub(crate) not_mine: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
pub(crate) enum Severity {
    #[value(alias = "p0")]
    P0,
    #[value(alias = "p1")]
    P1,
    #[value(alias = "p2")]
    P2,
    #[value(alias = "p3")]
    P3,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum IncidentStatus {
    #[value(alias = "investigating")]
    Investigating,
    #[value(alias = "identified")]
    Identified,
    #[value(alias = "monitoring")]
    Monitoring,
    #[value(alias = "resolved")]
    Resolved,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct UpdateIncident {
    /// Which
    pub(crate) id: String,
    /// What else there is to say
    pub(crate) text: Option<String>,
    /// How far it is
    #[arg(long, value_enum)]
    pub(crate) status: Option<IncidentStatus>,
    /// How bad it is after all
    #[arg(long, value_enum)]
    pub(crate) severity: Option<Severity>,
    /// Who notices what
    #[arg(long)]
    pub(crate) impact: Option<String>,
    /// What is known of the cause
    #[arg(long)]
    pub(crate) root_cause: Option<String>,
    /// What is done about it
    #[arg(long)]
    pub(crate) mitigation: Option<String>,
    /// Minutes until the next update (30 if left out)
    #[arg(long, value_name = "MINUTES")]
    pub(crate) next_update: Option<u32>,
    /// RESOLVED although no fix was watched for 30 minutes
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct NoteOnIncident {
    /// Which
    pub(crate) id: String,
    /// What to write down
    pub(crate) text: String,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ResolveIncident {
    /// Which
    pub(crate) id: String,
    /// What else there is to say
    pub(crate) text: Option<String>,
    /// Although no fix was watched for 30 minutes
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ListIncidents {
    /// Only those that are so far
    #[arg(long, value_enum)]
    pub(crate) status: Option<IncidentStatus>,
    /// How many at most
    #[arg(long, default_value_t = 50)]
    pub(crate) limit: usize,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct BundleIncident {
    /// Which; left out: none, only how things are
    pub(crate) id: Option<String>,
    /// Where to (left out: a name with the time, in this folder)
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// The local stack whose logs and settings belong to it, if it is one
    #[arg(long, default_value = "dev", env = "REPRISE_STACK", value_name = "NAME")]
    pub(crate) stack: String,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ReviewIncident {
    /// Which
    pub(crate) id: String,
    /// Where to (left out: to standard output)
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}
