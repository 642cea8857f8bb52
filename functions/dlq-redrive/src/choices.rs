//! What an operator may choose for a run that is put back or repeated: an agent that is there, a model whose provider is there. A
//! mistyped one is refused before anything is changed: ten thousand runs would die of it again.

use std::sync::Arc;

use shared::domain::definition::{Bundle, ModelRef};
use shared::http::Problem;

/// What there is to choose from.
#[derive(Clone)]
pub struct Choices {
    /// The agents.
    pub bundle: Arc<Bundle>,
    /// The names of the providers of this deployment; those that agents name come to them.
    pub providers: Vec<String>,
}

impl Choices {
    /// An agent that there is.
    pub(crate) fn agent(&self, name: Option<String>) -> Result<Option<String>, Problem> {
        let Some(unknown) = name.as_ref().filter(|name| self.bundle.agent(name).is_none()) else { return Ok(name) };
        let names: Vec<_> = self.bundle.agents.iter().map(|agent| agent.name.as_str()).collect();
        let detail = format!("there is no agent of that name ({} characters); there are: {}", unknown.chars().count(), names.join(", "));
        Err(Problem::invalid("agent", detail))
    }

    /// A model that this deployment can ask.
    pub(crate) fn model(&self, text: Option<&str>) -> Result<Option<ModelRef>, Problem> {
        let Some(text) = text else { return Ok(None) };
        let model: ModelRef = text.parse().map_err(|problem| Problem::invalid("model", problem))?;
        let named = self.bundle.agents.iter().flat_map(|agent| &agent.models).map(|model| model.provider.as_str());
        if self.providers.iter().map(String::as_str).chain(named).any(|known| known == model.provider) {
            return Ok(Some(model));
        }
        Err(Problem::invalid("model", "its provider is none of this deployment's; GET /v1/providers lists them"))
    }
}
