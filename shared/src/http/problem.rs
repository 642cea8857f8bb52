//! Problem documents (RFC 9457): what went wrong, in which field, what to do, and the id to ask about. Never internals.

use std::borrow::Cow;
use std::fmt::Display;

use lambda_http::http::{HeaderName, StatusCode, header};
use serde_json::{Value, json};

use crate::engine::ports::JournalError;
use crate::telemetry::chain;

/// The header that names the run behind an answer in OpenAI's shape, whose body has no place that all clients show.
pub const RUN_ID: HeaderName = HeaderName::from_static("x-reprise-run-id");

/// An answer that tells of a problem. It has no `Display`: what is inside was logged where it was found.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    // A result that is nearly always a success should not be as large as its rarest failure.
    more: Box<More>,
}

/// How a route writes its problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorShape {
    /// As a problem document.
    Problem,
    /// As the object that clients of OpenAI's API make an exception of.
    OpenAi,
}

/// What only some problems tell.
#[derive(Debug, Default)]
struct More {
    field: Option<String>,
    retry_after: Option<u32>,
    run: Option<String>,
    question: Option<String>,
    headers: Vec<(HeaderName, String)>,
}

impl Problem {
    /// A problem of that status, with a stable code and a sentence that says what to do.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, detail: detail.into(), more: Box::default() }
    }

    /// A field that does not fit.
    #[must_use]
    pub fn invalid(field: &str, detail: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", format!("{field}: {detail}")).about(field)
    }

    /// A body that cannot be read at all.
    #[must_use]
    pub fn malformed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", detail).about("body")
    }

    /// A field that is too long.
    #[must_use]
    pub fn too_large(field: &str, most: usize) -> Self {
        let detail = format!("{field}: must not be longer than {most} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail).about(field)
    }

    /// Something that does not exist, or is another tenant's.
    #[must_use]
    pub fn not_found(field: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail).about(field)
    }

    /// Something that the state of things does not allow now.
    #[must_use]
    pub fn conflict(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// A caller who may not.
    #[must_use]
    pub fn forbidden(detail: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// A store or queue that cannot be reached, logged here.
    #[must_use]
    pub fn unavailable(error: &JournalError) -> Self {
        tracing::error!(error = %chain(error), "a dependency is unavailable");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "a dependency does not answer; try again").after(5)
    }

    /// A fault of ours, logged here.
    #[must_use]
    pub fn internal(cause: &dyn Display) -> Self {
        tracing::error!(error = %cause, "internal error");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "an internal error; report the request id")
    }

    /// With the field that it is about.
    #[must_use]
    pub fn about(mut self, field: &str) -> Self {
        self.more.field = Some(field.to_owned());
        self
    }

    /// With the run that it is about.
    #[must_use]
    pub fn of_run(mut self, run: impl Display) -> Self {
        self.more.run = Some(run.to_string());
        self
    }

    /// With the question that is open.
    #[must_use]
    pub fn of_question(mut self, question: impl Into<String>) -> Self {
        self.more.question = Some(question.into());
        self
    }

    /// With another sentence that says what to do.
    #[must_use]
    pub fn saying(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = detail.into();
        self
    }

    /// With one more header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.more.headers.push((name, value.into()));
        self
    }

    /// With the seconds after which to try again.
    #[must_use]
    pub fn after(mut self, seconds: u32) -> Self {
        self.more.retry_after = Some(seconds);
        self
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// Whether it says when to try again.
    #[must_use]
    pub fn retries(&self) -> bool {
        self.more.retry_after.is_some()
    }

    /// The field that it is about.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.more.field.as_deref()
    }

    pub(super) fn into_parts(self, shape: ErrorShape, request_id: &str) -> (StatusCode, Vec<(HeaderName, String)>, String) {
        match shape {
            ErrorShape::Problem => self.into_document(request_id),
            ErrorShape::OpenAi => self.into_openai(request_id),
        }
    }

    /// The object in OpenAI's shape: clients choose the exception by the status, and show `message`, `code` and `param`.
    #[must_use]
    pub fn openai(&self, request_id: &str) -> Value {
        let kind = match self.status.as_u16() {
            429 => "rate_limit_error",
            status if status >= 500 => "server_error",
            _ => "invalid_request_error",
        };
        let mut error = json!({
            "message": self.detail,
            "type": kind,
            "param": self.more.field,
            "code": self.code,
            "request_id": request_id,
        });
        for (name, value) in [("run_id", &self.more.run), ("question_id", &self.more.question)] {
            if let Some(value) = value {
                error[name] = value.as_str().into();
            }
        }
        if let Some(seconds) = self.more.retry_after {
            error["retry_after"] = seconds.into();
        }
        json!({ "error": error })
    }

    fn into_openai(self, request_id: &str) -> (StatusCode, Vec<(HeaderName, String)>, String) {
        let body = self.openai(request_id);
        let mut headers = self.more.headers;
        headers.push((header::CONTENT_TYPE, "application/json".to_owned()));
        headers.extend(self.more.retry_after.map(|seconds| (header::RETRY_AFTER, seconds.to_string())));
        headers.extend(self.more.run.map(|run| (RUN_ID, run)));
        (self.status, headers, body.to_string())
    }

    fn into_document(self, request_id: &str) -> (StatusCode, Vec<(HeaderName, String)>, String) {
        let mut body = json!({
            "type": format!("urn:reprise:problem:{}", self.code),
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
            "request_id": request_id,
        });
        let mut headers = self.more.headers;
        headers.push((header::CONTENT_TYPE, "application/problem+json".to_owned()));
        if let Some(field) = self.more.field {
            body["field"] = field.into();
        }
        if let Some(run) = self.more.run {
            body["run_id"] = run.into();
        }
        if let Some(question) = self.more.question {
            body["question_id"] = question.into();
        }
        if let Some(seconds) = self.more.retry_after {
            body["retry_after"] = seconds.into();
            headers.push((header::RETRY_AFTER, seconds.to_string()));
        }
        (self.status, headers, body.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_in_openais_shape_has_what_makes_an_exception_of_it() {
        for (status, kind) in
            [(400, "invalid_request_error"), (404, "invalid_request_error"), (429, "rate_limit_error"), (503, "server_error")]
        {
            let problem = Problem::new(StatusCode::from_u16(status).unwrap(), "some_code", "what to do")
                .about("messages[0]")
                .of_run("run_x")
                .after(7);
            let (answered, headers, body) = problem.into_parts(ErrorShape::OpenAi, "req");
            let error = json!({
                "message": "what to do", "type": kind, "param": "messages[0]", "code": "some_code", "request_id": "req",
                "run_id": "run_x", "retry_after": 7
            });
            assert_eq!((answered.as_u16(), serde_json::from_str::<Value>(&body).unwrap()), (status, json!({ "error": error })));
            for header in [(header::CONTENT_TYPE, "application/json"), (header::RETRY_AFTER, "7"), (RUN_ID, "run_x")] {
                assert!(headers.contains(&(header.0.clone(), header.1.to_owned())), "{headers:?}");
            }
        }
        let plain = Problem::malformed("no JSON").openai("req");
        assert_eq!((&plain["error"]["param"], plain["error"].get("run_id")), (&json!("body"), None));
    }
}
