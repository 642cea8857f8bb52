//! Dead runs as an operator looks for them: what the sparse index of them holds, and what makes two deaths the same.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::canonical::sha256;
use super::clock::rfc3339_millis;
use super::failure::Failure;
use super::id::{EventId, RunId, TenantId};
use super::run::Run;
use super::state::RunState;

/// How much of a failure's message the index holds, in bytes: an index entry is written and read many at a time.
const LONGEST_MESSAGE: usize = 200;
/// The digits of a fingerprint: enough to tell thousands of kinds of failure apart.
const DIGITS: usize = 12;

/// What stands for an apostrophe where a quote would have a meaning.
const APOSTROPHE: char = '’';

/// What failures of one kind have in common: code, provider, and the message without what differs from run to run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Of one failure.
    #[must_use]
    pub fn of(failure: &Failure) -> Self {
        let provider = failure.provider.as_deref().unwrap_or_default();
        let mut digest = sha256(format!("{}\n{provider}\n{}", failure.code, without_details(&failure.message)));
        digest.truncate(DIGITS);
        Self(digest)
    }

    /// It, as a text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        let is_one = text.len() == DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_one { Ok(Self(text.to_owned())) } else { Err(NotAFingerprint) }
    }
}

/// A text that is no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be {DIGITS} hexadecimal digits in small letters")]
pub struct NotAFingerprint;

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A message without what differs from run to run: words with a digit (numbers, ids, times) and what stands in quotes. The apostrophe of
/// "didn't" is no quote.
fn without_details(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    let (mut before, mut characters) = (None, message.chars().peekable());
    let mut told = String::with_capacity(message.len());
    while let Some(c) = characters.next() {
        let within = |other: Option<char>| other.is_some_and(char::is_alphanumeric);
        told.push(if c == '\'' && within(before) && within(characters.peek().copied()) { APOSTROPHE } else { c });
        before = Some(c);
    }
    for (place, part) in told.split(['`', '"', '\'']).enumerate() {
        if place % 2 == 1 {
            out.push('~');
            continue;
        }
        for word in part.split_inclusive(|c: char| !c.is_alphanumeric() && c != '_' && c != '-') {
            out.push_str(if word.contains(|c: char| c.is_ascii_digit()) { "#" } else { word });
        }
    }
    out
}

/// A dead run, as the index of them has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadEntry {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub run: RunId,
    /// What it answers.
    pub event: EventId,
    /// See [`Run::kind`].
    pub kind: String,
    /// See [`Run::source`].
    pub source: String,
    /// The trigger that started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// Its agent.
    pub agent: String,
    /// What it died of, in kind.
    pub fingerprint: Fingerprint,
    /// The code of that failure.
    pub code: String,
    /// The model that failed, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The beginning of its message.
    pub message: String,
    /// Attempts that failed, over its whole life as far as the record tells.
    pub attempts: u32,
    /// Steps in the journal.
    pub steps: u32,
    /// Tokens spent, read and written.
    pub tokens: u64,
    /// How often it was put back before.
    pub redrives: u32,
    /// When it was accepted.
    #[serde(with = "rfc3339_millis")]
    pub created_at: Timestamp,
    /// When something first went wrong.
    #[serde(with = "rfc3339_millis")]
    pub first_failed_at: Timestamp,
    /// When it died.
    #[serde(with = "rfc3339_millis")]
    pub died_at: Timestamp,
}

impl Run {
    /// Its entry among the dead; none if it is not.
    #[must_use]
    pub fn dead_entry(&self) -> Option<DeadEntry> {
        if self.state != RunState::Dead {
            return None;
        }
        let died_at = self.ended_at.unwrap_or(self.updated_at);
        let unknown = Failure { code: "unknown".into(), message: String::new(), at: died_at, attempt: 0, provider: None };
        let failure = self.failures.last().unwrap_or(&unknown);
        let mut message = failure.message.clone();
        message.truncate(message.floor_char_boundary(LONGEST_MESSAGE));
        Some(DeadEntry {
            tenant: self.tenant.clone(),
            run: self.id,
            event: self.event,
            kind: self.kind().to_owned(),
            source: self.source().to_owned(),
            trigger: self.trigger.clone(),
            agent: self.agent.clone(),
            fingerprint: Fingerprint::of(failure),
            code: failure.code.clone().into_owned(),
            provider: failure.provider.clone(),
            message,
            attempts: u32::try_from(self.failures.len()).unwrap_or(u32::MAX),
            steps: self.steps,
            tokens: self.usage.input_tokens.saturating_add(self.usage.output_tokens),
            redrives: self.redriven.count,
            created_at: self.created_at,
            first_failed_at: self.first_failed_at.unwrap_or(died_at),
            died_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::FailureCode;
    use crate::fakes::a_run;

    fn failure(code: FailureCode, message: &str, provider: &str) -> Failure {
        Failure::new(code, message, Timestamp::UNIX_EPOCH, 1).of_provider(Some(provider.to_owned()))
    }

    #[test]
    fn failures_are_the_same_whatever_numbers_and_names_they_tell() {
        let of = |message: &str| Fingerprint::of(&failure(FailureCode::ProviderTimeout, message, "openai::gpt-4o"));
        assert_eq!(of("no answer within 10 s (3 tries)"), of("no answer within 12 s (4 tries)"));
        assert_eq!(of("run run_01ABC: refused by `a`"), of("run run_01XYZ2: refused by `b c`"));
        assert_ne!(of("no answer"), of("broke off"));
        assert_ne!(of("the model didn't answer"), of("the model didn't know the tool"));
        assert_eq!(of("it didn't know 'lookup'"), of("it didn't know 'track it'"));
        let other = Fingerprint::of(&failure(FailureCode::ProviderTimeout, "no answer", "anthropic::x"));
        assert_ne!(of("no answer"), other);
        assert_ne!(of("no answer"), Fingerprint::of(&failure(FailureCode::ProviderUnavailable, "no answer", "openai::gpt-4o")));
        assert_eq!(of("").as_str().len(), DIGITS);
    }

    #[test]
    fn only_a_dead_run_is_among_the_dead_and_its_entry_stays_small() {
        let mut run = a_run(&"acme".parse().unwrap(), Timestamp::UNIX_EPOCH);
        run.note(failure(FailureCode::ProviderTimeout, &"é".repeat(5_000), "openai::gpt-4o"));
        for state in RunState::ALL {
            run.state = state;
            assert_eq!(run.dead_entry().is_some(), state == RunState::Dead, "{state:?}");
        }
        let entry = Run { state: RunState::Dead, ..run }.dead_entry().unwrap();
        assert!(entry.message.len() <= LONGEST_MESSAGE && serde_json::to_string(&entry).unwrap().len() < 1_000);
        assert_eq!((entry.code.as_str(), entry.attempts, entry.provider.as_deref()), ("provider_timeout", 1, Some("openai::gpt-4o")));
    }
}
