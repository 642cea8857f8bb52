//! What `reprise agents optimize` found: examples for one agent, and how they did.

use serde::{Deserialize, Serialize};

use super::{Checks, OPTIMIZED};
use crate::domain::canonical::{sha256, sorted};
use crate::domain::definition::{Agent, Caps, Example, Optimized};

/// A file of [`OPTIMIZED`], written by the command and not by hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizedFile {
    /// The agent's name.
    pub agent: String,
    /// What the agent was when the examples were chosen: see [`basis`].
    pub basis: String,
    /// How they were found, and how they did.
    pub found: Optimized,
    /// They go before those of the agent's own file.
    pub examples: Vec<Example>,
}

/// The hash of all that bears on an agent's answers, the chosen examples left out: scores of before it changed say nothing.
pub fn basis(agent: &Agent) -> String {
    let chosen = agent.optimized.as_ref().map_or(0, |found| found.examples as usize);
    let examples = agent.examples.get(chosen..).unwrap_or_default().to_vec();
    let bare = Agent { version: 0, description: String::new(), caps: Caps::default(), optimized: None, examples, ..agent.clone() };
    sha256(serde_json::to_value(&bare).map(|value| sorted(&value).to_string()).unwrap_or_default())
}

pub(super) fn read(checks: &mut Checks, text: &str, agents: &mut [Agent]) {
    let file: OptimizedFile = match serde_json::from_str(text) {
        Ok(file) => file,
        Err(error) => return checks.refuse_at(None, "", format!("is not what `reprise agents optimize` writes: {error}")),
    };
    if checks.file != format!("{OPTIMIZED}{}.json", file.agent) {
        return checks.refuse_at(None, "agent", format!("is for `{}`: its name must be {OPTIMIZED}{}.json", file.agent, file.agent));
    }
    let Some(agent) = agents.iter_mut().find(|agent| agent.name == file.agent) else {
        // An agent whose own file was refused is not there either, and that is told already.
        if checks.refusals.is_empty() {
            checks.refuse_at(None, "agent", format!("no agent is named `{}`; remove the file", file.agent));
        }
        return;
    };
    if file.basis != basis(agent) {
        let problem = format!(
            "`{0}` has changed since these examples were chosen: run `reprise agents optimize {0}` again, or remove the file",
            agent.name
        );
        return checks.refuse_at(None, "basis", problem);
    }
    if file.found.examples as usize != file.examples.len() {
        return checks.refuse_at(None, "found.examples", format!("must be how many there are, {}", file.examples.len()));
    }
    agent.examples.splice(0..0, file.examples);
    agent.optimized = Some(file.found);
}
