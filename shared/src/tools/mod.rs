//! What agents can do besides talking.
//!
//! A [`Tool`] does one thing; the [`Toolbox`] is what the engine sees of all of them. Tools are written by name in agents' files; a
//! server that brings several tools is listed by its own name, which stands for all of them, see [`covers`]. Arguments are checked before a call and results bounded after it, in one place for all..

mod arguments;
#[cfg(feature = "tools")]
mod build;
#[cfg(feature = "tools")]
mod calculator;
mod clock;
#[cfg(feature = "tools")]
mod guard;
#[cfg(feature = "tools")]
mod http_request;
#[cfg(feature = "lambda-tools")]
mod lambda;
#[cfg(feature = "tools")]
mod mcp;
#[cfg(feature = "tools")]
mod openapi;
mod secrets;
#[cfg(feature = "tools")]
mod service;
#[cfg(test)]
mod testing;
mod toolbox;
mod waits;
#[cfg(feature = "tools")]
mod web_search;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

pub use crate::domain::agent::covers;
use crate::domain::id::{RunId, TenantId};
use crate::engine::ports::ToolSpec;

#[cfg(feature = "tools")]
pub use build::{Functions, NoFunctions, ToolError, Workshop};
#[cfg(feature = "lambda-tools")]
pub use lambda::LambdaFunctions;
pub use secrets::{NoSecrets, SecretSource};
pub use toolbox::Toolbox;

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
    /// Where the tool notes that nobody can say whether the call had its effect.
    pub doubt: &'a Doubt,
}

/// Whether a call was sent and its answer did not come, or broke off: it may have had its effect.
#[derive(Debug, Default)]
pub struct Doubt(AtomicBool);

impl Doubt {
    /// It may.
    pub fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it may.
    #[must_use]
    pub fn is_noted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
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
    /// Whether it is an error after which nobody can say whether the call had its effect.
    pub is_uncertain: bool,
    /// The whole result, where `output` is only its beginning.
    pub full: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::covers;

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
