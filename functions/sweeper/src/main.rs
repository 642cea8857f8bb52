//! Finds the runs that nobody works on. Wiring only; see `lib.rs`.

use std::sync::Arc;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;
use shared::aws::{DeadLetters, JobMessages, Sandbox, TaskQueue};
use shared::config::Environment;
use shared::jobs::Watchman;
use shared::sweep::janitor::Janitor;
use shared::sweep::{Caretaker, Lookout, Sweeper};
use shared::telemetry;
use sweeper::{Schedule, Settings};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let env = Environment::of_process();
    telemetry::start(&env)?;
    let settings = Settings::read(&env)?;
    let Sandbox { config, clock, table, reporter, .. } = Sandbox::start(&env, "sweeper", settings.table_name).await;
    let queue = Arc::new(TaskQueue::new(&config, settings.task_queue_url));
    let letters = Arc::new(DeadLetters::new(&config, settings.dlq_url, settings.dlq_arn));
    let (backlog, max_attempts) = (queue.clone(), settings.max_attempts);
    let caretaker = Caretaker { journal: table.clone(), queue: queue.clone(), backlog, clock: clock.clone(), max_attempts };
    let jobs = Arc::new(JobMessages::new(&config, settings.jobs_queue_url));
    let watchman = Watchman { store: table.clone(), queue: jobs, clock: clock.clone() };
    let (signs, breakers, backups, dead_letters) = (table.clone(), table.clone(), table.clone(), letters.clone());
    let lookout = Lookout { index: table.clone(), signs, breakers, backups, dead_letters, backlog: queue.clone(), clock: clock.clone() };
    let janitor = Janitor { letters, records: table.clone(), book: table.clone(), clock: clock.clone() };
    let sweeper =
        Sweeper { index: table.clone(), attendant: Arc::new(caretaker), canaries: queue, heartbeats: table, janitor, watchman, clock };
    let schedule = &Schedule { sweeper, lookout, reporter };
    let tick = |event: LambdaEvent<Value>| async move { schedule.tick(event.context.deadline).await.map_err(Error::from) };
    lambda_runtime::run(service_fn(tick)).await
}
