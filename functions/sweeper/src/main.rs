//! Finds the runs that nobody works on. Wiring only; see `lib.rs`.

use std::sync::Arc;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;
use shared::aws::{DeadLetters, JobMessages, Table, TaskQueue, sdk_config};
use shared::config::Environment;
use shared::jobs::Watchman;
use shared::metrics::{Meter, Reporter};
use shared::sweep::janitor::Janitor;
use shared::sweep::{Caretaker, Lookout, Sweeper};
use shared::telemetry::{self, SystemClock};
use sweeper::{Schedule, Settings};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let env = Environment::of_process();
    telemetry::start(&env)?;
    let settings = Settings::read(&env)?;
    let config = sdk_config("sweeper").await;
    let (meter, clock) = (Arc::new(Meter::default()), Arc::new(SystemClock));
    let table = Arc::new(Table::measured(&config, settings.table_name, meter.clone()));
    let reporter = Reporter::new(&env, "sweeper", meter, table.clone(), clock.clone());
    let queue = Arc::new(TaskQueue::new(&config, settings.task_queue_url));
    let letters = Arc::new(DeadLetters::new(&config, settings.dlq_url, settings.dlq_arn));
    let caretaker = Caretaker {
        journal: table.clone(),
        queue: queue.clone(),
        backlog: queue.clone(),
        clock: clock.clone(),
        max_attempts: settings.max_attempts,
    };
    let jobs = Arc::new(JobMessages::new(&config, settings.jobs_queue_url));
    let watchman = Watchman { store: table.clone(), queue: jobs, clock: clock.clone() };
    let lookout = Lookout {
        index: table.clone(),
        signs: table.clone(),
        breakers: table.clone(),
        backups: table.clone(),
        dead_letters: letters.clone(),
        backlog: queue.clone(),
        clock: clock.clone(),
    };
    let janitor = Janitor { letters, records: table.clone(), book: table.clone(), clock: clock.clone() };
    let sweeper =
        Sweeper { index: table.clone(), attendant: Arc::new(caretaker), canaries: queue, heartbeats: table, janitor, watchman, clock };
    let schedule = &Schedule { sweeper, lookout, reporter };
    let tick = |event: LambdaEvent<Value>| async move { schedule.tick(event.context.deadline).await.map_err(Error::from) };
    lambda_runtime::run(service_fn(tick)).await
}
