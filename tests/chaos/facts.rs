//! What is known when all is quiet: from the witness, from the emulator's request log, from the API. `judge` judges it.

use std::collections::BTreeMap;

use crate::events::Published;
use crate::plan::Kind;
use crate::work::Request;

/// Everything there is to judge.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// What callers asked and were told.
    pub(crate) requests: Vec<Request>,
    /// What senders of events were told.
    pub(crate) events: Vec<Published>,
    /// Every run that has a record, accepted or not.
    pub(crate) runs: BTreeMap<String, Run>,
    /// What the model was asked, in order of arrival.
    pub(crate) calls: Vec<ModelCall>,
    /// What was written for runs, in order.
    pub(crate) writes: Writes,
    /// What was done to workers.
    pub(crate) hurts: Vec<Hurt>,
    /// The turns of each conversation, in its order.
    pub(crate) conversations: BTreeMap<String, Vec<Turn>>,
    /// What the dead-letter queue and those who tell of it said.
    pub(crate) dead_letters: Vec<DeadLetters>,
    /// Runs that were dead at some time and were put back.
    pub(crate) retried: Vec<String>,
}

/// A run as the API shows it in the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Run {
    pub(crate) id: String,
    pub(crate) status: String,
    pub(crate) conversation: String,
    pub(crate) prompt: String,
    pub(crate) response: Option<String>,
    pub(crate) ended_at: Option<i64>,
    /// The codes of its failures, oldest first.
    pub(crate) failures: Vec<String>,
    pub(crate) steps: Vec<Step>,
}

/// A step of a journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) index: u32,
    /// What the tool said; nothing for a step of the model.
    pub(crate) output: Option<String>,
}

/// One call of the model, seen from its side.
#[derive(Debug, Clone, Default)]
pub(crate) struct ModelCall {
    pub(crate) at: i64,
    pub(crate) ended_at: i64,
    pub(crate) run: String,
    pub(crate) step: u32,
    /// The fault that was put into it; empty if none.
    pub(crate) fault: String,
    /// The HTTP status of the answer; 0 if there was none.
    pub(crate) status: u64,
    /// Whether the whole answer reached the caller's connection.
    pub(crate) delivered: bool,
    /// Roles and texts.
    pub(crate) messages: Vec<(String, String)>,
}

/// What the functions wrote, by the request log.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    /// Per run: who became its owner, and when it was done.
    pub(crate) claims: BTreeMap<String, Vec<Claim>>,
    /// When each step was in the journal.
    pub(crate) commits: BTreeMap<(String, u32), i64>,
    /// Writes of a run that a fault hit: when.
    pub(crate) failed: BTreeMap<String, Vec<i64>>,
}

/// A worker became the owner of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) at: i64,
    pub(crate) stream: String,
}

impl Writes {
    /// Who owned the run at that time.
    pub(crate) fn owner(&self, run: &str, at: i64) -> Option<&str> {
        self.claims.get(run)?.iter().rev().find(|claim| claim.at <= at).map(|claim| claim.stream.as_str())
    }
}

/// Something that was done to a worker.
#[derive(Debug, Clone)]
pub(crate) struct Hurt {
    pub(crate) kind: Kind,
    /// Its log stream.
    pub(crate) stream: String,
    pub(crate) at: i64,
    /// When it went on; the same as `at` for one that was killed.
    pub(crate) until: i64,
}

/// A turn of a conversation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turn {
    pub(crate) run: String,
    pub(crate) prompt: String,
    pub(crate) response: Option<String>,
    /// Whether a later message interrupted it: then what was asked stays.
    pub(crate) interrupted: bool,
}

/// Three views of the dead at one moment, when all was quiet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DeadLetters {
    /// When it was looked, in words.
    pub(crate) moment: &'static str,
    /// Messages on the queue.
    pub(crate) on_queue: u64,
    /// Records in state `dead`.
    pub(crate) dead: u64,
    /// What `GET /v1/dlq` counts.
    pub(crate) counted: u64,
    /// What `GET /v1/dlq` lists.
    pub(crate) listed: u64,
}
