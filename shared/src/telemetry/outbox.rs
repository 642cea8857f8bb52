//! Spans on their way to a collector, over OTLP/HTTP (ADR 0030).
//!
//! They are kept until somebody says [`flush`], which an invocation does when its work is done: no thread and no timer, because the sandbox
//! freezes between invocations. A collector that does not answer costs an invocation [`BOUND`] once, then is left alone for a while; what
//! it has not taken is kept for it, as far as there is room.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span, SpanData, SpanProcessor};
use tokio::time::Instant;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use super::collector::{Collector, Unsent};
use super::semconv;
use super::span::TRACED;
use crate::config::{ConfigError, Environment, variables};
use crate::model::SecretStore;

/// How long an invocation may take longer for its spans. Nobody waits for it: the answer was sent. A second, because a connection that is
/// new, with its look-up and TLS, takes four ways there and back, and is new after each longer pause.
const BOUND: Duration = Duration::from_secs(1);
/// Spans that wait for a collector: a few hundred invocations' worth.
const MOST_KEPT: usize = 2_000;
/// Bytes of them, about: a function has a few hundred megabytes, and with content a span may have 64 KB.
const MOST_KEPT_BYTES: usize = 8 << 20;
/// Spans of one request; collectors refuse requests of more than some megabytes.
const MOST_SENT: usize = 256;
/// See [`MOST_SENT`].
const MOST_SENT_BYTES: usize = 1 << 20;
/// Bytes of a span beside its texts, about.
const BARE: usize = 300;
/// How long a collector is left alone that has failed; doubled each time, up to [`LONGEST_REST`].
const REST: Duration = Duration::from_secs(2);
/// See [`REST`].
const LONGEST_REST: Duration = Duration::from_secs(60);

/// The outbox, among the layers, where [`flush`] finds it.
pub(crate) struct Posts {
    outbox: Arc<Outbox>,
    /// Whether traces may hold what is said to models and tools and by them.
    pub(crate) is_content_shown: bool,
}

impl<S: Subscriber> Layer<S> for Posts {}

/// Sends what has ended since the last time. Never fails, and takes no longer than a second, but the first time, when the key is read.
pub async fn flush() {
    if let Some(outbox) = tracing::dispatcher::get_default(|dispatch| dispatch.downcast_ref::<Posts>().map(|posts| posts.outbox.clone())) {
        outbox.flush().await;
    }
}

/// Where the collector's key is, if it wants one. It is read when the first spans are sent, not at init.
pub fn keys_are_in(secrets: &Arc<dyn SecretStore>) {
    tracing::dispatcher::get_default(|dispatch| {
        if let Some(posts) = dispatch.downcast_ref::<Posts>() {
            posts.outbox.collector.keys_are_in(secrets.clone());
        }
    });
}

/// Spans that have ended and were not sent yet, oldest first. Where there is no room the oldest are given up, and counted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Shelf>>);

#[derive(Debug, Default)]
struct Shelf {
    spans: VecDeque<SpanData>,
    bytes: usize,
    dropped: usize,
}

impl Kept {
    fn shelf(&self) -> std::sync::MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, taken out.
    #[cfg(test)]
    pub(crate) fn take(&self) -> Vec<SpanData> {
        std::mem::take(&mut *self.shelf()).spans.into()
    }

    /// As many as one request takes, taken out.
    fn take_some(&self) -> Vec<SpanData> {
        let mut shelf = self.shelf();
        let (mut some, mut bytes) = (Vec::new(), 0);
        while let Some(size) = shelf.spans.front().map(size_of) {
            if some.len() == MOST_SENT || (bytes + size > MOST_SENT_BYTES && !some.is_empty()) {
                break;
            }
            bytes += size;
            shelf.bytes -= size;
            some.extend(shelf.spans.pop_front());
        }
        some
    }

    /// Puts back what could not be sent.
    fn put_back(&self, unsent: Vec<SpanData>) {
        let mut shelf = self.shelf();
        for span in unsent.into_iter().rev() {
            shelf.bytes += size_of(&span);
            shelf.spans.push_front(span);
        }
        shelf.make_room();
    }

    /// How many were given up since somebody asked last.
    fn dropped(&self) -> usize {
        std::mem::take(&mut self.shelf().dropped)
    }
}

impl Shelf {
    fn make_room(&mut self) {
        while self.spans.len() > MOST_KEPT || self.bytes > MOST_KEPT_BYTES {
            let Some(oldest) = self.spans.pop_front() else { return };
            self.bytes -= size_of(&oldest);
            self.dropped += 1;
        }
    }
}

/// About how many bytes a span has.
fn size_of(span: &SpanData) -> usize {
    let said = |said: &KeyValue| said.key.as_str().len() + if let Value::String(text) = &said.value { text.as_str().len() } else { 8 };
    BARE + span.name.len() + span.attributes.iter().map(said).sum::<usize>()
}

impl SpanProcessor for Kept {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            let mut shelf = self.shelf();
            shelf.bytes += size_of(&span);
            shelf.spans.push_back(span);
            shelf.make_room();
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
    collector: Collector,
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
        // Each is read, so that one that is missing shows before it is needed.
        let secret = env.optional(variables::OTEL_EXPORTER_OTLP_HEADERS_SECRET)?;
        let Some(endpoint) = env.optional(variables::OTEL_EXPORTER_OTLP_ENDPOINT)? else { return Ok(None) };
        let wrong = |problem: &str| ConfigError { name: variables::OTEL_EXPORTER_OTLP_ENDPOINT, problem: problem.into() };
        if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
            return Err(wrong("must be the http or https address of a collector, without /v1/traces"));
        }
        Self::new(&endpoint, secret, resource(env)).map(Some).map_err(|()| wrong("is no address that a client can be made for"))
    }

    /// For the collector at `endpoint`; `secret` names where its headers are.
    pub(crate) fn new(endpoint: &str, secret: Option<String>, resource: Resource) -> Result<Self, ()> {
        let collector = Collector::new(endpoint, secret, &resource)?;
        Ok(Self { kept: Kept::default(), collector, rest: Mutex::default(), resource })
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

    pub(crate) async fn flush(&self) {
        if self.rest().until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        let until = Instant::now() + BOUND;
        let mut spans = self.kept.take_some();
        while !spans.is_empty() {
            let answer = match self.collector.ready().await {
                // The time begins when there is something to send it with.
                Ok(true) => tokio::time::timeout(BOUND, self.collector.send(spans.clone())).await,
                Ok(false) => tokio::time::timeout_at(until, self.collector.send(spans.clone())).await,
                Err(unsent) => Ok(Err(unsent)),
            };
            match answer.unwrap_or_else(|_| Err(Unsent::Later(format!("no answer within {} ms", BOUND.as_millis())))) {
                Ok(()) => *self.rest() = Rest::default(),
                Err(unsent) => return self.leave_alone(unsent, spans),
            }
            // What is left has time until the next invocation ends.
            spans = if Instant::now() < until { self.kept.take_some() } else { Vec::new() };
        }
    }

    /// A collector that has failed has a rest. What it will never take is given up, so that it stands in the way of nothing else.
    fn leave_alone(&self, unsent: Unsent, spans: Vec<SpanData>) {
        let (count, refused) = (spans.len(), matches!(unsent, Unsent::Never(_)));
        if !refused {
            self.kept.put_back(spans);
        }
        let dropped = self.kept.dropped() + if refused { count } else { 0 };
        let mut rest = self.rest();
        let pause = REST.saturating_mul(1 << rest.failures.min(10)).min(LONGEST_REST);
        *rest = Rest { failures: rest.failures.saturating_add(1), until: Some(Instant::now() + pause) };
        drop(rest);
        let (Unsent::Later(error) | Unsent::Never(error)) = unsent;
        let pause_s = pause.as_secs();
        tracing::warn!(error, unsent = count, dropped, pause_s, "spans could not be sent; the collector is left alone for a while");
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

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
