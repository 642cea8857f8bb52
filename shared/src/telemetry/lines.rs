//! Log lines: one JSON object for each, on standard output, where CloudWatch reads them; or one line of text for people.
//!
//! A line has the fields of its event and of every span around it, each name once: what is said nearer to the event wins. Not the crate
//! `tracing-subscriber`'s own formats: they nest spans or repeat their fields, and link more than this.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use serde::Serializer as _;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

use super::{SystemClock, chain};
use crate::domain::clock::Clock as _;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For machines.
    Json,
    /// For people.
    Text,
}

/// Writes a line for each event.
pub struct Lines {
    format: Format,
    write: Box<dyn Fn(&str) + Send + Sync>,
}

impl Lines {
    /// Lines on standard output.
    #[must_use]
    pub fn to_stdout(format: Format) -> Self {
        // Nobody can be told that nobody can be told anything.
        Self::to(format, |line| {
            let _ = std::io::stdout().lock().write_all(line.as_bytes());
        })
    }

    /// Lines that `write` takes, each with its line break.
    pub fn to(format: Format, write: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { format, write: Box::new(write) }
    }

    fn line(&self, level: Level, fields: &Fields) -> Option<String> {
        let now = format!("{:.3}", SystemClock.now());
        match self.format {
            Format::Json => {
                let head = [("timestamp", Value::from(now)), ("level", level.as_str().into())];
                let mut line = Vec::new();
                let all = head.iter().chain(&fields.0).map(|(name, value)| (name, value));
                serde_json::Serializer::new(&mut line).collect_map(all).ok()?;
                String::from_utf8(line).ok().map(|line| line + "\n")
            }
            Format::Text => {
                let message = fields.0.iter().find(|(name, _)| *name == MESSAGE).and_then(|(_, value)| value.as_str());
                let mut line = format!("{now} {level:<5} {}", message.unwrap_or_default());
                for (name, value) in fields.0.iter().filter(|(name, _)| *name != MESSAGE) {
                    write!(line, "  {name}={value}").ok()?;
                }
                Some(line + "\n")
            }
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        // From the inside out.
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(around) = span.extensions().get::<Fields>() {
                around.0.iter().for_each(|(name, value)| fields.add(name, || value.clone()));
            }
        }
        if let Some(line) = self.line(*event.metadata().level(), &fields) {
            (self.write)(&line);
        }
    }
}

/// What the spans around the running code say of `name`, the nearest first.
pub(super) fn said_around(name: &str) -> Option<String> {
    let around = tracing::Span::current();
    tracing::dispatcher::get_default(|dispatch| {
        let registry = dispatch.downcast_ref::<Registry>()?;
        registry.span(&around.id()?)?.scope().find_map(|span| {
            let extensions = span.extensions();
            let (_, value) = extensions.get::<Fields>()?.0.iter().find(|(known, _)| *known == name)?;
            value.as_str().map(str::to_owned)
        })
    })
}

/// What an event says in words.
const MESSAGE: &str = "message";

/// Fields in order, each name once.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn add(&mut self, name: &'static str, value: impl FnOnce() -> Value) {
        if !self.0.iter().any(|(known, _)| *known == name) {
            self.0.push((name, value()));
        }
    }

    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        let name = match field.name() {
            "requestId" => "request.id",
            "xrayTraceId" => "xray_trace_id",
            // For the trace alone.
            name if name.starts_with("otel.") => return,
            name => name,
        };
        let value = value.into();
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        // X-Ray's header says more than the trace: `Root=1-...;Parent=...;Sampled=1`.
        let root = value.split(';').find_map(|part| part.strip_prefix("Root=")).filter(|_| field.name() == "xrayTraceId");
        self.set(field, root.unwrap_or(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.set(field, chain(value));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::json;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::super::{span, speakers};
    use super::*;
    use crate::fakes::a_run;

    /// The lines of what `speaks`, at that level.
    fn lines(format: Format, level: Level, speaks: impl FnOnce()) -> Vec<String> {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let to = heard.clone();
        let layer = Lines::to(format, move |line| to.lock().unwrap().push(line.to_owned())).with_filter(speakers(level));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), speaks);
        heard.lock().unwrap().clone()
    }

    fn speaks() {
        let xray = "Root=1-abc;Parent=def;Sampled=1";
        let invocation = tracing::info_span!(target: span::INVOCATION, "Lambda runtime invoke", requestId = "lambda", xrayTraceId = xray);
        let request = invocation.in_scope(|| span::request("POST", "/v1/agent", "r1", None));
        request.in_scope(|| {
            span::is_of_tenant(&"acme".parse().unwrap());
            span::step(3).in_scope(|| tracing::error!(run.id = "run_1", left = 2, done = true, ratio = 0.5, "it \"happened\""));
        });
    }

    #[test]
    fn a_line_has_the_fields_of_its_event_and_of_all_spans_around_it_each_once() {
        for level in [Level::ERROR, Level::TRACE] {
            let lines = lines(Format::Json, level, speaks);
            let [line] = lines.as_slice() else { panic!("{lines:?}") };
            let mut said: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
            assert!(said.remove("timestamp").unwrap().as_str().unwrap().ends_with('Z'));
            assert_eq!(
                Value::Object(said.clone()),
                json!({
                    "level": "ERROR", "message": "it \"happened\"", "run.id": "run_1", "left": 2, "done": true, "ratio": 0.5, "step": 3,
                    "request.id": "r1", "tenant": "acme", "xray_trace_id": "1-abc"
                })
            );
            for name in said.keys() {
                assert_eq!(line.matches(&format!("\"{name}\":")).count(), 1, "{name} in {line}");
            }
        }
    }

    #[test]
    fn a_line_of_a_worker_says_which_attempt_and_step_of_whose_run_it_is_of() {
        let mut run = a_run(&"acme".parse().unwrap(), SystemClock.now());
        run.attempts = 2;
        let lines = lines(Format::Json, Level::ERROR, || {
            let invocation = tracing::info_span!(target: span::INVOCATION, "Lambda runtime invoke", requestId = "lambda");
            let message = invocation.in_scope(|| span::message(&run.task(), "m", 3, None));
            let attempt = message.in_scope(|| span::attempt(&mut run));
            attempt.in_scope(|| span::step(4).in_scope(|| tracing::error!("it happened")));
        });
        let said: Value = serde_json::from_str(&lines[0]).unwrap();
        let run = run.id.to_string();
        for (name, value) in
            [("request.id", json!("lambda")), ("tenant", json!("acme")), ("run.id", json!(run)), ("attempt", json!(2)), ("step", json!(4))]
        {
            assert_eq!(said[name], value, "{name} in {said}");
        }
    }

    #[test]
    fn where_nobody_has_asked_the_invocation_is_the_request() {
        let lines = lines(Format::Json, Level::INFO, || {
            let invocation = tracing::info_span!(target: span::INVOCATION, "Lambda runtime invoke", requestId = "lambda");
            invocation.in_scope(|| tracing::info!("tick"));
        });
        assert!(lines[0].contains(r#""request.id":"lambda""#), "{lines:?}");
    }

    #[test]
    fn people_read_text() {
        let lines = lines(Format::Text, Level::INFO, speaks);
        assert!(lines[0].contains("Z ERROR it \"happened\"  run.id=\"run_1\"  left=2"), "{lines:?}");
        assert!(lines[0].ends_with("xray_trace_id=\"1-abc\"\n"), "{lines:?}");
    }

    #[test]
    fn libraries_speak_only_when_something_is_wrong() {
        let lines = lines(Format::Json, Level::TRACE, || {
            tracing::info!(target: "hyper::client", "a request with its headers");
            tracing::trace!(target: "lambda_runtime::api", "an event");
            tracing::error!(target: "genai::adapter", "an answer");
            tracing::warn!(target: "hyper::client", "wrong");
            tracing::trace!("ours");
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
    }
}
