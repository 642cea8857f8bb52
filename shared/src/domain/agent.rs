//! What an agent is. Which there are stands in `infra/agents`, one file each, and in the [`Bundle`](super::definition::Bundle).

pub use super::definition::{Agent, Caps, DEFAULT_AGENT, TOOLS};

/// Whether an agent that lists `listed` may call `called`: the name of a server stands for all its tools, `<server>__<tool>`.
#[must_use]
pub fn covers(listed: &str, called: &str) -> bool {
    called.strip_prefix(listed).is_some_and(|rest| rest.is_empty() || rest.strip_prefix("__").is_some_and(|tool| !tool.is_empty()))
}
