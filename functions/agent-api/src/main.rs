//! The agent API: runs, conversations. Wiring only; see `lib.rs`.

use std::sync::Arc;

use agent_api::{AgentApi, Callers, Settings};
use shared::aws::{AwsSecrets, Table, TaskQueue, sdk_config};
use shared::config::Environment;
use shared::definitions;
use shared::engine::{Engine, Routes};
use shared::intake::Intake;
use shared::metrics::{Meter, Reporter};
use shared::model::{Providers, SecretStore};
use shared::telemetry::{self, SystemClock};
use shared::tools::{LambdaFunctions, Workshop};

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    let env = Environment::of_process();
    telemetry::start_with_traces(&env)?;
    let settings = Settings::read(&env)?;
    let config = sdk_config("agent-api").await;
    let (meter, clock) = (Arc::new(Meter::default()), Arc::new(SystemClock));
    let table = Arc::new(Table::measured(&config, settings.table_name, meter.clone()));
    let reporter = Reporter::new(&env, "agent-api", meter.clone(), table.clone(), clock.clone());
    let secrets: Arc<dyn SecretStore> = Arc::new(AwsSecrets::new(&config)?);
    telemetry::keys_are_in(&secrets);
    let bundle = definitions::load(&env)?;
    let workshop =
        Workshop { clock: clock.clone(), secrets: Arc::new(secrets.clone()), functions: Arc::new(LambdaFunctions::new(&config)) };
    let engine = Engine {
        journal: table.clone(),
        queue: Arc::new(TaskQueue::new(&config, settings.task_queue_url)),
        model: Arc::new(Providers::new(&settings.models, &secrets, clock.clone()).await?),
        routes: Arc::new(Routes::new(settings.models.chain.clone(), settings.models.breakers(), table.clone()).with_agents(&bundle.agents)),
        tools: workshop.toolbox(&settings.tools.applied(&bundle)?)?,
        bundle,
        clock: clock.clone(),
        limits: settings.limits,
        worker: format!("agent-api/{}", telemetry::worker_name(&env, clock.as_ref())),
        meter,
    };
    let intake = Intake { engine, records: table.clone(), patience: settings.patience };
    let (providers, callers) = (settings.models.names(), Callers { aliases: settings.aliases, auth: settings.auth });
    shared::http::serve_measured(Arc::new(AgentApi::over(table, intake, clock, providers, callers)), reporter).await
}
