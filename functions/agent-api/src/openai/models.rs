//! `GET /v1/models`: an agent is what OpenAI's clients call a model.

use lambda_http::http::StatusCode;
use serde::Serialize;
use shared::domain::definition::Agent;
use shared::http::{Call, Problem, Reply};

use super::no_model;
use crate::AgentApi;

#[derive(Debug, Serialize)]
struct ModelPage<'a> {
    object: &'static str,
    data: Vec<ModelView<'a>>,
}

#[derive(Debug, Serialize)]
struct ModelView<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    owned_by: &'static str,
    description: &'a str,
}

impl<'a> ModelView<'a> {
    fn of(agent: &'a Agent) -> Self {
        // A definition has a version and no date; clients want a number here.
        Self { id: &agent.name, object: "model", created: 0, owned_by: "reprise", description: &agent.description }
    }
}

impl AgentApi {
    pub(crate) fn models(&self) -> Result<Reply, Problem> {
        let data = self.intake.engine.bundle.agents.iter().map(ModelView::of).collect();
        Reply::json(StatusCode::OK, &ModelPage { object: "list", data })
    }

    pub(crate) fn model(&self, call: &Call) -> Result<Reply, Problem> {
        let bundle = &self.intake.engine.bundle;
        let agent = bundle.agent(call.parameter("id")).ok_or_else(|| no_model(bundle).about("id"))?;
        Reply::json(StatusCode::OK, &ModelView::of(agent))
    }
}
