//! placeholder until the compiled agents land
use std::sync::LazyLock;
/// a
#[derive(Debug, Clone)]
pub struct Agent {
    /// a
    pub name: String,
    /// a
    pub instructions: String,
    /// a
    pub tools: Vec<String>,
    /// a
    pub caps: Caps,
}
/// a
#[derive(Debug, Clone)]
pub struct Caps {
    /// a
    pub steps: u32,
    /// a
    pub tokens: Option<u64>,
    /// a
    pub wall_seconds: u64,
    /// a
    pub cost_micros: Option<u64>,
    /// a
    pub identical_tool_calls: u32,
}
/// The agent of a request that names none.
pub const DEFAULT_AGENT: &str = "assistant";
static AGENTS: LazyLock<Vec<Agent>> = LazyLock::new(|| {
    vec![Agent {
        name: DEFAULT_AGENT.into(),
        instructions: "You are a helpful assistant. Answer briefly and truthfully. Use a tool when it knows better than you.".into(),
        tools: vec!["clock".into(), "ask_human".into(), "wait".into()],
        caps: Caps { steps: 20, tokens: None, wall_seconds: 86_400, cost_micros: None, identical_tool_calls: 3 },
    }]
});
impl Agent {
    /// The agent with that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        AGENTS.iter().find(|agent| agent.name == name)
    }
    /// names
    pub fn names() -> impl Iterator<Item = &'static str> {
        AGENTS.iter().map(|agent| agent.name.as_str())
    }
}
