//! HTTP with JSON, as a caller sees it: an answer whatever its status.

use std::time::Duration;

use serde_json::Value;
use ureq::Body;
use ureq::http::{Method, Request, Response};

/// Longer than API Gateway waits, so that its answer and not ours is seen.
const LIMIT: Duration = Duration::from_secs(40);
/// Most bytes of an answer: the request log of a whole test is some megabytes.
const MOST: u64 = 64 * 1024 * 1024;

/// A client of one address.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
    base: String,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The verb and path that were asked for, for messages.
    pub asked: String,
    /// The HTTP status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as it came.
    pub body: String,
}

impl Client {
    /// A client of `http://host:port`.
    #[must_use]
    pub fn new(base: &str) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(LIMIT));
        // A proxy of the environment never serves this machine's own ports.
        Self { agent: config.proxy(None).build().into(), base: base.trim_end_matches('/').to_owned() }
    }

    /// The address, without a slash at its end.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A GET.
    #[track_caller]
    #[must_use]
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], Vec::new())
    }

    /// A POST of JSON.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string().into_bytes())
    }

    /// Any request.
    ///
    /// # Panics
    /// When there is no answer at all.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        self.try_send(method, path, headers, body).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Any request, where it may be that nobody answers.
    ///
    /// # Errors
    /// What came instead of an answer.
    pub fn try_send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Result<Answer, String> {
        let asked = format!("{method} {}{path}", self.base);
        let sent = self.exchange(method, path, headers, body);
        let (status, headers, body) = sent.map_err(|error| format!("no answer to {asked}: {error}"))?;
        Ok(Answer { asked, status, headers, body })
    }

    /// Any request whose answer is read as it comes: the status, and the body.
    ///
    /// # Panics
    /// When there is no answer at all.
    #[track_caller]
    pub fn open(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> (u16, Box<dyn std::io::Read>) {
        let sent = self.start(method, path, headers, body);
        let response = sent.unwrap_or_else(|error| panic!("no answer to {method} {}{path}: {error}", self.base));
        (response.status().as_u16(), Box::new(response.into_body().into_reader()))
    }

    fn start(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Result<Response<Body>, ureq::Error> {
        let method = Method::from_bytes(method.as_bytes()).map_err(|error| ureq::Error::Other(Box::new(error)))?;
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_empty() { self.agent.run(request.body(())?) } else { self.agent.run(request.body(body)?) }
    }

    fn exchange(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Result<Parts, ureq::Error> {
        let mut response = self.start(method, path, headers, body)?;
        let text = response.body_mut().with_config().limit(MOST).lossy_utf8(true).read_to_string()?;
        let headers = response.headers().iter();
        let headers = headers.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        Ok((response.status().as_u16(), headers.collect(), text))
    }
}

type Parts = (u16, Vec<(String, String)>, String);

impl Answer {
    /// The JSON of an answer that must have this status.
    ///
    /// # Panics
    /// When it has another, with its body.
    #[track_caller]
    pub fn must(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{} answered {}", self.asked, self.head());
        self.json()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{} is no JSON ({error}): {}", self.asked, self.head()))
    }

    /// A header's value; empty if it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(header, _)| header == name).map_or("", |(_, value)| value)
    }

    /// The document of a request that must be refused with `status`, in the field `field` if given.
    ///
    /// # Panics
    /// When it is no complete problem document (RFC 9457) of that status.
    #[track_caller]
    pub fn refused(&self, status: u16, field: Option<&str>) -> Value {
        let problem = self.must(status);
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.asked);
        for name in ["type", "title", "code", "detail", "request_id"] {
            assert!(problem[name].as_str().is_some_and(|text| !text.is_empty()), "{}: no `{name}` in {problem}", self.asked);
        }
        assert_eq!(problem["status"], status, "{}", self.asked);
        if let Some(field) = field {
            assert_eq!(problem["field"], field, "{}: {problem}", self.asked);
        }
        problem
    }

    fn head(&self) -> String {
        self.body.chars().take(600).collect()
    }
}

/// The text in a field of a JSON object.
///
/// # Panics
/// When there is none.
#[track_caller]
#[must_use]
pub fn text(object: &Value, field: &str) -> String {
    object[field].as_str().unwrap_or_else(|| panic!("no text in `{field}` of {object}")).to_owned()
}

/// The list in a field of a JSON object.
///
/// # Panics
/// When there is none.
#[track_caller]
#[must_use]
pub fn list<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    object[field].as_array().unwrap_or_else(|| panic!("no list in `{field}` of {object}"))
}

/// The number in a field of a JSON object.
///
/// # Panics
/// When there is none.
#[track_caller]
#[must_use]
pub fn number(object: &Value, field: &str) -> u64 {
    object[field].as_u64().unwrap_or_else(|| panic!("no number in `{field}` of {object}"))
}
