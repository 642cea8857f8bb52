//! Which of the dead somebody means. Lists and bulk actions take the same filters.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::DeadRange;
use crate::domain::clock::rfc3339_millis;
use crate::domain::dead::{DeadEntry, Fingerprint};

/// What dead runs must be like, all of it at once. What is absent is no matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeadFilter {
    /// They died of a failure with this code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// They are of this agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// This model failed: its provider, or `provider::model`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Their event is of this type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// Their event is from this source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// This trigger started them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// They died of this, in kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// They died at this time or later.
    #[serde(with = "rfc3339_millis::option", skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// They died before this time.
    #[serde(with = "rfc3339_millis::option", skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// So many attempts have failed at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_attempts: Option<u32>,
    /// So many attempts have failed at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// The message of the failure has this in it, in capital or small letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl DeadFilter {
    /// Whether it means all of them.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The part of the index that it is about.
    #[must_use]
    pub const fn range(&self, oldest_first: bool) -> DeadRange {
        DeadRange { since: self.since, until: self.until, oldest_first, behind: None }
    }

    /// Whether it means this one.
    #[must_use]
    pub fn fits(&self, entry: &DeadEntry) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| wanted.as_deref().is_none_or(|wanted| found == Some(wanted));
        let provider = entry.provider.as_deref();
        let of_provider = |wanted: &str| provider.is_some_and(|found| found == wanted || found.split("::").next() == Some(wanted));
        is(&self.code, Some(&entry.code))
            && is(&self.agent, Some(&entry.agent))
            && self.provider.as_deref().is_none_or(of_provider)
            && is(&self.event_type, Some(&entry.kind))
            && is(&self.source, Some(&entry.source))
            && is(&self.trigger, entry.trigger.as_deref())
            && self.fingerprint.as_ref().is_none_or(|wanted| *wanted == entry.fingerprint)
            && self.since.is_none_or(|since| entry.died_at >= since)
            && self.until.is_none_or(|until| entry.died_at < until)
            && self.min_attempts.is_none_or(|least| entry.attempts >= least)
            && self.max_attempts.is_none_or(|most| entry.attempts <= most)
            && self.text.as_ref().is_none_or(|text| entry.message.to_lowercase().contains(&text.to_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::{Failure, FailureCode};
    use crate::domain::run::Run;
    use crate::domain::state::RunState;
    use crate::fakes::a_run;

    fn entry() -> DeadEntry {
        let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let mut run = Run { state: RunState::Dead, trigger: Some("new-ticket".into()), ..a_run(&"acme".parse().unwrap(), at) };
        run.ended_at = Some(at);
        let failure = Failure::new(FailureCode::ProviderTimeout, "No answer within 10 s", at, 1).of_provider(Some("openai::gpt-4o".into()));
        run.note(failure);
        run.dead_entry().unwrap()
    }

    #[test]
    fn a_filter_means_what_fits_all_of_it() {
        let entry = entry();
        let filter = |text: serde_json::Value| serde_json::from_value::<DeadFilter>(text).unwrap();
        let fitting = serde_json::json!({
            "code": "provider_timeout", "agent": entry.agent, "provider": "openai", "event_type": entry.kind, "source": entry.source,
            "trigger": "new-ticket", "fingerprint": entry.fingerprint, "since": "2026-01-02T03:04:05Z", "until": "2026-01-02T03:04:06Z",
            "min_attempts": 1, "max_attempts": 1, "text": "no ANSWER",
        });
        assert!(filter(fitting.clone()).fits(&entry) && filter(serde_json::json!({})).fits(&entry));
        assert!(filter(serde_json::json!({"provider": "openai::gpt-4o"})).fits(&entry));
        let other = |name: &str| match name {
            "since" => "2026-01-02T03:04:05.001Z".into(),
            "until" => "2026-01-02T03:04:05Z".into(),
            "min_attempts" => 2.into(),
            "max_attempts" => 0.into(),
            _ => serde_json::Value::from("other"),
        };
        for name in fitting.as_object().unwrap().keys() {
            let mut unfit = fitting.clone();
            unfit[name] = other(name);
            assert!(!filter(unfit).fits(&entry), "{name} is no matter");
        }
        assert!(serde_json::from_value::<DeadFilter>(serde_json::json!({"cod": "x"})).is_err(), "a mistyped filter would mean all");
        assert!(filter(serde_json::json!({})).is_empty() && !filter(fitting).is_empty());
    }
}
