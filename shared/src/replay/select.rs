//! What a replay is about, event by event in the order of their arrival: which triggers fit now, and which runs they started then.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ReplayFilter, ReplayOrder, Replayer, Selection};
use crate::domain::clock::after;
use crate::domain::definition::Bundle;
use crate::domain::event::{AGENT_REQUEST, Event};
use crate::domain::id::{EventId, RunId, TenantId};
use crate::domain::run::Run;
use crate::domain::trigger::Trigger;
use crate::engine::ports::JournalError;
use crate::operate::{EventFilter, Order};

/// How many events are read at once: each may have hundreds of kilobytes.
const AT_ONCE: usize = 50;
/// How many runs a call reads.
const RUNS_AT_ONCE: usize = 100;
/// How many events a dry run looks at.
const LOOKED_AT: usize = 1_000;

/// One run that a replay starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The event.
    pub event: EventId,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The trigger that fits; none for a request to an agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// The agent of now.
    pub agent: String,
    /// The run that the same trigger, or the request, started then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<RunId>,
    /// Whether it is asked what that run was asked, whatever the trigger says now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub same_input: bool,
}

/// Something that was selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selected {
    /// A run to start, with its name in the replay.
    Start(String, Candidate),
    /// What somebody named, and why there is nothing to start.
    Nothing(String, &'static str),
}

/// How far a replay has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Behind this event, or within it behind this trigger.
    Event(EventId, Option<String>),
    /// Behind this run.
    Run(RunId),
}

/// What a replay would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// How many events, or runs, were looked at.
    pub looked_at: usize,
    /// What it would start.
    pub matches: Vec<Candidate>,
    /// What somebody named, and why there is nothing to start.
    pub nothing: Vec<(String, &'static str)>,
    /// Whether that is all of it.
    pub complete: bool,
}

/// Some of what is selected, and how far that is.
struct Part {
    looked_at: usize,
    selected: Vec<Selected>,
    next: Option<Place>,
}

impl Replayer {
    /// What is selected behind `place`, at most `limit`, and how far that is; no place: it is the rest. Only what was recorded by
    /// `created_at`, so that a replay never goes on for ever.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn select(
        &self,
        tenant: &TenantId,
        order: &ReplayOrder,
        created_at: Timestamp,
        place: Option<Place>,
        limit: usize,
    ) -> Result<(Vec<Selected>, Option<Place>), JournalError> {
        let part = self.part(tenant, order, created_at, place, limit).await?;
        Ok((part.selected, part.next))
    }

    /// What a replay would do, as far as a look at the first thousand events tells.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn plan(&self, tenant: &TenantId, order: &ReplayOrder) -> Result<Plan, JournalError> {
        self.plan_before(tenant, order, self.clock.now()).await
    }

    pub(super) async fn plan_before(&self, tenant: &TenantId, order: &ReplayOrder, created_at: Timestamp) -> Result<Plan, JournalError> {
        let mut plan = Plan { looked_at: 0, matches: Vec::new(), nothing: Vec::new(), complete: false };
        let mut place = None;
        while plan.looked_at < LOOKED_AT {
            let part = self.part(tenant, order, created_at, place, AT_ONCE).await?;
            plan.looked_at += part.looked_at;
            for selected in part.selected {
                match selected {
                    Selected::Start(_, candidate) => plan.matches.push(candidate),
                    Selected::Nothing(name, why) => plan.nothing.push((name, why)),
                }
            }
            place = part.next;
            if place.is_none() {
                plan.complete = true;
                break;
            }
        }
        Ok(plan)
    }

    async fn part(
        &self,
        tenant: &TenantId,
        order: &ReplayOrder,
        created_at: Timestamp,
        place: Option<Place>,
        limit: usize,
    ) -> Result<Part, JournalError> {
        match &order.selection {
            Selection::Runs(runs) => self.part_of_runs(tenant, runs, place, limit).await,
            Selection::Events(_) | Selection::Filter(_) | Selection::All => {
                self.part_of_events(tenant, order, created_at, place, limit).await
            }
        }
    }

    async fn part_of_runs(&self, tenant: &TenantId, runs: &[RunId], place: Option<Place>, limit: usize) -> Result<Part, JournalError> {
        let behind = if let Some(Place::Run(run)) = place { Some(run) } else { None };
        let mut wanted: Vec<RunId> = runs.iter().copied().filter(|run| Some(*run) > behind).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let is_last = wanted.len() <= limit.min(RUNS_AT_ONCE);
        wanted.truncate(limit.min(RUNS_AT_ONCE));
        let found: BTreeMap<RunId, Run> = self.runs_of(tenant, &wanted).await?;
        let selected = wanted.iter().map(|id| match found.get(id) {
            None => Selected::Nothing(id.to_string(), "there is no such run"),
            Some(run) => Selected::Start(
                id.to_string(),
                Candidate {
                    event: run.event,
                    kind: run.kind().to_owned(),
                    trigger: run.trigger.clone(),
                    agent: run.agent.clone(),
                    of: Some(*id),
                    same_input: true,
                },
            ),
        });
        Ok(Part {
            looked_at: wanted.len(),
            selected: selected.collect(),
            next: wanted.last().filter(|_| !is_last).map(|last| Place::Run(*last)),
        })
    }

    async fn part_of_events(
        &self,
        tenant: &TenantId,
        order: &ReplayOrder,
        created_at: Timestamp,
        place: Option<Place>,
        limit: usize,
    ) -> Result<Part, JournalError> {
        let at_once = limit.clamp(AT_ONCE / 5, AT_ONCE);
        let (begun, behind) = match place {
            Some(Place::Event(event, trigger)) => (trigger.map(|trigger| (event, trigger)), Some(event)),
            Some(Place::Run(_)) | None => (None, None),
        };
        let mut ids: Vec<EventId> = begun.iter().map(|(event, _)| *event).collect();
        let more = self.event_ids(tenant, &order.selection, created_at, behind, at_once).await?;
        let is_last = more.len() < at_once;
        ids.extend(more);
        let found: BTreeMap<EventId, Event> = self.events.events(tenant, &ids).await?.into_iter().map(|event| (event.id, event)).collect();
        let then = self.runs_of(tenant, &needed(&order.selection, found.values())).await?;
        let (mut selected, mut next) = (Vec::new(), None);
        let mut looked_at = 0;
        for id in &ids {
            let mut of_event = self.of_event(order, *id, found.get(id), &then);
            if let Some((_, trigger)) = begun.as_ref().filter(|(event, _)| event == id) {
                of_event.retain(|selected| selected.trigger() > Some(trigger));
            }
            for one in of_event {
                if selected.len() == limit {
                    // The rest of this event comes next.
                    return Ok(Part { looked_at, selected, next });
                }
                next = Some(Place::Event(*id, Some(one.trigger().cloned().unwrap_or_default())));
                selected.push(one);
            }
            looked_at += 1;
            next = Some(Place::Event(*id, None));
        }
        Ok(Part { looked_at, selected, next: next.filter(|_| !is_last) })
    }

    /// Ids of the next events, oldest first.
    async fn event_ids(
        &self,
        tenant: &TenantId,
        selection: &Selection,
        created_at: Timestamp,
        behind: Option<EventId>,
        limit: usize,
    ) -> Result<Vec<EventId>, JournalError> {
        match selection {
            Selection::Runs(_) => Ok(Vec::new()),
            Selection::Events(events) => {
                let mut ids: Vec<EventId> = events.iter().copied().filter(|id| Some(*id) > behind).collect();
                ids.sort_unstable();
                ids.dedup();
                ids.truncate(limit);
                Ok(ids)
            }
            Selection::Filter(_) | Selection::All => {
                let filter = filter_of(selection);
                let snapshot = after(created_at, Duration::from_millis(1));
                let until = Some(filter.until.map_or(snapshot, |until| until.min(snapshot)));
                let times = EventFilter { since: filter.since, until, ..EventFilter::default() };
                match times.range(Order::OldestFirst, behind) {
                    Some(range) => self.events.event_ids(tenant, range, Order::OldestFirst, limit).await,
                    None => Ok(Vec::new()),
                }
            }
        }
    }

    async fn runs_of(&self, tenant: &TenantId, ids: &[RunId]) -> Result<BTreeMap<RunId, Run>, JournalError> {
        let mut found = BTreeMap::new();
        for page in ids.chunks(RUNS_AT_ONCE) {
            found.extend(self.records.runs(tenant, page).await?.into_iter().map(|run| (run.id, run)));
        }
        Ok(found)
    }

    fn of_event(&self, order: &ReplayOrder, id: EventId, event: Option<&Event>, then: &BTreeMap<RunId, Run>) -> Vec<Selected> {
        let is_named = matches!(order.selection, Selection::Events(_));
        let nothing = |why| if is_named { vec![Selected::Nothing(id.to_string(), why)] } else { Vec::new() };
        let Some(event) = event else { return nothing("there is no such event") };
        let candidates = candidates(&self.bundle, event, &filter_of(&order.selection), then);
        if candidates.is_empty() {
            return nothing(if event.kind == AGENT_REQUEST { "its run is gone" } else { "no trigger fits it" });
        }
        candidates.into_iter().map(|candidate| Selected::Start(name(&candidate), candidate)).collect()
    }
}

/// What is demanded of the events.
fn filter_of(selection: &Selection) -> Cow<'_, ReplayFilter> {
    match selection {
        Selection::Filter(filter) => Cow::Borrowed(filter),
        Selection::Runs(_) | Selection::Events(_) | Selection::All => Cow::Owned(ReplayFilter::default()),
    }
}

/// The runs that have to be read to judge these events.
fn needed<'e>(selection: &Selection, events: impl Iterator<Item = &'e Event>) -> Vec<RunId> {
    let by_status = matches!(selection, Selection::Filter(ReplayFilter { status: Some(_), .. }));
    events
        .flat_map(|event| event.run.into_iter().chain(event.matches.iter().filter(|_| by_status).filter_map(|then| then.run_id)))
        .collect()
}

/// What an event starts now, by name of the trigger. `then` has the run of a request, and the runs of triggers where the filter is
/// about their status.
pub(super) fn candidates(bundle: &Bundle, event: &Event, filter: &ReplayFilter, then: &BTreeMap<RunId, Run>) -> Vec<Candidate> {
    let is_of = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
    if !is_of(&filter.kind, &event.kind) || !is_of(&filter.source, &event.source) {
        return Vec::new();
    }
    let fits =
        |of: Option<RunId>| filter.status.is_none_or(|status| of.and_then(|of| then.get(&of)).is_some_and(|run| run.state == status));
    let candidate = |trigger: Option<&Trigger>, agent: &str, of| Candidate {
        event: event.id,
        kind: event.kind.clone(),
        trigger: trigger.map(|trigger| trigger.name.clone()),
        agent: agent.to_owned(),
        of,
        same_input: false,
    };
    if event.kind == AGENT_REQUEST {
        let run = event.run.and_then(|run| then.get(&run)).filter(|run| filter.trigger.is_none() && is_of(&filter.agent, &run.agent));
        return run.filter(|run| fits(Some(run.id))).map(|run| candidate(None, &run.agent, Some(run.id))).into_iter().collect();
    }
    let mut found: Vec<Candidate> = Trigger::matching_in(&bundle.triggers, &event.kind, &event.source, &event.payload)
        .into_iter()
        .filter(|trigger| is_of(&filter.trigger, &trigger.name) && is_of(&filter.agent, &trigger.agent))
        .map(|trigger| {
            let of = event.matches.iter().find(|then| then.trigger == trigger.name).and_then(|then| then.run_id);
            candidate(Some(trigger), &trigger.agent, of)
        })
        .filter(|candidate| fits(candidate.of))
        .collect();
    // So that a place within an event stays one when the definitions change.
    found.sort_by(|a, b| a.trigger.cmp(&b.trigger));
    found
}

/// The name of a run to start within its replay.
fn name(candidate: &Candidate) -> String {
    match &candidate.trigger {
        None => candidate.event.to_string(),
        Some(trigger) => format!("{}#{trigger}", candidate.event),
    }
}

impl Selected {
    fn trigger(&self) -> Option<&String> {
        match self {
            Self::Start(_, candidate) => candidate.trigger.as_ref(),
            Self::Nothing(..) => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(event, None) => write!(f, "{event}"),
            Self::Event(event, Some(trigger)) => write!(f, "{event}#{trigger}"),
            Self::Run(run) => write!(f, "{run}"),
        }
    }
}

/// Why a text is no place.
#[derive(Debug, thiserror::Error)]
#[error("is no place in a replay")]
pub struct NoPlace;

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        if let Ok(run) = text.parse() {
            return Ok(Self::Run(run));
        }
        let (event, trigger) = text.split_once('#').map_or((text, None), |(event, trigger)| (event, Some(trigger.to_owned())));
        Ok(Self::Event(event.parse().map_err(|_| NoPlace)?, trigger))
    }
}
