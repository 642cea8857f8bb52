//! The HTTP edge: API Gateway's event in, JSON, a problem document or a stream of events out, one access line per request.
//!
//! A function implements [`Api`]: one `match` over verb and route, whose routes are those of `template.yaml`. The route and
//! its parameters come from API Gateway, which has matched them already; no path is parsed here.

mod call;
mod input;
mod key;
mod problem;
mod reply;
mod serve;
pub mod sse;
mod strict;

use async_trait::async_trait;

pub use call::Call;
pub use input::{Query, json_body};
pub use key::{IDEMPOTENCY_KEY, IDEMPOTENCY_REPLAYED};
pub use problem::{ErrorShape, Problem, RUN_ID};
pub use reply::{Pieces, Reply, Work};
pub use serve::{Deliveries, respond, serve};
#[cfg(feature = "metrics")]
pub use serve::{serve_measured, serve_with};
pub use strict::{Object, Word};

/// A function's part of the API.
#[async_trait]
pub trait Api: Send + Sync {
    /// Answers one call.
    async fn handle(&self, call: &Call) -> Result<Reply, Problem>;

    /// Whether API Gateway streams the answers of that route, see the template: those alone can be events as they come.
    fn streams(&self, _method: &str, _route: &str) -> bool {
        false
    }

    /// How problems with this call are written.
    fn error_shape(&self, _call: &Call) -> ErrorShape {
        ErrorShape::Problem
    }

    /// Hears the status of each answer, whatever it came of.
    fn answered(&self, _status: u16) {}
}
