//! Problem documents (RFC 9457): what went wrong, in which field, what to do, and the id to ask about. Never internals.

use std::borrow::Cow;
use std::fmt::Display;

use lambda_http::http::{HeaderName, StatusCode, header};
use serde_json::json;

use crate::engine::ports::JournalError;
use crate::telemetry::chain;

/// An answer that tells of a problem. It has no `Display`: what is inside was logged where it was found.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    // A result that is nearly always a success should not be as large as its rarest failure.
    more: Box<More>,
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
    pub fn too_large(field: &'static str, most: usize) -> Self {
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

    /// The field that it is about.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.more.field.as_deref()
    }

    pub(super) fn into_parts(self, request_id: &str) -> (StatusCode, Vec<(HeaderName, String)>, String) {
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
