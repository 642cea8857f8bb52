//! The operators' API: incidents, backups. Wiring only; see `lib.rs`.

use std::sync::Arc;

use operator_api::{OperatorApi, Settings};
use shared::aws::{Table, sdk_config};
use shared::config::Environment;
use shared::metrics::{Meter, Reporter};
use shared::telemetry::{self, SystemClock};

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    let env = Environment::of_process();
    telemetry::start(&env)?;
    let settings = Settings::read(&env)?;
    let (meter, clock) = (Arc::new(Meter::default()), Arc::new(SystemClock));
    let table = Arc::new(Table::measured(&sdk_config("operator-api").await, settings.table_name, meter.clone()));
    let reporter = Reporter::new(&env, "operator-api", meter, table.clone(), clock.clone());
    let api = OperatorApi { incidents: table.clone(), backups: table.clone(), table, clock, auth: settings.auth };
    shared::http::serve_measured(Arc::new(api), reporter).await
}
