//! What agents can do besides talking.
//!
//! A [`Tool`] does one thing; the [`Toolbox`] is what the engine sees of all of them. Tools are written by name in agents' files; a
//! server that brings several tools is listed by its own name, which stands for all of them, see [`covers`].

mod clock;
#[cfg(feature = "tools")]
mod guard;
#[cfg(test)]
mod testing;
mod waits;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

pub use crate::domain::agent::covers;
use crate::domain::clock::Clock;
use crate::domain::id::{RunId, TenantId};
use crate::engine::ports::ToolSpec;

/// One tool. Its errors are texts for the model: data, not failures of the run.
#[async_trait]
pub trait Tool: Send + Sync {
    /// What the model is told of it.
    fn spec(&self) -> ToolSpec;
    /// What the engine must know of it.
    fn traits(&self) -> ToolTraits;
    /// Does it. The arguments are what the model wrote: not yet checked.
    async fn call(&self, arguments: &Value, context: &ToolContext<'_>) -> Result<String, String>;
}

/// What the engine must know of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToolTraits {
    /// Whether a call that may have happened may be made again.
    pub idempotent: bool,
    /// Whether a call changes something outside of the run.
    pub side_effects: bool,
    /// How long a call may take.
    pub timeout: Duration,
    /// How many calls one worker makes at a time; any number if absent.
    pub concurrency: Option<u32>,
}

impl ToolTraits {
    /// Of a tool that changes nothing: it may be called at any time and again.
    #[must_use]
    pub const fn harmless(timeout: Duration) -> Self {
        Self { idempotent: true, side_effects: false, timeout, concurrency: None }
    }
}

/// For whom a tool is called.
#[derive(Debug, Clone, Copy)]
pub struct ToolContext<'a> {
    /// `<run>:<step>`: the same call has the same key, however often it is made.
    pub key: &'a str,
    /// Whose run it is.
    pub tenant: &'a TenantId,
    /// The run.
    pub run: RunId,
}

/// Why it is not known what a tool looks like. Another try may find out.
#[derive(Debug, thiserror::Error)]
#[error("the tools of `{server}` could not be listed: {problem}")]
pub struct ToolsUnavailable {
    /// Whose tools.
    pub server: String,
    /// What happened, for people.
    pub problem: String,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolResult {
    /// What the model is told.
    pub output: String,
    /// Whether it tells of an error.
    pub is_error: bool,
    /// The whole result, where `output` is only its beginning.
    pub full: Option<String>,
}

/// The tools of this deployment, by name.
#[derive(Clone, Default)]
pub struct Toolbox(Vec<Arc<dyn Tool>>);

impl Toolbox {
    /// The tools that are built in.
    #[must_use]
    pub fn built_in(clock: Arc<dyn Clock>) -> Self {
        Self(vec![Arc::new(clock::ClockTool(clock)), Arc::new(waits::AskHuman), Arc::new(waits::Wait)])
    }

    /// These tools.
    #[must_use]
    pub fn of(tools: Vec<Arc<dyn Tool>>) -> Self {
        Self(tools)
    }

    /// What the engine must know of the tool with that name; nothing if there is none.
    #[must_use]
    pub fn traits(&self, name: &str) -> Option<ToolTraits> {
        self.get(name).map(Tool::traits)
    }

    /// Whether a call of `name` may be repeated. A tool that does not exist has no effect.
    #[must_use]
    pub fn is_idempotent(&self, name: &str) -> bool {
        self.traits(name).is_none_or(|traits| traits.idempotent)
    }

    /// What a model is told of the tools with these names.
    ///
    /// # Errors
    /// When a server that brings tools cannot be asked for them.
    pub async fn specs(&self, names: &[String]) -> Result<Vec<ToolSpec>, ToolsUnavailable> {
        Ok(self.0.iter().map(|tool| tool.spec()).filter(|spec| names.iter().any(|name| covers(name, &spec.name))).collect())
    }

    /// Calls the tool with that name. Whether the run's agent may is for the caller to say.
    pub async fn call(&self, name: &str, arguments: &Value, context: &ToolContext<'_>) -> ToolResult {
        let result = match self.get(name) {
            Some(tool) => tool.call(arguments, context).await,
            None => Err(format!("no tool is named `{name}`")),
        };
        match result {
            Ok(output) => ToolResult { output, is_error: false, full: None },
            Err(problem) => ToolResult { output: format!("error: {problem}"), is_error: true, full: None },
        }
    }

    fn get(&self, name: &str) -> Option<&dyn Tool> {
        self.0.iter().map(AsRef::as_ref).find(|tool| tool.spec().name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_server_stands_for_its_tools_and_no_others() {
        assert!(covers("clock", "clock"));
        assert!(covers("files", "files__read"));
        assert!(covers("files__read", "files__read"));
        for called in ["files__", "files_read", "filesystem__read", "clock", ""] {
            assert!(!covers("files", called), "{called}");
        }
        assert!(!covers("files__read", "files__write"));
    }
}
