//! Takes runs off the queue and advances them. Wiring only; see `lib.rs`.

use std::sync::Arc;

use futures_util::future::join;
use lambda_runtime::{LambdaEvent, service_fn};
use queue_consumer::{Consumer, Settings};
use shared::aws::{AwsSecrets, Table, TaskQueue, sdk_config};
use shared::config::Environment;
use shared::definitions;
use shared::engine::{Engine, Routes};
use shared::metrics::{Meter, Reporter};
use shared::model::{Providers, SecretStore};
use shared::telemetry::{self, SystemClock};
use shared::tools::{LambdaFunctions, Workshop};

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    let env = Environment::of_process();
    telemetry::start_with_traces(&env)?;
    let settings = Settings::read(&env)?;
    let config = sdk_config("queue-consumer").await;
    let queue = Arc::new(TaskQueue::new(&config, settings.task_queue_url));
    let secrets: Arc<dyn SecretStore> = Arc::new(AwsSecrets::new(&config)?);
    telemetry::keys_are_in(&secrets);
    let (meter, clock) = (Arc::new(Meter::default()), Arc::new(SystemClock));
    let table = Arc::new(Table::measured(&config, settings.table_name, meter.clone()));
    let reporter = &Reporter::new(&env, "queue-consumer", meter.clone(), table.clone(), clock.clone());
    let bundle = definitions::load(&env)?;
    let workshop =
        Workshop { clock: clock.clone(), secrets: Arc::new(secrets.clone()), functions: Arc::new(LambdaFunctions::new(&config)) };
    let engine = Engine {
        journal: table.clone(),
        queue: queue.clone(),
        model: Arc::new(Providers::new(&settings.models, &secrets, clock.clone()).await?),
        routes: Arc::new(Routes::new(settings.models.chain.clone(), settings.models.breakers(), table.clone()).with_agents(&bundle.agents)),
        tools: workshop.toolbox(&settings.tools.applied(&bundle)?)?,
        bundle,
        clock: clock.clone(),
        limits: settings.limits,
        worker: format!("queue-consumer/{}", telemetry::worker_name(&env, clock.as_ref())),
        meter,
    };
    let consumer = &Consumer { engine, visibility: queue, heartbeats: table.clone(), letters: table };
    let work = |event: LambdaEvent<_>| async move {
        let done = consumer.handle(event.payload, event.context.deadline).await;
        // Nobody waits for this answer but the queue, which deletes messages when it has it; they are hidden for longer than that.
        join(reporter.report(), telemetry::flush()).await;
        done
    };
    lambda_runtime::run(service_fn(work)).await
}
