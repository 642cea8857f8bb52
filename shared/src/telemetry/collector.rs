//! The collector of traces, and its key.

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{RetryPolicy, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::model::{SecretError, SecretStore};

/// The longest that a connection is kept that nobody uses: behind a freeze of the sandbox it is dead, and nobody says so.
const IDLE: Duration = Duration::from_secs(20);
/// How long reading the key may take: once in a sandbox's life, and again after it was refused.
const KEY_BOUND: Duration = Duration::from_secs(2);

/// Why spans were not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// Another time they may be.
    Later(String),
    /// They never will be.
    Never(String),
}

/// Where spans go.
pub(super) struct Collector {
    exporter: opentelemetry_otlp::SpanExporter,
    client: Arc<Client>,
}

impl Collector {
    /// The one at `endpoint`, with the headers that stand in `secret`.
    pub(super) fn new(endpoint: &str, secret: Option<String>, resource: &Resource) -> Result<Self, ()> {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).pool_idle_timeout(IDLE).build().map_err(drop)?;
        let headers = Mutex::new(secret.is_none().then(HeaderMap::new));
        let client = Arc::new(Client { http, secret, secrets: OnceLock::new(), headers, status: AtomicU16::new(0) });
        let mut exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .with_shared_http_client(client.clone())
            // The next flush tries again.
            .with_retry_policy(RetryPolicy::disabled())
            .build()
            .map_err(drop)?;
        exporter.set_resource(resource);
        Ok(Self { exporter, client })
    }

    /// Where the key is.
    pub(super) fn keys_are_in(&self, secrets: Arc<dyn SecretStore>) {
        let _ = self.client.secrets.set(secrets);
    }

    /// Reads the key if it is not known yet; whether it was read now.
    pub(super) async fn ready(&self) -> Result<bool, Unsent> {
        if self.client.headers().is_some() {
            return Ok(false);
        }
        let read = tokio::time::timeout(KEY_BOUND, self.client.read()).await;
        let read = read.unwrap_or_else(|_| Err(SecretError::Unavailable(format!("not within {} s", KEY_BOUND.as_secs()))));
        let headers = read.map_err(|error| Unsent::Later(format!("the secret with the collector's headers {error}")))?;
        *self.client.headers.lock().unwrap_or_else(PoisonError::into_inner) = Some(headers);
        Ok(true)
    }

    /// Sends them in one request.
    pub(super) async fn send(&self, spans: Vec<SpanData>) -> Result<(), Unsent> {
        self.client.status.store(0, Ordering::Relaxed);
        let Err(error) = self.exporter.export(spans).await else { return Ok(()) };
        match self.client.status.load(Ordering::Relaxed) {
            status @ (401 | 403) => {
                // The key may be another one by now.
                self.client.forget();
                Err(Unsent::Later(format!("the collector has refused the key: HTTP {status}")))
            }
            408 | 429 => Err(Unsent::Later(error.to_string())),
            status @ 400..500 => Err(Unsent::Never(format!("the collector has refused them: HTTP {status}"))),
            _ => Err(Unsent::Later(error.to_string())),
        }
    }
}

/// The HTTP client that everything else here uses, with the collector's headers.
struct Client {
    http: reqwest::Client,
    secret: Option<String>,
    secrets: OnceLock<Arc<dyn SecretStore>>,
    /// None: not read yet.
    headers: Mutex<Option<HeaderMap>>,
    /// What the collector has answered last: the exporter's error has it only in words.
    status: AtomicU16,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    fn headers(&self) -> Option<HeaderMap> {
        self.headers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn forget(&self) {
        if self.secret.is_some() {
            *self.headers.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    async fn read(&self) -> Result<HeaderMap, SecretError> {
        let (Some(name), Some(secrets)) = (&self.secret, self.secrets.get()) else { return Ok(HeaderMap::new()) };
        headers_in(secrets.read(name).await?.reveal()).ok_or(SecretError::Unusable)
    }
}

/// `name=value` pairs, parted by commas: what `OTEL_EXPORTER_OTLP_HEADERS` holds elsewhere. The values are percent-encoded.
fn headers_in(text: &str) -> Option<HeaderMap> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8().ok()?;
        let mut value = HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::from_bytes(name.trim().as_bytes()).ok()?, value))
    };
    text.trim().split(',').filter(|pair| !pair.trim().is_empty()).map(pair).collect()
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut request = reqwest::Request::try_from(request)?;
        request.headers_mut().extend(self.headers().unwrap_or_default());
        let answer = self.http.execute(request).await?;
        let status = answer.status();
        self.status.store(status.as_u16(), Ordering::Relaxed);
        let mut response = Response::new(answer.bytes().await?);
        *response.status_mut() = status;
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_are_none_are_refused() {
        assert_eq!(headers_in(" a=1,b=x%3Dy,\n").unwrap().len(), 2);
        for bad in ["a", "a b=1", "a=%01", "a=%ff"] {
            assert!(headers_in(bad).is_none(), "{bad}");
        }
    }
}
