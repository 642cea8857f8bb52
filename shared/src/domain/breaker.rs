//! The circuit breaker of one model of one provider, as a value: what it lets through, and how it changes. It is shared by all
//! functions, so each change is written on condition that nobody else was first (ADR 0020); nothing here does I/O.
//!
//! `closed` lets every call through. Too many failures in a window open it; `open` lets none through for a while. Then it is
//! `half_open`: one call at a time, of whoever writes that first, tries the provider. Enough of them in a row close it; one that
//! fails opens it again, for twice as long.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::clock::{after, between, rfc3339_millis};
use super::definition::ModelRef;
use super::failure::FailureCode;

/// How long what a breaker knows is news: nobody has to ask a model once it may be asked again, so a breaker may stand as it is for ever.
const NEWS: Duration = Duration::from_secs(300);
/// Points of a failure; a refusal for want of room has half of them, since it passes by itself and costs little time.
const FAILURE: u32 = 2;

/// When a breaker opens, and for how long. From the configuration of its provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerConfig {
    /// Failures in one window before it opens; a 429 counts half.
    pub failures: u32,
    /// The least share of failures among the calls of the window, in percent.
    pub percent: u32,
    /// The window in which they are counted.
    pub window_seconds: u32,
    /// How long it stays open at first.
    pub open_seconds: u32,
    /// How long it stays open at most, after so many probes in vain.
    pub longest_open_seconds: u32,
    /// Probes in a row that close it.
    pub probes: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self { failures: 5, percent: 25, window_seconds: 30, open_seconds: 15, longest_open_seconds: 120, probes: 2 }
    }
}

impl BreakerConfig {
    /// What is wrong with these numbers: the field and what it must be.
    #[must_use]
    pub fn problem(&self) -> Option<(&'static str, &'static str)> {
        let within = |n: u32, least: u32, most: u32| (least..=most).contains(&n);
        [
            ("failures", within(self.failures, 1, 10_000), "must be from 1 to 10000"),
            ("percent", within(self.percent, 1, 100), "must be from 1 to 100"),
            ("window_seconds", within(self.window_seconds, 1, 3_600), "must be from 1 to 3600"),
            ("open_seconds", within(self.open_seconds, 1, 3_600), "must be from 1 to 3600"),
            ("longest_open_seconds", within(self.longest_open_seconds, self.open_seconds, 86_400), "must be from open_seconds to 86400"),
            ("probes", within(self.probes, 1, 100), "must be from 1 to 100"),
        ]
        .into_iter()
        .find_map(|(field, is_fine, problem)| (!is_fine).then_some((field, problem)))
    }

    /// The number of the window that `now` is in.
    #[must_use]
    pub fn window(&self, now: Timestamp) -> i64 {
        now.as_second().div_euclid(self.window_seconds.max(1).into())
    }

    /// Whether so many points among so many calls are too many.
    #[must_use]
    pub fn is_too_much(&self, tally: Tally) -> bool {
        let share = u64::from(tally.points) * 100 >= u64::from(self.percent) * u64::from(FAILURE) * u64::from(tally.calls);
        tally.points >= self.failures.saturating_mul(FAILURE) && share
    }

    /// How long a breaker stays open for the nth time in a row, from 1.
    fn open_for(&self, times: u32) -> Duration {
        let doubled = self.open_seconds.saturating_mul(1 << times.saturating_sub(1).min(16));
        Duration::from_secs(doubled.min(self.longest_open_seconds).into())
    }
}

/// Calls of one window, and what those of them weigh that failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls, good and bad.
    pub calls: u32,
    /// What the bad ones weigh.
    pub points: u32,
}

impl Tally {
    /// One call: a good one, or one that failed so.
    #[must_use]
    pub const fn of(failure: Option<FailureCode>) -> Self {
        let points = match failure {
            Some(code) => weight(code),
            None => 0,
        };
        Self { calls: 1, points }
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self { calls: self.calls.saturating_add(other.calls), points: self.points.saturating_add(other.points) }
    }
}

/// What a failed call says of its provider, in points. What is wrong with the request says nothing; nor does an answer that cannot be
/// used, since whoever asks can bring it about, and one tenant must not close a model to all others.
const fn weight(code: FailureCode) -> u32 {
    match code {
        FailureCode::ProviderTimeout | FailureCode::ProviderUnavailable | FailureCode::ProviderAuth => FAILURE,
        FailureCode::ProviderRateLimited => FAILURE / 2,
        _ => 0,
    }
}

/// Whether a failed call tells against its provider.
#[must_use]
pub const fn counts(code: FailureCode) -> bool {
    weight(code) > 0
}

/// What a breaker lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Everything.
    Closed,
    /// Nothing.
    Open {
        /// Until then; afterwards one probe.
        #[serde(with = "rfc3339_millis")]
        until: Timestamp,
    },
    /// One call at a time.
    HalfOpen {
        /// Probes in a row that went well.
        succeeded: u32,
        /// Until then a probe is under way, unless its worker died; another one may be made afterwards.
        #[serde(with = "rfc3339_millis")]
        probe_until: Timestamp,
    },
}

/// The breaker of one model of one provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    /// Whose it is.
    pub target: ModelRef,
    /// What it lets through.
    #[serde(flatten)]
    pub state: State,
    /// Raised by every change: a change is written on condition that this is the one it was made from.
    pub version: u64,
    /// How often it opened since it was last closed; each time it stays open for longer.
    pub times: u32,
    /// How often it has gone from closed to open, ever.
    pub opened: u64,
    /// When it last changed.
    #[serde(with = "rfc3339_millis")]
    pub changed_at: Timestamp,
    /// What the call that opened it last failed of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// What a breaker says of a call that is about to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Make it.
    Go,
    /// Make it if you are the one who writes [`Breaker::probing`].
    Probe,
    /// Make it somewhere else; here not before that time.
    Skip {
        /// When it is worth asking again.
        until: Timestamp,
    },
}

impl Breaker {
    /// The breaker of a model that nothing is known of.
    #[must_use]
    pub const fn closed(target: ModelRef, now: Timestamp) -> Self {
        Self { target, state: State::Closed, version: 0, times: 0, opened: 0, changed_at: now, cause: None }
    }

    /// What is to become of a call.
    #[must_use]
    pub fn verdict(&self, now: Timestamp) -> Verdict {
        match self.state {
            State::Closed => Verdict::Go,
            State::Open { until } | State::HalfOpen { probe_until: until, .. } if now < until => Verdict::Skip { until },
            State::Open { .. } | State::HalfOpen { .. } => Verdict::Probe,
        }
    }

    /// Whether the model is in trouble as far as anybody knows: calls are kept away from it, or were until five minutes ago and it has not
    /// been seen to be well since. One that nobody asks any more (others answer, an operator has switched it off) is in none.
    #[must_use]
    pub fn is_in_trouble(&self, now: Timestamp) -> bool {
        match self.state {
            State::Closed => false,
            State::Open { until } | State::HalfOpen { probe_until: until, .. } => now < after(until, NEWS),
        }
    }

    /// As it is once it has opened because of a call that failed with `cause`; `None` if it is not closed.
    #[must_use]
    pub fn tripped(&self, config: &BreakerConfig, cause: FailureCode, now: Timestamp) -> Option<Self> {
        (self.state == State::Closed).then(|| Self { opened: self.opened + 1, ..self.open(config, cause, 1, now) })
    }

    /// As it is while the caller makes a probe, which is over or lost at `until`; `None` if none may be made.
    #[must_use]
    pub fn probing(&self, now: Timestamp, until: Timestamp) -> Option<Self> {
        let succeeded = match (self.verdict(now), self.state) {
            (Verdict::Probe, State::HalfOpen { succeeded, .. }) => succeeded,
            (Verdict::Probe, _) => 0,
            (Verdict::Go | Verdict::Skip { .. }, _) => return None,
        };
        Some(self.change(State::HalfOpen { succeeded, probe_until: until }, now))
    }

    /// As it is after the probe that `self` tells of, which failed so or went well.
    #[must_use]
    pub fn probed(&self, config: &BreakerConfig, failure: Option<FailureCode>, now: Timestamp) -> Self {
        let succeeded = match self.state {
            State::HalfOpen { succeeded, .. } => succeeded,
            State::Closed | State::Open { .. } => 0,
        };
        match failure.filter(|code| counts(*code)) {
            Some(code) => self.open(config, code, self.times.saturating_add(1), now),
            None if succeeded + 1 >= config.probes => Self { times: 0, cause: None, ..self.change(State::Closed, now) },
            None => self.change(State::HalfOpen { succeeded: succeeded + 1, probe_until: now }, now),
        }
    }

    fn open(&self, config: &BreakerConfig, cause: FailureCode, times: u32, now: Timestamp) -> Self {
        let until = after(now, config.open_for(times));
        Self { times, cause: Some(cause.as_str().to_owned()), ..self.change(State::Open { until }, now) }
    }

    fn change(&self, state: State, now: Timestamp) -> Self {
        Self { state, version: self.version + 1, changed_at: now, ..self.clone() }
    }

    /// How long until it is worth asking again; nothing if it is now.
    #[must_use]
    pub fn wait(&self, now: Timestamp) -> Duration {
        match self.verdict(now) {
            Verdict::Go | Verdict::Probe => Duration::ZERO,
            Verdict::Skip { until } => between(now, until),
        }
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
