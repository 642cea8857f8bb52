//! Redaction by rule: what looks like a secret, or names a person, is taken out of a JSON value before somebody sees it who only has to
//! see what went wrong.
//!
//! Two kinds of rules: names of fields (`password`, `apiKey`, `X-Auth-Token`: file `names`) and looks of values (vendors' keys, tokens,
//! e-mail addresses, card numbers: file `looks`). The shape stays: fields keep their names and lists their length. In doubt it is
//! taken out; who needs the original asks for it.

mod looks;
mod names;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub use self::names::InvalidName;
use self::names::{Names, Secrecy};

/// What takes the place of what is taken out.
pub const REDACTED: &str = "[redacted]";

/// The rules.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    names: Names,
}

/// A value without its secrets.
#[derive(Debug, Clone, PartialEq)]
pub struct Redacted {
    /// What is left.
    pub value: Value,
    /// Where something was taken out, as JSON pointers, in the order of the value.
    pub paths: Vec<String>,
}

impl Redactor {
    /// The rules that always hold, and the names of more fields, parted by commas.
    ///
    /// # Errors
    /// Says which name is none.
    pub fn with_names(names: &str) -> Result<Self, InvalidName> {
        Ok(Self { names: Names::with(names)? })
    }

    /// Takes the secrets out of a value.
    #[must_use]
    pub fn redact(&self, value: Value) -> Redacted {
        let mut redacted = Redacted { value, paths: Vec::new() };
        self.clear(&mut redacted.value, Secrecy::Open, &mut String::new(), &mut redacted.paths);
        redacted
    }

    /// Takes the secrets out of a text, which may be JSON.
    #[must_use]
    pub fn redact_text(&self, text: &str) -> String {
        self.cleared(text).unwrap_or_else(|| text.to_owned())
    }

    /// A parsed value nests 128 levels at most, so this does not run out of stack.
    fn clear(&self, value: &mut Value, secrecy: Secrecy, at: &mut String, paths: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.clear_below(value, secrecy.max(self.names.secrecy(name)), name, at, paths);
                }
            }
            Value::Array(items) => {
                for (i, value) in items.iter_mut().enumerate() {
                    self.clear_below(value, secrecy, &i.to_string(), at, paths);
                }
            }
            Value::String(text) => {
                let is_secret = secrecy != Secrecy::Open && !text.is_empty() && text != REDACTED;
                if let Some(cleared) = if is_secret { Some(REDACTED.to_owned()) } else { self.cleared(text) } {
                    *text = cleared;
                    paths.push(at.clone());
                }
            }
            Value::Number(number) => {
                if secrecy == Secrecy::All || looks::is_card(&number.to_string()) {
                    *value = REDACTED.into();
                    paths.push(at.clone());
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn clear_below(&self, value: &mut Value, secrecy: Secrecy, name: &str, at: &mut String, paths: &mut Vec<String>) {
        let length = at.len();
        at.push('/');
        // RFC 6901.
        at.push_str(&name.replace('~', "~0").replace('/', "~1"));
        self.clear(value, secrecy, at, paths);
        at.truncate(length);
    }

    /// The text without its secrets; nothing if it has none, so that it stays as it came.
    fn cleared(&self, text: &str) -> Option<String> {
        // JSON in a text in JSON needs an escape before each escape: it cannot be nested deeply without being enormous.
        if text.trim_start().starts_with(['{', '['])
            && let Ok(value) = serde_json::from_str::<Value>(text)
        {
            let redacted = self.redact(value);
            return (!redacted.paths.is_empty()).then(|| redacted.value.to_string());
        }
        looks::cleared(text, &self.names)
    }
}
