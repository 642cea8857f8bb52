//! What a function answers: a whole text, or pieces of text as they come, with work that goes on beside them.

use std::fmt;
use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use lambda_http::http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

use super::{ErrorShape, Problem};

/// Pieces of a body, each sent when it is there.
pub type Pieces = Pin<Box<dyn Stream<Item = String> + Send>>;

/// Work that an answer tells of and that must not depend on who reads it: it goes on when the reader is slow or leaves, and the
/// function takes no other event before it is done.
pub type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A successful answer.
pub struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) body: Payload,
    pub(super) work: Option<Work>,
}

/// A body.
pub(super) enum Payload {
    /// All of it.
    Whole(String),
    /// As it comes.
    Pieces(Pieces),
}

impl Reply {
    /// A JSON answer.
    ///
    /// # Errors
    /// When `body` cannot be written as JSON, which is a fault of ours.
    pub fn json(status: StatusCode, body: &impl Serialize) -> Result<Self, Problem> {
        let body = serde_json::to_string(body).map_err(|error| Problem::internal(&error))?;
        Ok(Self::text(status, body))
    }

    /// JSON that is a text already.
    #[must_use]
    pub fn text(status: StatusCode, body: impl Into<String>) -> Self {
        Self::new(status, "application/json", Payload::Whole(body.into()))
    }

    /// Numbers for Prometheus, in its text format.
    #[must_use]
    pub fn metrics(text: String) -> Self {
        Self::new(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", Payload::Whole(text))
    }

    /// Server-sent events as they come. Only on routes of [`super::Api::streams`].
    #[must_use]
    pub fn events(pieces: impl Stream<Item = String> + Send + 'static) -> Self {
        let reply = Self::new(StatusCode::OK, "text/event-stream", Payload::Pieces(pieces.boxed()));
        // What stands between us and the reader must neither keep the events nor collect them.
        reply.with(header::CACHE_CONTROL, "no-cache").with(HeaderName::from_static("x-accel-buffering"), "no")
    }

    /// With one more header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With work beside it.
    #[must_use]
    pub fn beside(mut self, work: impl Future<Output = ()> + Send + 'static) -> Self {
        self.work = Some(Box::pin(work));
        self
    }

    fn new(status: StatusCode, content_type: &str, body: Payload) -> Self {
        Self { status, headers: vec![(header::CONTENT_TYPE, content_type.to_owned())], body, work: None }
    }

    /// The answer to the request with that id.
    pub(super) fn of(result: Result<Self, Problem>, shape: ErrorShape, request_id: &str) -> Self {
        let reply = result.unwrap_or_else(|problem| {
            let (status, headers, body) = problem.into_parts(shape, request_id);
            Self { status, headers, body: Payload::Whole(body), work: None }
        });
        reply.with(HeaderName::from_static("x-request-id"), request_id)
    }

    /// The headers that are ones: a value that is none is left out rather than turned into a failure of the whole answer.
    pub(super) fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        self.headers.iter().filter_map(|(name, value)| Some((name.clone(), value.parse().ok()?)))
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = match &self.body {
            Payload::Whole(text) => text.as_str(),
            Payload::Pieces(_) => "…",
        };
        f.debug_struct("Reply").field("status", &self.status).field("headers", &self.headers).field("body", &body).finish_non_exhaustive()
    }
}
