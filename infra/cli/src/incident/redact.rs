//! What leaves a debug bundle has no secrets: by the names of fields, by what keys look like, and by the values of those that are known.
//!
//! The dead-letter API has rules of its own (`shared/src/domain/redact`), which go further in what people write. This one knows the
//! secrets of the environment, which that one must not, and is small because this crate is what a cold `make run` waits for.

use serde_json::{Map, Value};

use crate::config::Env;

/// What stands in for one.
const REDACTED: &str = "[redacted]";
/// Names whose values nobody is shown. Case and the sign between words do not count.
const NAMES: [&str; 14] = [
    "secret",
    "password",
    "passwd",
    "passphrase",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "signingkey",
    "authorization",
    "credential",
    "cookie",
    "signature",
    // What a foreign message begins with may be anything.
    "bodypreview",
];
/// What keys of the usual kinds begin with.
const BEGINNINGS: [&str; 15] =
    ["sk-", "sk_", "pk_", "rk_", "AKIA", "ASIA", "eyJ", "ghp_", "gho_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "AIza", "tvly-"];
/// Shorter words are none.
const SHORTEST: usize = 12;
/// Values of known secrets that are shorter would be found in words that are none.
const SHORTEST_KNOWN: usize = 6;

/// Knows secrets when it sees them.
#[derive(Debug, Default)]
pub(super) struct Cleaner {
    known: Vec<String>,
}

impl Cleaner {
    /// One that knows the secrets in this process's environment.
    pub(super) fn of(env: &Env) -> Self {
        let mut cleaner = Self::default();
        for name in env.names().filter(|name| is_secret(name)) {
            cleaner.learn(env.get(name).unwrap_or_default());
        }
        cleaner
    }

    /// Learns the secrets among these variables.
    pub(super) fn learn_from(&mut self, variables: &Map<String, Value>) {
        for (_, value) in variables.iter().filter(|(name, _)| is_secret(name)) {
            self.learn(value.as_str().unwrap_or_default());
        }
    }

    fn learn(&mut self, secret: &str) {
        if secret.len() >= SHORTEST_KNOWN {
            self.known.push(secret.to_owned());
        }
    }

    /// The same without secrets.
    pub(super) fn clean(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.text(text).into(),
            Value::Array(list) => list.iter().map(|value| self.clean(value)).collect(),
            Value::Object(fields) => {
                let fields = fields.iter().map(|(name, value)| match value {
                    // Counts of tokens are none.
                    Value::Number(_) | Value::Bool(_) | Value::Null => (name.clone(), value.clone()),
                    _ if is_secret(name) => (name.clone(), REDACTED.into()),
                    _ => (self.words(name), self.clean(value)),
                });
                Value::Object(fields.collect())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    /// A text, which may be JSON itself.
    fn text(&self, text: &str) -> String {
        match serde_json::from_str::<Value>(text) {
            Ok(inner @ (Value::Object(_) | Value::Array(_))) => self.clean(&inner).to_string(),
            Ok(_) | Err(_) => self.words(text),
        }
    }

    fn words(&self, text: &str) -> String {
        let text = self.known.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), REDACTED));
        if text.contains("-----BEGIN") && text.contains("PRIVATE KEY") {
            return REDACTED.to_owned();
        }
        let mut clean = String::with_capacity(text.len());
        let (mut rest, mut is_value, mut is_scheme) = (text.as_str(), false, false);
        while !rest.is_empty() {
            let word = &rest[..rest.find(|c| !is_of_a_word(c)).unwrap_or(rest.len())];
            rest = &rest[word.len()..];
            let gap = &rest[..rest.find(is_of_a_word).unwrap_or(rest.len())];
            rest = &rest[gap.len()..];
            // Of an address with a password in it, the word ends where the password does.
            let is_password = gap.starts_with('@') && clean.ends_with(':');
            let is_hidden = (is_value && !(is_scheme && word.len() < SHORTEST)) || is_password || looks_secret(word);
            clean.push_str(if is_hidden && !word.is_empty() { REDACTED } else { word });
            clean.push_str(gap);
            is_scheme = is_a_scheme(word, gap);
            is_value = is_scheme || names(word, gap);
        }
        clean
    }
}

fn is_of_a_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '/' | '~' | '$')
}

/// Whether what follows a word is a secret if it is long enough: `Bearer …`.
fn is_a_scheme(word: &str, gap: &str) -> bool {
    let is_word = ["bearer", "basic", "apikey"].contains(&word.to_ascii_lowercase().as_str());
    is_word && !gap.is_empty() && gap.chars().all(char::is_whitespace)
}

/// Whether what follows a word is a secret by its name: `password=…`, `"token": "…"`.
fn names(word: &str, gap: &str) -> bool {
    is_secret(word) && gap.contains(['=', ':']) && gap.chars().all(|c| "=:\"'\\ ".contains(c))
}

fn is_secret(name: &str) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    !plain.ends_with("tokens") && NAMES.iter().any(|part| plain.contains(part))
}

fn looks_secret(word: &str) -> bool {
    word.len() >= SHORTEST && BEGINNINGS.iter().any(|beginning| word.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_is_found_by_its_field_by_its_looks_and_by_its_value() {
        let cleaner = Cleaner::of(&Env::of(&[("OPENAI_API_KEY", "correct-horse"), ("HOME", "/home/ana")]));
        for hidden in [
            json!({"api_key": "hunter2hunter2"}),
            json!({"Authorization": "hunter2hunter2"}),
            json!({"x": {"client-secret": ["hunter2hunter2"]}}),
            json!({"db": "postgres://ana:hunter2hunter2@db.example/x"}),
            json!("GET /x?access_token=hunter2hunter2&y=1"),
            json!("Authorization: Bearer hunter2hunter2"),
            json!("password: hunter2hunter2"),
            json!("said {\"token\": \"hunter2hunter2\"} and went"),
            json!("{\"fields\":{\"secret\":\"hunter2hunter2\"}}"),
            json!("-----BEGIN RSA PRIVATE KEY-----\nhunter2hunter2\n-----END"),
            json!("AWS_SECRET_ACCESS_KEY=hunter2hunter2/+x"),
        ] {
            let clean = cleaner.clean(&hidden).to_string();
            assert!(!clean.contains("hunter2") && clean.contains(REDACTED), "{hidden} became {clean}");
        }
        for key in ["sk-proj-abcdefghijkl", "AKIAIOSFODNN7EXAMPLE", "eyJhbGciOi.eyJzdWIi.c2ln", "ghp_abcdefghijklmnop", "correct-horse"] {
            let clean = cleaner.clean(&json!(format!("the provider said: key {key} is wrong"))).to_string();
            assert!(!clean.contains(key) && clean.contains("is wrong"), "{clean}");
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        let cleaner = Cleaner::default();
        for plain in [
            json!({"usage": {"input_tokens": 412, "output_tokens": 37}, "token_limit": null}),
            json!({"run_id": "run_01KAM3Q5T0ZJ8Y6W4V2N1M0K9H", "code": "provider_auth", "message": "the provider refused the key"}),
            json!("basic checks: http://localhost:8000/health said 200"),
            json!("arn:aws:sqs:eu-central-1:123456789012:tasks"),
        ] {
            assert_eq!(cleaner.clean(&plain), plain);
        }
    }
}
