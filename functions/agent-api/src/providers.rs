//! `/v1/providers`: what is known of the models that may be asked, and what operators say of them.

use std::collections::BTreeSet;

use jiff::Timestamp;
use lambda_http::http::StatusCode;
use serde::{Deserialize, Serialize};
use shared::domain::board::{Board, Disabled, Pin};
use shared::domain::breaker::Breaker;
use shared::domain::clock::rfc3339_millis;
use shared::domain::definition::ModelRef;
use shared::domain::principal::Principal;
use shared::http::{Call, Problem, Reply, json_body};
use shared::operate::providers::{self, LONGEST_REASON, Named, Word};

use crate::{AgentApi, unavailable};

/// The body of the commands.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    name: String,
    #[serde(default)]
    reason: String,
}

/// The body of `unpin`, which is about all of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    #[serde(default)]
    reason: String,
}

impl AgentApi {
    /// Every command answers with what is known after it.
    pub(crate) async fn providers(&self, principal: &Principal, call: &Call, command: &str) -> Result<Reply, Problem> {
        call.only_operator(self.auth)?;
        let switches = self.switches.as_ref();
        let word = |reason| Word { at: self.clock.now(), by: &principal.name, reason };
        match command {
            "list" => {}
            "unpin" => {
                let body: Reason = json_body(&call.body)?;
                providers::pin(switches, Vec::new(), word(checked(&body.reason)?)).await.map_err(unavailable)?;
            }
            _ => {
                let body: Body = json_body(&call.body)?;
                let word = word(checked(&body.reason)?);
                let named = Named::read(&body.name, |name| self.knows(name)).map_err(|problem| Problem::invalid("name", problem))?;
                let done = match command {
                    "disable" => providers::disable(switches, &named, word).await,
                    "enable" => providers::enable(switches, &named, word).await,
                    _ => {
                        let chain = self.intake.engine.routes.chain();
                        let models = named.models(chain).map_err(|problem| Problem::invalid("name", problem))?;
                        providers::pin(switches, models, word).await
                    }
                };
                done.map_err(unavailable)?;
            }
        }
        let board = switches.board_now().await.map_err(unavailable)?;
        Reply::json(StatusCode::OK, &ProvidersView::of(&board, self.intake.engine.routes.chain(), &self.providers))
    }

    /// Whether this deployment has a provider with that name.
    pub(crate) fn knows(&self, name: &str) -> bool {
        let named = self.intake.engine.bundle.agents.iter().flat_map(|agent| &agent.models).map(|model| model.provider.as_str());
        self.providers.iter().map(String::as_str).chain(named).any(|known| known == name)
    }
}

fn checked(reason: &str) -> Result<&str, Problem> {
    if reason.chars().count() > LONGEST_REASON {
        return Err(Problem::invalid("reason", format!("must have at most {LONGEST_REASON} characters")));
    }
    Ok(reason)
}

/// All providers.
#[derive(Debug, Serialize)]
struct ProvidersView<'a> {
    /// The models that agents ask which name none, in order.
    chain: &'a [ModelRef],
    pinned: Option<&'a Pin>,
    providers: Vec<ProviderView<'a>>,
}

#[derive(Debug, Serialize)]
struct ProviderView<'a> {
    name: &'a str,
    disabled: Option<Said<'a>>,
    models: Vec<ModelView<'a>>,
}

#[derive(Debug, Serialize)]
struct ModelView<'a> {
    model: &'a ModelRef,
    disabled: Option<Said<'a>>,
    /// A model whose breaker never changed has one that is closed.
    breaker: Option<&'a Breaker>,
}

/// What an operator said.
#[derive(Debug, Serialize)]
struct Said<'a> {
    reason: &'a str,
    by: &'a str,
    #[serde(with = "rfc3339_millis")]
    at: Timestamp,
}

impl<'a> ProvidersView<'a> {
    fn of(board: &'a Board, chain: &'a [ModelRef], configured: &'a [String]) -> Self {
        let pinned = board.pin.iter().flat_map(|pin| &pin.to);
        let models: BTreeSet<&ModelRef> = chain.iter().chain(board.breakers.keys()).chain(pinned).collect();
        let mut names: BTreeSet<&str> = configured.iter().map(String::as_str).collect();
        names.extend(models.iter().map(|model| model.provider.as_str()));
        let word = |name: &str| board.disabled.iter().find(|disabled| disabled.name == name).map(Said::of);
        let provider = |name: &'a str| ProviderView {
            name,
            disabled: word(name),
            models: models
                .iter()
                .filter(|model| model.provider == name)
                .map(|model| ModelView { model, disabled: word(&model.to_string()), breaker: board.breakers.get(*model) })
                .collect(),
        };
        Self { chain, pinned: board.pin.as_ref(), providers: names.into_iter().map(provider).collect() }
    }
}

impl<'a> Said<'a> {
    fn of(disabled: &'a Disabled) -> Self {
        Self { reason: &disabled.reason, by: &disabled.by, at: disabled.at }
    }
}
