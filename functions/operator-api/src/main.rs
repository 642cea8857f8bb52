//! The operators' API: incidents, backups. Wiring only; see `lib.rs`.

use std::sync::Arc;

use operator_api::{OperatorApi, Settings};
use shared::aws::Sandbox;
use shared::config::Environment;
use shared::telemetry;

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    let env = Environment::of_process();
    telemetry::start(&env)?;
    let settings = Settings::read(&env)?;
    let Sandbox { table, clock, reporter, .. } = Sandbox::start(&env, "operator-api", settings.table_name).await;
    let api = OperatorApi { incidents: table.clone(), backups: table.clone(), table, clock, auth: settings.auth };
    shared::http::serve_measured(Arc::new(api), reporter).await
}
