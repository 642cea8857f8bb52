//! The operations of an OpenAPI 3 document, as tools.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::domain::tool_definition::{Operation, Place};

/// Methods of operations.
const METHODS: [&str; 6] = ["get", "head", "post", "put", "patch", "delete"];
/// How deep references are followed: a schema that holds itself has no end.
const DEEPEST: u32 = 24;
/// Characters of a description.
const LONGEST_DESCRIPTION: usize = 1_000;
/// Bytes of the arguments' schema.
const LARGEST_SCHEMA: usize = 20_000;
/// The argument that is the body.
const BODY: &str = "body";

/// A document.
pub(super) struct Api {
    /// The first server that it names.
    pub(super) server: Option<String>,
    document: Value,
}

/// Reads it, as JSON or YAML.
pub(super) fn read(text: &str) -> Result<Api, String> {
    let document: Value = serde_json::from_str(text)
        .or_else(|_| serde_saphyr::from_str(text))
        .map_err(|error| format!("is neither JSON nor YAML: {}", error.without_snippet()))?;
    let version = document.get("openapi").and_then(Value::as_str).unwrap_or_default();
    if !version.starts_with("3.") {
        return Err("must be an OpenAPI document of version 3, with `openapi: 3.…` at its top".into());
    }
    let server = document.pointer("/servers/0/url").and_then(Value::as_str).filter(|url| url.starts_with("https://"));
    Ok(Api { server: server.map(str::to_owned), document })
}

impl Api {
    /// All operations that have a name.
    pub(super) fn ids(&self) -> Vec<&str> {
        self.all().filter_map(|(_, _, operation)| operation.get("operationId")?.as_str()).collect()
    }

    fn all(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        let paths = self.document.get("paths").and_then(Value::as_object).into_iter().flatten();
        paths.flat_map(|(path, item)| {
            METHODS.into_iter().filter_map(move |method| item.get(method).map(|operation| (path.as_str(), method, operation)))
        })
    }

    /// One of them. The error goes after its name.
    pub(super) fn operation(&self, id: &str) -> Result<Operation, String> {
        let mut found = self.all().filter(|(_, _, operation)| operation.get("operationId").and_then(Value::as_str) == Some(id));
        let (path, method, operation) = found.next().ok_or("is not in the document")?;
        if found.next().is_some() {
            return Err("is in the document twice".into());
        }
        if !id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
            return Err("may hold only letters, digits, `_` and `-`, or providers do not take it".into());
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | '~' | '{' | '}');
        if !path.starts_with('/') || !path.chars().all(plain) {
            return Err(format!("has a path that cannot be used: `{path}`"));
        }
        let (mut places, mut properties, mut required) = (BTreeMap::new(), Map::new(), Vec::new());
        let shared = self.document.pointer(&format!("/paths/{}/parameters", path.replace('~', "~0").replace('/', "~1")));
        // Those of the operation stand for those of the path.
        let parameters = [shared, operation.get("parameters")].into_iter().flatten().filter_map(Value::as_array).flatten();
        for parameter in parameters {
            let parameter = self.resolved(parameter, 0)?;
            let name = parameter.get("name").and_then(Value::as_str).ok_or("has a parameter without a name")?;
            let place = match parameter.get("in").and_then(Value::as_str) {
                Some("path") => Place::Path,
                Some("query") => Place::Query,
                Some("header") => Place::Header,
                _ => return Err(format!("has a parameter in a place that cannot be filled: `{name}`")),
            };
            let mut schema = parameter.get("schema").cloned().unwrap_or_else(|| json!({}));
            if let (Some(fields), Some(said)) = (schema.as_object_mut(), parameter.get("description")) {
                fields.entry("description").or_insert_with(|| said.clone());
            }
            places.insert(name.to_owned(), place);
            properties.insert(name.to_owned(), schema);
            required.retain(|other| other != name);
            if place == Place::Path || parameter.get("required").and_then(Value::as_bool) == Some(true) {
                required.push(name.to_owned());
            }
        }
        let holes = path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name);
        for name in holes {
            if places.get(name) != Some(&Place::Path) {
                return Err(format!("does not say what `{{{name}}}` of its path is"));
            }
        }
        let body = operation.get("requestBody").map(|body| self.resolved(body, 0)).transpose()?;
        if let Some(body) = &body {
            let schema = body.pointer("/content/application~1json/schema").ok_or("has a body that is not application/json")?;
            if properties.insert(BODY.to_owned(), schema.clone()).is_some() {
                return Err(format!("has a parameter named `{BODY}` beside its body"));
            }
            if body.get("required").and_then(Value::as_bool) == Some(true) {
                required.push(BODY.to_owned());
            }
        }
        let parameters = json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
        if parameters.to_string().len() > LARGEST_SCHEMA {
            return Err(format!("has arguments whose schema is larger than {LARGEST_SCHEMA} bytes"));
        }
        jsonschema::validator_for(&parameters).map_err(|error| format!("has arguments whose schema does not hold: {error}"))?;
        Ok(Operation {
            id: id.to_owned(),
            description: description(operation, id),
            method: method.to_ascii_uppercase(),
            path: path.to_owned(),
            places,
            body: body.map(|_| BODY.to_owned()),
            parameters,
        })
    }

    /// The value with what its references refer to in their place.
    fn resolved(&self, value: &Value, depth: u32) -> Result<Value, String> {
        if depth > DEEPEST {
            return Err("has a schema that is too deep, or that holds itself".into());
        }
        match value {
            Value::Object(fields) => match fields.get("$ref").and_then(Value::as_str) {
                Some(reference) => {
                    let pointer = reference.strip_prefix('#').ok_or_else(|| format!("refers to another document: `{reference}`"))?;
                    let target = self.document.pointer(pointer).ok_or_else(|| format!("refers to `{reference}`, which is not there"))?;
                    self.resolved(target, depth + 1)
                }
                None => {
                    let resolved = fields.iter().map(|(name, value)| Ok((name.clone(), self.resolved(value, depth + 1)?)));
                    resolved.collect::<Result<Map<_, _>, String>>().map(Value::Object)
                }
            },
            Value::Array(items) => items.iter().map(|item| self.resolved(item, depth + 1)).collect::<Result<Vec<_>, _>>().map(Value::Array),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(value.clone()),
        }
    }
}

fn description(operation: &Value, id: &str) -> String {
    let said = |name: &str| operation.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    let text = [said("summary"), said("description")].into_iter().flatten().collect::<Vec<_>>().join("\n");
    match (text.is_empty(), text.char_indices().nth(LONGEST_DESCRIPTION)) {
        (true, _) => id.to_owned(),
        (false, Some((end, _))) => text[..end].to_owned(),
        (false, None) => text,
    }
}
