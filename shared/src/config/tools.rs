//! Where the services of tools are in this deployment, where that is not what their definitions say: `TOOLS`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{ConfigError, Environment, variables};
use crate::domain::definition::Bundle;
use crate::domain::tool_definition::{ToolDefinition, ToolKind};

/// What this deployment has in other places.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ToolsConfig(BTreeMap<String, Elsewhere>);

/// What may differ from a definition.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Elsewhere {
    /// The address of its service.
    #[serde(default)]
    url: Option<String>,
    /// Whether that may be on an address that is not public.
    #[serde(default)]
    allow_private: Option<bool>,
    /// The name or ARN of its Lambda function.
    #[serde(default)]
    function: Option<String>,
}

impl ToolsConfig {
    /// Reads `TOOLS`.
    ///
    /// # Errors
    /// When it is not the JSON that it must be.
    pub fn read(env: &Environment) -> Result<Self, ConfigError> {
        let text = env.required(variables::TOOLS)?;
        serde_json::from_str(&text)
            .map_err(|error| wrong(format!("must be JSON, {{\"<tool>\": {{\"url\": …, \"allow_private\": …}}}}: {error}")))
    }

    /// The definitions as they are in this deployment; without those that no agent lists, which a function need not build.
    ///
    /// # Errors
    /// Names the tool that is not defined, or that has no such thing.
    pub fn applied(&self, bundle: &Bundle) -> Result<Vec<ToolDefinition>, ConfigError> {
        let mut definitions = bundle.tools.clone();
        for (name, elsewhere) in &self.0 {
            let tool = definitions.iter_mut().find(|tool| tool.name == *name);
            let tool = tool.ok_or_else(|| wrong(format!("{name}: no tool of that name is defined")))?;
            let of_no_use = |field: &str| wrong(format!("{name}.{field}: is nothing that this kind of tool has"));
            let (mut endpoint, mut invoked) = (None, None);
            match &mut tool.kind {
                ToolKind::WebSearch { endpoint: it, .. } | ToolKind::Mcp { endpoint: it, .. } | ToolKind::OpenApi { endpoint: it, .. } => {
                    endpoint = Some(it);
                }
                ToolKind::Lambda { function, .. } => invoked = Some(function),
                ToolKind::HttpRequest { .. } => {}
            }
            if let Some(url) = &elsewhere.url {
                endpoint.as_mut().ok_or_else(|| of_no_use("url"))?.url.clone_from(url);
            }
            if let Some(allow_private) = elsewhere.allow_private {
                endpoint.as_mut().ok_or_else(|| of_no_use("allow_private"))?.allow_private = allow_private;
            }
            if let Some(function) = &elsewhere.function {
                invoked.ok_or_else(|| of_no_use("function"))?.clone_from(function);
            }
        }
        let used = bundle.agents.iter().flat_map(|agent| &agent.tools);
        definitions.retain(|definition| used.clone().any(|tool| definition.offers(&tool.name)));
        Ok(definitions)
    }
}

fn wrong(problem: String) -> ConfigError {
    ConfigError { name: variables::TOOLS, problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::definition::ToolUse;
    use crate::domain::tool_definition::Endpoint;

    fn definitions() -> Vec<ToolDefinition> {
        let endpoint = Endpoint { url: "https://api.example.com".into(), allow_private: false, headers: Vec::new() };
        let mcp = ToolKind::Mcp { endpoint, only: Vec::new(), optional: false };
        let lambda = ToolKind::Lambda { function: "stock".into(), parameters: serde_json::json!({}) };
        let http = ToolKind::HttpRequest { hosts: Vec::new(), methods: Vec::new() };
        [("files", mcp), ("stock", lambda), ("fetch", http)]
            .map(|(name, kind)| ToolDefinition {
                name: name.into(),
                description: None,
                timeout_seconds: 1,
                idempotent: true,
                side_effects: false,
                concurrency: None,
                max_result_bytes: 1_000,
                kind,
            })
            .into()
    }

    fn applied(text: &str) -> Result<Vec<ToolDefinition>, ConfigError> {
        let mut bundle = Bundle { tools: definitions(), ..Bundle::embedded() };
        bundle.agents[0].tools = ["clock", "files__read", "stock"].map(ToolUse::of).into();
        serde_json::from_str::<ToolsConfig>(text).unwrap().applied(&bundle)
    }

    #[test]
    fn a_deployment_may_have_services_elsewhere() {
        assert_eq!(applied("{}").unwrap(), definitions()[..2], "no agent lists the third");
        let tools =
            applied(r#"{"files": {"url": "http://127.0.0.1:1/mcp", "allow_private": true}, "stock": {"function": "stock-test"}}"#).unwrap();
        let ToolKind::Mcp { endpoint, .. } = &tools[0].kind else { panic!("{tools:?}") };
        assert_eq!((endpoint.url.as_str(), endpoint.allow_private), ("http://127.0.0.1:1/mcp", true));
        assert!(matches!(&tools[1].kind, ToolKind::Lambda { function, .. } if function == "stock-test"));
    }

    #[test]
    fn what_is_not_there_cannot_be_elsewhere() {
        for (text, problem) in [
            (r#"{"mail": {}}"#, "mail: no tool of that name is defined"),
            (r#"{"fetch": {"url": "https://x.example"}}"#, "fetch.url: is nothing"),
            (r#"{"stock": {"allow_private": true}}"#, "stock.allow_private: is nothing"),
            (r#"{"files": {"function": "f"}}"#, "files.function: is nothing"),
        ] {
            let error = applied(text).unwrap_err();
            assert!(error.name == "TOOLS" && error.problem.starts_with(problem), "{error}");
        }
        for text in ["", "[]", r#"{"files": {"uri": "x"}}"#, "nonsense"] {
            assert!(serde_json::from_str::<ToolsConfig>(text).is_err(), "{text}");
        }
    }
}
