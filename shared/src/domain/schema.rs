//! JSON Schemas of others. One is taken only if it compiles, refers to nothing outside of itself, and cannot make the check of an
//! answer long: references and `allOf` can have one value checked 2^n times by a schema of n lines, and the check cannot be cut.

use std::collections::{BTreeMap, HashSet};

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// How many subschemas are met at most when each one is followed into all that it applies to the same value or to a part of it.
const MOST_VISITS: usize = 10_000;
/// Different subschemas that are referred to: compiling a chain of references takes stack for each of them.
const MOST_TARGETS: usize = 200;

/// Compiles a schema that is not our own. No pattern of it can take more than linear time.
///
/// # Errors
/// In words, what is wrong with it: it is none, it is too complex, or it refers to another document.
pub fn compile(schema: &Value) -> Result<Validator, String> {
    if has_base(schema, true) {
        return Err("must have no `$id` within it, no anchors, and be of draft 6 or later".into());
    }
    Walk { root: schema, visits: 0, targets: HashSet::new() }.all()?;
    let options = jsonschema::options().with_pattern_options(PatternOptions::regex());
    options.build(schema).map_err(|error| format!("is no valid JSON Schema: {error}"))
}

/// Whether a part of it changes what a reference means: the walk must find what the check finds. A member may have such a name, and
/// is a schema then.
fn has_base(value: &Value, is_root: bool) -> bool {
    match value {
        Value::Object(fields) => fields.iter().any(|(name, value)| match name.as_str() {
            "$id" if value.is_string() => !is_root,
            "$anchor" | "$dynamicAnchor" if value.is_string() => true,
            "$recursiveAnchor" if value.is_boolean() => true,
            // Up to draft 4 it was `id`, and some schemas were written otherwise.
            "$schema" if value.is_string() => value.as_str().is_some_and(|draft| draft.contains("draft-03") || draft.contains("draft-04")),
            _ => has_base(value, false),
        }),
        Value::Array(values) => values.iter().any(|value| has_base(value, false)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn address(schema: &Value) -> usize {
    std::ptr::from_ref(schema).addr()
}

struct Walk<'a> {
    root: &'a Value,
    visits: usize,
    targets: HashSet<usize>,
}

impl<'a> Walk<'a> {
    /// A place of a value is met with all schemas that apply to it, each as often as it does. Places to which the same schemas apply
    /// are alike, which is how a schema that refers to itself comes to an end; where they become more with each level, it does not.
    fn all(mut self) -> Result<(), String> {
        let mut seen = HashSet::new();
        let mut places = vec![vec![self.root]];
        while let Some(place) = places.pop() {
            let mut key: Vec<usize> = place.iter().map(|schema| address(schema)).collect();
            key.sort_unstable();
            if seen.insert(key) {
                places.extend(self.place(place)?);
            }
        }
        Ok(())
    }

    /// The places within the one to which these schemas apply.
    fn place(&mut self, mut here: Vec<&'a Value>) -> Result<Vec<Vec<&'a Value>>, String> {
        let mut members: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        let (mut any_member, mut elements) = (Vec::new(), Vec::new());
        while let Some(schema) = here.pop() {
            self.visit(1)?;
            let Some(fields) = schema.as_object() else { continue };
            // To know what is left over, all of the others are checked once more.
            let times = if fields.contains_key("unevaluatedProperties") || fields.contains_key("unevaluatedItems") { 2 } else { 1 };
            for (keyword, value) in std::iter::repeat_n(fields, times).flatten() {
                let listed = || value.as_array().into_iter().flatten();
                let named = || value.as_object().into_iter().flatten();
                match keyword.as_str() {
                    "$ref" => here.push(self.target(value)?),
                    "$dynamicRef" | "$recursiveRef" => return Err(format!("`{keyword}` is not supported")),
                    "allOf" | "anyOf" | "oneOf" => here.extend(listed()),
                    "not" | "if" | "then" | "else" => here.push(value),
                    "dependentSchemas" | "dependencies" => here.extend(named().map(|(_, schema)| schema)),
                    "properties" => named().for_each(|(name, schema)| members.entry(name).or_default().push(schema)),
                    "patternProperties" => any_member.extend(named().map(|(_, schema)| schema)),
                    "additionalProperties" | "unevaluatedProperties" | "propertyNames" => any_member.push(value),
                    "items" | "prefixItems" if value.is_array() => elements.extend(listed()),
                    "items" | "additionalItems" | "contains" | "unevaluatedItems" => elements.push(value),
                    _ => {}
                }
            }
        }
        let mut within = Vec::with_capacity(members.len() + 2);
        for (_, mut schemas) in members {
            self.visit(any_member.len())?;
            schemas.extend_from_slice(&any_member);
            within.push(schemas);
        }
        within.extend([any_member, elements].into_iter().filter(|schemas| !schemas.is_empty()));
        Ok(within)
    }

    fn visit(&mut self, schemas: usize) -> Result<(), String> {
        self.visits += schemas;
        if self.visits > MOST_VISITS { Err(too_complex()) } else { Ok(()) }
    }

    fn target(&mut self, reference: &Value) -> Result<&'a Value, String> {
        let text = reference.as_str().ok_or("has a `$ref` that is no text")?;
        let outside = || format!("`{text}` is not supported: a `$ref` must be `#` or begin with `#/`");
        let pointer = text.strip_prefix('#').ok_or_else(outside)?;
        if pointer.contains('%') || !(pointer.is_empty() || pointer.starts_with('/')) {
            return Err(outside());
        }
        let target = self.root.pointer(pointer).ok_or_else(|| format!("refers to `{text}`, which is not there"))?;
        self.targets.insert(address(target));
        if self.targets.len() > MOST_TARGETS { Err(too_complex()) } else { Ok(target) }
    }
}

fn too_complex() -> String {
    "is too complex: what it refers to is more than can be checked".to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn problem(schema: &Value) -> String {
        compile(schema).err().unwrap_or_default()
    }

    /// `a0` is `twice(a1)` and so on.
    fn chain(links: usize, link: impl Fn(Value) -> Value) -> Value {
        let mut defs: Map<String, Value> =
            (0..links).map(|n| (format!("a{n}"), link(json!({"$ref": format!("#/$defs/a{}", n + 1)})))).collect();
        defs.insert(format!("a{links}"), json!({"type": "object"}));
        json!({"$defs": defs, "$ref": "#/$defs/a0"})
    }

    #[test]
    fn a_schema_whose_check_would_not_end_is_too_complex() {
        let node = |schema: Value| json!({"$defs": {"n": schema}, "$ref": "#/$defs/n"});
        let again = || json!({"$ref": "#/$defs/n"});
        for schema in [
            chain(40, |next| json!({"allOf": [next, next]})),
            chain(40, |next| json!({"anyOf": [next, {"type": "string"}, next]})),
            chain(40, |next| json!({"if": next, "then": next})),
            chain(40, |next| json!({"allOf": [{"properties": {"a": next}}, {"properties": {"a": next}}]})),
            chain(40, |next| json!({"properties": {"a": next}, "patternProperties": {"^a": next}})),
            chain(40, |next| json!({"allOf": [next], "unevaluatedProperties": false})),
            chain(300, |next| next),
            node(again()),
            node(json!({"anyOf": [{"type": "null"}, again()]})),
            node(json!({"allOf": [{"properties": {"a": again()}}, {"properties": {"a": again()}}]})),
            node(json!({"items": {"anyOf": [again(), again()]}})),
        ] {
            assert!(problem(&schema).contains("too complex"), "{schema}: {}", problem(&schema));
        }
    }

    #[test]
    fn what_applications_describe_is_not_too_complex() {
        let many: Map<String, Value> = (0..1_000).map(|n| (format!("m{n}"), json!({"type": ["string", "null"]}))).collect();
        for schema in [
            json!({}),
            json!({"type": "object"}),
            json!({"type": "object", "properties": many, "additionalProperties": false}),
            json!({"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}}),
            json!({"$defs": {"tree": {"type": "object", "properties": {
                "left": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]}, "right": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]},
            }, "required": ["left", "right"], "additionalProperties": false}}, "$ref": "#/$defs/tree"}),
            json!({"additionalProperties": {"$ref": "#"}}),
            json!({"properties": {"id": {"type": "string"}, "$ref": {"type": "string"}}, "examples": [{"id": "x"}]}),
            json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://example.com/s", "type": "object"}),
            chain(190, |next| json!({"properties": {"a": next}})),
        ] {
            assert_eq!(problem(&schema), "", "{schema}");
        }
    }

    #[test]
    fn what_is_no_schema_or_is_elsewhere_is_refused() {
        for (schema, expected) in [
            (json!({"type": "strin"}), "is no valid JSON Schema"),
            (json!({"$ref": "#/$defs/nope"}), "which is not there"),
            (json!({"$ref": "http://127.0.0.1:1/s.json"}), "must be `#` or begin with `#/`"),
            (json!({"properties": {"a": {"$ref": "file:///etc/passwd"}}}), "must be `#` or begin with `#/`"),
            (json!({"$defs": {"a": {"$ref": "http://127.0.0.1:1/s.json"}}}), "is no valid JSON Schema"),
            (json!({"pattern": "("}), "is no valid JSON Schema"),
            (json!({"properties": {"a": {"$id": "http://x/y", "type": "object"}}}), "no `$id` within it"),
            (json!({"properties": {"$id": {"properties": {"a": {"$anchor": "x"}}}}}), "no anchors"),
            (json!({"$schema": "http://json-schema.org/draft-04/schema#"}), "draft 6 or later"),
            (json!({"$dynamicRef": "#a"}), "not supported"),
        ] {
            assert!(problem(&schema).contains(expected), "{schema}: {}", problem(&schema));
        }
    }
}
