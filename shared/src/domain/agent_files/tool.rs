//! The file of tools.

use serde::Deserialize;
use serde_json::Value;

use super::output::schema;
use super::short::Short;
use super::{At, Checks, filled, openapi};
use crate::domain::definition::TOOLS;
use crate::domain::tool_definition::{
    DEFAULT_RESULT_BYTES, Endpoint, HostRule, LONGEST_TOOL_NAME, Operation, SearchEngine, SecretHeader, ToolDefinition, ToolKind,
};

/// Bytes of the longest description: it is sent with every model call.
const LONGEST_DESCRIPTION: usize = 2_000;
/// Seconds of a call. A worker has 300 less 5 for its farewell, and begins no call that could outlast them: 10 may be a wait for others
/// of the same tool, and the rest is for what comes before it and for its result.
const LONGEST_TIMEOUT: u64 = 280;
/// Where Tavily is.
const TAVILY: &str = "https://api.tavily.com";
/// Methods that a model may be given.
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
/// Where the documents of APIs are.
pub(super) const APIS: &str = "apis/";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolsFile(Vec<ToolFile>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolFile {
    name: At<String>,
    kind: At<Kind>,
    #[serde(default, deserialize_with = "filled")]
    description: Option<At<String>>,
    #[serde(default, deserialize_with = "filled")]
    timeout_seconds: Option<At<u64>>,
    #[serde(default, deserialize_with = "filled")]
    idempotent: Option<bool>,
    #[serde(default, deserialize_with = "filled")]
    side_effects: Option<bool>,
    #[serde(default, deserialize_with = "filled")]
    concurrency: Option<At<u32>>,
    #[serde(default, deserialize_with = "filled")]
    max_result_bytes: Option<At<u64>>,
    #[serde(default, deserialize_with = "filled")]
    hosts: Option<At<Vec<At<Short<HostFile>>>>>,
    #[serde(default, deserialize_with = "filled")]
    methods: Option<At<Vec<At<String>>>>,
    #[serde(default, deserialize_with = "filled")]
    engine: Option<At<SearchEngine>>,
    #[serde(default, deserialize_with = "filled")]
    max_results: Option<At<u32>>,
    #[serde(default, deserialize_with = "filled")]
    url: Option<At<String>>,
    #[serde(default, deserialize_with = "filled")]
    allow_private: Option<At<bool>>,
    #[serde(default, deserialize_with = "filled")]
    headers: Option<At<Vec<HeaderFile>>>,
    #[serde(default, deserialize_with = "filled")]
    only: Option<At<Vec<At<String>>>>,
    #[serde(default, deserialize_with = "filled")]
    optional: Option<At<bool>>,
    #[serde(default, deserialize_with = "filled")]
    function: Option<At<String>>,
    #[serde(default, deserialize_with = "filled")]
    parameters: Option<At<Value>>,
    #[serde(default, deserialize_with = "filled")]
    document: Option<At<String>>,
    #[serde(default, deserialize_with = "filled")]
    operations: Option<At<Vec<At<String>>>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    HttpRequest,
    WebSearch,
    Mcp,
    Lambda,
    #[serde(rename = "openapi")]
    OpenApi,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HostFile {
    host: At<String>,
    #[serde(default)]
    allow_private: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderFile {
    name: At<String>,
    #[serde(default)]
    prefix: String,
    secret: At<String>,
}

pub(super) fn read(checks: &mut Checks<'_>, text: &str) -> Vec<ToolDefinition> {
    let ToolsFile(files) = checks.parse(text).unwrap_or(ToolsFile(Vec::new()));
    let mut tools: Vec<ToolDefinition> = Vec::new();
    for (i, file) in files.iter().enumerate() {
        let name = file.name(checks, &tools, i);
        file.refuse_fields_of_others(checks, i);
        let Some(kind) = file.kind(checks, i) else { continue };
        let is_safe = is_safe(&kind);
        let field = |name: &str| format!("[{i}].{name}");
        let within = |checks: &mut Checks<'_>, at: Option<&At<u64>>, name, least, most, usual| {
            at.map_or(usual, |at| checks.within(at, &field(name), least, most))
        };
        let most_bytes = within(checks, file.max_result_bytes.as_ref(), "max_result_bytes", 1_000, 1_000_000, DEFAULT_RESULT_BYTES as u64);
        tools.push(ToolDefinition {
            name,
            description: file.description.as_ref().map(|at| checks.text(at, &field("description"), LONGEST_DESCRIPTION)),
            timeout_seconds: within(checks, file.timeout_seconds.as_ref(), "timeout_seconds", 1, LONGEST_TIMEOUT, 30),
            idempotent: file.idempotent.unwrap_or(is_safe),
            side_effects: file.side_effects.unwrap_or(!is_safe),
            concurrency: file.concurrency.as_ref().map(|at| checks.within(at, &field("concurrency"), 1, 1_000)),
            max_result_bytes: usize::try_from(most_bytes).unwrap_or(DEFAULT_RESULT_BYTES),
            kind,
        });
    }
    tools
}

/// Whether it does nothing that is not as well done twice: what is not said is taken for the worse.
fn is_safe(kind: &ToolKind) -> bool {
    let reads = |method: &str| matches!(method, "GET" | "HEAD");
    match kind {
        ToolKind::HttpRequest { methods, .. } => methods.iter().all(|method| reads(method)),
        ToolKind::WebSearch { .. } => true,
        ToolKind::Mcp { .. } | ToolKind::Lambda { .. } => false,
        ToolKind::OpenApi { operations, .. } => operations.iter().all(|operation| reads(&operation.method)),
    }
}

impl ToolFile {
    fn name(&self, checks: &mut Checks<'_>, before: &[ToolDefinition], i: usize) -> String {
        let name = self.name.value.clone();
        let field = format!("[{i}].name");
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
        let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
        if name.len() > 40 || !begins || !name.chars().all(fits) || name.contains("__") || name.ends_with('_') {
            let problem = "must be 1 to 40 of a-z, 0-9, `-` and `_`, beginning with a letter, without `__` and without `_` at its end";
            checks.refuse(&self.name, &field, format!("{problem}; it is `{name}`"));
        } else if TOOLS.contains(&name.as_str()) {
            checks.refuse(&self.name, &field, format!("`{name}` is there without a definition; take another name"));
        } else if before.iter().any(|tool| tool.name == name) {
            checks.refuse(&self.name, &field, format!("`{name}` is defined above; take another name"));
        }
        name
    }

    /// A field that its kind does not read would be passed over.
    fn refuse_fields_of_others(&self, checks: &mut Checks<'_>, i: usize) {
        let fields = [
            ("hosts", self.hosts.as_ref().map(|at| at.referenced)),
            ("methods", self.methods.as_ref().map(|at| at.referenced)),
            ("engine", self.engine.as_ref().map(|at| at.referenced)),
            ("max_results", self.max_results.as_ref().map(|at| at.referenced)),
            ("url", self.url.as_ref().map(|at| at.referenced)),
            ("allow_private", self.allow_private.as_ref().map(|at| at.referenced)),
            ("headers", self.headers.as_ref().map(|at| at.referenced)),
            ("only", self.only.as_ref().map(|at| at.referenced)),
            ("optional", self.optional.as_ref().map(|at| at.referenced)),
            ("function", self.function.as_ref().map(|at| at.referenced)),
            ("parameters", self.parameters.as_ref().map(|at| at.referenced)),
            ("document", self.document.as_ref().map(|at| at.referenced)),
            ("operations", self.operations.as_ref().map(|at| at.referenced)),
        ];
        let mine: &[&str] = match self.kind.value {
            Kind::HttpRequest => &["hosts", "methods"],
            Kind::WebSearch => &["engine", "max_results", "url", "allow_private", "headers"],
            Kind::Mcp => &["url", "allow_private", "headers", "only", "optional"],
            Kind::Lambda => &["function", "parameters"],
            Kind::OpenApi => &["url", "allow_private", "headers", "document", "operations"],
        };
        for (name, location) in fields {
            if let Some(location) = location.filter(|_| !mine.contains(&name)) {
                checks.refuse_at(
                    Some(location),
                    &format!("[{i}].{name}"),
                    format!("is not for this kind of tool, which has: {}", mine.join(", ")),
                );
            }
        }
    }

    fn kind(&self, checks: &mut Checks<'_>, i: usize) -> Option<ToolKind> {
        let missing = |checks: &mut Checks<'_>, name: &str, problem: &str| {
            checks.refuse(&self.kind, &format!("[{i}].{name}"), format!("is missing: {problem}"));
        };
        match self.kind.value {
            Kind::HttpRequest => {
                let Some(hosts) = &self.hosts else {
                    missing(checks, "hosts", "the hosts that requests may go to, e.g. [api.example.com, \"*.example.org\"]");
                    return None;
                };
                if hosts.value.is_empty() {
                    checks.refuse(hosts, &format!("[{i}].hosts"), "must name a host, or no request could be sent");
                }
                let hosts = hosts.value.iter().enumerate().filter_map(|(j, at)| host(checks, at, &format!("[{i}].hosts[{j}]"))).collect();
                Some(ToolKind::HttpRequest { hosts, methods: self.methods(checks, i) })
            }
            Kind::WebSearch => {
                let Some(engine) = &self.engine else {
                    missing(checks, "engine", "tavily or searxng");
                    return None;
                };
                let usual = (engine.value == SearchEngine::Tavily).then_some(TAVILY);
                let max_results = self.max_results.as_ref().map_or(5, |at| checks.within(at, &format!("[{i}].max_results"), 1, 20));
                Some(ToolKind::WebSearch { engine: engine.value, endpoint: self.endpoint(checks, i, usual)?, max_results })
            }
            Kind::Mcp => {
                let only = self.only.as_ref().map(|only| only.value.iter().map(|at| at.value.clone()).collect()).unwrap_or_default();
                let optional = self.optional.as_ref().is_some_and(|at| at.value);
                Some(ToolKind::Mcp { endpoint: self.endpoint(checks, i, None)?, only, optional })
            }
            Kind::Lambda => {
                if self.description.is_none() {
                    missing(checks, "description", "what the model is told of the function");
                }
                let Some(function) = &self.function else {
                    missing(checks, "function", "the function's name or ARN");
                    return None;
                };
                let Some(parameters) = &self.parameters else {
                    missing(checks, "parameters", "the JSON Schema of the arguments");
                    return None;
                };
                let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':' | '$');
                if function.value.is_empty() || function.value.len() > 170 || !function.value.chars().all(fits) {
                    checks.refuse(function, &format!("[{i}].function"), "must be a function's name or ARN");
                }
                let parameters = schema(checks, parameters, &format!("[{i}].parameters"));
                Some(ToolKind::Lambda { function: function.value.clone(), parameters })
            }
            Kind::OpenApi => {
                let Some(document) = &self.document else {
                    missing(checks, "document", "the API's document, e.g. apis/orders.yaml");
                    return None;
                };
                let text = checks.attached(document, &format!("[{i}].document"), APIS)?;
                let api = match openapi::read(text) {
                    Ok(api) => api,
                    Err(problem) => {
                        checks.refuse(document, &format!("[{i}].document"), problem);
                        return None;
                    }
                };
                let operations = self.operations(checks, i, &api);
                Some(ToolKind::OpenApi { endpoint: self.endpoint(checks, i, api.server.as_deref())?, operations })
            }
        }
    }

    fn methods(&self, checks: &mut Checks<'_>, i: usize) -> Vec<String> {
        let Some(methods) = &self.methods else { return vec!["GET".into()] };
        if methods.value.is_empty() {
            checks.refuse(methods, &format!("[{i}].methods"), "must name a method");
        }
        for (j, at) in methods.value.iter().enumerate().filter(|(_, at)| !METHODS.contains(&at.value.as_str())) {
            checks.refuse(at, &format!("[{i}].methods[{j}]"), format!("must be one of {}; it is `{}`", METHODS.join(", "), at.value));
        }
        methods.value.iter().map(|at| at.value.clone()).collect()
    }

    /// The operations that are tools, each of which must be fit for that.
    fn operations(&self, checks: &mut Checks<'_>, i: usize, api: &openapi::Api) -> Vec<Operation> {
        let place = self.operations.as_ref().map_or(self.document.as_ref().map(|at| at.referenced), |at| Some(at.referenced));
        let wanted: Vec<&str> = match &self.operations {
            Some(listed) => listed.value.iter().map(|at| at.value.as_str()).collect(),
            None => api.ids(),
        };
        if wanted.is_empty() {
            checks.refuse_at(place, &format!("[{i}].operations"), "there is no operation with an operationId");
        }
        let mut operations = Vec::new();
        for id in wanted {
            let name = format!("{}__{id}", self.name.value);
            match api.operation(id) {
                Ok(operation) if name.len() <= LONGEST_TOOL_NAME => operations.push(operation),
                Ok(_) => {
                    checks.refuse_at(place, &format!("[{i}].operations"), format!("`{name}` has more than {LONGEST_TOOL_NAME} letters"))
                }
                Err(problem) => checks.refuse_at(place, &format!("[{i}].operations"), format!("`{id}` {problem}")),
            }
        }
        operations
    }

    fn endpoint(&self, checks: &mut Checks<'_>, i: usize, usual: Option<&str>) -> Option<Endpoint> {
        let url = match (&self.url, usual) {
            (Some(at), _) => {
                let rest = at.value.strip_prefix("https://").or_else(|| at.value.strip_prefix("http://"));
                let host = rest.map(|rest| rest.split('/').next().unwrap_or_default());
                let is_exact = host.and_then(|host| host.parse::<HostRule>().ok()).is_some_and(|rule| rule.is_exact());
                if !is_exact || at.value.contains(['?', '#']) {
                    let problem = "must be https://… or http://…, with the host in lower case and without `?` and `#`";
                    checks.refuse(at, &format!("[{i}].url"), problem);
                }
                at.value.clone()
            }
            (None, Some(usual)) => usual.to_owned(),
            (None, None) => {
                checks.refuse(&self.kind, &format!("[{i}].url"), "is missing: the address of the service");
                return None;
            }
        };
        let headers = self.headers.as_ref().map(|at| at.value.as_slice()).unwrap_or_default();
        let headers = headers.iter().enumerate().map(|(j, file)| {
            let field = format!("[{i}].headers[{j}]");
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if file.name.value.is_empty() || !file.name.value.chars().all(fits) {
                checks.refuse(&file.name, &format!("{field}.name"), "must be a header's name in lower case, e.g. authorization");
            }
            let secret = checks.text(&file.secret, &format!("{field}.secret"), 512);
            SecretHeader { name: file.name.value.clone(), prefix: file.prefix.clone(), secret }
        });
        let headers = headers.collect();
        Some(Endpoint { url, allow_private: self.allow_private.as_ref().is_some_and(|at| at.value), headers })
    }
}

fn host(checks: &mut Checks<'_>, at: &At<Short<HostFile>>, field: &str) -> Option<HostRule> {
    let (text, allow_private) = match &at.value {
        Short::Text(text) => (text, false),
        Short::Map(file) => (&file.host.value, file.allow_private),
    };
    match text.parse::<HostRule>() {
        Ok(rule) if allow_private && !rule.is_exact() => {
            checks.refuse(at, field, "`allow_private` is for a host that is named, not for `*`");
            None
        }
        Ok(rule) => Some(HostRule { allow_private, ..rule }),
        Err(problem) => {
            checks.refuse(at, field, format!("{problem}; it is `{text}`"));
            None
        }
    }
}

#[cfg(test)]
mod tests;
