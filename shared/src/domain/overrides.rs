//! What one request changes of its agent's definition. It stands in the run's input, so it lives as long as the run and in no
//! shared state, and whoever works on the run next obeys it as well.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::agent::{Agent, covers};
use super::definition::{Effort, ModelRef, OutputSchema, Sampling, Strategy, ToolUse};

/// The changes; what is absent stays as the agent has it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Overrides {
    /// The model to ask, and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelRef>,
    /// How much it thinks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<Effort>,
    /// How it draws its answer.
    #[serde(default)]
    pub sampling: Sampling,
    /// Those of the agent's tools that it may call; a name that is none of them gives nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
    /// Lower caps; a higher one than the agent's changes nothing.
    #[serde(default)]
    pub caps: LowerCaps,
    /// The caller's own tools: a call of one ends the run, and the caller makes it. With these the model is offered only those of
    /// the agent's tools that [`Overrides::tools`] names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub client_tools: Vec<ClientTool>,
    /// Whether the model may, must or must not call a tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// Whether the model may ask for several calls at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// What the answer must look like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputSchema>,
    /// Tools that are called before the model is asked at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preset_calls: Vec<PresetCall>,
}

/// Caps of one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LowerCaps {
    /// See [`super::definition::Caps`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u32>,
    /// See [`super::definition::Caps`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// See [`super::definition::Caps`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_seconds: Option<u64>,
    /// See [`super::definition::Caps`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
}

/// A tool that the caller has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientTool {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// The JSON Schema of its arguments.
    pub parameters: Value,
}

/// Whether the model may, must or must not call a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// As it likes.
    Auto,
    /// It must not.
    None,
    /// It must call one.
    Required,
    /// It must call this one.
    Tool(String),
}

/// A tool call that the caller asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PresetCall {
    /// The tool.
    pub name: String,
    /// What it is given.
    #[serde(default)]
    pub args: Value,
}

impl Agent {
    /// The definition as a run with these changes has it.
    #[must_use]
    pub fn for_run(&self, overrides: &Overrides) -> Self {
        let mut agent = self.clone();
        if let Some(model) = &overrides.model {
            agent.models = vec![model.clone()];
        }
        agent.effort = overrides.effort.or(agent.effort);
        agent.sampling.change(&overrides.sampling);
        match (&overrides.tools, overrides.client_tools.is_empty()) {
            (Some(names), _) => {
                agent.tools =
                    names.iter().filter_map(|name| self.tool(name).map(|tool| ToolUse { name: name.clone(), ..tool.clone() })).collect()
            }
            (None, false) => agent.tools.clear(),
            (None, true) => {}
        }
        if overrides.parallel_tool_calls == Some(false) {
            agent.parallel_tool_calls = 1;
        }
        if agent.strategy == Strategy::Single && overrides.client_tools.is_empty() {
            agent.tools.clear();
        }
        let caps = &mut agent.caps;
        caps.steps = caps.steps.min(overrides.caps.steps.unwrap_or(u32::MAX));
        caps.wall_seconds = caps.wall_seconds.min(overrides.caps.wall_seconds.unwrap_or(u64::MAX));
        caps.tokens = lower(caps.tokens, overrides.caps.tokens);
        caps.cost_micros = lower(caps.cost_micros, overrides.caps.cost_micros);
        agent.output = overrides.output.clone().or(agent.output);
        agent
    }

    /// The agent's use of the tool with that name, which may be one of a server's.
    #[must_use]
    pub fn tool(&self, name: &str) -> Option<&ToolUse> {
        self.tools.iter().find(|tool| covers(&tool.name, name))
    }
}

impl OutputSchema {
    /// Any JSON object.
    #[must_use]
    pub fn any_object() -> Self {
        Self { name: "object".into(), schema: serde_json::json!({"type": "object"}), repairs: 1 }
    }
}

impl Sampling {
    /// Takes over what `other` says.
    fn change(&mut self, other: &Self) {
        self.temperature = other.temperature.or(self.temperature);
        self.top_p = other.top_p.or(self.top_p);
        self.max_output_tokens = other.max_output_tokens.or(self.max_output_tokens);
        self.seed = other.seed.or(self.seed);
        if !other.stop.is_empty() {
            self.stop.clone_from(&other.stop);
        }
    }
}

fn lower(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
