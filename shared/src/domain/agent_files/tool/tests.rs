//! What the file of tools may say.

use serde_json::json;

use super::super::tests::{AGENT, file};
use super::super::{SourceFile, compile, schema_tests};
use super::*;
use crate::domain::tool_definition::Place;

const API: &str = "openapi: 3.1.0
servers: [{url: https://api.example.com/v2}]
paths:
  /orders/{id}:
    parameters:
      - {name: id, in: path, required: true, schema: {type: string}}
    get:
      operationId: getOrder
      summary: One order.
      parameters:
        - {name: expand, in: query, schema: {type: array, items: {type: string}}}
        - {$ref: '#/components/parameters/Language'}
  /orders:
    post:
      operationId: createOrder
      requestBody:
        required: true
        content: {application/json: {schema: {$ref: '#/components/schemas/Order'}}}
  /loop:
    post:
      operationId: loop
      requestBody: {content: {application/json: {schema: {$ref: '#/components/schemas/Loop'}}}}
  /form:
    post:
      operationId: form
      requestBody: {content: {text/plain: {schema: {type: string}}}}
  /cookie:
    get:
      operationId: cookie
      parameters: [{name: session, in: cookie, schema: {type: string}}]
  /hole/{x}:
    get: {operationId: hole}
components:
  parameters:
    Language: {name: x-lang, in: header, schema: {type: string}}
  schemas:
    Order: {type: object, properties: {sku: {type: string}}, required: [sku]}
    Loop: {type: object, properties: {next: {$ref: '#/components/schemas/Loop'}}}
";

fn files(tools: &str) -> [SourceFile; 3] {
    // The document must be named, or it would be refused itself.
    let tools = if tools.contains("apis/orders.yaml") {
        tools.to_owned()
    } else {
        format!("{tools}\n- {{name: zz-api, kind: openapi, document: apis/orders.yaml, operations: [getOrder]}}\n")
    };
    [file("assistant.yaml", AGENT), file("tools.yaml", tools), file("apis/orders.yaml", API)]
}

fn defined(tools: &str) -> ToolDefinition {
    schema_tests::agrees_to_take("tools.yaml", tools);
    compile(&files(tools)).unwrap().tools.remove(0)
}

#[test]
fn a_tool_has_defaults_for_what_it_does_not_say() {
    let tool = defined("- {name: fetch, kind: http_request, hosts: [api.example.com]}");
    assert_eq!(
        tool,
        ToolDefinition {
            name: "fetch".into(),
            description: None,
            timeout_seconds: 30,
            idempotent: true,
            side_effects: false,
            concurrency: None,
            max_result_bytes: DEFAULT_RESULT_BYTES,
            kind: ToolKind::HttpRequest { hosts: vec!["api.example.com".parse().unwrap()], methods: vec!["GET".into()] },
        }
    );
    let posts = defined("- {name: fetch, kind: http_request, hosts: [api.example.com], methods: [GET, POST]}");
    assert!(!posts.idempotent && posts.side_effects, "what is not said is taken for the worse");
    let mcp = defined("- {name: files, kind: mcp, url: 'https://mcp.example.com/mcp'}");
    assert!(!mcp.idempotent && mcp.side_effects);
    let search = defined("- {name: web_search, kind: web_search, engine: tavily}");
    let ToolKind::WebSearch { endpoint, max_results: 5, .. } = search.kind else { panic!("{search:?}") };
    assert_eq!((endpoint.url.as_str(), endpoint.allow_private), ("https://api.tavily.com", false));
}

#[test]
fn a_tool_says_all_that_it_can() {
    let tool = defined(
        "- name: files
  kind: mcp
  url: http://localhost:4010/mcp
  allow_private: true
  headers: [{name: authorization, prefix: 'Bearer ', secret: reprise/files}]
  only: [read]
  optional: true
  timeout_seconds: 9
  idempotent: true
  side_effects: false
  concurrency: 2
  max_result_bytes: 5000",
    );
    assert_eq!((tool.timeout_seconds, tool.concurrency, tool.max_result_bytes, tool.idempotent), (9, Some(2), 5_000, true));
    let header = SecretHeader { name: "authorization".into(), prefix: "Bearer ".into(), secret: "reprise/files".into() };
    let endpoint = Endpoint { url: "http://localhost:4010/mcp".into(), allow_private: true, headers: vec![header] };
    assert_eq!(tool.kind, ToolKind::Mcp { endpoint, only: vec!["read".into()], optional: true });
    // The bundle holds it as it is.
    let bundle = serde_json::to_value(&tool).unwrap();
    assert_eq!(serde_json::from_value::<ToolDefinition>(bundle).unwrap(), tool);
}

#[test]
fn operations_are_tools_with_their_schemas() {
    let tool = defined("- {name: orders, kind: openapi, document: apis/orders.yaml, operations: [getOrder, createOrder]}");
    assert!(!tool.idempotent, "one of them writes");
    let ToolKind::OpenApi { endpoint, operations } = tool.kind else { panic!("{tool:?}") };
    assert_eq!(endpoint.url, "https://api.example.com/v2");
    let get = &operations[0];
    assert_eq!((get.method.as_str(), get.path.as_str(), get.description.as_str()), ("GET", "/orders/{id}", "One order."));
    assert_eq!(get.places, [("expand".into(), Place::Query), ("id".into(), Place::Path), ("x-lang".into(), Place::Header)].into());
    assert_eq!(get.parameters["required"], json!(["id"]));
    let create = &operations[1];
    assert_eq!(create.body.as_deref(), Some("body"));
    assert_eq!(create.parameters["properties"]["body"]["properties"]["sku"], json!({"type": "string"}));
    assert_eq!(create.parameters["required"], json!(["body"]));
}

#[test]
fn agents_may_list_what_is_defined_and_nothing_else() {
    let tools = "- {name: files, kind: mcp, url: 'https://mcp.example.com/mcp', only: [read]}
- {name: orders, kind: openapi, document: apis/orders.yaml, operations: [getOrder]}
- {name: fetch, kind: http_request, hosts: [api.example.com]}";
    let with = |listed: &str| {
        let mut files = files(tools);
        files[0] = file("assistant.yaml", AGENT.replace("[clock]", listed));
        compile(&files).map_err(|refusals| refusals[0].to_string())
    };
    assert!(with("[clock, calculator, files, orders__getOrder, fetch]").is_ok());
    assert!(with("[files__read, orders]").is_ok());
    for (listed, name) in [("[files__write]", "files__write"), ("[orders__createOrder]", "orders__createOrder"), ("[fetch__x]", "fetch__x")]
    {
        let refusal = with(listed).unwrap_err();
        assert!(refusal.starts_with("infra/agents/assistant.yaml:5: tools[0]: "), "{refusal}");
        assert!(refusal.contains(&format!("no tool is named `{name}`")) && refusal.contains("files, orders, fetch"), "{refusal}");
    }
}

#[test]
fn what_does_not_hold_is_refused_with_its_place() {
    for (tools, place, says) in [
        ("- {name: clock, kind: mcp, url: 'https://x.example/'}", "1: [0].name", "without a definition"),
        ("- {name: Files, kind: mcp, url: 'https://x.example/'}", "1: [0].name", "a-z"),
        ("- {name: a__b, kind: mcp, url: 'https://x.example/'}", "1: [0].name", "`__`"),
        (
            "- {name: a, kind: mcp, url: 'https://x.example/'}\n- {name: a, kind: mcp, url: 'https://x.example/'}",
            "2: [1].name",
            "defined above",
        ),
        ("- {name: a, kind: soap, url: 'https://x.example/'}", "1", "soap"),
        ("- {name: a, kind: mcp}", "1: [0].url", "missing"),
        ("- {name: a, kind: mcp, url: 'ftp://x.example/'}", "1: [0].url", "https://"),
        ("- {name: a, kind: mcp, url: 'https://user:pw@x.example/'}", "1: [0].url", "https://"),
        ("- {name: a, kind: mcp, url: 'https://x.example/', hosts: [b.example]}", "1: [0].hosts", "not for this kind"),
        ("- {name: a, kind: mcp, url: 'https://x.example/', key: b}", "1: [0].key", "key"),
        (
            "- {name: a, kind: mcp, url: 'https://x.example/', headers: [{name: Authorization, secret: b}]}",
            "1: [0].headers[0].name",
            "lower case",
        ),
        ("- {name: a, kind: mcp, url: 'https://x.example/', timeout_seconds: 0}", "1: [0].timeout_seconds", "from 1 to 280"),
        ("- {name: a, kind: mcp, url: 'https://x.example/', timeout_seconds: 281}", "1: [0].timeout_seconds", "from 1 to 280"),
        ("- {name: a, kind: mcp, url: 'https://x.example/', concurrency: 0}", "1: [0].concurrency", "from 1"),
        ("- {name: a, kind: http_request}", "1: [0].hosts", "missing"),
        ("- {name: a, kind: http_request, hosts: []}", "1: [0].hosts", "name a host"),
        ("- {name: a, kind: http_request, hosts: ['https://x.example']}", "1: [0].hosts[0]", "without protocol"),
        ("- {name: a, kind: http_request, hosts: [{host: '*.example', allow_private: true}]}", "1: [0].hosts[0]", "named"),
        ("- {name: a, kind: http_request, hosts: [x.example], methods: [TRACE]}", "1: [0].methods[0]", "TRACE"),
        ("- {name: a, kind: web_search}", "1: [0].engine", "tavily"),
        ("- {name: a, kind: web_search, engine: searxng}", "1: [0].url", "missing"),
        ("- {name: a, kind: lambda, function: f, parameters: {}}", "1: [0].description", "missing"),
        ("- {name: a, kind: lambda, description: d, parameters: {}}", "1: [0].function", "missing"),
        ("- {name: a, kind: lambda, description: d, function: 'a b', parameters: {}}", "1: [0].function", "ARN"),
        ("- {name: a, kind: lambda, description: d, function: f, parameters: {type: nonsense}}", "1: [0].parameters", "valid JSON Schema"),
        ("- {name: a, kind: openapi, document: apis/none.yaml}\n# apis/orders.yaml", "1: [0].document", "none.yaml"),
        ("- {name: a, kind: openapi, document: apis/orders.yaml, operations: [nope]}", "1: [0].operations", "not in the document"),
        ("- {name: a, kind: openapi, document: apis/orders.yaml, operations: [loop]}", "1: [0].operations", "holds itself"),
        ("- {name: a, kind: openapi, document: apis/orders.yaml, operations: [form]}", "1: [0].operations", "application/json"),
        ("- {name: a, kind: openapi, document: apis/orders.yaml, operations: [cookie]}", "1: [0].operations", "session"),
        ("- {name: a, kind: openapi, document: apis/orders.yaml, operations: [hole]}", "1: [0].operations", "{x}"),
    ] {
        let mut files = files(tools).into_iter().collect::<Vec<_>>();
        if tools.contains("apis/none.yaml") {
            files.pop();
        }
        let refusals = compile(&files).unwrap_err();
        let refusal = refusals[0].to_string();
        assert!(refusal.starts_with(&format!("infra/agents/tools.yaml:{place}")), "{tools}\n{refusal}");
        assert!(refusal.contains(says), "{tools}\n{refusal}");
        schema_tests::agrees_to_refuse("tools.yaml", tools, &refusal);
    }
}
