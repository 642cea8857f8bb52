//! Tools of definitions, against servers on the loopback network.

use std::sync::Mutex;

use super::*;
use crate::config::Secret;
use crate::domain::tool_definition::{DEFAULT_RESULT_BYTES, Endpoint, Operation, Place, SearchEngine, SecretHeader};
use crate::fakes::FixedClock;
use crate::tools::secrets::NoSecrets;
use crate::tools::testing::{Server, answer, in_a_run, json as json_answer, redirect};
use crate::tools::{Doubt, ToolResult};

/// The value of the one secret there is.
const SECRET: &str = "s3cret-0123456789";

struct Vault;

#[async_trait]
impl SecretSource for Vault {
    async fn read(&self, name: &str) -> Result<Secret, String> {
        if name == "key" { Ok(Secret::new(SECRET.into())) } else { Err("does not exist".into()) }
    }
}

/// Functions that say what they got.
#[derive(Default)]
struct Invoked(Mutex<Vec<(String, Value)>>);

#[async_trait]
impl Functions for Invoked {
    async fn invoke(&self, function: &str, payload: &Value, doubt: &Doubt) -> Result<String, String> {
        self.0.lock().unwrap().push((function.to_owned(), payload.clone()));
        if function == "breaks" {
            doubt.note();
            return Err("broke off".into());
        }
        if function == "fails" { Err(r#"{"errorType":"Boom"}"#.into()) } else { Ok(r#"{"stock":3}"#.into()) }
    }
}

fn definition(kind: ToolKind) -> ToolDefinition {
    ToolDefinition {
        name: "tool".into(),
        description: None,
        timeout_seconds: 5,
        idempotent: true,
        side_effects: false,
        concurrency: None,
        max_result_bytes: DEFAULT_RESULT_BYTES,
        kind,
    }
}

fn workshop() -> Workshop {
    Workshop { clock: Arc::new(FixedClock::at("2026-01-02T03:04:05Z")), secrets: Arc::new(Vault), functions: Arc::new(NoFunctions) }
}

/// Where the test's server is; the operator lets it be there.
fn endpoint(server: &Server, path: &str) -> Endpoint {
    let headers = vec![SecretHeader { name: "authorization".into(), prefix: "Bearer ".into(), secret: "key".into() }];
    Endpoint { url: format!("http://127.0.0.1:{}{path}", server.port), allow_private: true, headers }
}

async fn call(kind: ToolKind, name: &str, arguments: Value) -> ToolResult {
    let tools = workshop().toolbox(&[definition(kind)]).unwrap();
    tools.call(name, &arguments, &in_a_run()).await
}

fn http_request(server: &Server, methods: &[&str]) -> ToolKind {
    let rule = format!("127.0.0.1:{}", server.port).parse().unwrap();
    let hosts = vec![crate::domain::tool_definition::HostRule { allow_private: true, ..rule }];
    ToolKind::HttpRequest { hosts, methods: methods.iter().map(|&method| method.to_owned()).collect() }
}

#[tokio::test]
async fn a_request_tells_status_headers_and_body() {
    let server = Server::local(|_| {
        "HTTP/1.1 404 Not Found\r\ncontent-type: text/plain\r\nset-cookie: session=1\r\nx-internal: 10.0.0.7\r\ncontent-length: 4\r\nconnection: close\r\n\r\ngone".into()
    });
    let url = format!("http://127.0.0.1:{}/a", server.port);
    let result = call(http_request(&server, &["GET"]), "tool", json!({"url": url, "headers": {"accept": "text/plain"}})).await;
    let told: Value = serde_json::from_str(&result.output).unwrap();
    assert_eq!(told, json!({"status": 404, "url": url, "headers": {"content-type": "text/plain"}, "body": "gone"}));
    assert!(server.seen()[0].head.contains("accept: text/plain"));
}

#[tokio::test]
async fn a_request_is_only_what_its_definition_allows() {
    let server = Server::local(|_| answer("200 OK", "text/plain", "hello"));
    let url = format!("http://127.0.0.1:{}/", server.port);
    for (arguments, part) in [
        (json!({"url": url, "method": "POST"}), "arguments"),
        (json!({"url": url, "headers": {"Authorization": "Bearer x"}}), "arguments/headers"),
        (json!({"url": url, "headers": {"Host": "inside.example"}}), "arguments/headers"),
        (json!({"url": url, "headers": {"Cookie": "a=b"}}), "arguments/headers"),
        (json!({"url": url, "headers": {"accept": "a\r\nhost: x"}}), "headers.accept"),
        (json!({"url": url, "body": "x"}), "arguments"),
        (json!({"url": "http://169.254.169.254/latest/meta-data/"}), "not allowed"),
        (json!({"url": format!("http://localhost:{}/", server.port)}), "not allowed"),
    ] {
        let result = call(http_request(&server, &["GET"]), "tool", arguments.clone()).await;
        assert!(result.is_error && result.output.contains(part), "{arguments}: {}", result.output);
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_request_that_changes_something_carries_the_key_of_its_call() {
    let server = Server::local(|_| answer("201 Created", "application/json", "{}"));
    let arguments = json!({"url": format!("http://127.0.0.1:{}/", server.port), "method": "POST", "body": {"a": [1]}});
    let result = call(http_request(&server, &["GET", "POST"]), "tool", arguments).await;
    assert!(!result.is_error, "{}", result.output);
    let seen = &server.seen()[0];
    assert_eq!(seen.body, r#"{"a":[1]}"#);
    assert!(seen.head.contains("idempotency-key: run:1") && seen.head.contains("content-type: application/json"), "{}", seen.head);
}

#[tokio::test]
async fn a_request_whose_answer_breaks_off_leaves_doubt_if_it_may_have_changed_something() {
    let gone = Server::local(|_| String::new());
    let cut = Server::local(|_| "HTTP/1.1 200 OK\r\ncontent-length: 100\r\nconnection: close\r\n\r\nbegun".into());
    for server in [&gone, &cut] {
        for (method, is_uncertain) in [("POST", true), ("GET", false)] {
            let arguments = json!({"url": format!("http://127.0.0.1:{}/", server.port), "method": method});
            let result = call(http_request(server, &["GET", "POST"]), "tool", arguments).await;
            assert_eq!((result.is_error, result.is_uncertain), (true, is_uncertain), "{method}: {}", result.output);
        }
    }
    for (api, id) in [(api(&gone), "createOrder"), (api(&cut), "createOrder")] {
        let result = call(api, &format!("tool__{id}"), json!({"body": {}})).await;
        assert!(result.is_uncertain, "{}", result.output);
    }
    // Nobody listens there: nothing was sent.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let rule = format!("127.0.0.1:{port}").parse().unwrap();
    let hosts = vec![crate::domain::tool_definition::HostRule { allow_private: true, ..rule }];
    let nowhere = ToolKind::HttpRequest { hosts, methods: vec!["POST".into()] };
    let result = call(nowhere, "tool", json!({"url": format!("http://127.0.0.1:{port}/")})).await;
    assert_eq!((result.is_error, result.is_uncertain), (true, false), "{}", result.output);
}

#[tokio::test]
async fn what_is_no_text_is_counted_and_what_is_long_is_cut() {
    let server = Server::local(|seen| {
        if seen.head.starts_with("GET /text") {
            answer("200 OK", "text/plain", &"é".repeat(600_000))
        } else {
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\n\u{0}\u{1}\u{2}".into()
        }
    });
    let url = |path: &str| json!({"url": format!("http://127.0.0.1:{}{path}", server.port)});
    let result = call(http_request(&server, &["GET"]), "tool", url("/text")).await;
    assert!(result.output.len() < 101_000, "{}", result.output.len());
    assert!(result.full.unwrap().contains("\"body_is_cut_at\":1000000"));
    let binary = call(http_request(&server, &["GET"]), "tool", url("/")).await;
    assert!(binary.output.contains("\\u0000\\u0001"), "control characters are data: {}", binary.output);
}

#[tokio::test]
async fn tavily_is_asked_as_it_wants_to_be() {
    let server = Server::local(|_| {
        json_answer(&json!({"answer": "Rome", "results": [
            {"title": "A", "url": "https://a.example", "content": "a".repeat(5_000), "score": 0.9},
            {"title": "B", "url": "https://b.example", "content": "b"},
            {"title": "C", "url": "https://c.example", "content": "c"},
        ]}))
    });
    let kind = ToolKind::WebSearch { engine: SearchEngine::Tavily, endpoint: endpoint(&server, ""), max_results: 2 };
    let result = call(kind, "tool", json!({"query": "capital of Italy"})).await;
    let told: Value = serde_json::from_str(&result.output).unwrap();
    assert_eq!(told["answer"], "Rome");
    assert_eq!(told["results"].as_array().unwrap().len(), 2);
    assert_eq!(told["results"][0]["content"].as_str().unwrap().chars().count(), 2_001);
    let seen = &server.seen()[0];
    assert!(seen.head.starts_with("POST /search HTTP/1.1"), "{}", seen.head);
    assert!(seen.head.contains(&format!("authorization: Bearer {SECRET}")));
    let body: Value = serde_json::from_str(&seen.body).unwrap();
    assert_eq!((&body["query"], &body["max_results"]), (&json!("capital of Italy"), &json!(2)));
}

#[tokio::test]
async fn searxng_is_asked_as_it_wants_to_be() {
    let server = Server::local(|_| json_answer(&json!({"results": [{"url": "https://a.example", "title": "A", "content": null}]})));
    let endpoint = Endpoint { headers: Vec::new(), ..endpoint(&server, "/searx/") };
    let kind = ToolKind::WebSearch { engine: SearchEngine::Searxng, endpoint, max_results: 5 };
    let result = call(kind, "tool", json!({"query": "a & b"})).await;
    let told: Value = serde_json::from_str(&result.output).unwrap();
    assert_eq!(told, json!({"results": [{"content": "", "title": "A", "url": "https://a.example"}]}));
    assert!(server.seen()[0].head.starts_with("GET /searx/search?q=a+%26+b&format=json "), "{}", server.seen()[0].head);
}

#[tokio::test]
async fn a_search_engine_that_fails_is_data_for_the_model() {
    for (answered, part) in [
        (answer("500 Internal Server Error", "text/html", "<secret stack trace>"), "500"),
        (answer("200 OK", "text/html", "<html>"), "cannot be read"),
        (answer("401 Unauthorized", "text/plain", "no"), "401"),
        (redirect("302 Found", "http://169.254.169.254/"), "not allowed"),
        ("garbage".into(), "cannot be read"),
    ] {
        let server = Server::local(move |_| answered.clone());
        let kind = ToolKind::WebSearch { engine: SearchEngine::Tavily, endpoint: endpoint(&server, ""), max_results: 2 };
        let result = call(kind, "tool", json!({"query": "x"})).await;
        assert!(result.is_error && result.output.contains(part), "{}", result.output);
        assert!(!result.output.contains("stack trace"));
    }
}

#[tokio::test]
async fn a_service_on_a_private_address_must_be_allowed_by_name() {
    let server = Server::local(|_| json_answer(&json!({"results": []})));
    let endpoint = Endpoint { allow_private: false, ..endpoint(&server, "") };
    let kind = ToolKind::WebSearch { engine: SearchEngine::Tavily, endpoint, max_results: 2 };
    let result = call(kind, "tool", json!({"query": "x"})).await;
    assert!(result.is_error && result.output.contains("not on the public internet"), "{}", result.output);
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_is_said_without_its_name() {
    let server = Server::local(|_| json_answer(&json!({"results": []})));
    let mut endpoint = endpoint(&server, "");
    endpoint.headers[0].secret = "prod/other-team/key".into();
    let kind = ToolKind::WebSearch { engine: SearchEngine::Tavily, endpoint, max_results: 2 };
    let result = call(kind, "tool", json!({"query": "x"})).await;
    assert_eq!(result.output, "error: the tool's secret cannot be used; its operator must see to it");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_function_gets_the_arguments_and_whose_run_it_is() {
    let functions = Arc::new(Invoked::default());
    let kind = |function: &str| ToolKind::Lambda {
        function: function.into(),
        parameters: json!({"type": "object", "properties": {"sku": {"type": "string"}}, "required": ["sku"]}),
    };
    let ask = |function: &'static str| {
        let workshop = Workshop { functions: functions.clone(), ..workshop() };
        let tools = workshop.toolbox(&[definition(kind(function))]).unwrap();
        async move { tools.call("tool", &json!({"sku": "A-1", "tenant": "globex"}), &in_a_run()).await }
    };
    assert_eq!(ask("stock").await, ToolResult { output: r#"{"stock":3}"#.into(), is_error: false, is_uncertain: false, full: None });
    let failed = ask("fails").await;
    assert_eq!((failed.output.as_str(), failed.is_error), (r#"error: {"errorType":"Boom"}"#, true));
    assert!(!failed.is_uncertain && ask("breaks").await.is_uncertain);
    let (function, payload) = functions.0.lock().unwrap()[0].clone();
    assert_eq!(function, "stock");
    // The tenant is the run's, whatever the model writes.
    assert_eq!(payload["reprise"]["tenant"], "acme");
    assert_eq!(payload["reprise"]["idempotency_key"], "run:1");
    assert_eq!(payload["arguments"]["sku"], "A-1");
}

fn api(server: &Server) -> ToolKind {
    let get = Operation {
        id: "getOrder".into(),
        description: "one order".into(),
        method: "GET".into(),
        path: "/orders/{id}".into(),
        places: [("id".into(), Place::Path), ("expand".into(), Place::Query), ("x-lang".into(), Place::Header)].into(),
        body: None,
        parameters: json!({
            "type": "object",
            "properties": {"id": {"type": "string"}, "expand": {"type": "array", "items": {"type": "string"}}, "x-lang": {"type": "string"}},
            "required": ["id"],
        }),
    };
    let create = Operation {
        id: "createOrder".into(),
        method: "POST".into(),
        path: "/orders".into(),
        places: [].into(),
        body: Some("body".into()),
        parameters: json!({"type": "object", "properties": {"body": {"type": "object"}}, "additionalProperties": false}),
        ..get.clone()
    };
    ToolKind::OpenApi { endpoint: endpoint(server, "/v2"), operations: vec![get, create] }
}

#[tokio::test]
async fn an_operation_puts_each_parameter_in_its_place() {
    let server = Server::local(|_| json_answer(&json!({"id": "A-1"})));
    let arguments = json!({"id": "A 1", "expand": ["lines", "customer"], "x-lang": "de"});
    let result = call(api(&server), "tool__getOrder", arguments).await;
    assert_eq!(serde_json::from_str::<Value>(&result.output).unwrap(), json!({"status": 200, "body": {"id": "A-1"}}));
    let head = &server.seen()[0].head;
    assert!(head.starts_with("GET /v2/orders/A%201?expand=lines&expand=customer HTTP/1.1"), "{head}");
    assert!(head.contains("x-lang: de") && head.contains(SECRET));
    let created = call(api(&server), "tool__createOrder", json!({"body": {"sku": "A-1", "count": 2}})).await;
    assert!(!created.is_error);
    let seen = &server.seen()[1];
    assert!(seen.head.starts_with("POST /v2/orders HTTP/1.1") && seen.head.contains("idempotency-key: run:1"), "{}", seen.head);
    assert_eq!(serde_json::from_str::<Value>(&seen.body).unwrap(), json!({"sku": "A-1", "count": 2}));
}

#[tokio::test]
async fn a_parameter_cannot_climb_out_of_its_path() {
    let server = Server::local(|_| json_answer(&json!({})));
    for (id, path) in [
        ("../admin", "/v2/orders/%2E%2E%2Fadmin"),
        ("..", "/v2/orders/%2E%2E"),
        ("a?b#c", "/v2/orders/a%3Fb%23c"),
        ("a/../../x", "/v2/orders/a%2F%2E%2E%2F%2E%2E%2Fx"),
        ("%2e%2e/", "/v2/orders/%252e%252e%2F"),
    ] {
        let result = call(api(&server), "tool__getOrder", json!({"id": id})).await;
        let seen = server.seen();
        let line = seen.last().map(|seen| seen.head.lines().next().unwrap_or_default().to_owned()).unwrap_or_default();
        // Either it arrives as one part of the path, or it does not arrive.
        assert!(result.is_error || line == format!("GET {path} HTTP/1.1"), "{id}: {line} {}", result.output);
        assert!(seen.iter().all(|seen| seen.head.starts_with("GET /v2/orders/")), "{id}: {line}");
    }
}

#[tokio::test]
async fn an_error_of_an_operation_is_data_for_the_model() {
    let server = Server::local(|_| answer("422 Unprocessable Content", "application/json", r#"{"detail":"no such sku"}"#));
    let result = call(api(&server), "tool__createOrder", json!({"body": {"sku": "?"}})).await;
    assert!(result.is_error && result.output.contains("no such sku") && result.output.contains("422"), "{}", result.output);
}

#[tokio::test]
async fn a_service_that_says_its_secret_back_tells_the_model_nothing() {
    let server = Server::local(|seen| json_answer(&json!({"you sent": seen.head})));
    let result = call(api(&server), "tool__getOrder", json!({"id": "1"})).await;
    assert!(server.seen()[0].head.contains(SECRET));
    assert!(!result.output.contains(SECRET) && result.output.contains("[secret]"), "{}", result.output);
}

#[test]
fn a_definition_that_cannot_be_built_stops_the_function() {
    let endpoint = Endpoint { url: "ftp://x".into(), allow_private: false, headers: Vec::new() };
    let kind = ToolKind::WebSearch { engine: SearchEngine::Tavily, endpoint, max_results: 2 };
    let workshop = Workshop { secrets: Arc::new(NoSecrets), ..workshop() };
    let error = workshop.toolbox(&[definition(kind)]).err().unwrap();
    assert_eq!(error.to_string(), "tool tool: url: must begin with https:// or http://");
}
