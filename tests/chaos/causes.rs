//! Why a model call was made again.

use crate::facts::{Facts, ModelCall};

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    Limited,
    Error,
    Hang,
    Garbage,
    Cut,
    /// Its worker was killed before the answer was in the journal.
    Killed,
    /// Its worker was stopped until others had taken over.
    Stopped,
    /// The caller hung up: its time was over, or its lease was lost.
    HungUp,
    /// The answer was there, and the table refused it for as long as the lease held.
    NotWritten,
    /// A stopped worker woke up between its check of the lease and its call.
    WokeUpLate,
    /// No reason that is known.
    Unknown,
}

impl Cause {
    /// For the table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Limited => "the provider answered 429",
            Self::Error => "the provider answered 500",
            Self::Hang => "the provider did not answer in time",
            Self::Garbage => "the answer was garbage",
            Self::Cut => "the answer was cut off",
            Self::Killed => "the worker was killed with the call or its answer",
            Self::Stopped => "the worker was stopped beyond its lease",
            Self::HungUp => "the worker hung up before the answer",
            Self::NotWritten => "the table failed until the lease ended",
            Self::WokeUpLate => "a stopped worker woke up just before its call",
            Self::Unknown => "no cause known",
        }
    }
}

/// Why `next` was made after `call`, for the same step.
pub(crate) fn cause(facts: &Facts, call: &ModelCall, next: &ModelCall) -> Cause {
    match (call.fault.as_str(), call.status) {
        ("limited", _) | (_, 429) => return Cause::Limited,
        // Injected, or what the model says to some prompts.
        ("error", _) | (_, 500) => return Cause::Error,
        ("hang", _) => return Cause::Hang,
        ("garbage", _) => return Cause::Garbage,
        ("cut", _) => return Cause::Cut,
        _ => {}
    }
    let owner = facts.writes.owner(&call.run, call.at);
    let mut hurts = facts.hurts.iter().filter(|hurt| Some(hurt.stream.as_str()) == owner && hurt.at <= next.at && hurt.until >= call.at);
    let hurt = hurts.next().map(|hurt| hurt.kind);
    let write_failed =
        || facts.writes.failed.get(&call.run).is_some_and(|times| times.iter().any(|at| (call.ended_at..=next.at).contains(at)));
    match hurt {
        Some(kind) if kind.stops() => Cause::Stopped,
        Some(_) => Cause::Killed,
        None if !call.delivered => Cause::HungUp,
        None if write_failed() => Cause::NotWritten,
        None => Cause::Unknown,
    }
}
