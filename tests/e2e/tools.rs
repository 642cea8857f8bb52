//! Tools over protocols that are not ours: the offline provider's Tavily and its MCP server, called as a function calls them.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use shared::config::Secret;
use shared::domain::id::{RunId, TenantId};
use shared::telemetry::SystemClock;
use shared::tools::{Doubt, NoFunctions, SecretSource, ToolContext, ToolResult, Toolbox, Workshop};
use tests::Stack;

/// Each secret is its own name.
struct Named;

#[async_trait]
impl SecretSource for Named {
    async fn read(&self, name: &str) -> Result<Secret, String> {
        Ok(Secret::new(name.to_owned()))
    }
}

/// The tools of these definitions, with what every definition has.
fn toolbox(kinds: &[(&str, Value)]) -> Toolbox {
    let common = json!({
        "description": "for a test", "timeout_seconds": 10, "idempotent": true, "side_effects": false, "concurrency": null,
        "max_result_bytes": 100_000,
    });
    let definition = |(name, kind): &(&str, Value)| {
        let mut definition = common.clone();
        definition["name"] = json!(name);
        for (field, value) in kind.as_object().into_iter().flatten() {
            definition[field] = value.clone();
        }
        serde_json::from_value(definition).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let definitions: Vec<_> = kinds.iter().map(definition).collect();
    let workshop = Workshop { clock: Arc::new(SystemClock), secrets: Arc::new(Named), functions: Arc::new(NoFunctions) };
    workshop.toolbox(&definitions).unwrap_or_else(|error| panic!("{error}"))
}

async fn call(tools: &Toolbox, name: &str, arguments: Value) -> ToolResult {
    let tenant: TenantId = "acme".parse().unwrap_or_else(|_| panic!("no tenant"));
    let doubt = Doubt::default();
    let context = ToolContext { key: "run:1", tenant: &tenant, run: RunId::new(jiff::Timestamp::UNIX_EPOCH), doubt: &doubt };
    tools.call(name, &arguments, &context).await
}

fn provider(path: &str, allow_private: bool) -> Value {
    let url = format!("{}{path}", Stack::beside().model.base());
    json!({"url": url, "allow_private": allow_private, "headers": [{"name": "authorization", "prefix": "Bearer ", "secret": "tavily"}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_of_the_web_gives_pages() {
    let endpoint = provider("", true);
    let tools = toolbox(&[("web_search", json!({"kind": "web_search", "engine": "tavily", "endpoint": endpoint, "max_results": 3}))]);
    let found = call(&tools, "web_search", json!({"query": "durable agents in Rust"})).await;
    assert!(!found.is_error && found.output.contains("https://example.com/reprise"), "{found:?}");
    let wrong = call(&tools, "web_search", json!({"q": "durable agents"})).await;
    assert!(wrong.is_error && wrong.output.contains("query"), "the model is told what is wrong: {wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tools_of_an_mcp_server_are_listed_and_called() {
    let tools = toolbox(&[("almanac", json!({"kind": "mcp", "endpoint": provider("/mcp", true), "only": [], "optional": false}))]);
    let listed = tools.specs(&["almanac".to_owned()]).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(listed.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>(), ["almanac__population"]);
    let found = call(&tools, "almanac__population", json!({"city": "Berlin"})).await;
    assert!(!found.is_error && found.output.contains("3,878,100"), "{found:?}");
    let wrong = call(&tools, "almanac__population", json!({"town": "Berlin"})).await;
    assert!(wrong.is_error && wrong.output.contains("city"), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_on_an_address_that_is_not_public_is_not_reached_unless_the_operator_says_so() {
    let endpoint = provider("", false);
    let tools = toolbox(&[("web_search", json!({"kind": "web_search", "engine": "tavily", "endpoint": endpoint, "max_results": 3}))]);
    let refused = call(&tools, "web_search", json!({"query": "durable agents"})).await;
    assert!(refused.is_error && !refused.output.contains("example.com"), "{refused:?}");
}
