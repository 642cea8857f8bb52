//! An agent's file.

use serde::Deserialize;

use super::{At, Checks, filled, trigger};
use crate::domain::definition::{Agent, Caps, Sampling, Strategy, TOOLS, ToolUse, Trigger};

/// Bytes of the longest instructions: they are sent with every model call.
const LONGEST_INSTRUCTIONS: usize = 32_000;
/// Bytes of the longest description.
const LONGEST_DESCRIPTION: usize = 1_000;
/// Thirty days: what a run leaves behind is kept longer than it may take.
const LONGEST_RUN: u64 = 30 * 86_400;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentFile {
    name: At<String>,
    version: At<u32>,
    description: At<String>,
    instructions: At<String>,
    tools: Vec<At<String>>,
    #[serde(default)]
    caps: CapsFile,
    #[serde(default)]
    triggers: Vec<trigger::TriggerFile>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CapsFile {
    #[serde(default, deserialize_with = "filled")]
    steps: Option<At<u32>>,
    #[serde(default, deserialize_with = "filled")]
    tokens: Option<At<u64>>,
    #[serde(default, deserialize_with = "filled")]
    wall_seconds: Option<At<u64>>,
    #[serde(default, deserialize_with = "filled")]
    cost_usd: Option<At<f64>>,
    #[serde(default, deserialize_with = "filled")]
    identical_tool_calls: Option<At<u32>>,
}

pub(super) fn read(checks: &mut Checks, stem: &str, text: &str) -> Option<(Agent, Vec<Trigger>)> {
    let file: AgentFile = checks.parse(text)?;
    let name = checks.name(&file.name, "name");
    if name != stem {
        checks.refuse(&file.name, "name", format!("must be the file's name, `{stem}`; it is `{name}`"));
    }
    checks.within(&file.version, "version", 1, u32::MAX);
    let agent = Agent {
        name,
        version: file.version.value,
        description: checks.text(&file.description, "description", LONGEST_DESCRIPTION),
        instructions: checks.text(&file.instructions, "instructions", LONGEST_INSTRUCTIONS).trim_end().to_owned(),
        models: Vec::new(),
        sampling: Sampling::default(),
        effort: None,
        tools: tools(checks, &file.tools).into_iter().map(ToolUse::of).collect(),
        parallel_tool_calls: 4,
        strategy: Strategy::default(),
        output: None,
        examples: Vec::new(),
        caps: caps(checks, &file.caps),
    };
    let triggers = file.triggers.iter().enumerate().map(|(i, trigger)| trigger.read(checks, i, &agent.name)).collect();
    Some((agent, triggers))
}

fn tools(checks: &mut Checks, listed: &[At<String>]) -> Vec<String> {
    let mut tools: Vec<String> = Vec::new();
    for (i, tool) in listed.iter().enumerate() {
        let field = format!("tools[{i}]");
        if !TOOLS.contains(&tool.value.as_str()) {
            checks.refuse(tool, &field, format!("no tool is named `{}`; there are: {}", tool.value, TOOLS.join(", ")));
        }
        if tools.contains(&tool.value) {
            checks.refuse(tool, &field, format!("`{}` is listed twice; remove one", tool.value));
        }
        tools.push(tool.value.clone());
    }
    tools
}

fn caps(checks: &mut Checks, file: &CapsFile) -> Caps {
    let mut caps = Caps::default();
    if let Some(at) = &file.steps {
        caps.steps = checks.within(at, "caps.steps", 1, 1_000);
    }
    if let Some(at) = &file.tokens {
        caps.tokens = Some(checks.within(at, "caps.tokens", 1, 1_000_000_000));
    }
    if let Some(at) = &file.wall_seconds {
        caps.wall_seconds = checks.within(at, "caps.wall_seconds", 1, LONGEST_RUN);
    }
    if let Some(at) = &file.cost_usd {
        let micros = checks.micros(at, "caps.cost_usd");
        if at.value == 0.0 {
            checks.refuse(at, "caps.cost_usd", "must be above 0: no run could ask its model");
        }
        caps.cost_micros = Some(micros);
    }
    if let Some(at) = &file.identical_tool_calls {
        caps.identical_tool_calls = checks.within(at, "caps.identical_tool_calls", 1, 100);
    }
    caps
}
