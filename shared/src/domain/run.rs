//! A run: the small record that says where one execution of one agent stands. Its input is in its event, its work in its
//! steps, because DynamoDB bills a write by the size of the whole item and this one is written at every step.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::clock::rfc3339_millis;
use super::event::Event;
use super::failure::Failure;
use super::id::{ConversationId, EventId, RunId, TenantId};
use super::state::RunState;
use super::step::Usage;
use super::task::Task;

/// How many failures a record keeps: enough to explain a death, little enough to stay small.
pub const KEPT_FAILURES: usize = 10;

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
    /// Deliveries of the current message so far: attempts without progress.
    pub attempts: u32,
    /// Steps in the journal.
    pub steps: u32,
    /// Tokens of all model calls so far.
    pub usage: Usage,
    /// The latest failures, oldest first, at most [`KEPT_FAILURES`].
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
    pub fn new(tenant: TenantId, event: &Event, conversation: ConversationId, has_history: bool, agent: String) -> Self {
        Self {
            tenant,
            id: RunId::new(event.created_at),
            event: event.id,
            conversation,
            has_history,
            agent,
            state: RunState::Queued,
            epoch: 1,
            lease_no: 0,
            lease_owner: None,
            lease_until_ms: 0,
            attempts: 0,
            steps: 0,
            usage: Usage::default(),
            failures: Vec::new(),
            first_failed_at: None,
            created_at: event.created_at,
            updated_at: event.created_at,
            ended_at: None,
        }
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

    /// Adds `failure`, forgetting the oldest beyond [`KEPT_FAILURES`].
    pub fn note(&mut self, failure: Failure) {
        self.first_failed_at.get_or_insert(failure.at);
        self.failures.push(failure);
        let excess = self.failures.len().saturating_sub(KEPT_FAILURES);
        self.failures.drain(..excess);
    }

    /// Gives the lease back.
    pub fn drop_lease(&mut self) {
        self.lease_owner = None;
        self.lease_until_ms = 0;
    }
}
