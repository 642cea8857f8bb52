//! The tool kind `web_search`: one question, a list of pages, by Tavily or SearxNG.

use async_trait::async_trait;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::service::{Service, shortened};
use super::{Tool, ToolContext, ToolTraits};
use crate::domain::tool_definition::SearchEngine;
use crate::engine::ports::ToolSpec;

/// Bytes of an engine's answer.
const MOST_READ: usize = 2_000_000;
/// Characters of what is told of one page.
const LONGEST_EXCERPT: usize = 2_000;

/// Searches the web.
pub(super) struct WebSearch {
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) engine: SearchEngine,
    pub(super) service: Service,
    pub(super) max_results: u32,
    pub(super) traits: ToolTraits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    query: String,
}

/// What both engines answer, of what is used.
#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    answer: Option<String>,
    results: Vec<Page>,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    title: Option<String>,
    url: String,
    #[serde(default)]
    content: Option<String>,
}

#[async_trait]
impl Tool for WebSearch {
    fn spec(&self) -> ToolSpec {
        let description = self.description.as_deref().unwrap_or("Searches the web and gives titles, addresses and excerpts of pages.");
        let parameters = json!({
            "type": "object",
            "properties": {"query": {"type": "string", "minLength": 1, "maxLength": 400, "description": "what to search for"}},
            "required": ["query"],
            "additionalProperties": false,
        });
        ToolSpec { name: self.name.clone(), description: description.to_owned(), parameters }
    }

    fn traits(&self) -> ToolTraits {
        self.traits
    }

    async fn call(&self, arguments: &Value, _context: &ToolContext<'_>) -> Result<String, String> {
        let Arguments { query } = Arguments::deserialize(arguments).map_err(|error| format!("arguments: {error}"))?;
        let mut url = self.service.url("search");
        let request = match self.engine {
            SearchEngine::Tavily => Service::request(Method::POST, &url)
                .json(&json!({"query": query, "max_results": self.max_results, "search_depth": "basic"})),
            SearchEngine::Searxng => {
                url.query_pairs_mut().append_pair("q", &query).append_pair("format", "json");
                Service::request(Method::GET, &url)
            }
        };
        let answer = self.service.send(request).await?;
        let status = answer.status;
        if !status.is_success() {
            return Err(format!("the search engine answered {}", status.as_u16()));
        }
        let body = answer.body.whole(MOST_READ).await.map_err(|error| self.service.failed(error))?;
        let found: Found = serde_json::from_slice(&body).map_err(|_| "the search engine's answer cannot be read")?;
        let most = usize::try_from(self.max_results).unwrap_or(usize::MAX);
        let pages: Vec<Value> = found
            .results
            .into_iter()
            .take(most)
            .map(|page| {
                let excerpt = shortened(page.content.as_deref().unwrap_or_default(), LONGEST_EXCERPT);
                json!({"title": page.title.unwrap_or_default(), "url": page.url, "content": excerpt})
            })
            .collect();
        let mut told = json!({"results": pages});
        if let Some(answer) = found.answer.filter(|answer| !answer.is_empty()) {
            told["answer"] = answer.into();
        }
        Ok(told.to_string())
    }
}
