//! What an agent is, and which there are. They are defined in `infra/agents`, one file each.

use super::bundle::bundle;
pub use super::definition::{Agent, Caps, DEFAULT_AGENT, TOOLS};

impl Agent {
    /// The agent with that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        bundle().agents.iter().find(|agent| agent.name == name)
    }

    /// The names that a request may give.
    pub fn names() -> impl Iterator<Item = &'static str> {
        bundle().agents.iter().map(|agent| agent.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_names_no_agent_has_one() {
        let agent = Agent::named(DEFAULT_AGENT).unwrap();
        assert_eq!(agent.name, DEFAULT_AGENT);
        assert!(agent.version >= 1 && agent.tool("clock").is_some());
        assert_eq!(agent.caps, Caps { steps: 20, wall_seconds: 86_400, identical_tool_calls: 3, ..Caps::default() });
        assert!(Agent::names().any(|name| name == DEFAULT_AGENT));
        assert_eq!(Agent::named("nobody"), None);
    }
}
