//! `reprise replay …` and `reprise replays …`.

use clap::Args as ClapArgs;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::bulk::Bulk;
use super::filters::{given, moment, rfc3339};
use super::{Format, Target};

const EXAMPLES: &str = "\
Examples:
  reprise replay run_01J… --model openai::gpt-4o               one run with another model; both answers are shown
  reprise replay --last 2h --type ticket.opened --dry-run      which triggers would match now
  reprise replay --since 2026-11-22T02:00:00Z --until 2026-11-22T03:00:00Z --status failed --compare
  reprise replay --event evt_01J… --with-side-effects

Nothing that was is changed: a replay makes new runs, linked to the old ones. Tools with side effects are not called unless it is said.
Exit codes: 0 done, 1 some could not be started or it was stopped, 2 it could not be asked, 3 it still goes on, 130 interrupted (it goes on).";

#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Replay {
    /// These runs
    #[arg(value_name = "RUN")]
    pub(crate) runs: Vec<String>,
    #[command(flatten)]
    pub(crate) past: Past,
    /// Really all events of the whole retention
    #[arg(long)]
    pub(crate) all: bool,
    /// With this model instead, as openai::gpt-4o
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// With this agent instead
    #[arg(long, value_name = "AGENT")]
    pub(crate) with_agent: Option<String>,
    /// Also call tools that change something elsewhere
    #[arg(long)]
    pub(crate) with_side_effects: bool,
    /// Show old and new side by side (done anyway for one run)
    #[arg(long, conflicts_with_all = ["dry_run", "no_wait"])]
    pub(crate) compare: bool,
    /// Why; kept with who and when
    #[arg(long)]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) bulk: Bulk,
    #[command(flatten)]
    pub(crate) target: Target,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

/// Which events of the past.
#[derive(Debug, Clone, Default, ClapArgs)]
#[command(next_help_heading = "Which events")]
pub(crate) struct Past {
    /// This event; may be repeated
    #[arg(long = "event", value_name = "EVENT")]
    pub(crate) events: Vec<String>,
    /// Those of so long: 90s, 10m, 2h, 7d
    #[arg(long, value_name = "AGE", value_parser = moment, conflicts_with = "since")]
    pub(crate) last: Option<Timestamp>,
    /// From then on: a time or an age
    #[arg(long, alias = "start", value_name = "TIME|AGE", value_parser = moment)]
    pub(crate) since: Option<Timestamp>,
    /// Before then
    #[arg(long, alias = "end", value_name = "TIME|AGE", value_parser = moment)]
    pub(crate) until: Option<Timestamp>,
    /// Of this type
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<String>,
    /// From this source
    #[arg(long)]
    pub(crate) source: Option<String>,
    /// Only what this trigger does with them
    #[arg(long)]
    pub(crate) trigger: Option<String>,
    /// Only what this agent does with them
    #[arg(long)]
    pub(crate) agent: Option<String>,
    /// Whose run is this: completed, failed, dead, cancelled
    #[arg(long)]
    pub(crate) status: Option<String>,
}

impl Past {
    /// The fields that were given, but the events themselves.
    pub(crate) fn fields(&self) -> Map<String, Value> {
        let text = |value: &Option<String>| value.as_ref().map(|value| json!(value));
        given([
            ("since", self.since.or(self.last).map(|time| json!(rfc3339(time)))),
            ("until", self.until.map(|time| json!(rfc3339(time)))),
            ("type", text(&self.kind)),
            ("source", text(&self.source)),
            ("trigger", text(&self.trigger)),
            ("agent", text(&self.agent)),
            ("status", text(&self.status)),
        ])
    }
}

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  reprise replays\n  reprise replays job_01J… --wait\n  reprise replays job_01J… --compare --format jsonl\n  reprise replays job_01J… --cancel"
)]
pub(crate) struct Replays {
    /// One of them; left out: all, the last first
    pub(crate) id: Option<String>,
    /// Wait until it has ended
    #[arg(long, requires = "id")]
    pub(crate) wait: bool,
    /// Stop waiting after so many seconds (exit code 3)
    #[arg(long, default_value_t = 3600, value_name = "SECONDS")]
    pub(crate) timeout: u64,
    /// Old and new runs, side by side
    #[arg(long, alias = "results", requires = "id")]
    pub(crate) compare: bool,
    /// Let it stop; what it has started goes on
    #[arg(long, requires = "id", conflicts_with_all = ["wait", "compare"])]
    pub(crate) cancel: bool,
    /// How many at most
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) target: Target,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}
