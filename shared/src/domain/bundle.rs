//! The definitions that a function runs with (ADR 0009): a value, handed to whoever needs it.

use super::bundle_file::BundleFile;
use super::definition::{Agent, Bundle, Evaluation, ModelRef, Reflexion, Strategy};
use super::price::cost_in;
use super::step::Usage;

impl Bundle {
    /// The one that this build was made with.
    #[must_use]
    pub fn embedded() -> Self {
        #[expect(clippy::expect_used, reason = "build.rs has read the same text with the same types; another one does not compile")]
        let file: BundleFile =
            serde_json::from_str(include_str!(concat!(env!("OUT_DIR"), "/bundle.json"))).expect("the bundle is what build.rs wrote");
        Self { version: file.sha256, ..file.bundle }
    }

    /// Enough of its version to tell it from others, as records and logs name it.
    #[must_use]
    pub fn short_version(&self) -> &str {
        self.version.get(..8).unwrap_or(&self.version)
    }

    /// The agent with that name.
    #[must_use]
    pub fn agent(&self, name: &str) -> Option<&Agent> {
        self.agents.iter().find(|agent| agent.name == name)
    }

    /// The models that its agents name for themselves, to answer or to evaluate answers; each once, in order.
    #[must_use]
    pub fn models(&self) -> Vec<ModelRef> {
        let mut models: Vec<ModelRef> = Vec::new();
        for agent in &self.agents {
            let evaluator = match &agent.strategy {
                Strategy::Reflexion(Reflexion { evaluation: Evaluation::Model { model, .. }, .. }) => model.as_ref(),
                Strategy::Reflexion(_) | Strategy::Single | Strategy::React => None,
            };
            for model in agent.models.iter().chain(evaluator) {
                if !models.contains(model) {
                    models.push(model.clone());
                }
            }
        }
        models
    }

    /// Millionths of a US dollar that one call cost, rounded up; `None` if no price is known for it. `usage` is that of a single
    /// call: a price may hold up to a length of the call only.
    #[must_use]
    pub fn cost_micros(&self, provider: &str, model: &str, usage: &Usage) -> Option<u64> {
        cost_in(&self.prices, provider, model, usage)
    }
}

#[cfg(test)]
mod tests {
    use super::super::agent::{Caps, DEFAULT_AGENT};
    use super::super::definition::Scale;
    use super::*;

    #[test]
    fn the_bundle_has_a_version() {
        let bundle = Bundle::embedded();
        assert!(bundle.version.len() == 64 && bundle.version.chars().all(|c| c.is_ascii_hexdigit()), "{}", bundle.version);
    }

    #[test]
    fn a_request_that_names_no_agent_has_one() {
        let bundle = Bundle::embedded();
        let agent = bundle.agent(DEFAULT_AGENT).unwrap();
        assert_eq!(agent.name, DEFAULT_AGENT);
        assert!(agent.version >= 1 && agent.tool("clock").is_some());
        assert_eq!(agent.caps, Caps { steps: 20, wall_seconds: 86_400, identical_tool_calls: 3, ..Caps::default() });
        assert_eq!(bundle.agent("nobody"), None);
    }

    #[test]
    fn the_models_that_agents_name_are_those_that_answer_and_those_that_evaluate() {
        let mut bundle = Bundle::embedded();
        assert_eq!(bundle.models(), [], "they all take the deployment's");
        let model = |text: &str| -> ModelRef { text.parse().unwrap() };
        let evaluation = Evaluation::Model { instructions: None, model: Some(model("c::judge")) };
        let strategy = Strategy::Reflexion(Reflexion { max_iterations: 2, threshold: 0.5, scale: Scale::Binary, evaluation });
        let first = Agent { models: vec![model("b::m"), model("a::m")], strategy, ..bundle.agents[0].clone() };
        let second = Agent { models: vec![model("a::m"), model("a::n")], ..bundle.agents[0].clone() };
        bundle.agents = vec![first, second];
        assert_eq!(bundle.models().iter().map(ToString::to_string).collect::<Vec<_>>(), ["b::m", "a::m", "c::judge", "a::n"]);
    }

    #[test]
    fn the_prices_of_this_version_are_found() {
        let bundle = Bundle::embedded();
        let usage = Usage { input_tokens: 1_000_000, output_tokens: 1_000_000, ..Usage::default() };
        for (provider, model, cost) in [
            ("openai", "gpt-4o-mini", 750_000),
            ("openai", "gpt-4o-mini-2024-07-18", 750_000),
            ("openai_resp", "gpt-4.1", 10_000_000),
            ("anthropic", "claude-haiku-4-5-20251001", 6_000_000),
            ("bedrock_sigv4", "us.amazon.nova-pro-v1:0", 4_000_000),
        ] {
            assert_eq!(bundle.cost_micros(provider, model, &usage), Some(cost), "{model}");
        }
        assert_eq!(bundle.cost_micros("openai", "a-model-that-nobody-has", &usage), None);
    }
}
