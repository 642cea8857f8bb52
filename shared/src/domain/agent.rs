//! What an agent is. Which there are stands in `infra/agents`, one file each, and in the [`Bundle`](super::definition::Bundle).

pub use super::definition::{Agent, Caps, DEFAULT_AGENT, TOOLS};
