//! The tools that make a run wait: `ask_human` and `wait`. The engine carries them out itself, because waiting takes no worker;
//! here is what the model is told of them.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Tool, ToolContext, ToolTraits};
use crate::domain::waiting::{ASK_HUMAN, LONGEST_QUESTION, WAIT};
use crate::engine::ports::ToolSpec;

/// Asks a human.
pub(super) struct AskHuman;
/// Waits for a time.
pub(super) struct Wait;

const NOT_HERE: &str = "this tool is carried out by the engine";

#[async_trait]
impl Tool for AskHuman {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: ASK_HUMAN.into(),
            description: "Ask a human a question and wait for the answer. Use it before anything that cannot be undone.".into(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "question": {"type": "string", "maxLength": LONGEST_QUESTION},
                    "expires_in_seconds": {"type": "integer", "minimum": 1, "description": "how long the question stays open; a day if absent"},
                },
                "required": ["question"],
                "additionalProperties": false,
            }),
        }
    }

    fn traits(&self) -> ToolTraits {
        ToolTraits::harmless(Duration::from_secs(1))
    }

    async fn call(&self, _arguments: &Value, _context: &ToolContext<'_>) -> Result<String, String> {
        Err(NOT_HERE.into())
    }
}

#[async_trait]
impl Tool for Wait {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: WAIT.into(),
            description: "Wait, and go on later. Give either seconds or until.".into(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "seconds": {"type": "integer", "minimum": 0},
                    "until": {"type": "string", "description": "RFC 3339, e.g. 2026-01-02T03:04:05Z"},
                },
                "additionalProperties": false,
            }),
        }
    }

    fn traits(&self) -> ToolTraits {
        ToolTraits::harmless(Duration::from_secs(1))
    }

    async fn call(&self, _arguments: &Value, _context: &ToolContext<'_>) -> Result<String, String> {
        Err(NOT_HERE.into())
    }
}
