//! The agents that there are.

use serde::Serialize;
use shared::domain::definition::{Agent, Bundle, Strategy};

/// `GET /v1/agents`.
#[derive(Debug, Serialize)]
pub(crate) struct AgentsView<'b> {
    bundle: &'b str,
    agents: Vec<DefinitionView<'b>>,
}

/// One agent, for who wants to choose one: what the model is told is not for callers.
#[derive(Debug, Serialize)]
struct DefinitionView<'b> {
    name: &'b str,
    version: u32,
    description: &'b str,
    strategy: &'static str,
    tools: Vec<&'b str>,
    triggers: Vec<&'b str>,
}

impl<'b> AgentsView<'b> {
    pub(crate) fn of(bundle: &'b Bundle) -> Self {
        Self { bundle: &bundle.version, agents: bundle.agents.iter().map(|agent| DefinitionView::of(agent, bundle)).collect() }
    }
}

/// The word for a strategy.
pub(super) const fn strategy_word(strategy: &Strategy) -> &'static str {
    match strategy {
        Strategy::Single => "single",
        Strategy::React => "react",
        Strategy::Reflexion(_) => "reflexion",
    }
}

impl<'b> DefinitionView<'b> {
    fn of(agent: &'b Agent, bundle: &'b Bundle) -> Self {
        let triggers = bundle.triggers.iter().filter(|trigger| trigger.agent == agent.name);
        Self {
            name: &agent.name,
            version: agent.version,
            description: &agent.description,
            strategy: strategy_word(&agent.strategy),
            tools: agent.tools.iter().map(|tool| tool.name.as_str()).collect(),
            triggers: triggers.map(|trigger| trigger.name.as_str()).collect(),
        }
    }
}
