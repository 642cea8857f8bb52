//! Which agents an event starts, and what each is asked. Triggers are defined with their agents in `infra/agents`.

use serde_json::Value;

use super::canonical::{sha256, sorted};
pub use super::definition::{Dedupe, Rate, Trigger};
use super::template::Template;

/// Bytes of the longest dedupe key that is kept as it is: part of a DynamoDB sort key, which has 1,024.
const LONGEST_KEY: usize = 256;

impl Trigger {
    /// Those of `triggers` that an event fires. Pure: dedupe and rate are for the store to decide.
    #[must_use]
    pub fn matching_in<'t>(triggers: &'t [Self], kind: &str, source: &str, payload: &Value) -> Vec<&'t Self> {
        triggers.iter().filter(|trigger| trigger.matches(kind, source, payload)).collect()
    }

    /// Whether an event fires it.
    #[must_use]
    pub fn matches(&self, kind: &str, source: &str, payload: &Value) -> bool {
        self.kind == kind && self.source.matches(source) && self.filter.as_ref().is_none_or(|filter| filter.matches(payload))
    }

    /// What events that say the same have in common: the JSON of the value at the trigger's pointer, or its SHA-256 if that is
    /// long. None if the trigger does not dedupe, or if the payload has nothing there: such an event is like no other.
    #[must_use]
    pub fn dedupe_key(&self, payload: &Value) -> Option<String> {
        let value = payload.pointer(&self.dedupe.as_ref()?.key).filter(|value| !value.is_null())?;
        let json = sorted(value).to_string();
        if json.len() <= LONGEST_KEY {
            return Some(json);
        }
        Some(format!("sha256:{}", sha256(json)))
    }

    /// What the agent is asked: never empty, and at most [`LONGEST_PROMPT`](super::template::LONGEST_PROMPT) bytes as JSON.
    #[must_use]
    pub fn prompt_for(&self, kind: &str, source: &str, payload: &Value) -> String {
        let prompt = self.prompt.as_ref().map(|template| template.fill(kind, source, payload));
        // A template of places only may find nothing in this payload.
        prompt.filter(|prompt| !prompt.trim().is_empty()).unwrap_or_else(|| Template::what_arrived().fill(kind, source, payload))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::definition::Bundle;
    use super::super::pattern::Pattern;
    use super::super::wildcard::Wildcard;
    use super::*;

    fn trigger() -> Trigger {
        Trigger {
            name: "t".into(),
            agent: "a".into(),
            kind: "ticket.opened".into(),
            source: Wildcard::any(),
            filter: None,
            dedupe: None,
            rate: None,
            prompt: None,
        }
    }

    fn names(kind: &str, source: &str, payload: &Value) -> Vec<String> {
        Trigger::matching_in(&Bundle::embedded().triggers, kind, source, payload).iter().map(|trigger| trigger.name.clone()).collect()
    }

    #[test]
    fn the_examples_match_both_one_or_none() {
        let ticket = |priority: &str, is_new: bool| json!({"ticket": {"id": "T-1", "priority": priority}, "customer": {"is_new": is_new}});
        for (source, payload, expected) in [
            ("crm/eu", ticket("urgent", true), vec!["triage-ticket", "greet-customer"]),
            ("crm/eu", ticket("high", false), vec!["triage-ticket"]),
            ("mail", ticket("urgent", true), vec!["greet-customer"]),
            ("crm/eu", ticket("low", false), vec![]),
            ("crm/eu", json!(null), vec![]),
        ] {
            assert_eq!(names("ticket.opened", source, &payload), expected, "{source} {payload}");
        }
        assert!(names("ticket.closed", "crm/eu", &ticket("urgent", true)).is_empty());
        assert!(names("ticket.opened.again", "crm/eu", &ticket("urgent", true)).is_empty());
    }

    #[test]
    fn every_trigger_starts_an_agent_that_there_is() {
        let bundle = Bundle::embedded();
        for trigger in &bundle.triggers {
            assert!(bundle.agent(&trigger.agent).is_some(), "{}", trigger.name);
        }
    }

    #[test]
    fn type_source_and_filter_all_have_to_fit() {
        let filter = Some(Pattern::parse(&json!({"n": [1]})).unwrap());
        let triggers = [Trigger { source: Wildcard::parse("crm/*").unwrap(), filter, ..trigger() }];
        for (kind, source, payload, fits) in [
            ("ticket.opened", "crm/eu", json!({"n": 1}), true),
            ("ticket", "crm/eu", json!({"n": 1}), false),
            ("ticket.opened", "mail", json!({"n": 1}), false),
            ("ticket.opened", "crm/eu", json!({"n": 2}), false),
        ] {
            assert_eq!(!Trigger::matching_in(&triggers, kind, source, &payload).is_empty(), fits, "{kind} {source} {payload}");
        }
    }

    #[test]
    fn events_with_the_same_value_have_the_same_key_and_no_others() {
        let trigger = Trigger { dedupe: Some(Dedupe { key: "/id".into(), window_seconds: 60 }), ..trigger() };
        let key = |id: Value| trigger.dedupe_key(&json!({"id": id, "other": 1}));
        assert_eq!(key(json!("7")).as_deref(), Some("\"7\""));
        assert_ne!(key(json!("7")), key(json!(7)));
        assert_eq!(key(json!(null)), None);
        let read = |text: &str| key(serde_json::from_str(text).unwrap());
        assert_eq!(read(r#"[{"a": 1, "b": 2}]"#), read(r#"[{"b": 2, "a": 1}]"#));
        assert_ne!(read("[1, 2]"), read("[2, 1]"));
        assert_eq!(trigger.dedupe_key(&json!({})), None);
        assert_eq!(self::trigger().dedupe_key(&json!({"id": 7})), None);
        let (long, longer) = ("x".repeat(LONGEST_KEY), "x".repeat(LONGEST_KEY + 1));
        assert_eq!(key(json!(long)).unwrap().len(), "sha256:".len() + 64);
        assert_ne!(key(json!(long)), key(json!(longer)));
    }

    #[test]
    fn an_agent_is_told_what_arrived() {
        let prompt = trigger().prompt_for("ticket.opened", "crm/eu", &json!({"id": 7}));
        assert_eq!(prompt, "An event of type `ticket.opened` arrived from `crm/eu`. Its payload:\n{\"id\":7}");
        let only_a_place = Trigger { prompt: Some(Template::parse("{{/subject}}").unwrap()), ..trigger() };
        assert_eq!(only_a_place.prompt_for("ticket.opened", "crm/eu", &json!({"id": 7})), prompt);
        assert_eq!(only_a_place.prompt_for("ticket.opened", "crm/eu", &json!({"subject": "Help"})), "Help");
    }
}
