//! Agents, triggers and prices as data: what `build.rs` writes into the bundle and [`super::bundle`] reads back.
//!
//! Shared with `build.rs`, so this module and those it uses need nothing but `serde`. What they do at run time is in
//! [`super::agent`], [`super::trigger`] and [`super::price`]; how the files are checked is in `agent_files.rs`.

use serde::{Deserialize, Serialize};

use super::pattern::Pattern;
use super::template::Template;
use super::wildcard::Wildcard;

/// The agent of a request that names none.
pub const DEFAULT_AGENT: &str = "assistant";

/// The tools that an agent may list: by name: those of [`crate::tools`], and what the engine answers itself.
pub const TOOLS: [&str; 3] = ["ask_human", "clock", "wait"];

/// How many triggers may share an event type: all runs of one event are written in one transaction, which holds 100 items, and
/// each run with its marks is six of them.
pub const MOST_TRIGGERS_OF_A_TYPE: usize = 16;

/// Everything that the files in `infra/agents` say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bundle {
    /// By name.
    pub agents: Vec<Agent>,
    /// In the order of the agents, then of their files.
    pub triggers: Vec<Trigger>,
    /// In the order of their file.
    pub prices: Vec<Price>,
}

/// A named, versioned definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Its name in requests, and its file's name.
    pub name: String,
    /// Raised by whoever changes the file.
    pub version: u32,
    /// What it is for, for people.
    pub description: String,
    /// What the model is told first.
    pub instructions: String,
    /// The tools that it may call.
    pub tools: Vec<String>,
    /// What one run may use.
    pub caps: Caps,
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
    /// Millionths of a US dollar for a million tokens written.
    pub output_micros_per_million: u64,
    /// The day on which it was looked up.
    pub as_of: String,
    /// Where.
    pub source: String,
}
