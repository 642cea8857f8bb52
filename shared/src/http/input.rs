//! Taking requests apart: every refusal names the field and what would be right.

use std::collections::HashMap;
use std::str::FromStr;

use serde::de::DeserializeOwned;

use super::Problem;

/// Reads a JSON object, strictly.
///
/// # Errors
/// 400 without a body or with one that is not JSON; 422 naming the field that does not fit.
pub fn json_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    if body.is_empty() {
        return Err(Problem::malformed("the request has no body; send a JSON object"));
    }
    // A sequence would be read as a struct too, field by field in order.
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Problem::malformed("the body is not a JSON object"));
    }
    let deserializer = &mut serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut *deserializer).map_err(|error| {
        let inner = error.inner();
        // Not all data of the wrong type is told as such: a number where a word is expected is called a syntax error.
        if inner.is_data() || serde_json::from_slice::<serde_json::Value>(body).is_ok() {
            let message = if inner.is_data() { inner.to_string() } else { "has the wrong type".to_owned() };
            let path = error.path().to_string();
            let field = named_in(&message).filter(|_| path == ".").map_or(path, str::to_owned);
            Problem::invalid(&printable(&field), without_position(&message))
        } else {
            Problem::malformed(format!("the body is not JSON: {}", without_echo(inner)))
        }
    })?;
    deserializer.end().map_err(|error| Problem::malformed(format!("the body goes on after its end: {}", without_echo(&error))))?;
    Ok(read)
}

/// Errors about a field as a whole name it in their text rather than in their path.
fn named_in(message: &str) -> Option<&str> {
    let rest = ["missing field `", "unknown field `", "duplicate field `"].iter().find_map(|start| message.strip_prefix(start))?;
    rest.split('`').next()
}

fn without_position(message: &str) -> String {
    // Texts longer than this quote the caller's own value back.
    let message = message.split(" at line ").next().unwrap_or(message);
    message.chars().take(200).collect()
}

/// A name may be the caller's own text, so only as much as a name can be.
fn printable(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

fn without_echo(error: &serde_json::Error) -> String {
    format!("line {} column {}", error.line(), error.column())
}

/// The query of a request: each parameter is taken once, and what is left is refused.
#[derive(Debug)]
pub struct Query<'a> {
    left: HashMap<&'a str, Vec<&'a str>>,
}

impl<'a> Query<'a> {
    pub(super) fn new(pairs: &'a [(String, String)]) -> Self {
        let mut left: HashMap<&str, Vec<&str>> = HashMap::new();
        for (name, value) in pairs {
            left.entry(name).or_default().push(value);
        }
        Self { left }
    }

    /// A parameter, if it is there.
    ///
    /// # Errors
    /// 400 naming it when it is no `T`; `right` says what would be.
    pub fn take<T: FromStr>(&mut self, name: &'static str, right: &str) -> Result<Option<T>, Problem> {
        self.take_with(name, right, |text| text.parse().ok())
    }

    /// A parameter, if it is there, as `read` understands it.
    ///
    /// # Errors
    /// 400 naming it when it is not understood; `right` says what would be.
    pub fn take_with<T>(&mut self, name: &'static str, right: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Problem> {
        match self.left.remove(name).as_deref() {
            None => Ok(None),
            Some([text]) => read(text).map(Some).ok_or_else(|| Problem::invalid(name, right)),
            // Which one counts would be a guess.
            Some(_) => Err(Problem::invalid(name, "must be given once")),
        }
    }

    /// How many entries a page may have: 1 to 100, 20 if not given.
    ///
    /// # Errors
    /// 400 for anything else.
    pub fn limit(&mut self) -> Result<usize, Problem> {
        let right = "must be a whole number from 1 to 100";
        let limit = self.take_with("limit", right, |text| text.parse().ok().filter(|n| (1..=100).contains(n)))?;
        Ok(limit.unwrap_or(20))
    }

    /// Refuses what nobody took: a mistyped filter would otherwise show everything.
    ///
    /// # Errors
    /// 400 naming the parameter.
    pub fn finish(self) -> Result<(), Problem> {
        let mut names: Vec<_> = self.left.into_keys().collect();
        names.sort_unstable();
        names.first().map_or(Ok(()), |name| Err(Problem::invalid(&printable(name), "is not a parameter of this route")))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the shape matters")]
    struct Shape {
        prompt: String,
        #[serde(default)]
        list: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the shape matters")]
    struct Inner {
        role: u8,
    }

    fn refused(body: &str) -> (u16, Option<String>) {
        let problem = json_body::<Shape>(body.as_bytes()).unwrap_err();
        (problem.status(), problem.field().map(str::to_owned))
    }

    #[test]
    fn a_bad_body_is_refused_with_the_name_of_the_field() {
        assert_eq!(refused(""), (400, Some("body".into())));
        assert_eq!(refused("{"), (400, Some("body".into())));
        assert_eq!(refused("{}"), (400, Some("prompt".into())));
        assert_eq!(refused(r#"{"prompt": 7}"#), (400, Some("prompt".into())));
        assert_eq!(refused(r#"{"prompt": "x", "promt": "y"}"#), (400, Some("promt".into())));
        assert_eq!(refused(r#"{"prompt": "x", "list": [{"role": "user"}]}"#), (400, Some("list[0].role".into())));
        assert_eq!(refused(r#"{"prompt": "x", "prompt": "y"}"#), (400, Some("prompt".into())));
        for no_object in ["[]", r#"["x"]"#, "null", "7", r#"{"prompt": "x"} {}"#] {
            assert_eq!(refused(no_object), (400, Some("body".into())), "{no_object}");
        }
    }

    #[test]
    fn a_query_is_taken_whole_or_refused() {
        let pairs = [("limit", "7"), ("statsu", "dead")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut query = Query::new(&pairs);
        assert_eq!(query.limit().unwrap(), 7);
        assert_eq!(query.finish().unwrap_err().field(), Some("statsu"));
        for bad in ["0", "101", "-1", "x", ""] {
            let pairs = [("limit".to_owned(), bad.to_owned())];
            assert_eq!(Query::new(&pairs).limit().unwrap_err().field(), Some("limit"), "{bad}");
        }
        let twice = ["7", "7"].map(|value| ("limit".to_owned(), value.to_owned()));
        assert_eq!(Query::new(&twice).limit().unwrap_err().field(), Some("limit"));
    }
}
