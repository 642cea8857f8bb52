//! What agents can do besides talking.

mod clock;
mod waits;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use crate::domain::clock::Clock;
use crate::domain::definition::ToolUse;
use crate::engine::ports::ToolSpec;

/// One tool. Its errors are texts for the model: data, not failures of the run.
#[async_trait]
pub trait Tool: Send + Sync {
    /// What the model is told of it.
    fn spec(&self) -> ToolSpec;
    /// Whether a call that may have happened may be made again.
    fn is_idempotent(&self) -> bool;
    /// How long a call may take.
    fn timeout(&self) -> Duration;
    /// Does it. `key` is `<run>:<step>`: the same call has the same key, however often it is made.
    async fn call(&self, arguments: &Value, key: &str) -> Result<String, String>;
}

/// The tools of this version, by name.
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

    /// The tool with that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&dyn Tool> {
        self.0.iter().map(AsRef::as_ref).find(|tool| tool.spec().name == name)
    }

    /// Whether a call of `name` may be repeated. A tool that does not exist has no effect.
    #[must_use]
    pub fn is_idempotent(&self, name: &str) -> bool {
        self.get(name).is_none_or(Tool::is_idempotent)
    }

    /// What a model is told of the tools with these names.
    #[must_use]
    pub fn specs(&self, tools: &[ToolUse]) -> Vec<ToolSpec> {
        self.0.iter().map(|tool| tool.spec()).filter(|spec| tools.iter().any(|tool| tool.name == spec.name)).collect()
    }
}
