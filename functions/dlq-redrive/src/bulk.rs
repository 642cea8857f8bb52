//! What the bodies of bulk actions on dead runs say, and which of them are refused: what is left out by mistake must not mean everything.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;
use shared::config::ApiAuth;
use shared::domain::id::{RunId, TenantId};
use shared::domain::job::{DEFAULT_CANARY_SECONDS, DEFAULT_RATE, Pace};
use shared::domain::principal::Principal;
use shared::http::{Call, Object, Problem, Word};
use shared::jobs::{DeadOrder, MOST_IDS, Selection};
use shared::operate::DeadFilter;
use shared::operate::providers::LONGEST_REASON;

use crate::choices::Choices;
use crate::list::LONGEST;
use crate::one::{From, checked_from};

/// What stands for the tenants of all.
const EVERYBODY: &str = "*";

/// The canary: a number, or that and how long it is waited for.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum CanaryBody {
    Size(u32),
    Both(CanaryFields),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CanaryFields {
    size: u32,
    timeout_seconds: Option<u64>,
}

/// The body of a bulk retry.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RetryBody {
    ids: Option<Vec<RunId>>,
    filter: Option<Object<Value>>,
    all: Option<bool>,
    tenant: Option<String>,
    from: Option<Word<From>>,
    model: Option<String>,
    agent: Option<String>,
    rate: Option<u32>,
    concurrency: Option<u32>,
    canary: Option<CanaryBody>,
    force: bool,
    reason: Option<String>,
    pub(crate) dry_run: bool,
    pub(crate) native: bool,
}

/// A bulk retry that may be carried out.
pub(crate) struct Wanted {
    pub(crate) order: DeadOrder,
    pub(crate) reason: Option<String>,
    pub(crate) pace: Pace,
    pub(crate) canary: Option<(u32, u64)>,
}

impl RetryBody {
    /// Of a route that names the runs itself.
    pub(crate) fn of_some(self) -> Result<Self, Problem> {
        if self.native || self.tenant.is_some() {
            let field = if self.native { "native" } else { "tenant" };
            return Err(Problem::invalid(field, "belongs to POST /v1/dlq/retry-all; here `filter.tenant` says whose"));
        }
        Ok(self)
    }

    /// Of the route that is about all of them.
    pub(crate) fn of_all(self) -> Result<Self, Problem> {
        for (field, is_there) in [("ids", self.ids.is_some()), ("filter", self.filter.is_some()), ("all", self.all == Some(false))] {
            if is_there {
                return Err(Problem::invalid(field, "belongs to POST /v1/dlq/retry: this is about all of them"));
            }
        }
        Ok(Self { all: Some(true), ..self })
    }

    /// How fast the queue moves its messages itself, and why. Of all else it knows nothing, so nobody may ask for it.
    pub(crate) fn of_the_queue(self) -> Result<(Option<u32>, Option<String>), Problem> {
        for (field, is_there) in [
            ("dry_run", self.dry_run),
            ("tenant", self.tenant.is_some()),
            ("from", self.from.is_some()),
            ("model", self.model.is_some()),
            ("agent", self.agent.is_some()),
            ("concurrency", self.concurrency.is_some()),
            ("canary", self.canary.is_some()),
            ("force", self.force),
        ] {
            if is_there {
                let detail = "does not go with `native`: the queue moves every message of every tenant back, as it is and at once";
                return Err(Problem::invalid(field, detail));
            }
        }
        Ok((checked_rate(self.rate)?, checked_reason(self.reason)?))
    }

    /// What is to be done.
    pub(crate) fn wanted(self, choices: &Choices, asking: &Asking<'_>) -> Result<Wanted, Problem> {
        let (selection, tenant) = asking.selection((self.ids, self.filter, self.all), self.tenant)?;
        let from = self.from.map(|Word(from)| from);
        checked_from(from, self.agent.is_some())?;
        let order = DeadOrder {
            selection,
            tenant,
            from_start: from == Some(From::Start),
            model: choices.model(self.model.as_deref())?,
            agent: choices.agent(self.agent)?,
            force: self.force,
        };
        let reason = checked_reason(self.reason)?;
        let pace = Pace { rate: checked_rate(self.rate)?.unwrap_or(DEFAULT_RATE), concurrency: checked_concurrency(self.concurrency)? };
        Ok(Wanted { order, reason, pace, canary: self.canary.map(checked_canary).transpose()? })
    }
}

/// The body of a bulk discard.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiscardBody {
    ids: Option<Vec<RunId>>,
    filter: Option<Object<Value>>,
    all: Option<bool>,
    reason: String,
    rate: Option<u32>,
    #[serde(default)]
    pub(crate) dry_run: bool,
}

impl DiscardBody {
    /// What is to be done.
    pub(crate) fn wanted(self, asking: &Asking<'_>) -> Result<Wanted, Problem> {
        let (selection, tenant) = asking.selection((self.ids, self.filter, self.all), None)?;
        let order = DeadOrder { selection, tenant, from_start: false, model: None, agent: None, force: false };
        let reason = checked_reason(Some(self.reason))?;
        if reason.as_deref().is_none_or(|reason| reason.trim().is_empty()) {
            return Err(Problem::invalid("reason", "must say why: it is all that is left to explain it"));
        }
        let pace = Pace { rate: checked_rate(self.rate)?.unwrap_or(DEFAULT_RATE), concurrency: None };
        Ok(Wanted { order, reason, pace, canary: None })
    }
}

/// Who asks, and how.
pub(crate) struct Asking<'a> {
    pub(crate) principal: &'a Principal,
    pub(crate) call: &'a Call,
    pub(crate) auth: ApiAuth,
}

type Chosen = (Option<Vec<RunId>>, Option<Object<Value>>, Option<bool>);

impl Asking<'_> {
    /// What a body is about: exactly one of the three, and for other tenants only operators.
    fn selection(&self, (ids, filter, all): Chosen, tenant: Option<String>) -> Result<(Selection, Option<TenantId>), Problem> {
        let chosen = [("ids", ids.is_some()), ("filter", filter.is_some()), ("all", all == Some(true))];
        let mut chosen = chosen.into_iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name);
        match (chosen.next(), chosen.next()) {
            (None, _) => return Err(Problem::invalid("filter", "say which: `ids`, a `filter`, or `\"all\": true`")),
            (Some(_), Some(second)) => return Err(Problem::invalid(second, "give one of `ids`, `filter` and `all`, not two")),
            (Some(_), None) => {}
        }
        let (mut selection, mut whose) = (Selection::All, tenant);
        if let Some(ids) = ids {
            if ids.is_empty() || ids.len() > MOST_IDS {
                return Err(Problem::invalid("ids", format!("must be 1 to {MOST_IDS} ids of runs; a filter takes any number")));
            }
            let mut named = BTreeSet::new();
            selection = Selection::Ids(ids.into_iter().filter(|id| named.insert(*id)).collect());
        }
        if let Some(Object(mut fields)) = filter {
            let of = fields.as_object_mut().and_then(|fields| fields.remove("tenant"));
            if let Some(of) = of {
                let name = of.as_str().ok_or_else(|| Problem::invalid("filter.tenant", "must be the name of a tenant, or `*`"))?;
                whose = Some(name.to_owned());
            }
            selection = Selection::Filter(Box::new(checked_filter(fields)?));
        }
        let tenant = match whose.as_deref() {
            None => Some(self.principal.tenant.clone()),
            Some(name) => {
                let everybody = name == EVERYBODY;
                let other = if everybody { None } else { Some(name.parse().map_err(|error| Problem::invalid("tenant", error))?) };
                if other.as_ref() != Some(&self.principal.tenant) {
                    self.call.only_operator(self.auth)?;
                }
                other
            }
        };
        Ok((selection, tenant))
    }
}

/// A filter that demands something of a run, by the rules of `GET /v1/dlq`. Whose it is demands nothing of it.
fn checked_filter(fields: Value) -> Result<DeadFilter, Problem> {
    let filter: DeadFilter = serde_json::from_value(fields).map_err(|error| Problem::invalid("filter", error))?;
    for (field, text) in [
        ("filter.code", &filter.code),
        ("filter.agent", &filter.agent),
        ("filter.provider", &filter.provider),
        ("filter.event_type", &filter.event_type),
        ("filter.source", &filter.source),
        ("filter.trigger", &filter.trigger),
        ("filter.text", &filter.text),
    ] {
        if text.as_ref().is_some_and(|text| !(1..=LONGEST).contains(&text.chars().count())) {
            return Err(Problem::invalid(field, format!("must be a text of 1 to {LONGEST} characters")));
        }
    }
    let demanded = DeadFilter { min_attempts: filter.min_attempts.filter(|least| *least > 0), ..filter.clone() };
    if demanded.is_empty() {
        let detail = "demands nothing and would mean all of them; say `\"all\": true` if you mean that (of others: POST /v1/dlq/retry-all)";
        return Err(Problem::invalid("filter", detail));
    }
    Ok(filter)
}

fn checked_rate(rate: Option<u32>) -> Result<Option<u32>, Problem> {
    let right = rate.is_none_or(|rate| (1..=500).contains(&rate));
    if right { Ok(rate) } else { Err(Problem::invalid("rate", "must be 1 to 500 runs a second")) }
}

fn checked_concurrency(concurrency: Option<u32>) -> Result<Option<u32>, Problem> {
    let right = concurrency.is_none_or(|most| (1..=100).contains(&most));
    if right { Ok(concurrency) } else { Err(Problem::invalid("concurrency", "must be 1 to 100 runs at once")) }
}

fn checked_canary(canary: CanaryBody) -> Result<(u32, u64), Problem> {
    let (size, timeout) = match canary {
        CanaryBody::Size(size) => (size, None),
        CanaryBody::Both(CanaryFields { size, timeout_seconds }) => (size, timeout_seconds),
    };
    let timeout = timeout.unwrap_or(DEFAULT_CANARY_SECONDS);
    if !(1..=100).contains(&size) {
        return Err(Problem::invalid("canary", "must be 1 to 100 runs"));
    }
    if !(1..=86_400).contains(&timeout) {
        return Err(Problem::invalid("canary.timeout_seconds", "must be 1 to 86400"));
    }
    Ok((size, timeout))
}

/// A reason that is not too long.
pub(crate) fn checked_reason(reason: Option<String>) -> Result<Option<String>, Problem> {
    if reason.as_ref().is_some_and(|reason| reason.chars().count() > LONGEST_REASON) {
        return Err(Problem::invalid("reason", format!("must have at most {LONGEST_REASON} characters")));
    }
    Ok(reason)
}
