//! The probes. Wiring only; see `lib.rs`.

use std::sync::Arc;

use health::HealthApi;
use shared::config::Environment;
use shared::telemetry;

// One thread: a request is served at a time, and threads are what a cold start of a probe would mostly pay for.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    let env = Environment::of_process();
    telemetry::start(&env)?;
    shared::http::serve(Arc::new(HealthApi::new(env))).await
}
