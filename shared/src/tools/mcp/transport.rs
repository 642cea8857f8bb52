//! HTTP for `rmcp`: every request goes through the address guard, with the server's secrets.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_client::{SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse};
use sse_stream::{Sse, SseStream};

use crate::tools::guard::{Answer, Request};
use crate::tools::service::{IDEMPOTENCY_KEY, Service, ServiceError};

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const EVENTS: &str = "text/event-stream";
const JSON: &str = "application/json";
/// Bytes of an answer, as one text or as events.
const MOST_READ: usize = 4_000_000;

type Error = StreamableHttpError<ServiceError>;

/// Requests of one session.
#[derive(Clone)]
pub(super) struct Transport {
    service: Arc<Service>,
    /// Of the call that the session is for.
    key: Option<Arc<str>>,
    is_sent: Arc<AtomicBool>,
}

impl Transport {
    pub(super) fn new(service: Arc<Service>, key: Option<&str>) -> Self {
        Self { service, key: key.map(Arc::from), is_sent: Arc::default() }
    }

    /// Whether a call of a tool was sent, and not answered by an error of HTTP.
    pub(super) fn is_sent(&self) -> Arc<AtomicBool> {
        self.is_sent.clone()
    }

    async fn send(
        &self,
        mut request: Request,
        session: Option<Arc<str>>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<Answer, Error> {
        request.headers.extend(headers);
        request.headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        if let Some(session) = session {
            let value = HeaderValue::try_from(session.as_ref()).map_err(|_| StreamableHttpError::MissingSessionIdInResponse)?;
            request.headers.insert(SESSION, value);
        }
        if let Some(key) = self.key.as_ref().and_then(|key| HeaderValue::try_from(key.as_ref()).ok()) {
            request.headers.insert(IDEMPOTENCY_KEY, key);
        }
        self.service.send(request).await.map_err(StreamableHttpError::Client)
    }
}

impl StreamableHttpClient for Transport {
    type Error = ServiceError;

    async fn post_message(
        &self,
        _uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        _auth: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Error> {
        let wants_reply = matches!(message, ClientJsonRpcMessage::Request(_));
        let had_session = session.is_some();
        let request = Service::request(Method::POST, self.service.base()).json(&serde_json::to_value(&message)?);
        let is_call =
            matches!(&message, ClientJsonRpcMessage::Request(request) if matches!(request.request, ClientRequest::CallToolRequest(_)));
        let answer = self.send(request, session, headers).await;
        if is_call {
            let is_sent = match &answer {
                Ok(answer) => answer.status.is_success(),
                Err(StreamableHttpError::Client(error)) => error.leaves_doubt,
                Err(_) => false,
            };
            self.is_sent.store(is_sent, Ordering::Relaxed);
        }
        let answer = answer?;
        let session = answer.headers.get(SESSION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let kind = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        match answer.status {
            StatusCode::ACCEPTED | StatusCode::NO_CONTENT => return Ok(StreamableHttpPostResponse::Accepted),
            StatusCode::NOT_FOUND if had_session => return Err(StreamableHttpError::SessionExpired),
            status if status.is_success() && kind.starts_with(EVENTS) => {
                return Ok(StreamableHttpPostResponse::Sse(events(answer), session));
            }
            _ => {}
        }
        let status = answer.status;
        let body = answer.body.whole(MOST_READ).await.map_err(|error| StreamableHttpError::Client(self.service.failed(error)))?;
        let reply = kind.starts_with(JSON).then(|| serde_json::from_slice::<ServerJsonRpcMessage>(&body).ok()).flatten();
        match reply {
            Some(reply) if status.is_success() || matches!(reply, ServerJsonRpcMessage::Error(_)) => {
                Ok(StreamableHttpPostResponse::Json(reply, session))
            }
            // What is no request has no reply that counts.
            _ if status.is_success() && !wants_reply => Ok(StreamableHttpPostResponse::Accepted),
            // Not what it said: it may hold what nobody should read.
            _ => Err(StreamableHttpError::UnexpectedServerResponse(Cow::Owned(format!("HTTP {}", status.as_u16())))),
        }
    }

    async fn delete_session(
        &self,
        _uri: Arc<str>,
        session: Arc<str>,
        _auth: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Error> {
        let request = Service::request(Method::DELETE, self.service.base());
        self.send(request, Some(session), headers).await.map(|_| ())
    }

    /// Nothing that a server says unasked is of use to a session of one call.
    async fn get_stream(
        &self,
        _uri: Arc<str>,
        _session: Option<Arc<str>>,
        _last_event_id: Option<String>,
        _auth: Option<String>,
        _headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Error> {
        Err(StreamableHttpError::ServerDoesNotSupportSse)
    }
}

/// The events of an answer, up to a number of bytes.
fn events(answer: Answer) -> BoxStream<'static, Result<Sse, SseError>> {
    let pieces = stream::unfold(Some((answer.body, 0)), |state| async move {
        let (mut body, read) = state?;
        match body.piece().await {
            Ok(Some(piece)) if read + piece.len() <= MOST_READ => {
                let read = read + piece.len();
                Some((Ok(std::io::Cursor::new(piece)), Some((body, read))))
            }
            Ok(Some(_)) => Some((Err(std::io::Error::other("the answer is too large")), None)),
            Ok(None) => None,
            Err(error) => Some((Err(std::io::Error::other(error)), None)),
        }
    });
    SseStream::from_bytes_stream(pieces.boxed()).boxed()
}
