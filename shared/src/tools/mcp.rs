//! The tool kind `mcp`: a server of tools by the Model Context Protocol over streamable HTTP, through the crate `rmcp` (ADR 0017).
//!
//! A session lasts for one call: nothing stays open while a function is frozen, and nothing of one run is there for the next one.

mod transport;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use rmcp::ServiceExt as _;
use rmcp::model::CallToolRequestParams;
use rmcp::service::{RoleClient, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::Value;

use self::transport::Transport;
use super::ToolContext;
use super::service::{Service, shortened};
use super::toolbox::{ServedTool, ToolServer};
use crate::domain::message::is_too_deep;
use crate::domain::tool_definition::LONGEST_TOOL_NAME;
use crate::engine::ports::ToolSpec;

/// Tools of one server at most; each costs tokens in every call of a model.
const MOST_TOOLS: usize = 128;
/// Characters of a description.
const LONGEST_DESCRIPTION: usize = 2_000;
/// Bytes of a schema.
const LARGEST_SCHEMA: usize = 20_000;

/// A server.
pub(super) struct McpServer {
    pub(super) name: String,
    pub(super) service: Arc<Service>,
    pub(super) only: Vec<String>,
    pub(super) optional: bool,
}

impl McpServer {
    /// A session, and whether a call of a tool was sent in it and may have had its effect.
    async fn session(&self, key: Option<&str>) -> Result<(RunningService<RoleClient, ()>, Arc<AtomicBool>), String> {
        let mut config = StreamableHttpClientTransportConfig::with_uri(self.service.base().as_str());
        config.allow_stateless = true;
        let transport = Transport::new(self.service.clone(), key);
        let is_sent = transport.is_sent();
        let transport = StreamableHttpClientTransport::with_client(transport, config);
        let session = ().serve(transport).await.map_err(|error| {
            tracing::warn!(tool = %self.name, error = %error, "an MCP server did not begin a session");
            "the tool's server did not answer as it should"
        })?;
        Ok((session, is_sent))
    }

    /// Ends the session; the server is told if it wants to be.
    async fn end(&self, session: RunningService<RoleClient, ()>) {
        if let Err(error) = session.cancel().await {
            tracing::warn!(tool = %self.name, error = %error, "a session with an MCP server did not end");
        }
    }
}

#[async_trait]
impl ToolServer for McpServer {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_optional(&self) -> bool {
        self.optional
    }

    async fn list(&self) -> Result<Vec<ServedTool>, String> {
        let (session, _) = self.session(None).await?;
        let listed = session.list_all_tools().await;
        self.end(session).await;
        let tools = listed.map_err(|error| {
            tracing::warn!(tool = %self.name, error = %error, "an MCP server did not list its tools");
            "the tool's server did not list its tools".to_owned()
        })?;
        let mut names = HashSet::new();
        let offered = tools.into_iter().filter(|tool| self.only.is_empty() || self.only.iter().any(|name| *name == tool.name));
        Ok(offered
            .filter_map(|tool| {
                let schema = Value::Object(tool.input_schema.as_ref().clone());
                let description = tool.description.as_deref().unwrap_or_default();
                let spec = spec(&self.name, &tool.name, description, schema).filter(|spec| names.insert(spec.name.clone()));
                if spec.is_none() {
                    tracing::warn!(server = %self.name, tool = %shortened(&tool.name, LONGEST_TOOL_NAME), "a tool of an MCP server cannot be used");
                }
                Some(ServedTool { own_name: tool.name.into_owned(), spec: spec? })
            })
            .take(MOST_TOOLS)
            .collect())
    }

    async fn call(&self, tool: &str, arguments: &Value, context: &ToolContext<'_>) -> Result<String, String> {
        let (session, is_sent) = self.session(Some(context.key)).await?;
        let mut parameters = CallToolRequestParams::new(tool.to_owned());
        parameters.arguments = arguments.as_object().cloned();
        let called = session.call_tool(parameters).await;
        self.end(session).await;
        match called {
            Ok(result) => said(&serde_json::to_value(result).map_err(|_| "the tool's answer cannot be read")?),
            Err(rmcp::ServiceError::McpError(error)) => Err(format!("the tool's server refused the call: {}", error.message)),
            Err(error) => {
                tracing::warn!(tool = %self.name, error = %error, "an MCP server did not answer a call");
                if is_sent.load(Ordering::Relaxed) {
                    context.doubt.note();
                }
                Err("the tool's server did not answer the call".into())
            }
        }
    }
}

/// What a model is told of a tool; nothing if it is not fit for that.
fn spec(server: &str, tool: &str, description: &str, parameters: Value) -> Option<ToolSpec> {
    let plain: String = tool.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' }).collect();
    let name = format!("{server}__{plain}");
    let fits =
        !plain.is_empty() && name.len() <= LONGEST_TOOL_NAME && parameters.to_string().len() <= LARGEST_SCHEMA && !is_too_deep(&parameters);
    fits.then(|| ToolSpec { name, description: shortened(description, LONGEST_DESCRIPTION), parameters })
}

/// The texts of a result; what is no text is named.
fn said(result: &Value) -> Result<String, String> {
    let text_of = |block: &Value| match block.get("type").and_then(Value::as_str) {
        Some("text") => block.get("text").and_then(Value::as_str).map(str::to_owned),
        Some("resource") => block.pointer("/resource/text").and_then(Value::as_str).map(str::to_owned),
        Some("resource_link") => block.get("uri").and_then(Value::as_str).map(|uri| format!("[resource {uri}]")),
        Some(kind) => Some(format!("[{} that cannot be shown]", shortened(kind, 20))),
        None => None,
    };
    let texts: Vec<String> =
        result.get("content").and_then(Value::as_array).map(|blocks| blocks.iter().filter_map(text_of).collect()).unwrap_or_default();
    let text = match (texts.is_empty(), result.get("structuredContent")) {
        (true, Some(structured)) => structured.to_string(),
        _ => texts.join("\n"),
    };
    if result.get("isError").and_then(Value::as_bool) == Some(true) { Err(text) } else { Ok(text) }
}

#[cfg(test)]
mod tests;
