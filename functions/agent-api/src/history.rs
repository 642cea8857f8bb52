//! `GET /v1/history`: every run, told whole. `reprise history export` makes a file of lines of it.

use lambda_http::http::StatusCode;
use shared::domain::principal::Principal;
use shared::domain::state::RunState;
use shared::http::{Call, Problem, Reply};
use shared::operate::{self, RunFilter};

use crate::views::HistoryPage;
use crate::{AgentApi, unavailable};

impl AgentApi {
    pub(crate) async fn executions(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let mut query = call.query();
        let time = "must be an RFC 3339 time, e.g. 2026-01-02T03:04:05Z";
        let states = "must be queued, running, waiting, completed, failed, dead or cancelled";
        let filter = RunFilter {
            state: query.take_with("status", states, RunState::from_word)?,
            agent: query.take("agent", "must be an agent's name")?,
            since: query.take("since", time)?,
            until: query.take("until", time)?,
        };
        let cursor = query.take("cursor", "must be a next_cursor of this list")?;
        let limit = query.limit()?;
        query.finish()?;
        let stores = (self.records.as_ref(), self.contents.as_ref());
        let page = operate::history(stores, &principal.tenant, &filter, cursor, limit, self.clock.now()).await.map_err(unavailable)?;
        Reply::json(StatusCode::OK, &HistoryPage::of(page, &self.intake.engine.bundle))
    }
}
