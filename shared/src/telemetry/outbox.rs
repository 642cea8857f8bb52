//! Spans on their way to a collector, over OTLP/HTTP (ADR 0030).
//!
//! They are kept until somebody says [`flush`], which an invocation does when its work is done: no thread and no timer, because the sandbox
//! freezes between invocations. A collector that does not answer costs an invocation its bound once, then is left alone for a while; what
//! it has not taken is kept for it, up to [`MOST_KEPT`] spans.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{RetryPolicy, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter as _, SpanProcessor};
use tokio::time::Instant;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use super::semconv;
use super::span::TRACED;
use crate::config::{ConfigError, Environment, variables};
use crate::model::{SecretError, SecretStore};

/// Spans that wait for a collector: a few hundred invocations' worth, about two megabytes.
const MOST_KEPT: usize = 2_000;
/// How long a collector is left alone that has not answered; doubled each time, up to [`LONGEST_REST`].
const REST: Duration = Duration::from_secs(2);
/// See [`REST`].
const LONGEST_REST: Duration = Duration::from_secs(60);
/// The longest that a connection is waited for that nobody uses: behind a freeze of the sandbox it is dead, and nobody says so.
const IDLE: Duration = Duration::from_secs(20);

/// The outbox, among the layers, where [`flush`] finds it.
pub(crate) struct Posts {
    outbox: Arc<Outbox>,
    /// Whether traces may hold what is said to models and tools and by them.
    pub(crate) is_content_shown: bool,
}

impl<S: Subscriber> Layer<S> for Posts {}

/// Sends what has ended since the last time, as long as `bound`. Never fails: what cannot be sent is kept, and logged once.
pub async fn flush(bound: Duration) {
    if let Some(outbox) = tracing::dispatcher::get_default(|dispatch| dispatch.downcast_ref::<Posts>().map(|posts| posts.outbox.clone())) {
        outbox.flush(bound).await;
    }
}

/// Where the collector's key is, if it wants one. It is read when the first spans are sent, not at init.
pub fn keys_are_in(secrets: &Arc<dyn SecretStore>) {
    tracing::dispatcher::get_default(|dispatch| {
        if let Some(posts) = dispatch.downcast_ref::<Posts>() {
            let _ = posts.outbox.secrets.set(secrets.clone());
        }
    });
}

/// Spans that have ended and were not sent yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl Kept {
    /// All of them, taken out.
    pub(crate) fn take(&self) -> Vec<SpanData> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts back what could not be sent, as far as there is room: the youngest stay. How many were dropped.
    fn put_back(&self, mut unsent: Vec<SpanData>) -> usize {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        unsent.append(&mut kept);
        let surplus = unsent.len().saturating_sub(MOST_KEPT);
        *kept = unsent.split_off(surplus);
        surplus
    }
}

impl SpanProcessor for Kept {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // An invocation of thousands of spans ends before anybody flushes.
        if span.span_context.is_sampled() && kept.len() < MOST_KEPT {
            kept.push(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// What is needed to make spans; the layers are made of it.
pub(crate) fn tracer(kept: &Kept, resource: Resource) -> SdkTracer {
    let provider = SdkTracerProvider::builder().with_span_processor(kept.clone()).with_resource(resource).build();
    let scope = opentelemetry::InstrumentationScope::builder("reprise").with_schema_url(semconv::SCHEMA_URL).build();
    provider.tracer_with_scope(scope)
}

/// The spans, and whoever takes them.
pub(crate) struct Outbox {
    pub(crate) kept: Kept,
    exporter: opentelemetry_otlp::SpanExporter,
    secrets: Arc<OnceLock<Arc<dyn SecretStore>>>,
    rest: Mutex<Rest>,
    resource: Resource,
}

/// Whether the collector is left alone.
#[derive(Default)]
struct Rest {
    failures: u32,
    until: Option<Instant>,
}

impl Outbox {
    /// For the collector of `OTEL_EXPORTER_OTLP_ENDPOINT`; none if that is empty.
    pub(crate) fn read(env: &Environment) -> Result<Option<Self>, ConfigError> {
        let Some(endpoint) = env.optional(variables::OTEL_EXPORTER_OTLP_ENDPOINT)? else { return Ok(None) };
        let secret = env.optional(variables::OTEL_EXPORTER_OTLP_HEADERS_SECRET)?;
        let wrong = |problem: &str| ConfigError { name: variables::OTEL_EXPORTER_OTLP_ENDPOINT, problem: problem.into() };
        if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
            return Err(wrong("must be the http or https address of a collector, without /v1/traces"));
        }
        Self::new(&endpoint, secret, resource(env)).map(Some).map_err(|()| wrong("is no address that a client can be made for"))
    }

    /// For the collector at `endpoint`; `secret` names where its headers are.
    pub(crate) fn new(endpoint: &str, secret: Option<String>, resource: Resource) -> Result<Self, ()> {
        let secrets = Arc::new(OnceLock::new());
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).pool_idle_timeout(IDLE).build().map_err(drop)?;
        let client = Client { http, secret, secrets: secrets.clone(), headers: tokio::sync::OnceCell::new() };
        let mut exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .with_http_client(client)
            // The next flush tries again.
            .with_retry_policy(RetryPolicy::disabled())
            .build()
            .map_err(drop)?;
        exporter.set_resource(&resource);
        Ok(Self { kept: Kept::default(), exporter, secrets, rest: Mutex::default(), resource })
    }

    /// What makes spans of ours into spans of a trace, and puts them here.
    pub(crate) fn layer<S>(self, is_content_shown: bool) -> impl Layer<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let tracer = tracer(&self.kept, self.resource.clone());
        // What happens inside a span is in the logs, with the trace's id.
        let spans = tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
            .with_level(false)
            .with_context_activation(false)
            .with_filter(Targets::new().with_target(TRACED, LevelFilter::ERROR));
        spans.and_then(Posts { outbox: Arc::new(self), is_content_shown })
    }

    pub(crate) async fn flush(&self, bound: Duration) {
        if self.rest().until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        let spans = self.kept.take();
        if spans.is_empty() {
            return;
        }
        let problem = match tokio::time::timeout(bound, self.exporter.export(spans.clone())).await {
            Ok(Ok(())) => {
                *self.rest() = Rest::default();
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} ms", bound.as_millis()),
        };
        let unsent = spans.len();
        let dropped = self.kept.put_back(spans);
        let mut rest = self.rest();
        let pause = REST.saturating_mul(1 << rest.failures.min(10)).min(LONGEST_REST);
        *rest = Rest { failures: rest.failures.saturating_add(1), until: Some(Instant::now() + pause) };
        drop(rest);
        let pause_s = pause.as_secs();
        tracing::warn!(error = problem, unsent, dropped, pause_s, "spans could not be sent; the collector is left alone for a while");
    }

    fn rest(&self) -> std::sync::MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who sends, in the words of the conventions.
fn resource(env: &Environment) -> Resource {
    let known = |name: &'static str, variable| Some(KeyValue::new(name, env.optional(variable).ok()??));
    let attributes = [
        known(semconv::SERVICE_NAME, "AWS_LAMBDA_FUNCTION_NAME"),
        known(semconv::FAAS_NAME, "AWS_LAMBDA_FUNCTION_NAME"),
        known(semconv::FAAS_VERSION, "AWS_LAMBDA_FUNCTION_VERSION"),
        known(semconv::FAAS_INSTANCE, "AWS_LAMBDA_LOG_STREAM_NAME"),
        known(semconv::CLOUD_REGION, "AWS_REGION"),
        Some(KeyValue::new(semconv::CLOUD_PLATFORM, "aws_lambda")),
        Some(KeyValue::new(semconv::CLOUD_PROVIDER, "aws")),
        Some(KeyValue::new(semconv::SERVICE_VERSION, env!("CARGO_PKG_VERSION"))),
    ];
    Resource::builder_empty().with_attributes(attributes.into_iter().flatten()).build()
}

/// The HTTP client that everything else here uses, with the collector's headers.
struct Client {
    http: reqwest::Client,
    secret: Option<String>,
    secrets: Arc<OnceLock<Arc<dyn SecretStore>>>,
    headers: tokio::sync::OnceCell<reqwest::header::HeaderMap>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    async fn headers(&self) -> Result<&reqwest::header::HeaderMap, SecretError> {
        let read = || async {
            let (Some(name), Some(secrets)) = (&self.secret, self.secrets.get()) else { return Ok(reqwest::header::HeaderMap::new()) };
            headers_in(secrets.read(name).await?.reveal()).ok_or(SecretError::Unusable)
        };
        self.headers.get_or_try_init(read).await
    }
}

/// `name=value` pairs, parted by commas: what `OTEL_EXPORTER_OTLP_HEADERS` holds elsewhere. The values are percent-encoded.
fn headers_in(text: &str) -> Option<reqwest::header::HeaderMap> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8().ok()?;
        let mut value = reqwest::header::HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        Some((reqwest::header::HeaderName::from_bytes(name.trim().as_bytes()).ok()?, value))
    };
    text.trim().split(',').filter(|pair| !pair.trim().is_empty()).map(pair).collect()
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let headers = self.headers().await?.clone();
        let mut request = reqwest::Request::try_from(request)?;
        request.headers_mut().extend(headers);
        let answer = self.http.execute(request).await?;
        let status = answer.status();
        let mut response = Response::new(answer.bytes().await?);
        *response.status_mut() = status;
        Ok(response)
    }
}
