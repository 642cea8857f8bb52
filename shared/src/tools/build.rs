//! Tools of definitions: built once, when a function starts. Whatever cannot be built stops it and says why.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::http_request::HttpRequest;
use super::mcp::McpServer;
use super::openapi::ApiOperation;
use super::secrets::{SecretSource, Secrets};
use super::service::Service;
use super::toolbox::{Bounds, ToolServer, Toolbox};
use super::web_search::WebSearch;
use super::{Doubt, Tool, ToolContext, ToolTraits};
use crate::domain::clock::Clock;
use crate::domain::tool_definition::{ToolDefinition, ToolKind};
use crate::engine::ports::ToolSpec;

/// Functions that can be invoked by name.
#[async_trait]
pub trait Functions: Send + Sync {
    /// Invokes it once and waits for its answer. The error is a text for the model; where it may have run all the same, that is noted.
    async fn invoke(&self, function: &str, payload: &Value, doubt: &Doubt) -> Result<String, String>;
}

/// For a deployment that invokes none.
pub struct NoFunctions;

#[async_trait]
impl Functions for NoFunctions {
    async fn invoke(&self, _function: &str, _payload: &Value, _doubt: &Doubt) -> Result<String, String> {
        Err("this function may invoke no others".into())
    }
}

/// A tool that cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tool {name}: {problem}")]
pub struct ToolError {
    /// The tool.
    pub name: String,
    /// What is wrong.
    pub problem: String,
}

/// What tools are built from.
pub struct Workshop {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where secrets are.
    pub secrets: Arc<dyn SecretSource>,
    /// The functions that can be invoked.
    pub functions: Arc<dyn Functions>,
}

#[derive(Default)]
struct Built {
    tools: Vec<(Arc<dyn Tool>, Bounds)>,
    servers: Vec<(Arc<dyn ToolServer>, Bounds)>,
}

impl Workshop {
    /// The built-in tools and those of the definitions.
    ///
    /// # Errors
    /// Names the first tool that cannot be built.
    pub fn toolbox(self, definitions: &[ToolDefinition]) -> Result<Toolbox, ToolError> {
        let secrets = Arc::new(Secrets::of(self.secrets.clone(), self.clock.clone()));
        let mut built = Built::default();
        for definition in definitions {
            let failed = |problem| ToolError { name: definition.name.clone(), problem };
            self.build(definition, &secrets, &mut built).map_err(failed)?;
        }
        Ok(Toolbox::built_in(self.clock).with(built.tools, built.servers, secrets))
    }

    fn build(&self, definition: &ToolDefinition, secrets: &Arc<Secrets>, built: &mut Built) -> Result<(), String> {
        let ToolDefinition { name, description, .. } = definition;
        let traits = ToolTraits {
            idempotent: definition.idempotent,
            side_effects: definition.side_effects,
            timeout: Duration::from_secs(definition.timeout_seconds),
            concurrency: definition.concurrency,
        };
        let bounds = || Bounds { traits, most_bytes: definition.max_result_bytes };
        let service = |endpoint| Service::new(name, endpoint, secrets.clone());
        let mut add = |tool: Arc<dyn Tool>| built.tools.push((tool, bounds()));
        match &definition.kind {
            ToolKind::HttpRequest { hosts, methods } => {
                add(Arc::new(HttpRequest::new(name, description.as_deref(), hosts, methods, traits)?))
            }
            ToolKind::WebSearch { engine, endpoint, max_results } => {
                let (name, description) = (name.clone(), description.clone());
                let service = service(endpoint)?;
                add(Arc::new(WebSearch { name, description, engine: *engine, service, max_results: *max_results, traits }));
            }
            ToolKind::Lambda { function, parameters } => {
                let description = description.clone().unwrap_or_default();
                let spec = ToolSpec { name: name.clone(), description, parameters: parameters.clone() };
                add(Arc::new(FunctionTool { spec, function: function.clone(), functions: self.functions.clone(), traits }));
            }
            ToolKind::OpenApi { endpoint, operations } => {
                let service = Arc::new(service(endpoint)?);
                for operation in operations {
                    let name = format!("{name}__{}", operation.id);
                    add(Arc::new(ApiOperation { name, operation: operation.clone(), service: service.clone(), traits }));
                }
            }
            ToolKind::Mcp { endpoint, only, optional } => {
                let service = Arc::new(service(endpoint)?);
                let server = McpServer { name: name.clone(), service, only: only.clone(), optional: *optional };
                built.servers.push((Arc::new(server), bounds()));
            }
        }
        Ok(())
    }
}

/// The tool kind `lambda`.
struct FunctionTool {
    spec: ToolSpec,
    function: String,
    functions: Arc<dyn Functions>,
    traits: ToolTraits,
}

#[async_trait]
impl Tool for FunctionTool {
    fn spec(&self) -> ToolSpec {
        self.spec.clone()
    }

    fn traits(&self) -> ToolTraits {
        self.traits
    }

    async fn call(&self, arguments: &Value, context: &ToolContext<'_>) -> Result<String, String> {
        let about = json!({"tool": self.spec.name, "tenant": context.tenant, "run": context.run, "idempotency_key": context.key});
        self.functions.invoke(&self.function, &json!({"arguments": arguments, "reprise": about}), context.doubt).await
    }
}

#[cfg(test)]
mod tests;
