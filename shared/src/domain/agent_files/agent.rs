//! An agent's file.

use serde::Deserialize;

use super::output::{self, ExampleFile, OutputFile};
use super::short::Short;
use super::strategy::{self, StrategyFile};
use super::{At, Checks, PROMPTS, filled, trigger};
use crate::domain::definition::{Agent, Caps, Effort, ModelRef, Sampling, Strategy, TOOLS, ToolUse, Trigger};

/// Bytes of the longest instructions: they are sent with every model call.
const LONGEST_INSTRUCTIONS: usize = 32_000;
/// Bytes of the longest description.
const LONGEST_DESCRIPTION: usize = 1_000;
/// Thirty days: what a run leaves behind is kept longer than it may take.
const LONGEST_RUN: u64 = 30 * 86_400;
/// Models of a chain: each that fails costs its time-out.
const MOST_MODELS: usize = 8;
/// Texts that end an answer, as many as OpenAI takes.
const MOST_STOPS: usize = 4;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentFile {
    name: At<String>,
    version: At<u32>,
    description: At<String>,
    instructions: At<Short<InstructionsFile>>,
    #[serde(default)]
    models: Vec<At<String>>,
    #[serde(default)]
    sampling: SamplingFile,
    #[serde(default, deserialize_with = "filled")]
    reasoning_effort: Option<Effort>,
    tools: Vec<At<Short<ToolFile>>>,
    #[serde(default, deserialize_with = "filled")]
    parallel_tool_calls: Option<At<u32>>,
    #[serde(default, deserialize_with = "filled")]
    strategy: Option<At<Short<StrategyFile>>>,
    #[serde(default, deserialize_with = "filled")]
    output: Option<OutputFile>,
    #[serde(default)]
    examples: Vec<ExampleFile>,
    #[serde(default)]
    caps: CapsFile,
    #[serde(default)]
    triggers: Vec<trigger::TriggerFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InstructionsFile {
    file: At<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SamplingFile {
    #[serde(default, deserialize_with = "filled")]
    temperature: Option<At<f64>>,
    #[serde(default, deserialize_with = "filled")]
    top_p: Option<At<f64>>,
    #[serde(default, deserialize_with = "filled")]
    max_output_tokens: Option<At<u32>>,
    #[serde(default)]
    stop: Vec<At<String>>,
    #[serde(default, deserialize_with = "filled")]
    seed: Option<At<u64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolFile {
    name: At<String>,
    #[serde(default)]
    approval: bool,
    #[serde(default, deserialize_with = "filled")]
    max_calls: Option<At<u32>>,
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
    let output = file.output.as_ref().map(|file| file.read(checks));
    let strategy = file.strategy.as_ref().map_or_else(Strategy::default, |at| strategy::read(checks, at));
    if let (Strategy::Single, Some(at), Some(_)) = (&strategy, &file.strategy, file.tools.first()) {
        checks.refuse(at, "strategy", "`single` asks the model once and calls no tools; write `tools: []`, or choose react");
    }
    let agent = Agent {
        name,
        version: file.version.value,
        description: checks.text(&file.description, "description", LONGEST_DESCRIPTION),
        instructions: instructions(checks, &file.instructions),
        models: models(checks, &file.models),
        sampling: sampling(checks, &file.sampling),
        effort: file.reasoning_effort,
        tools: tools(checks, &file.tools),
        parallel_tool_calls: file.parallel_tool_calls.as_ref().map_or(4, |at| checks.within(at, "parallel_tool_calls", 1, 16)),
        strategy,
        examples: output::examples(checks, &file.examples, output.as_ref()),
        output,
        optimized: None,
        caps: caps(checks, &file.caps),
    };
    let triggers = file.triggers.iter().enumerate().map(|(i, trigger)| trigger.read(checks, i, &agent.name)).collect();
    Some((agent, triggers))
}

/// As they stand in the file, or in the file that it names.
fn instructions(checks: &mut Checks, at: &At<Short<InstructionsFile>>) -> String {
    let (text, field) = match &at.value {
        Short::Text(text) => (text.as_str(), "instructions"),
        Short::Map(named) => (checks.attached(&named.file, "instructions.file", PROMPTS).unwrap_or("?"), "instructions.file"),
    };
    if text.trim().is_empty() {
        checks.refuse(at, field, "must not be empty");
    } else if text.len() > LONGEST_INSTRUCTIONS {
        checks.refuse(at, field, format!("has {} bytes; at most {LONGEST_INSTRUCTIONS} are allowed", text.len()));
    }
    text.trim_end().to_owned()
}

fn models(checks: &mut Checks, listed: &[At<String>]) -> Vec<ModelRef> {
    let mut models = Vec::new();
    for (i, at) in listed.iter().enumerate() {
        let field = format!("models[{i}]");
        if i == MOST_MODELS {
            checks.refuse(at, &field, format!("is one too many; at most {MOST_MODELS} are tried"));
        }
        let Some(model) = strategy::model(checks, at, &field) else { continue };
        if models.contains(&model) {
            checks.refuse(at, &field, format!("`{model}` is listed twice; remove one"));
        }
        models.push(model);
    }
    models
}

fn sampling(checks: &mut Checks, file: &SamplingFile) -> Sampling {
    if let Some(one_too_many) = file.stop.get(MOST_STOPS) {
        checks.refuse(one_too_many, "sampling.stop", format!("has more than {MOST_STOPS} texts"));
    }
    if let Some(at) = file.top_p.as_ref().filter(|at| at.value == 0.0) {
        checks.refuse(at, "sampling.top_p", "must be above 0: no word could be drawn");
    }
    // A text that ends the answer may be a line break.
    for (i, at) in file.stop.iter().enumerate().filter(|(_, at)| at.value.is_empty() || at.value.len() > 256) {
        checks.refuse(at, &format!("sampling.stop[{i}]"), "must have 1 to 256 bytes");
    }
    Sampling {
        temperature: file.temperature.as_ref().map(|at| checks.share(at, "sampling.temperature", 0.0, 2.0)),
        top_p: file.top_p.as_ref().map(|at| checks.share(at, "sampling.top_p", 0.0, 1.0)),
        max_output_tokens: file.max_output_tokens.as_ref().map(|at| checks.within(at, "sampling.max_output_tokens", 1, 1_000_000)),
        stop: file.stop.iter().map(|at| at.value.clone()).collect(),
        seed: file.seed.as_ref().map(|at| at.value),
    }
}

fn tools(checks: &mut Checks, listed: &[At<Short<ToolFile>>]) -> Vec<ToolUse> {
    let mut tools: Vec<ToolUse> = Vec::new();
    for (i, at) in listed.iter().enumerate() {
        let field = format!("tools[{i}]");
        let tool = match &at.value {
            Short::Text(name) => ToolUse::of(name),
            Short::Map(file) => ToolUse {
                name: file.name.value.clone(),
                approval: file.approval,
                max_calls: file.max_calls.as_ref().map(|at| checks.within(at, &format!("{field}.max_calls"), 1, 1_000)),
            },
        };
        if !TOOLS.contains(&tool.name.as_str()) && !checks.tools.iter().any(|defined| defined.offers(&tool.name)) {
            let names: Vec<_> = TOOLS.into_iter().chain(checks.tools.iter().map(|defined| defined.name.as_str())).collect();
            let problem = format!("no tool is named `{}`; there are: {}", tool.name, names.join(", "));
            checks.refuse(at, &field, problem);
        }
        if tools.iter().any(|other| other.name == tool.name) {
            checks.refuse(at, &field, format!("`{}` is listed twice; remove one", tool.name));
        }
        tools.push(tool);
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
