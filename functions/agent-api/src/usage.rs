//! `GET /v1/usage`: what a tenant's runs have used, by day.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan};
use lambda_http::http::StatusCode;
use shared::domain::principal::Principal;
use shared::http::{Call, Problem, Reply};

use crate::views::UsagePage;
use crate::{AgentApi, unavailable};

/// Days that one answer tells of.
const MOST_DAYS: i32 = 31;

impl AgentApi {
    pub(crate) async fn usage(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let mut query = call.query();
        let day = "must be a day, e.g. 2026-01-31";
        let (since, until): (Option<Date>, Option<Date>) = (query.take("since", day)?, query.take("until", day)?);
        query.finish()?;
        let until = until.unwrap_or_else(|| self.clock.now().to_zoned(TimeZone::UTC).date());
        let since = since.unwrap_or_else(|| until.saturating_sub(6.days()));
        let count = until.since(since).map_or(MOST_DAYS, |span: Span| span.get_days()) + 1;
        if !(1..=MOST_DAYS).contains(&count) {
            return Err(Problem::invalid("since", format!("must be at most {MOST_DAYS} days before `until`, and not after it")));
        }
        let mut days = Vec::new();
        for back in (0..count).rev() {
            let date = until.saturating_sub(back.days());
            days.push((date, self.records.spend(&principal.tenant, date).await.map_err(unavailable)?));
        }
        Reply::json(StatusCode::OK, &UsagePage::of(days))
    }
}
