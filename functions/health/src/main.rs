//! The probes. Wiring only; see `lib.rs`.

use std::sync::Arc;

use health::HealthApi;
use shared::config::Environment;
use shared::telemetry;

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    let env = Environment::of_process();
    telemetry::start(&env)?;
    shared::http::serve(Arc::new(HealthApi::new(env))).await
}
