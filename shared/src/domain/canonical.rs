//! One text for one JSON value, and the hash of a text.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// With the names of objects in order: the same value has the same text, in whatever order it was written.
#[must_use]
pub fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(sorted).collect(),
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            Value::Object(fields.into_iter().map(|(name, value)| (name.clone(), sorted(value))).collect::<Map<_, _>>())
        }
        leaf => leaf.clone(),
    }
}

/// The SHA-256, in hexadecimal.
#[must_use]
pub fn sha256(bytes: impl AsRef<[u8]>) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_in_which_a_value_was_written_does_not_show() {
        let text = |text: &str| sorted(&serde_json::from_str(text).unwrap()).to_string();
        assert_eq!(text(r#"{"b": [{"d": 1, "c": 2}], "a": 1}"#), text(r#"{"a": 1, "b": [{"c": 2, "d": 1}]}"#));
        assert_ne!(sorted(&json!([1, 2])), sorted(&json!([2, 1])));
    }

    #[test]
    fn a_hash_is_the_one_that_others_compute() {
        assert_eq!(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
