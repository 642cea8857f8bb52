//! The agent API: runs, conversations. Wiring only; see `lib.rs`.

use std::sync::Arc;

use agent_api::{AgentApi, Callers, Settings};
use shared::aws::{Sandbox, TaskQueue};
use shared::config::Environment;
use shared::intake::Intake;
use shared::telemetry;

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    let env = Environment::of_process();
    telemetry::start_with_traces(&env)?;
    let settings = Settings::read(&env)?;
    let sandbox = Sandbox::start(&env, "agent-api", settings.table_name).await;
    let queue = Arc::new(TaskQueue::new(&sandbox.config, settings.engine.task_queue_url.clone()));
    let engine = sandbox.engine(&env, &settings.engine, queue).await?;
    let intake = Intake { engine, records: sandbox.table.clone(), patience: settings.patience };
    let (providers, callers) = (settings.engine.models.names(), Callers { aliases: settings.aliases, auth: settings.auth });
    let api = AgentApi::over(sandbox.table, intake, sandbox.clock, providers, callers);
    shared::http::serve_measured(Arc::new(api), sandbox.reporter).await
}
