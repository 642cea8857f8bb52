//! Agents, triggers and prices as data: what `build.rs` writes into the bundle and [`super::bundle`] reads back.
//!
//! Shared with `build.rs`, so this module and those it uses need nothing but `serde`. What they do at run time is in
//! [`super::agent`], [`super::trigger`] and [`super::price`]; how the files are checked is in `agent_files.rs`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::pattern::Pattern;
use super::template::Template;
use super::tool_definition::ToolDefinition;
use super::wildcard::Wildcard;

/// The agent of a request that names none.
pub const DEFAULT_AGENT: &str = "assistant";

/// The tools that are there without a definition.
pub const TOOLS: [&str; 4] = ["ask_human", "calculator", "clock", "wait"];

/// How many triggers may share an event type: all runs of one event are written in one transaction, which holds 100 items, and
/// each run with its marks is six of them.
pub const MOST_TRIGGERS_OF_A_TYPE: usize = 16;

/// Everything that the files in `infra/agents` say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bundle {
    /// The SHA-256 of its JSON, in hexadecimal: which definitions a function runs with. Not part of that JSON.
    #[serde(skip)]
    pub version: String,
    /// By name.
    pub agents: Vec<Agent>,
    /// In the order of the agents, then of their files.
    pub triggers: Vec<Trigger>,
    /// In the order of their file.
    pub prices: Vec<Price>,
    /// In the order of their file.
    #[serde(default)]
    pub tools: Vec<ToolDefinition>,
}

/// A named, versioned definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    /// Its name in requests, and its file's name.
    pub name: String,
    /// Raised by whoever changes the file.
    pub version: u32,
    /// What it is for, for people.
    pub description: String,
    /// What the model is told first.
    pub instructions: String,
    /// The models that it asks, the next where the one before it fails; none: the deployment's.
    #[serde(default)]
    pub models: Vec<ModelRef>,
    /// How a model draws its answer.
    #[serde(default)]
    pub sampling: Sampling,
    /// How much a model thinks before it answers; the model's own default if absent.
    #[serde(default)]
    pub effort: Option<Effort>,
    /// The tools that it may call.
    pub tools: Vec<ToolUse>,
    /// How many calls of one answer are made at the same time.
    #[serde(default = "four")]
    pub parallel_tool_calls: u32,
    /// How it comes to its answer.
    #[serde(default)]
    pub strategy: Strategy,
    /// What its answer must look like; any text if absent.
    #[serde(default)]
    pub output: Option<OutputSchema>,
    /// Questions with good answers, which the model is shown first.
    #[serde(default)]
    pub examples: Vec<Example>,
    /// How the first of the examples were chosen, if `reprise agents optimize` did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimized: Option<Optimized>,
    /// What one run may use.
    pub caps: Caps,
}

const fn four() -> u32 {
    4
}

/// A model of a provider, written `<provider>::<model>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelRef {
    /// The provider's name in this deployment.
    pub provider: String,
    /// The model as the provider names it.
    pub model: String,
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.provider, self.model)
    }
}

impl FromStr for ModelRef {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once("::").filter(|(provider, model)| !provider.is_empty() && !model.is_empty());
        let (provider, model) = parts.ok_or("must be `<provider>::<model>`, e.g. openai::gpt-4o-mini")?;
        Ok(Self { provider: provider.to_owned(), model: model.to_owned() })
    }
}

impl TryFrom<String> for ModelRef {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ModelRef> for String {
    fn from(model: ModelRef) -> Self {
        model.to_string()
    }
}

/// How a model draws its answer. What is absent is the model's own default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// From 0 (the likeliest word) to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The share of likely words that are drawn from, above 0 and up to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Tokens of the longest answer, thoughts included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u32>,
    /// Texts that end the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// For answers that can be had again, as far as the provider can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// How much a model thinks before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// Not at all.
    None,
    /// As little as it can.
    Minimal,
    /// A little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
    /// As much as it can.
    XHigh,
}

/// A tool in the hands of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolUse {
    /// The tool.
    pub name: String,
    /// Whether a person has to allow each call.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approval: bool,
    /// How often one run may call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_calls: Option<u32>,
}

impl ToolUse {
    /// The tool as it is, without approval and limit.
    #[must_use]
    pub fn of(name: impl Into<String>) -> Self {
        Self { name: name.into(), approval: false, max_calls: None }
    }
}

/// How an agent comes to its answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// It asks the model once, without tools.
    Single,
    /// It asks the model, calls the tools that this wants, and asks again, until there is an answer.
    #[default]
    React,
    /// As `react`; then the answer is evaluated, and as long as it is not good enough, the agent reflects and tries again.
    Reflexion(Reflexion),
}

/// Act, evaluate, reflect, and again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reflexion {
    /// Answers at most; the last one stands whatever its score.
    pub max_iterations: u32,
    /// The least score, from 0 to 1, of an answer that is good enough.
    pub threshold: f64,
    /// What an evaluation says.
    pub scale: Scale,
    /// Who evaluates.
    pub evaluation: Evaluation,
}

/// What an evaluation says of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Good or not.
    Binary,
    /// A score from 0 to 1.
    Scalar,
    /// A score, with issues and improvements.
    Structured,
}

/// Who evaluates an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evaluation {
    /// A rule: the score is the share of its demands that are met.
    Rule(Rule),
    /// A model.
    Model {
        /// What a good answer is, for the model that evaluates.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instructions: Option<String>,
        /// The model; the agent's own if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<ModelRef>,
    },
    /// A JSON Schema that the answer must satisfy.
    Schema(Value),
}

/// Demands on a text. Upper and lower case are the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// All of these must be in it: a demand each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contains: Vec<String>,
    /// One of these must be in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub any_of: Vec<String>,
    /// None of these may be in it: a demand each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub none_of: Vec<String>,
    /// Characters of the shortest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_chars: Option<u32>,
    /// Characters of the longest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_chars: Option<u32>,
}

/// What an answer must look like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputSchema {
    /// Its name, for the provider.
    pub name: String,
    /// The JSON Schema.
    pub schema: Value,
    /// How often the model may mend an answer that does not satisfy it.
    pub repairs: u32,
}

/// A question with a good answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// What is asked.
    pub input: String,
    /// What is answered.
    pub output: String,
}

/// Examples that were chosen by how well the agent did with them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Optimized {
    /// How many were chosen.
    pub examples: u32,
    /// What a good answer was.
    pub metric: String,
    /// The mean score on rows that were not chosen from, with the agent's own examples alone.
    pub before: f64,
    /// The same with the chosen ones.
    pub after: f64,
    /// Who answered, as the command was told.
    pub model: String,
    /// Chooses the same again.
    pub seed: u64,
    /// The SHA-256 of the data.
    pub data_sha256: String,
    /// Rows that were chosen from.
    pub training_rows: u32,
    /// Rows that the scores are of.
    pub scored_rows: u32,
}

/// What one run may use. A run that reaches a cap ends with the cap's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caps {
    /// Model and tool calls.
    pub steps: u32,
    /// Tokens read and written, together.
    pub tokens: Option<u64>,
    /// Seconds from its acceptance to its end, while it does not wait for an answer, a time or its turn; looked at between calls.
    pub wall_seconds: u64,
    /// Millionths of a US dollar.
    pub cost_micros: Option<u64>,
    /// How often in a row the same tool may be called with the same arguments.
    pub identical_tool_calls: u32,
}

/// Enough for honest work, and an end for a run that goes round in circles.
impl Default for Caps {
    fn default() -> Self {
        Self { steps: 20, tokens: None, wall_seconds: 86_400, cost_micros: None, identical_tool_calls: 3 }
    }
}

/// A rule that maps an event to an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    /// Unique among all triggers.
    pub name: String,
    /// The agent that it starts.
    pub agent: String,
    /// The event's type, exactly.
    #[serde(rename = "type")]
    pub kind: String,
    /// The event's source.
    pub source: Wildcard,
    /// What the payload must look like.
    pub filter: Option<Pattern>,
    /// Events that say the same start one run.
    pub dedupe: Option<Dedupe>,
    /// How many runs it may start.
    pub rate: Option<Rate>,
    /// What the agent is asked.
    pub prompt: Option<Template>,
}

/// Of the events with one key, the first of a window starts a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dedupe {
    /// A JSON pointer into the payload.
    pub key: String,
    /// How long a key is remembered.
    pub window_seconds: u64,
}

/// At most so many runs in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Runs.
    pub limit: u32,
    /// The window.
    pub window_seconds: u64,
}

/// What a model's tokens cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// The provider as a step names it, or its beginning and `*`.
    pub provider: String,
    /// The model as a step names it, or its beginning and `*`.
    pub model: String,
    /// The longest call that it holds for, in tokens read; any call if absent.
    pub max_input_tokens: Option<u64>,
    /// Millionths of a US dollar for a million tokens read.
    pub input_micros_per_million: u64,
    /// Those for a million tokens that come out of the provider's cache; as any token read if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input_micros_per_million: Option<u64>,
    /// Those for a million tokens that are put into it; as any token read if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_micros_per_million: Option<u64>,
    /// Millionths of a US dollar for a million tokens written.
    pub output_micros_per_million: u64,
    /// The day on which it was looked up.
    pub as_of: String,
    /// Where.
    pub source: String,
}
