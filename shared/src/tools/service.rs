//! A service that the deployment names: requests go to its host alone, through the address guard, with its secrets.

use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use url::Url;

use super::guard::{Answer, FetchError, Guard, Request};
use super::secrets::Secrets;
use crate::domain::tool_definition::{Endpoint, HostRule, SecretHeader};
use crate::telemetry::chain;

/// The header that lets a service see that a call is one that it had before.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// One service.
pub(super) struct Service {
    name: String,
    base: Url,
    guard: Guard,
    headers: Vec<SecretHeader>,
    secrets: Arc<Secrets>,
}

impl Service {
    /// Connects to nothing yet.
    pub(super) fn new(name: &str, endpoint: &Endpoint, secrets: Arc<Secrets>) -> Result<Self, String> {
        let base = Url::parse(&endpoint.url).map_err(|_| "url: is not a URL")?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err("url: must begin with https:// or http://".into());
        }
        let host = base.host_str().ok_or("url: names no host")?;
        let rule = HostRule { host: host.to_owned(), port: base.port(), allow_private: endpoint.allow_private };
        let guard = Guard::new(vec![rule]).map_err(|error| format!("the HTTP client cannot be built: {error}"))?;
        Ok(Self { name: name.to_owned(), base, guard, headers: endpoint.headers.clone(), secrets })
    }

    /// The address of a path below the service's own.
    pub(super) fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{}", self.base.path().trim_end_matches('/'), path.trim_start_matches('/')));
        url
    }

    /// The service's address.
    pub(super) const fn base(&self) -> &Url {
        &self.base
    }

    /// A request to it.
    pub(super) fn request(method: Method, url: &Url) -> Request {
        Request::new(method, url.as_str())
    }

    /// Sends it. A secret that is refused is read again, once.
    pub(super) async fn send(&self, mut request: Request) -> Result<Answer, ServiceError> {
        request.credentials = self.credentials().await?;
        let answer = self.guard.send(request.clone()).await.map_err(|error| self.failed(error))?;
        if answer.status != StatusCode::UNAUTHORIZED || !self.are_renewed().await {
            return Ok(answer);
        }
        request.credentials = self.credentials().await?;
        self.guard.send(request).await.map_err(|error| self.failed(error))
    }

    /// Logs an error once, and says of it what a model may know.
    pub(super) fn failed(&self, error: FetchError) -> ServiceError {
        tracing::warn!(tool = %self.name, error = %chain(&error), "a tool's service did not answer");
        ServiceError { leaves_doubt: error.leaves_doubt(), text: error.to_string() }
    }

    async fn credentials(&self) -> Result<HeaderMap, ServiceError> {
        let mut headers = HeaderMap::new();
        for header in &self.headers {
            let unusable = |problem: &str| {
                tracing::error!(tool = %self.name, secret = %header.secret, problem, "a tool's secret cannot be used");
                ServiceError { leaves_doubt: false, text: "the tool's secret cannot be used; its operator must see to it".into() }
            };
            let secret = self.secrets.get(&header.secret).await.map_err(|problem| unusable(&problem))?;
            let name = HeaderName::try_from(header.name.as_str()).map_err(|_| unusable("it is for no header"))?;
            let value = HeaderValue::try_from(format!("{}{}", header.prefix, secret.reveal()));
            let mut value = value.map_err(|_| unusable("it cannot stand in a header"))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(headers)
    }

    async fn are_renewed(&self) -> bool {
        let mut renewed = false;
        for header in &self.headers {
            renewed |= self.secrets.is_renewed(&header.secret).await;
        }
        renewed
    }
}

/// Why a service gave no answer, for the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(super) struct ServiceError {
    text: String,
    /// See [`FetchError::leaves_doubt`].
    pub(super) leaves_doubt: bool,
}

impl From<ServiceError> for String {
    fn from(error: ServiceError) -> Self {
        error.text
    }
}

/// The first of a text, and a mark if there was more.
pub(super) fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
