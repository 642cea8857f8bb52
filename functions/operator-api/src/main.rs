//! The operators' API: incidents, backups. Wiring only; see `lib.rs`.

use std::sync::Arc;

use operator_api::{OperatorApi, Settings};
use shared::aws::{Table, sdk_config};
use shared::config::Environment;
use shared::telemetry::{self, SystemClock};

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    let env = Environment::of_process();
    telemetry::start(&env)?;
    let settings = Settings::read(&env)?;
    let table = Arc::new(Table::new(&sdk_config("operator-api").await, settings.table_name));
    let api = OperatorApi { incidents: table.clone(), table, clock: Arc::new(SystemClock), auth: settings.auth };
    shared::http::serve(Arc::new(api)).await
}
