//! The one place that touches OpenTelemetry's idea of a span: where a [`tracing::Span`] stands in its trace, what it goes on from, what it
//! is linked to, what it says. Without the feature `traces`, or where nobody collects, all of it does nothing.

use tracing::Span;

use crate::domain::trace::TraceContext;

/// What a span says of itself.
pub(crate) enum Said {
    /// A text.
    Text(String),
    /// Several.
    Texts(Vec<String>),
    /// A whole number.
    Whole(i64),
}

impl From<&str> for Said {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Said {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u32> for Said {
    fn from(number: u32) -> Self {
        Self::Whole(number.into())
    }
}

impl From<u64> for Said {
    fn from(number: u64) -> Self {
        Self::Whole(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// Gives a span its place: behind `from`, which may be in another process, else behind the span around it. Its lines then say which trace
/// it is of. To be called before anything else is asked of the span.
pub(crate) fn begin(span: &Span, from: Option<TraceContext>) {
    if let Some(from) = from {
        otel::go_on(span, Some(from));
    }
    if let Some(place) = place(span).or(from) {
        span.record("trace_id", place.trace_id());
    }
}

/// Lets a span begin a trace of its own, whatever is around it.
pub(crate) fn begin_anew(span: &Span) {
    otel::go_on(span, None);
    begin(span, None);
}

pub(crate) use otel::{fail, is_content_shown, link, place, say};

#[cfg(feature = "traces")]
mod otel {
    use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
    use opentelemetry::{Array, Context, StringValue, Value};
    use tracing::Span;
    use tracing_opentelemetry::OpenTelemetrySpanExt as _;

    use super::Said;
    use crate::domain::trace::TraceContext;
    use crate::telemetry::outbox::Posts;

    pub(crate) fn go_on(span: &Span, from: Option<TraceContext>) {
        let context = from.map_or_else(Context::new, |from| Context::new().with_remote_span_context(remote(from)));
        // A span that nobody collects has no place.
        let _ = span.set_parent(context);
    }

    /// Where the span stands, if somebody collects it.
    pub(crate) fn place(span: &Span) -> Option<TraceContext> {
        let context = span.context();
        let context = context.span().span_context().clone();
        context.is_valid().then(|| TraceContext {
            trace: u128::from_be_bytes(context.trace_id().to_bytes()),
            span: u64::from_be_bytes(context.span_id().to_bytes()),
            is_sampled: context.is_sampled(),
        })
    }

    /// Ties the span to another one that it does not go on from.
    pub(crate) fn link(span: &Span, to: TraceContext) {
        span.add_link(remote(to));
    }

    /// Says something of the span.
    pub(crate) fn say(span: &Span, name: &'static str, said: impl Into<Said>) {
        let value = match said.into() {
            Said::Text(text) => Value::from(text),
            Said::Texts(texts) => Value::Array(Array::String(texts.into_iter().map(StringValue::from).collect())),
            Said::Whole(number) => Value::from(number),
        };
        span.set_attribute(name, value);
    }

    /// Marks the span as failed.
    pub(crate) fn fail(span: &Span, why: &str) {
        span.set_status(opentelemetry::trace::Status::error(why.to_owned()));
    }

    /// Whether traces may hold what is said to models and by them.
    pub(crate) fn is_content_shown() -> bool {
        tracing::dispatcher::get_default(|dispatch| dispatch.downcast_ref::<Posts>().is_some_and(|posts| posts.is_content_shown))
    }

    fn remote(place: TraceContext) -> SpanContext {
        let flags = if place.is_sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
        let (trace, span) = (TraceId::from(place.trace), SpanId::from(place.span));
        SpanContext::new(trace, span, flags, true, TraceState::NONE)
    }
}

#[cfg(not(feature = "traces"))]
mod otel {
    use tracing::Span;

    use super::Said;
    use crate::domain::trace::TraceContext;

    pub(crate) const fn go_on(_span: &Span, _from: Option<TraceContext>) {}

    /// Where the span stands: nobody collects it.
    pub(crate) const fn place(_span: &Span) -> Option<TraceContext> {
        None
    }

    pub(crate) const fn link(_span: &Span, _to: TraceContext) {}

    pub(crate) fn say(_span: &Span, _name: &'static str, _said: impl Into<Said>) {}

    pub(crate) const fn fail(_span: &Span, _why: &str) {}

    pub(crate) const fn is_content_shown() -> bool {
        false
    }
}
