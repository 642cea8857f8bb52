//! Tools as data: what `infra/agents/tools.yaml` defines beyond the tools that need no definition.
//!
//! Shared with the reader of the files, so it needs nothing but `serde`. What tools do is in [`crate::tools`].

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What providers take as the name of a function.
pub const LONGEST_TOOL_NAME: usize = 64;

/// Bytes of a result that the model is told of, unless the definition says otherwise.
pub const DEFAULT_RESULT_BYTES: usize = 100_000;

/// A tool, or a server of tools, of the deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolDefinition {
    /// Its name in agents' files. The tools of a server are called `<name>__<tool>`.
    pub name: String,
    /// What the model is told of it; of the tools of a server, what the server says.
    pub description: Option<String>,
    /// How long a call may take.
    pub timeout_seconds: u64,
    /// Whether a call that may have happened may be made again.
    pub idempotent: bool,
    /// Whether a call changes something outside of the run.
    pub side_effects: bool,
    /// How many calls one worker makes at a time; any number if absent.
    pub concurrency: Option<u32>,
    /// Bytes of a result that the model is told of.
    pub max_result_bytes: usize,
    /// What it does.
    #[serde(flatten)]
    pub kind: ToolKind,
}

impl ToolDefinition {
    /// Whether an agent may list `name`: the tool, or one of those that it stands for. What a server offers is not known here.
    #[must_use]
    pub fn offers(&self, name: &str) -> bool {
        let Some(part) = name.strip_prefix(self.name.as_str()) else { return false };
        match (part.strip_prefix("__"), &self.kind) {
            (None, _) => part.is_empty(),
            (Some(tool), ToolKind::Mcp { only, .. }) => !tool.is_empty() && (only.is_empty() || only.iter().any(|name| name == tool)),
            (Some(tool), ToolKind::OpenApi { operations, .. }) => operations.iter().any(|operation| operation.id == tool),
            (Some(_), ToolKind::HttpRequest { .. } | ToolKind::WebSearch { .. } | ToolKind::Lambda { .. }) => false,
        }
    }
}

/// What a tool does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ToolKind {
    /// Sends HTTP requests that the model writes, to hosts that the definition lists.
    HttpRequest {
        /// Where it may send them.
        hosts: Vec<HostRule>,
        /// With which methods.
        methods: Vec<String>,
    },
    /// Searches the web.
    WebSearch {
        /// With what.
        engine: SearchEngine,
        /// Where it is.
        endpoint: Endpoint,
        /// How many results.
        max_results: u32,
    },
    /// A server of tools by the Model Context Protocol, over streamable HTTP.
    Mcp {
        /// Where it is.
        endpoint: Endpoint,
        /// Those of its tools that are used; all if empty.
        only: Vec<String>,
        /// Whether agents work without it when it does not answer.
        optional: bool,
    },
    /// A Lambda function.
    Lambda {
        /// Its name or ARN.
        function: String,
        /// The JSON Schema of its arguments.
        parameters: Value,
    },
    /// The operations of an HTTP API.
    OpenApi {
        /// Where it is.
        endpoint: Endpoint,
        /// What it does.
        operations: Vec<Operation>,
    },
}

/// What answers a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SearchEngine {
    /// Tavily's API.
    Tavily,
    /// An instance of SearxNG that serves JSON.
    Searxng,
}

/// Where a service is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its address.
    pub url: String,
    /// Whether it may be on an address that is not public.
    #[serde(default)]
    pub allow_private: bool,
    /// Headers that hold secrets.
    #[serde(default)]
    pub headers: Vec<SecretHeader>,
}

/// A header whose value is, or ends in, a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretHeader {
    /// The header.
    pub name: String,
    /// What goes before the secret, e.g. `Bearer `.
    #[serde(default)]
    pub prefix: String,
    /// The secret's name; never the secret.
    pub secret: String,
}

/// One operation of an HTTP API, as one tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its `operationId`.
    pub id: String,
    /// What it is for.
    pub description: String,
    /// In upper case.
    pub method: String,
    /// Below the server's address, with `{name}` for parameters.
    pub path: String,
    /// Where each parameter goes.
    pub places: BTreeMap<String, Place>,
    /// The argument that is the whole body, if there is one.
    pub body: Option<String>,
    /// The JSON Schema of its arguments.
    pub parameters: Value,
}

/// Where a parameter goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Into the path.
    Path,
    /// Into the query.
    Query,
    /// Into a header.
    Header,
}

/// Hosts that a model may have requests sent to: `api.example.com`, `*.example.com` (what is below it), `*` (any public host), each with
/// `:port` if it is not the protocol's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRule {
    /// As above, without the port.
    pub host: String,
    /// Which port; the protocol's own if absent.
    #[serde(default)]
    pub port: Option<u16>,
    /// Whether the host may be on an address that is not public.
    #[serde(default)]
    pub allow_private: bool,
}

/// Why a text is no rule for hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidHost;

impl fmt::Display for InvalidHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "must be a host in lower case, e.g. `api.example.com`, `*.example.com` or `api.example.com:8443`, without protocol and path",
        )
    }
}

impl std::error::Error for InvalidHost {}

impl HostRule {
    /// Whether requests to this host and port are allowed. `usual` is the protocol's own port.
    #[must_use]
    pub fn allows(&self, host: &str, port: u16, usual: u16) -> bool {
        let is_port = port == self.port.unwrap_or(usual);
        // A name without dots is one of this network, and an address has no names below it: both must be listed as they are.
        let is_name_of_the_internet = host.contains('.') && !is_address(host);
        let is_host = match self.host.strip_prefix('*') {
            Some("") => is_name_of_the_internet,
            Some(end) => is_name_of_the_internet && host.len() > end.len() && host.ends_with(end),
            None => host == self.host,
        };
        is_port && is_host
    }

    /// Whether it names one host.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        !self.host.starts_with('*')
    }
}

/// Whether a host, as a URL holds it, is an address and not a name.
fn is_address(host: &str) -> bool {
    host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok()
}

impl FromStr for HostRule {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && !port.ends_with(']') => {
                (host, Some(port.parse().ok().filter(|&port| port > 0).ok_or(InvalidHost)?))
            }
            _ => (text, None),
        };
        let name = host.strip_prefix("*.").unwrap_or(host);
        let is_label = |label: &str| {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            (1..=63).contains(&label.len()) && label.chars().all(fits) && !label.starts_with('-') && !label.ends_with('-')
        };
        let is_v6 = || {
            let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            inside.and_then(|host| host.parse::<std::net::Ipv6Addr>().ok()).is_some_and(|address| format!("[{address}]") == host)
        };
        if host == "*" || (name.len() <= 253 && name.split('.').all(is_label)) || is_v6() {
            Ok(Self { host: host.to_owned(), port, allow_private: false })
        } else {
            Err(InvalidHost)
        }
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(rule: &str, host: &str, port: u16) -> bool {
        rule.parse::<HostRule>().unwrap().allows(host, port, 443)
    }

    #[test]
    fn a_rule_allows_its_host_and_port_and_no_other() {
        assert!(allows("api.example.com", "api.example.com", 443));
        assert!(allows("api.example.com:8443", "api.example.com", 8443));
        assert!(allows("[::1]:8443", "[::1]", 8443));
        assert!(allows("10.0.0.1", "10.0.0.1", 443));
        for (host, port) in [
            ("example.com", 443),
            ("evil-api.example.com", 443),
            ("api.example.com.evil.org", 443),
            ("x.api.example.com", 443),
            ("api.example.com", 8443),
        ] {
            assert!(!allows("api.example.com", host, port), "{host}:{port}");
        }
        assert!(!allows("api.example.com:8443", "api.example.com", 443));
    }

    #[test]
    fn a_star_stands_for_names_below_and_never_for_addresses() {
        assert!(allows("*.example.com", "a.example.com", 443));
        assert!(allows("*.example.com", "a.b.example.com", 443));
        assert!(allows("*", "example.org", 443));
        assert!(!allows("*.example.com", "example.com", 443));
        assert!(!allows("*.example.com", "evilexample.com", 443));
        assert!(!allows("*.example.com", ".example.com", 443));
        for host in ["10.0.0.1", "[2606:4700::1111]", "localhost", "metadata"] {
            assert!(!allows("*", host, 443), "{host}");
        }
    }

    #[test]
    fn what_is_no_host_is_no_rule() {
        for text in [
            "",
            "https://example.com",
            "example.com/",
            "Example.com",
            "a..b",
            "example.com.",
            "*.*.com",
            "a*.com",
            "exa mple.com",
            "host:0",
            "host:99999",
            "host:",
            "-a.com",
            "user@host",
            "[::1",
            "[0:0::1]",
            "bücher.example",
        ] {
            assert!(text.parse::<HostRule>().is_err(), "{text}");
        }
    }
}
