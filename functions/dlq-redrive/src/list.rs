//! `GET /v1/dlq` and `GET /v1/dlq/stats`: which are dead, and of what.

use lambda_http::http::StatusCode;
use shared::domain::dead::Fingerprint;
use shared::domain::id::TenantId;
use shared::domain::principal::Principal;
use shared::domain::state::RunState;
use shared::http::{Call, Problem, Query, Reply};
use shared::operate::dead::{Cursor, DeadQuery, ListError, MOST, Sort, dead_stats, list_dead};
use shared::operate::{DeadFilter, Whose};

use crate::DlqApi;
use crate::views::{EntryView, ListView, QueueView, StatsView};

/// Characters of the longest text of a filter.
pub(crate) const LONGEST: usize = 255;
const TIME: &str = "must be an RFC 3339 time, e.g. 2026-01-02T03:04:05Z";

/// Whose dead are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tenants {
    /// This tenant's.
    One(TenantId),
    /// Everybody's.
    All,
}

impl Tenants {
    fn whose(&self) -> Whose<'_> {
        match self {
            Self::One(tenant) => Whose::Tenant(tenant),
            Self::All => Whose::All,
        }
    }
}

impl DlqApi {
    pub(crate) async fn list(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let mut query = call.query();
        let tenants = self.tenants(principal, call, &mut query)?;
        let filter = filter(&mut query)?;
        let sort: Option<Sort> = query.take_with(
            "sort",
            "must be died_at, created_at, attempts or tokens, with a minus in front for the greatest first",
            |text| text.parse().ok(),
        )?;
        let behind: Option<Cursor> = query.take_with("cursor", "must be a next_cursor of this list", |text| text.parse().ok())?;
        let limit = query.limit()?;
        query.finish()?;
        let sort = sort.unwrap_or_default();
        if behind.is_some_and(|place| place.sort != sort) {
            return Err(Problem::invalid("cursor", "is of a list in another order; take it with the `sort` that it came with"));
        }
        let records = self.redrive.records.as_ref();
        let wanted = DeadQuery { whose: tenants.whose(), filter: &filter, sort, behind, limit };
        let page = list_dead(self.index.as_ref(), records, &wanted).await.map_err(|error| match error {
            ListError::TooMany => {
                let detail = format!("more than {MOST} are dead: narrow the filter, by `since` and `until` for one, or sort by died_at");
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "too_many", detail).about("sort")
            }
            ListError::Journal(error) => Problem::unavailable(&error),
        })?;
        let count = self.count(&tenants).await?;
        let queue = self.depth(call).await?;
        let now = self.redrive.clock.now();
        let entries = page.runs.iter().map(|run| EntryView::of(run, now).cleared(&self.redactor)).collect();
        Reply::json(StatusCode::OK, &ListView { count, entries, queue, next_cursor: page.next.map(|next| next.to_string()) })
    }

    pub(crate) async fn stats(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let mut query = call.query();
        let tenants = self.tenants(principal, call, &mut query)?;
        let filter = filter(&mut query)?;
        query.finish()?;
        let stats = dead_stats(self.index.as_ref(), tenants.whose(), &filter).await.map_err(|error| Problem::unavailable(&error))?;
        Reply::json(StatusCode::OK, &StatsView::of(stats, &self.redactor))
    }

    /// All that are dead, whatever the filter.
    async fn count(&self, tenants: &Tenants) -> Result<u64, Problem> {
        let count = match tenants {
            Tenants::One(tenant) => self.redrive.records.count(tenant, RunState::Dead).await,
            Tenants::All => dead_stats(self.index.as_ref(), Whose::All, &DeadFilter::default()).await.map(|stats| stats.count),
        };
        count.map_err(|error| Problem::unavailable(&error))
    }

    /// The queue is shared by all tenants: only the operator sees its depth.
    async fn depth(&self, call: &Call) -> Result<Option<QueueView>, Problem> {
        if call.only_operator(self.auth).is_err() {
            return Ok(None);
        }
        let depth = self.redrive.dead_letters.depth().await.map_err(|error| Problem::unavailable(&error))?;
        Ok(Some(QueueView { approximate_messages: depth }))
    }

    /// The caller's own, unless an operator says whose.
    fn tenants(&self, principal: &Principal, call: &Call, query: &mut Query<'_>) -> Result<Tenants, Problem> {
        let read = |text: &str| if text == "*" { Some(Tenants::All) } else { text.parse().ok().map(Tenants::One) };
        let asked = query.take_with("tenant", "must be the name of a tenant, or * for all", read)?;
        let own = Tenants::One(principal.tenant.clone());
        match asked {
            Some(asked) if asked != own => {
                call.only_operator(self.auth)?;
                Ok(asked)
            }
            _ => Ok(own),
        }
    }

    /// The tenant whose run the path names: the caller's own, unless an operator says another.
    pub(crate) fn tenant(&self, principal: &Principal, call: &Call) -> Result<TenantId, Problem> {
        let mut query = call.query();
        let asked: Option<TenantId> = query.take("tenant", "must be the name of a tenant")?;
        query.finish()?;
        match asked {
            Some(asked) if asked != principal.tenant => {
                call.only_operator(self.auth)?;
                Ok(asked)
            }
            _ => Ok(principal.tenant.clone()),
        }
    }
}

fn filter(query: &mut Query<'_>) -> Result<DeadFilter, Problem> {
    let mut text = |name: &'static str| {
        let right = "must be a text of 1 to 255 characters";
        query.take_with(name, right, |text| Some(text.to_owned()).filter(|text| (1..=LONGEST).contains(&text.chars().count())))
    };
    let (code, agent, provider) = (text("code")?, text("agent")?, text("provider")?);
    let (event_type, source, trigger, words) = (text("event_type")?, text("source")?, text("trigger")?, text("text")?);
    let fingerprint = query.take_with("fingerprint", "must be a fingerprint of GET /v1/dlq/stats: 12 hexadecimal digits", |text| {
        text.parse::<Fingerprint>().ok()
    })?;
    let attempts = "must be a whole number";
    Ok(DeadFilter {
        code,
        agent,
        provider,
        event_type,
        source,
        trigger,
        fingerprint,
        since: query.take("since", TIME)?,
        until: query.take("until", TIME)?,
        min_attempts: query.take("min_attempts", attempts)?,
        max_attempts: query.take("max_attempts", attempts)?,
        text: words,
    })
}
