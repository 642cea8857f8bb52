//! The spans that tie log lines together: each line inside one has its fields. They are errors by level, so that they are there whatever
//! `LOG_LEVEL` says.
//!
//! | field | what |
//! |---|---|
//! | `request.id` | what the caller knows the request by; where nobody has asked, Lambda's id of the invocation |
//! | `xray_trace_id` | X-Ray's trace of the invocation |
//! | `trace_id` | OpenTelemetry's, where traces are collected or the caller has one |
//! | `tenant`, `run.id`, `attempt`, `step` | whose run, which one, which attempt without progress, which step of its journal |
//! | `job.id` | which bulk action; `tenant` is then whose action it is |

use tracing::Span;
use tracing::field::Empty;

use super::{semconv, trace};
use crate::domain::id::{JobId, RunId, TenantId};
use crate::domain::run::Run;
use crate::domain::task::Task;
use crate::domain::trace::{RunTrace, TraceContext};
use crate::engine::Advance;
use crate::engine::ports::JournalError;

/// The target of the spans that a trace shows.
pub const TRACED: &str = "reprise_trace";
/// The target of those that only log lines need.
pub const UNTRACED: &str = "reprise_lines";
/// The target of the span that the Lambda runtime's client makes for each invocation.
pub const INVOCATION: &str = "lambda_runtime::layers::trace";

/// A request that is answered; `from` is where its caller stands in a trace.
#[must_use]
pub fn request(method: &str, route: &str, id: &str, from: Option<TraceContext>) -> Span {
    let span = tracing::error_span!(
        target: TRACED, "request", otel.name = format_args!("{method} {route}"), otel.kind = "server",
        request.id = id, tenant = Empty, run.id = Empty, trace_id = Empty
    );
    trace::begin(&span, from);
    semconv::request(&span, method, route);
    span
}

/// Says how the request was answered.
pub fn is_answered(status: u16) {
    semconv::answered(&Span::current(), status);
}

/// Says of the request that is being answered whose it is.
pub fn is_of_tenant(tenant: &TenantId) {
    Span::current().record("tenant", tenant.as_str());
}

/// Says of the request that is being answered which run it is about.
pub fn is_about_run(run: RunId) {
    Span::current().record("run.id", tracing::field::display(run));
}

/// A message that is sent to the tasks queue, and where it stands in a trace: what the message carries along.
#[must_use]
pub fn sending(task: &Task) -> (Span, Option<TraceContext>) {
    let span = tracing::error_span!(
        target: TRACED, "send", otel.name = "send tasks", otel.kind = "producer", tenant = task.tenant.as_str(), run.id = %task.run
    );
    semconv::message(&span, "send", None);
    let place = trace::place(&span);
    (span, place)
}

/// A message of the tasks queue that is worked on; `from` is where it was sent.
#[must_use]
pub fn message(task: &Task, id: &str, deliveries: u32, from: Option<TraceContext>) -> Span {
    let span = tracing::error_span!(
        target: TRACED, "message", otel.name = "process tasks", otel.kind = "consumer",
        tenant = task.tenant.as_str(), run.id = %task.run, deliveries, trace_id = Empty
    );
    if let Some(from) = from {
        trace::link(&span, from);
    }
    trace::begin(&span, from);
    semconv::message(&span, "process", Some(id));
    span
}

/// An attempt to advance a run. All attempts of a run are in one trace, each linked to the one before it: the run keeps where this one
/// stands. An attempt whose message was sent for another reason than the run's own request (an operator's retry, another run's end) is
/// linked to that one as well.
#[must_use]
pub fn attempt(run: &mut Run) -> Span {
    let span = tracing::error_span!(
        target: TRACED, "attempt", otel.name = format_args!("invoke_agent {}", run.agent), otel.kind = "internal",
        tenant = run.tenant.as_str(), run.id = %run.id, attempt = run.attempts, trace_id = Empty
    );
    let around = trace::place(&Span::current());
    match run.trace {
        Some(RunTrace { parent: Some(parent), .. }) if around.is_none_or(|around| around.trace != parent.trace) => {
            around.into_iter().for_each(|around| trace::link(&span, around));
            trace::begin(&span, Some(parent));
        }
        Some(RunTrace { parent: None, .. }) => {
            around.into_iter().for_each(|around| trace::link(&span, around));
            trace::begin_anew(&span);
        }
        Some(RunTrace { parent: Some(_), .. }) | None => trace::begin(&span, None),
    }
    semconv::invoke_agent(&span, run);
    if let Some(before) = run.trace.and_then(|trace| trace.before) {
        trace::link(&span, before);
    }
    if let Some(place) = trace::place(&span) {
        run.trace = Some(RunTrace::with_attempt(run.trace, place));
    }
    span
}

/// Where the work that is being done stands in a trace, if traces are collected.
#[must_use]
pub fn place() -> Option<TraceContext> {
    trace::place(&Span::current())
}

/// Says why the attempt that is being made has failed.
pub fn attempt_failed(code: &str) {
    semconv::failed(&Span::current(), code);
}

/// Says how an attempt ended.
pub fn attempt_ended(attempt: &Span, ended: &Result<Advance, JournalError>) {
    let outcome = match ended {
        Ok(Advance::Ended { state, .. }) => state.as_str(),
        Ok(Advance::HandedOver) => "handed_over",
        Ok(Advance::Waiting) => "waiting",
        Ok(Advance::Again { .. }) => "again",
        Ok(Advance::Dead) => "dead",
        Ok(Advance::Stale) => "stale",
        Ok(Advance::Lost) => "lost",
        Err(_) => "journal_unavailable",
    };
    semconv::ended(attempt, outcome);
    if ended.is_err() {
        semconv::failed(attempt, outcome);
    }
}

/// What is done about a run beside its attempts: the sweeper's work. [`is_of_attempt`] says which attempt it has come to.
#[must_use]
pub fn about(tenant: &TenantId, run: RunId) -> Span {
    tracing::error_span!(target: UNTRACED, "about", tenant = tenant.as_str(), run.id = %run, attempt = Empty)
}

/// Says which attempt the run has come to that something is done about.
pub fn is_of_attempt(attempt: u32) {
    Span::current().record("attempt", attempt);
}

/// Work on a bulk action.
#[must_use]
pub fn job(tenant: &TenantId, job: JobId) -> Span {
    tracing::error_span!(target: UNTRACED, "job", tenant = tenant.as_str(), job.id = %job)
}

/// A step of a run, from its first call to its place in the journal.
#[must_use]
pub fn step(index: u32) -> Span {
    tracing::error_span!(target: UNTRACED, "step", step = index)
}
