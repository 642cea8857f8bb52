//! What a trigger asks its agent: a text with places for parts of the event.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Bytes of the longest prompt, as JSON: what `POST /v1/agent` takes too. Beside the event it has to fit one DynamoDB item.
pub const LONGEST_PROMPT: usize = 100_000;
/// Bytes of the longest template.
pub const LONGEST_TEMPLATE: usize = 20_000;
/// Said where a prompt had to be cut. The event keeps the whole payload.
const CUT: &str = "\n[cut here: the event is longer than a prompt may be]";

/// A text with places: `{{/json/pointer}}` into the payload, `{{type}}`, `{{source}}` and `{{payload}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Part {
    Text(String),
    Kind,
    Source,
    /// A JSON pointer; the empty one is the whole payload.
    Pointer(String),
}

impl Template {
    /// Reads it.
    ///
    /// # Errors
    /// A sentence, when a place is not closed or names nothing.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("must not be empty; leave it out and the agent is told what arrived".into());
        }
        if text.len() > LONGEST_TEMPLATE {
            return Err(format!("has {} bytes; at most {LONGEST_TEMPLATE} are allowed", text.len()));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (place, after) = after.split_once("}}").ok_or("`{{` is not closed by `}}`")?;
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            parts.push(match place.trim() {
                "type" => Part::Kind,
                "source" => Part::Source,
                "payload" => Part::Pointer(String::new()),
                pointer if pointer.starts_with('/') => {
                    check_pointer(pointer)?;
                    Part::Pointer(pointer.into())
                }
                other => {
                    return Err(format!(
                        "`{{{{{other}}}}}` names nothing; write {{{{/a/json/pointer}}}}, {{{{type}}}}, {{{{source}}}} or {{{{payload}}}}"
                    ));
                }
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Self { parts })
    }

    /// The template of a trigger that has none: says what arrived.
    #[must_use]
    pub fn what_arrived() -> Self {
        let text = |text: &str| Part::Text(text.into());
        Self {
            parts: vec![
                text("An event of type `"),
                Part::Kind,
                text("` arrived from `"),
                Part::Source,
                text("`. Its payload:\n"),
                Part::Pointer(String::new()),
            ],
        }
    }

    /// Fills it in. A text stands as it is, anything else as JSON, and what the payload does not have leaves its place empty.
    /// At most [`LONGEST_PROMPT`] bytes as JSON: a longer one is cut, and says so.
    #[must_use]
    pub fn fill(&self, kind: &str, source: &str, payload: &Value) -> String {
        let mut prompt = Bounded { text: String::new(), room: LONGEST_PROMPT - json_len(CUT), is_cut: false };
        for part in &self.parts {
            if prompt.is_cut {
                break;
            }
            match part {
                Part::Text(text) => prompt.push(text),
                Part::Kind => prompt.push(kind),
                Part::Source => prompt.push(source),
                Part::Pointer(pointer) => match payload.pointer(pointer) {
                    None | Some(Value::Null) => {}
                    Some(Value::String(text)) => prompt.push(text),
                    Some(other) => prompt.push(&other.to_string()),
                },
            }
        }
        if prompt.is_cut {
            prompt.text.push_str(CUT);
        }
        prompt.text
    }
}

/// Whether `pointer` is a JSON pointer (RFC 6901) to a part of a document.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn check_pointer(pointer: &str) -> Result<(), String> {
    if !pointer.starts_with('/') {
        return Err(format!("`{pointer}` is no JSON pointer; write it as /ticket/id"));
    }
    if pointer.split('~').skip(1).any(|after| !after.starts_with(['0', '1'])) {
        return Err(format!("`{pointer}` is no JSON pointer; write `~0` for `~` and `~1` for `/` in a name"));
    }
    Ok(())
}

/// A text that takes no more than it has room for.
struct Bounded {
    text: String,
    room: usize,
    is_cut: bool,
}

impl Bounded {
    fn push(&mut self, text: &str) {
        for letter in text.chars() {
            let size = json_size(letter);
            if size > self.room {
                self.is_cut = true;
                return;
            }
            self.room -= size;
            self.text.push(letter);
        }
    }
}

/// Bytes of `text` in JSON, its quotes included.
fn json_len(text: &str) -> usize {
    2 + text.chars().map(json_size).sum::<usize>()
}

/// Bytes of one character in JSON, as `serde_json` writes it.
fn json_size(letter: char) -> usize {
    match letter {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        other => other.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn fill(template: &str, payload: &Value) -> String {
        Template::parse(template).unwrap().fill("ticket.opened", "crm/eu", payload)
    }

    #[test]
    fn places_are_filled_from_the_event() {
        let payload = json!({"ticket": {"id": 7, "a/b": "slash", "tags": ["x", null]}, "none": null});
        for (template, prompt) in [
            ("plain", "plain"),
            ("{{type}} from {{ source }}", "ticket.opened from crm/eu"),
            ("#{{/ticket/id}}!", "#7!"),
            ("{{/ticket/a~1b}}", "slash"),
            ("{{/ticket/tags}} {{/ticket/tags/0}}", r#"["x",null] x"#),
            ("<{{/none}}{{/nowhere}}>", "<>"),
            ("a } b }} c", "a } b }} c"),
        ] {
            assert_eq!(fill(template, &payload), prompt);
        }
        assert_eq!(fill("{{payload}}", &json!({"a": [1, "x"]})), r#"{"a":[1,"x"]}"#);
    }

    #[test]
    fn a_place_that_names_nothing_is_refused() {
        for (template, says) in [
            ("", "empty"),
            ("  \n", "empty"),
            ("{{/ticket/id", "not closed"),
            ("{{ticket.id}}", "{{/a/json/pointer}}"),
            ("{{/a~2}}", "~0"),
            (&"x".repeat(LONGEST_TEMPLATE + 1), "20000"),
        ] {
            let problem = Template::parse(template).unwrap_err();
            assert!(problem.contains(says), "{template}: {problem}");
        }
    }

    #[test]
    fn a_text_of_the_payload_is_not_read_as_a_template() {
        assert_eq!(fill("{{/a}}", &json!({"a": "{{/b}}", "b": "secret"})), "{{/b}}");
    }

    #[test]
    fn a_prompt_that_would_be_too_long_is_cut_and_says_so() {
        let text = "\"ü\u{1}".repeat(LONGEST_PROMPT);
        let prompt = fill("{{/a}}{{payload}}", &json!({"a": text}));
        let size = serde_json::to_string(&prompt).unwrap().len();
        assert!(size <= LONGEST_PROMPT && size > LONGEST_PROMPT - 10, "{size}");
        assert!(prompt.starts_with("\"ü") && prompt.ends_with(CUT));
    }

    proptest! {
        #[test]
        fn sizes_are_those_of_the_json_that_is_stored(text: String) {
            prop_assert_eq!(json_len(&text), serde_json::to_string(&text).unwrap().len());
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            if let Ok(template) = Template::parse(&text) {
                let prompt = template.fill("t", "s", &json!({"a": 1}));
                prop_assert!(json_len(&prompt) <= LONGEST_PROMPT);
            }
        }
    }
}
