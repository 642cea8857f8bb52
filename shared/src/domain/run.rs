//! A run: the small record that says where one execution of one agent stands. Its input is in its event, its work in its
//! steps, because DynamoDB bills a write by the size of the whole item and this one is written at every step.
//!
//! [`Run::apply`] is the one way from one state to the next; [`super::state`] has the table.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::clock::{after, between, rfc3339_millis};
use super::definition::Bundle;
use super::event::{AGENT_REQUEST, API, Event};
use super::failure::{Failure, FailureCode};
use super::id::{ConversationId, EventId, RunId, TenantId};
use super::revival::{Redriven, Replay, is_zero};
use super::spend::Counted;
use super::state::{Command, RunState};
use super::step::Usage;
use super::task::Task;
use super::trace::RunTrace;
use super::waiting::Waiting;

/// How many failures and transitions a record keeps: enough to explain a death, little enough to stay small. Older ones are
/// moved to an [`Archive`], never lost.
pub const KEPT: usize = 10;
/// How many bundles a record names: a run that outlives more deploys than that is rare, and the record is written often.
const KEPT_BUNDLES: usize = 4;
/// How long after the end of a lease somebody looks for the run: the worker's last write and clocks that differ come first.
pub const LEASE_GRACE: Duration = Duration::from_secs(10);

/// One change of state: the audit trail is the list of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// When.
    #[serde(with = "rfc3339_millis")]
    pub at: Timestamp,
    /// To which state.
    pub to: RunState,
    /// Who did it: a worker, a caller, the sweeper.
    pub by: String,
    /// Why, in a word or a failure's code.
    pub reason: String,
    /// What an operator gave as the reason, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Who changes a run, when and why.
#[derive(Debug, Clone, Copy)]
pub struct Cause<'a> {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: &'a str,
    /// Why, in a word or a failure's code.
    pub reason: &'a str,
    /// How long a queued run may wait for its worker before somebody looks after its message.
    pub patience: Duration,
}

/// What a record does not keep any more. Archives of a run are numbered from 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// Its number.
    pub index: u32,
    /// Transitions, oldest first.
    #[serde(default)]
    pub transitions: Vec<Transition>,
    /// Failures, oldest first.
    #[serde(default)]
    pub failures: Vec<Failure>,
}

/// A record as somebody read it: a write that was computed from it is refused once it is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// See [`Run`].
    pub state: RunState,
    /// See [`Run`].
    pub epoch: u64,
    /// See [`Run`].
    pub lease_no: u64,
    /// See [`Run`].
    pub lease_until_ms: i64,
    /// See [`Run`].
    pub steps: u32,
    /// See [`Run`].
    pub due_ms: Option<i64>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Whose.
    pub tenant: TenantId,
    /// Its id.
    pub id: RunId,
    /// What it answers.
    pub event: EventId,
    /// Where its messages belong.
    pub conversation: ConversationId,
    /// Whether the conversation had earlier turns when the run was accepted.
    pub has_history: bool,
    /// The name of its agent.
    pub agent: String,
    /// The definitions that it was accepted and worked on with, in order: more than one over a deploy. Each is the agent's version, `@`
    /// and the beginning of the bundle's; one short text, because the record is billed by its bytes at every step. Written when the run
    /// is accepted and whenever it changes its state.
    #[serde(default, rename = "defs", skip_serializing_if = "String::is_empty")]
    pub definitions: String,
    /// Where it is in its life.
    pub state: RunState,
    /// Which enqueue of it counts; messages of older epochs are dropped.
    pub epoch: u64,
    /// Which lease counts: raised by every claim, named by every write of a worker.
    pub lease_no: u64,
    /// Who holds the lease; absent when nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_owner: Option<String>,
    /// When the lease ends, in milliseconds since 1970, so that a condition can compare it; 0 when nobody holds it.
    pub lease_until_ms: i64,
    /// How often its holder has renewed it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub renewals: u32,
    /// Leases taken since the last step was written; those that ended in a hand-over or a wait do not count.
    pub attempts: u32,
    /// Whether a worker vanished in the middle of something, and nothing was written since: a call may have happened.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub abandoned: bool,
    /// The queue's name for the message that last claimed it; absent when a request did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How often its message was sent again because nobody took it up.
    #[serde(default)]
    pub resends: u32,
    /// When somebody has to look at it at the latest, in milliseconds since 1970: a lower bound while it runs; absent once it has
    /// ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<i64>,
    /// Until when somebody reads along, in milliseconds since 1970: the worker then writes what a model has said before it has said
    /// all. Advisory: who reads along says it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched_until_ms: Option<i64>,
    /// What it waits for, while it is `waiting`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// How long it has waited or was dead in all, in milliseconds: that is no working time.
    #[serde(default)]
    pub waited_ms: i64,
    /// The trigger that started it, if one did; its input is then its own, not the event's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// What kind of event it answers, unless that is an agent request; see [`Run::kind`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_kind: Option<String>,
    /// Where that event came from, unless that is the API; see [`Run::source`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_source: Option<String>,
    /// What operators have changed of it since it died first; nothing, for nearly all runs.
    #[serde(default, skip_serializing_if = "Redriven::is_none")]
    pub redriven: Redriven,
    /// What it is a replay of, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
    /// Where it stands in its trace, if traces are collected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<RunTrace>,
    /// Steps in the journal.
    pub steps: u32,
    /// Tokens of all model calls so far.
    pub usage: Usage,
    /// What its model calls have cost so far, in millionths of a US dollar; absent once one of them has no known price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
    /// The step of the answer, once it has ended with one, or with one that is cut off or refused: what was said of it may come after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<u32>,
    /// What of both was counted when it last ended, see [`super::spend`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<Counted>,
    /// The latest transitions, oldest first; the first of all is its acceptance.
    #[serde(default)]
    pub transitions: Vec<Transition>,
    /// How many archives hold older transitions and failures.
    #[serde(default)]
    pub archives: u32,
    /// The latest failures, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
    /// When the first failure happened, kept or not.
    #[serde(default, with = "rfc3339_millis::option", skip_serializing_if = "Option::is_none")]
    pub first_failed_at: Option<Timestamp>,
    /// When it was accepted.
    #[serde(with = "rfc3339_millis")]
    pub created_at: Timestamp,
    /// When the record last changed.
    #[serde(with = "rfc3339_millis")]
    pub updated_at: Timestamp,
    /// When it ended.
    #[serde(default, with = "rfc3339_millis::option", skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

impl Run {
    /// A run as it is accepted: `queued`, first epoch, nobody's lease.
    #[must_use]
    pub fn new(
        tenant: TenantId,
        event: &Event,
        conversation: ConversationId,
        has_history: bool,
        agent: String,
        patience: Duration,
    ) -> Self {
        let accepted = Transition {
            at: event.created_at,
            to: RunState::Queued,
            by: event.principal.clone(),
            reason: "accepted".to_owned(),
            note: None,
        };
        Self {
            tenant,
            id: RunId::new(event.created_at),
            event: event.id,
            conversation,
            has_history,
            agent,
            definitions: String::new(),
            state: RunState::Queued,
            epoch: 1,
            lease_no: 0,
            lease_owner: None,
            lease_until_ms: 0,
            renewals: 0,
            attempts: 0,
            abandoned: false,
            message: None,
            resends: 0,
            due_ms: Some(after(event.created_at, patience).as_millisecond()),
            watched_until_ms: None,
            waiting: None,
            waited_ms: 0,
            trigger: None,
            event_kind: (event.kind != AGENT_REQUEST).then(|| event.kind.clone()),
            event_source: (event.source != API).then(|| event.source.clone()),
            redriven: Redriven::default(),
            replay: None,
            trace: None,
            steps: 0,
            usage: Usage::default(),
            cost_micros: Some(0),
            answered_at: None,
            counted: None,
            transitions: vec![accepted],
            archives: 0,
            failures: Vec::new(),
            first_failed_at: None,
            created_at: event.created_at,
            updated_at: event.created_at,
            ended_at: None,
        }
    }

    /// Notes with which definitions it is accepted or worked on. The first ones and the last are kept.
    pub fn governed_by(&mut self, bundle: &Bundle) {
        let version = bundle.agent(&self.agent).map_or(0, |agent| agent.version);
        let now = format!("{version}@{}", bundle.short_version());
        let mut so_far: Vec<_> = self.definitions.split(' ').filter(|one| !one.is_empty()).collect();
        if so_far.last().is_none_or(|last| **last != now) {
            so_far.truncate(KEPT_BUNDLES - 1);
            so_far.push(&now);
            self.definitions = so_far.join(" ");
        }
    }

    /// Its agent's version when it was accepted; none for a run of before versions were kept.
    #[must_use]
    pub fn agent_version(&self) -> Option<u32> {
        self.definitions.split('@').next()?.parse().ok()
    }

    /// The bundles of its definitions, in short.
    pub fn bundles(&self) -> impl Iterator<Item = &str> {
        self.definitions.split(' ').filter_map(|one| Some(one.split_once('@')?.1))
    }

    /// The one way from one state to the next: what the table allows, with all that belongs to it. Nothing changes otherwise.
    ///
    /// # Errors
    /// The state, when `command` does not apply to it.
    pub fn apply(&mut self, command: Command, cause: Cause<'_>) -> Result<(), RunState> {
        let to = self.state.after(command).ok_or(self.state)?;
        // The worker that had it vanished: what it was doing may have happened.
        self.abandoned |= self.state == RunState::Running && cause.reason == WORKER_LOST;
        // Nor was it worked on while it was dead: an operator may come days later.
        if matches!(self.state, RunState::Waiting | RunState::Dead) {
            self.waited_ms += i64::try_from(between(self.updated_at, cause.at).as_millis()).unwrap_or(i64::MAX);
        }
        self.state = to;
        self.epoch += u64::from(command.is_enqueue());
        self.lease_owner = None;
        self.lease_until_ms = 0;
        self.renewals = 0;
        self.waiting = None;
        self.updated_at = cause.at;
        self.ended_at = to.has_ended().then_some(cause.at);
        self.due_ms = if to.has_ended() { None } else { Some(after(cause.at, cause.patience).as_millisecond()) };
        match command {
            // Neither is a failure.
            Command::Wait => self.attempts = self.attempts.saturating_sub(1),
            Command::Retry | Command::LineUp => {
                self.attempts = 0;
                self.redriven.count += 1;
                self.redriven.by = None;
                // Whoever is told that a call may have happened has looked. Of a run that died of something else nobody was told.
                self.abandoned &= self.transitions.last().is_none_or(|death| death.reason != FailureCode::UncertainToolCall.as_str());
            }
            Command::Resend => self.resends += 1,
            Command::Claim
            | Command::Release
            | Command::HandOver
            | Command::Wake
            | Command::Complete
            | Command::Fail
            | Command::Die
            | Command::Cancel
            | Command::Discard => {}
        }
        if command != Command::Resend {
            self.resends = 0;
        }
        self.transitions.push(Transition { at: cause.at, to, by: cause.by.to_owned(), reason: cause.reason.to_owned(), note: None });
        Ok(())
    }

    /// Gives the lease of a claim to `owner`: the part of [`Command::Claim`] that the store does in one conditional update.
    pub fn lease_to(&mut self, owner: String, until: Timestamp, message: Option<String>) {
        self.lease_no += 1;
        self.attempts += 1;
        self.lease_owner = Some(owner);
        self.lease_until_ms = until.as_millisecond();
        self.renewals = 0;
        self.message = message;
    }

    /// Prolongs the lease: what the store does in one conditional update.
    pub fn renew_until(&mut self, until: Timestamp) {
        self.lease_until_ms = until.as_millisecond();
        self.renewals += 1;
    }

    /// What a write that is computed from this record is conditional on.
    #[must_use]
    pub const fn seen(&self) -> Seen {
        Seen {
            state: self.state,
            epoch: self.epoch,
            lease_no: self.lease_no,
            lease_until_ms: self.lease_until_ms,
            steps: self.steps,
            due_ms: self.due_ms,
        }
    }

    /// Sets when somebody has to look.
    pub fn look_at(&mut self, at: Timestamp) {
        self.due_ms = Some(at.as_millisecond());
    }

    /// The end of its lease; the beginning of time when nobody holds it.
    #[must_use]
    pub fn lease_end(&self) -> Timestamp {
        Timestamp::from_millisecond(self.lease_until_ms).unwrap_or(Timestamp::MIN)
    }

    /// The message that stands for its current epoch.
    #[must_use]
    pub fn task(&self) -> Task {
        Task { tenant: self.tenant.clone(), run: self.id, epoch: self.epoch }
    }

    /// What went wrong last, if its state is the consequence of a failure.
    #[must_use]
    pub fn error(&self) -> Option<&Failure> {
        match self.state {
            RunState::Completed => None,
            RunState::Queued | RunState::Running | RunState::Waiting | RunState::Failed | RunState::Dead | RunState::Cancelled => {
                self.failures.last()
            }
        }
    }

    /// Whether the lease is held at `now`.
    #[must_use]
    pub fn is_leased(&self, now: Timestamp) -> bool {
        self.state == RunState::Running && self.lease_until_ms > now.as_millisecond()
    }

    /// Whether what it is asked stands with it, and not in its event.
    #[must_use]
    pub const fn has_own_input(&self) -> bool {
        self.trigger.is_some() || self.replay.is_some() || self.redriven.input_no > 0
    }

    /// What kind of event it answers.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.event_kind.as_deref().unwrap_or(AGENT_REQUEST)
    }

    /// Where that event came from.
    #[must_use]
    pub fn source(&self) -> &str {
        self.event_source.as_deref().unwrap_or(API)
    }

    /// Whether it waits for its turn in its conversation.
    #[must_use]
    pub const fn is_in_line(&self) -> bool {
        matches!(self.waiting, Some(Waiting::Turn))
    }

    /// How long it has been worked on or queued, waits and the time between a death and a retry left out.
    #[must_use]
    pub fn working_time(&self, now: Timestamp) -> Duration {
        between(self.created_at, now).saturating_sub(Duration::from_millis(u64::try_from(self.waited_ms).unwrap_or(0)))
    }

    /// Adds `failure`.
    pub fn note(&mut self, failure: Failure) {
        self.first_failed_at.get_or_insert(failure.at);
        self.failures.push(failure);
    }

    /// Takes out what the record has no room for: more than [`KEPT`] transitions or failures. The youngest half stays.
    pub fn spill(&mut self) -> Option<Archive> {
        if self.transitions.len() <= KEPT && self.failures.len() <= KEPT {
            return None;
        }
        self.archives += 1;
        let older = |len: usize| len.saturating_sub(KEPT / 2);
        Some(Archive {
            index: self.archives,
            transitions: self.transitions.drain(..older(self.transitions.len())).collect(),
            failures: self.failures.drain(..older(self.failures.len())).collect(),
        })
    }
}

/// The reason of a transition that takes a run from a worker that let its lease lapse.
pub const WORKER_LOST: &str = "worker_lost";

#[cfg(test)]
mod tests;
