//! A trigger in an agent's file.

use serde::Deserialize;
use serde_json::Value;

use super::{At, Checks, FOLDER, filled};
use crate::domain::definition::{Dedupe, MOST_TRIGGERS_OF_A_TYPE, Rate, Trigger};
use crate::domain::pattern::Pattern;
use crate::domain::template::{Template, check_pointer};
use crate::domain::wildcard::Wildcard;

/// The type of the event that `POST /v1/agent` records.
pub(super) const RESERVED_TYPE: &str = "agent.request";
/// Bytes of the longest type and of the longest source.
const LONGEST_TYPE: usize = 128;
/// Thirty days: each window is an item in the table until it is over.
const LONGEST_WINDOW: u64 = 30 * 86_400;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TriggerFile {
    name: At<String>,
    #[serde(rename = "type")]
    kind: At<String>,
    #[serde(default, deserialize_with = "filled")]
    source: Option<At<String>>,
    #[serde(default, deserialize_with = "filled")]
    filter: Option<At<Value>>,
    #[serde(default, deserialize_with = "filled")]
    dedupe: Option<DedupeFile>,
    #[serde(default, deserialize_with = "filled")]
    rate: Option<RateFile>,
    #[serde(default, deserialize_with = "filled")]
    prompt: Option<At<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DedupeFile {
    key: At<String>,
    window_seconds: At<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RateFile {
    limit: At<u32>,
    window_seconds: At<u64>,
}

impl TriggerFile {
    /// The trigger, which is the file's `i`th. What does not hold is told to `checks`, and stands in for itself.
    pub(super) fn read(&self, checks: &mut Checks, i: usize, agent: &str) -> Trigger {
        let field = |name: &str| format!("triggers[{i}].{name}");
        let name = checks.name(&self.name, &field("name"));
        if let Some(other) = checks.triggers.insert(name.clone(), checks.file.clone()) {
            checks.refuse(
                &self.name,
                &field("name"),
                format!("`{name}` is taken by a trigger in {FOLDER}/{other}; names are for all agents"),
            );
        }
        Trigger {
            name,
            agent: agent.to_owned(),
            kind: self.kind(checks, &field("type")),
            source: self.source(checks, &field("source")),
            filter: self.filter(checks, &field("filter")),
            dedupe: self.dedupe.as_ref().map(|file| file.read(checks, &field("dedupe"))),
            rate: self.rate.as_ref().map(|file| Rate {
                limit: checks.within(&file.limit, &field("rate.limit"), 1, 1_000_000),
                window_seconds: checks.within(&file.window_seconds, &field("rate.window_seconds"), 1, LONGEST_WINDOW),
            }),
            prompt: self.prompt(checks, &field("prompt")),
        }
    }

    fn kind(&self, checks: &mut Checks, field: &str) -> String {
        let kind = checks.text(&self.kind, field, LONGEST_TYPE);
        if kind == RESERVED_TYPE {
            checks.refuse(
                &self.kind,
                field,
                format!("`{RESERVED_TYPE}` is what a request to an agent is recorded as; it starts its run itself"),
            );
        } else if kind.contains(|c: char| c.is_whitespace() || c.is_control() || c == '*') {
            checks.refuse(&self.kind, field, format!("is taken exactly, without spaces or `*`, e.g. ticket.opened; it is `{kind}`"));
        }
        let count = checks.of_a_type.entry(kind.clone()).or_default();
        *count += 1;
        if *count == MOST_TRIGGERS_OF_A_TYPE + 1 {
            let problem = format!(
                "more than {MOST_TRIGGERS_OF_A_TYPE} triggers are for `{kind}`: the runs of one event are written in one transaction"
            );
            checks.refuse(&self.kind, field, problem);
        }
        kind
    }

    fn source(&self, checks: &mut Checks, field: &str) -> Wildcard {
        let Some(at) = &self.source else { return Wildcard::any() };
        checks.text(at, field, LONGEST_TYPE);
        Wildcard::parse(&at.value).unwrap_or_else(|problem| {
            checks.refuse(at, field, problem);
            Wildcard::any()
        })
    }

    fn filter(&self, checks: &mut Checks, field: &str) -> Option<Pattern> {
        let at = self.filter.as_ref()?;
        Pattern::parse(&at.value).map_err(|error| checks.refuse(at, &format!("{field}{}", error.path), error.problem)).ok()
    }

    fn prompt(&self, checks: &mut Checks, field: &str) -> Option<Template> {
        let at = self.prompt.as_ref()?;
        Template::parse(&at.value).map_err(|problem| checks.refuse(at, field, problem)).ok()
    }
}

impl DedupeFile {
    fn read(&self, checks: &mut Checks, field: &str) -> Dedupe {
        if let Err(problem) = check_pointer(&self.key.value) {
            checks.refuse(&self.key, &format!("{field}.key"), problem);
        }
        Dedupe {
            key: self.key.value.clone(),
            window_seconds: checks.within(&self.window_seconds, &format!("{field}.window_seconds"), 1, LONGEST_WINDOW),
        }
    }
}
