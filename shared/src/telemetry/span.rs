//! The spans that tie log lines together: each line inside one has its fields. They are errors by level, so that they are there whatever
//! `LOG_LEVEL` says.
//!
//! | field | what |
//! |---|---|
//! | `request.id` | what the caller knows the request by; where nobody has asked, Lambda's id of the invocation |
//! | `xray_trace_id` | X-Ray's trace of the invocation |
//! | `tenant`, `run.id`, `attempt`, `step` | whose run, which one, which attempt without progress, which step of its journal |

use tracing::Span;
use tracing::field::Empty;

use crate::domain::id::{RunId, TenantId};
use crate::domain::run::Run;

/// The target of the spans that a trace shows.
pub const TRACED: &str = "reprise_trace";
/// The target of those that only log lines need.
pub const UNTRACED: &str = "reprise_lines";
/// The target of the span that the Lambda runtime's client makes for each invocation.
pub const INVOCATION: &str = "lambda_runtime::layers::trace";

/// A request that is answered.
#[must_use]
pub fn request(method: &str, route: &str, id: &str) -> Span {
    tracing::error_span!(
        target: TRACED, "request", otel.name = format_args!("{method} {route}"), otel.kind = "server",
        request.id = id, tenant = Empty, run.id = Empty
    )
}

/// Says of the request that is being answered whose it is.
pub fn is_of_tenant(tenant: &TenantId) {
    Span::current().record("tenant", tenant.as_str());
}

/// Says of the request that is being answered which run it is about.
pub fn is_about_run(run: RunId) {
    Span::current().record("run.id", tracing::field::display(run));
}

/// A message of the tasks queue that is worked on.
#[must_use]
pub fn message(tenant: &TenantId, run: RunId, deliveries: u32) -> Span {
    tracing::error_span!(
        target: TRACED, "message", otel.name = "process tasks", otel.kind = "consumer",
        tenant = tenant.as_str(), run.id = %run, deliveries
    )
}

/// An attempt to advance a run.
#[must_use]
pub fn attempt(run: &Run) -> Span {
    tracing::error_span!(
        target: TRACED, "attempt", otel.name = format_args!("invoke_agent {}", run.agent), otel.kind = "internal",
        tenant = run.tenant.as_str(), run.id = %run.id, attempt = run.attempts
    )
}

/// A step of a run, from its first call to its place in the journal.
#[must_use]
pub fn step(index: u32) -> Span {
    tracing::error_span!(target: UNTRACED, "step", step = index)
}
