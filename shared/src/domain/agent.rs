//! What an agent is, and the one that is built in.

/// A named, versioned definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Its name in requests.
    pub name: &'static str,
    /// What the model is told first.
    pub instructions: &'static str,
    /// The tools that it may call.
    pub tools: &'static [&'static str],
    /// How many steps one run may take.
    pub max_steps: u32,
}

/// The agent of a request that names none.
pub const DEFAULT_AGENT: &str = "assistant";

/// Every agent of this version.
static AGENTS: [Agent; 1] = [Agent {
    name: DEFAULT_AGENT,
    instructions: "You are a helpful assistant. Answer briefly and truthfully. Use a tool when it knows better than you.",
    tools: &["clock"],
    max_steps: 20,
}];

impl Agent {
    /// The agent with that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        AGENTS.iter().find(|agent| agent.name == name)
    }

    /// The names that a request may give.
    pub fn names() -> impl Iterator<Item = &'static str> {
        AGENTS.iter().map(|agent| agent.name)
    }
}
