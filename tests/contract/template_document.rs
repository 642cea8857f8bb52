//! `template.yaml` and the nested templates as data, for the contract tests beside this file.
//!
//! CloudFormation's short tags (`!Ref x`) become their long form (`{"Ref": "x"}`), and the Globals of SAM are merged into
//! each function as the transform does it. Paths into the document are JSON pointers.

use std::{collections::BTreeMap, fs, path::PathBuf};

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value, json};

/// One template file.
pub(crate) struct Template(pub(crate) Value);

impl Template {
    /// The template at a path under the repository's root.
    pub(crate) fn read(path: &str) -> Self {
        let file = root().join(path);
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let documents = Yaml::load_from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self(long_form(&documents[0]))
    }

    /// The resources of a type: logical name and properties.
    pub(crate) fn of_type(&self, kind: &str) -> Vec<(&str, &Value)> {
        let resources = self.0["Resources"].as_object().expect("a template has Resources");
        resources.iter().filter(|(_, it)| it["Type"] == kind).map(|(name, it)| (name.as_str(), &it["Properties"])).collect()
    }

    /// Every function by the folder it is built from, with the Globals merged in.
    pub(crate) fn functions(&self) -> BTreeMap<String, Value> {
        let globals = &self.0["Globals"]["Function"];
        let functions = self.of_type("AWS::Serverless::Function").into_iter().map(|(_, own)| {
            let folder = text(&own["CodeUri"]).trim_start_matches("target/lambda/").trim_end_matches("/bootstrap.zip").to_owned();
            (folder, merged(globals, own))
        });
        functions.collect()
    }

    /// The events of a type over all functions: function, event and the event's properties.
    pub(crate) fn events(&self, kind: &str) -> Vec<(String, String, Value)> {
        let mut found = Vec::new();
        for (folder, function) in self.functions() {
            for (name, event) in function["Events"].as_object().into_iter().flatten() {
                if event["Type"] == kind {
                    found.push((folder.clone(), name.clone(), event["Properties"].clone()));
                }
            }
        }
        found
    }
}

/// The names of the folders under `functions/`.
pub(crate) fn function_folders() -> Vec<String> {
    let entries = fs::read_dir(root().join("functions")).expect("functions/ is there");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("a readable folder"))
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A scalar as text, as CloudFormation would read it.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A value that may be one or a list of them.
pub(crate) fn each(value: &Value) -> Vec<&Value> {
    value.as_array().map_or_else(|| vec![value], |list| list.iter().collect())
}

/// The logical name that a `!Ref x` or `!GetAtt x.y` names.
pub(crate) fn referenced(value: &Value) -> Option<&str> {
    value["Ref"].as_str().or_else(|| value["Fn::GetAtt"][0].as_str())
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn merged(below: &Value, above: &Value) -> Value {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            let mut both = below.clone();
            for (key, value) in above {
                both.insert(key.clone(), merged(below.get(key).unwrap_or(&Value::Null), value));
            }
            Value::Object(both)
        }
        _ => above.clone(),
    }
}

fn long_form(node: &Yaml<'_>) -> Value {
    match node {
        Yaml::Value(scalar) => match scalar {
            Scalar::Null => Value::Null,
            Scalar::Boolean(it) => json!(it),
            Scalar::Integer(it) => json!(it),
            Scalar::FloatingPoint(it) => json!(it.into_inner()),
            Scalar::String(it) => json!(it),
        },
        Yaml::Sequence(items) => items.iter().map(long_form).collect(),
        Yaml::Mapping(entries) => {
            entries.iter().map(|(key, value)| (text(&long_form(key)), long_form(value))).collect::<Map<_, _>>().into()
        }
        Yaml::Tagged(tag, inner) => tagged(&tag.suffix, long_form(inner)),
        Yaml::Representation(..) | Yaml::Alias(_) | Yaml::BadValue => panic!("not understood: {node:?}"),
    }
}

fn tagged(tag: &str, inner: Value) -> Value {
    match tag {
        "Ref" | "Condition" => json!({ tag: inner }),
        "GetAtt" => json!({ "Fn::GetAtt": text(&inner).splitn(2, '.').collect::<Vec<_>>() }),
        _ => json!({ format!("Fn::{tag}"): inner }),
    }
}
