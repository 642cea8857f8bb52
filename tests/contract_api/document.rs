//! The API's document as data: operations, answers, and whether a value fits a schema of it.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jsonschema::{Draft, Validator};
use lambda_http::http::HeaderMap;
use serde_json::{Value, json};

/// The document that the API serves. Its answers are closed: a field that it does not name is an error here, though not to clients.
pub(crate) static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
    let mut document = serde_json::from_str(agent_api::OPENAPI).expect("openapi.json is JSON");
    close(&mut document);
    Document(document)
});

/// An OpenAPI document.
pub(crate) struct Document(pub(crate) Value);

/// One verb on one path.
pub(crate) struct Operation<'a> {
    pub(crate) method: String,
    pub(crate) path: &'a str,
    pub(crate) body: &'a Value,
}

impl Operation<'_> {
    pub(crate) fn id(&self) -> &str {
        self.body["operationId"].as_str().expect("an operation has an operationId")
    }

    /// Whether it tells how well the system is: what is down is then what it has to say, and no failure of its own.
    pub(crate) fn is_probe(&self) -> bool {
        self.body["tags"] == json!(["health"])
    }

    /// Whether it speaks to OpenAI's clients, whose errors have a shape of their own.
    pub(crate) fn is_openai(&self) -> bool {
        self.body["tags"] == json!(["openai"])
    }
}

impl Document {
    pub(crate) fn operations(&self) -> Vec<Operation<'_>> {
        let paths = self.0["paths"].as_object().expect("paths");
        let mut found = Vec::new();
        for (path, item) in paths {
            for (method, body) in item.as_object().expect("a path item") {
                found.push(Operation { method: method.to_uppercase(), path, body });
            }
        }
        found
    }

    pub(crate) fn operation(&self, method: &str, path: &str) -> Operation<'_> {
        let found = self.operations().into_iter().find(|operation| operation.method == method && operation.path == path);
        found.unwrap_or_else(|| panic!("{method} {path} is not in the document"))
    }

    /// What `$ref` leads to, if it is one.
    pub(crate) fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        let Some(reference) = value["$ref"].as_str() else { return value };
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads out of the document"));
        self.0.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
    }

    /// Answers that functions give: operation and status. What only the gateway or a defect of ours says is left out.
    pub(crate) fn promised(&self) -> BTreeSet<(String, u16)> {
        let mut promised = BTreeSet::new();
        for operation in self.operations() {
            for (status, response) in operation.body["responses"].as_object().expect("responses") {
                // The gateway alone asks who calls a probe.
                let is_gateways = self.resolve(response).get("x-answered-by").is_some() || (operation.is_probe() && status == "403");
                if !is_gateways {
                    promised.insert((operation.id().to_owned(), status.parse().expect("a status")));
                }
            }
        }
        promised
    }

    /// A validator of a schema that may refer to the document's components.
    pub(crate) fn validator(&self, schema: &Value) -> Validator {
        let mut schema = schema.clone();
        schema["components"] = self.0["components"].clone();
        let options = jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true);
        options.build(&schema).unwrap_or_else(|error| panic!("a schema that is none: {error}"))
    }

    /// Fails unless the document knows each event of a stream, and its data is as promised.
    pub(crate) fn check_events(&self, text: &str) {
        let kinds = &self.0["components"]["schemas"]["StreamEvents"]["properties"];
        for told in events(text) {
            let Some(schema) = kinds.get(&told.name) else { panic!("the event {} is not in the document", told.name) };
            let errors: Vec<_> = self.validator(schema).iter_errors(&told.data).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "the event {} does not fit the document: {errors:#?}\n{:#}", told.name, told.data);
            let id = &self.0["components"]["schemas"]["StreamEventId"];
            assert!(told.id.is_none_or(|text| self.validator(id).is_valid(&json!(text))), "{text}");
        }
    }

    /// Fails unless the document promises this answer: status, headers, content type and body.
    pub(crate) fn check(&self, operation: &Operation<'_>, status: u16, headers: &HeaderMap, body: &Value) {
        let name = format!("{} {status}", operation.id());
        let Some(response) = operation.body["responses"].get(status.to_string()) else { panic!("{name} is not in the document: {body}") };
        let response = self.resolve(response);
        let content_type = headers["content-type"].to_str().unwrap();
        let Some(content) = response["content"].get(content_type) else { panic!("{name}: {content_type} is not in the document") };
        let errors: Vec<_> = self.validator(&content["schema"]).iter_errors(body).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{name} does not fit the document: {errors:#?}\n{body:#}");
        for (header, promised) in response["headers"].as_object().expect("every answer has headers") {
            let promised = self.resolve(promised);
            match headers.get(header) {
                None => assert_ne!(promised["required"], true, "{name} lacks the header {header}"),
                Some(value) => {
                    let text = value.to_str().unwrap();
                    let value = if promised["schema"]["type"] == "integer" { json!(text.parse::<u64>().unwrap()) } else { json!(text) };
                    assert!(self.validator(&promised["schema"]).is_valid(&value), "{name}: {header}: {text}");
                }
            }
        }
        for header in headers.keys().filter(|header| *header != "content-type") {
            assert!(response["headers"].get(header.as_str()).is_some(), "{name}: the header {header} is not in the document");
        }
    }
}

/// One of server-sent events.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StreamEvent {
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    pub(crate) data: Value,
}

/// The events of a stream; what is none, as comments are not, is left out.
pub(crate) fn events(text: &str) -> Vec<StreamEvent> {
    assert!(text.ends_with("\n\n"), "the stream ends within an event: {text}");
    let event = |block: &str| {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::to_owned);
        let data = serde_json::from_str(&field("data")?).expect("the data of every event is JSON");
        Some(StreamEvent { id: field("id"), name: field("event")?, data })
    };
    text.split("\n\n").filter_map(event).collect()
}

/// Forbids in every object what its schema does not name, unless the schema says otherwise.
fn close(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.get("type") == Some(&json!("object")) && fields.contains_key("properties") {
                fields.entry("additionalProperties").or_insert(json!(false));
            }
            fields.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
