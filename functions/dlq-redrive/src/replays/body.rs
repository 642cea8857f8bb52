//! What `POST /v1/replays` is told.

use jiff::Timestamp;
use serde::Deserialize;
use shared::domain::id::{EventId, RunId};
use shared::domain::job::{DEFAULT_RATE, Pace};
use shared::domain::state::RunState;
use shared::http::{Object, Problem, Word};
use shared::operate::providers::LONGEST_REASON;
use shared::replay::{ReplayFilter, ReplayOrder, Selection};

use crate::choices::Choices;

/// Ids that one request names: they stand in the job's record, which is written again and again.
const MOST_IDS: usize = 1_000;
/// Runs per second, and runs at once.
const FASTEST: u32 = 500;
const MOST_AT_ONCE: u32 = 100;

/// The body of `POST /v1/replays`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayBody {
    #[serde(default)]
    runs: Option<Vec<RunId>>,
    #[serde(default)]
    events: Option<Vec<EventId>>,
    #[serde(default)]
    filter: Option<Object<FilterBody>>,
    #[serde(default)]
    all: Option<bool>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    agent: Option<String>,
    #[serde(default)]
    with_side_effects: bool,
    #[serde(default)]
    rate: Option<u32>,
    #[serde(default)]
    concurrency: Option<u32>,
    #[serde(default)]
    pub(super) reason: Option<String>,
    #[serde(default)]
    pub(super) dry_run: bool,
}

/// The body of a wish to cancel.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CancelBody {
    pub(super) reason: Option<String>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FilterBody {
    since: Option<String>,
    until: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    source: Option<String>,
    trigger: Option<String>,
    agent: Option<String>,
    status: Option<Word<RunState>>,
}

impl ReplayBody {
    pub(super) fn pace(&self) -> Result<Pace, Problem> {
        let within = |field, number: Option<u32>, most| match number {
            Some(number) if !(1..=most).contains(&number) => Err(Problem::invalid(field, format!("must be from 1 to {most}"))),
            number => Ok(number),
        };
        let rate = within("rate", self.rate, FASTEST)?.unwrap_or(DEFAULT_RATE);
        Ok(Pace { rate, concurrency: within("concurrency", self.concurrency, MOST_AT_ONCE)? })
    }

    pub(super) fn into_order(self, choices: &Choices) -> Result<ReplayOrder, Problem> {
        let model = choices.model(self.model.as_deref())?;
        let (agent, with_side_effects) = (choices.agent(self.agent.clone())?, self.with_side_effects);
        Ok(ReplayOrder { selection: self.selection()?, model, agent, with_side_effects })
    }

    /// What is meant by one of the four, which must be there alone: what is left out by mistake must not mean everything.
    fn selection(self) -> Result<Selection, Problem> {
        let given = [self.runs.is_some(), self.events.is_some(), self.filter.is_some(), self.all.is_some()];
        if given.into_iter().filter(|given| *given).count() != 1 {
            return Err(Problem::invalid("runs", "exactly one of `runs`, `events`, `filter` and `all` must be given"));
        }
        if let Some(runs) = self.runs {
            return checked("runs", runs).map(Selection::Runs);
        }
        if let Some(events) = self.events {
            return checked("events", events).map(Selection::Events);
        }
        match (self.filter, self.all) {
            (Some(Object(filter)), _) if filter == FilterBody::default() => {
                Err(Problem::invalid("filter", "must demand something; `\"all\": true` replays everything"))
            }
            (Some(Object(filter)), _) => filter.into_filter().map(Selection::Filter),
            (None, Some(true)) => Ok(Selection::All),
            (None, _) => Err(Problem::invalid("all", "must be true, or be left out")),
        }
    }
}

/// A reason that fits into the records.
pub(super) fn checked_reason(reason: Option<String>) -> Result<Option<String>, Problem> {
    let is_long = reason.as_ref().is_some_and(|reason| reason.chars().count() > LONGEST_REASON);
    if is_long { Err(Problem::invalid("reason", format!("must have at most {LONGEST_REASON} characters"))) } else { Ok(reason) }
}

fn checked<T>(field: &str, ids: Vec<T>) -> Result<Vec<T>, Problem> {
    let is_right = (1..=MOST_IDS).contains(&ids.len());
    if is_right { Ok(ids) } else { Err(Problem::invalid(field, format!("must name 1 to {MOST_IDS}"))) }
}

impl FilterBody {
    fn into_filter(self) -> Result<ReplayFilter, Problem> {
        let time = |field, text: Option<String>| {
            let detail = "must be an RFC 3339 time, e.g. 2026-01-02T03:04:05Z";
            text.map(|text| text.parse::<Timestamp>().map_err(|_| Problem::invalid(field, detail))).transpose()
        };
        let Self { since, until, kind, source, trigger, agent, status } = self;
        let (since, until) = (time("filter.since", since)?, time("filter.until", until)?);
        Ok(ReplayFilter { since, until, kind, source, trigger, agent, status: status.map(|Word(status)| status) })
    }
}
