//! The HTTP edge: API Gateway's event in, JSON or a problem document out, one access line per request.
//!
//! A function implements [`Api`]: one `match` over verb and route, whose routes are those of `template.yaml`. The route and
//! its parameters come from API Gateway, which has matched them already; no path is parsed here.

mod call;
mod input;
mod key;
mod problem;
mod strict;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use lambda_http::http::{HeaderName, StatusCode, header};
use lambda_http::{Body, Request, Response, service_fn};
use serde::Serialize;

pub use call::Call;
pub use input::{Query, json_body};
pub use key::{IDEMPOTENCY_KEY, IDEMPOTENCY_REPLAYED};
pub use problem::Problem;
pub use strict::{Object, Word};

/// A function's part of the API.
#[async_trait]
pub trait Api: Send + Sync {
    /// Answers one call.
    async fn handle(&self, call: &Call) -> Result<Reply, Problem>;
}

/// A successful answer.
#[derive(Debug)]
pub struct Reply {
    status: StatusCode,
    headers: Vec<(HeaderName, String)>,
    body: String,
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
        Self { status, headers: vec![(header::CONTENT_TYPE, "application/json".into())], body: body.into() }
    }

    /// With one more header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Serves `api` until the sandbox ends.
///
/// # Errors
/// When the Lambda runtime cannot be reached.
pub async fn serve(api: Arc<dyn Api>) -> Result<(), lambda_http::Error> {
    lambda_http::run(service_fn(move |request: Request| {
        let api = api.clone();
        async move { Ok::<_, std::convert::Infallible>(respond(api.as_ref(), request).await) }
    }))
    .await
}

/// Answers one request: whatever happens, a response with a request id.
pub async fn respond(api: &dyn Api, request: Request) -> Response<Body> {
    let call = Call::from(request);
    let handled = AssertUnwindSafe(api.handle(&call)).catch_unwind().await;
    let result = handled.unwrap_or_else(|_| Err(Problem::internal(&"the handler panicked")));
    let (status, headers, body) = match result {
        Ok(reply) => (reply.status, reply.headers, reply.body),
        Err(problem) => problem.into_parts(&call.request_id),
    };
    tracing::info!(request.id = %call.request_id, method = %call.method, route = %call.route, status = status.as_u16(), "request");
    let mut response = Response::new(Body::Text(body));
    *response.status_mut() = status;
    for (name, value) in headers.into_iter().chain([(HeaderName::from_static("x-request-id"), call.request_id.clone())]) {
        // A value that is no header value is left out rather than turned into a failure of the whole answer.
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Panics;

    #[async_trait]
    impl Api for Panics {
        async fn handle(&self, call: &Call) -> Result<Reply, Problem> {
            if call.method == "GET" { panic!("secret detail") } else { Reply::json(StatusCode::OK, &1) }
        }
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_without_internals() {
        let response = respond(&Panics, Request::new(Body::Empty)).await;
        assert_eq!(response.status(), 500);
        let Body::Text(text) = response.into_body() else { panic!("no text") };
        assert!(text.contains(r#""code":"internal""#) && !text.contains("secret"), "{text}");
    }
}
