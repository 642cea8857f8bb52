//! Takes runs off the queue and advances them. Wiring only; see `lib.rs`.

use std::sync::Arc;

use futures_util::future::join;
use lambda_runtime::{LambdaEvent, service_fn};
use queue_consumer::{Consumer, Settings};
use shared::aws::{Sandbox, TaskQueue};
use shared::config::Environment;
use shared::telemetry;

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    let env = Environment::of_process();
    telemetry::start_with_traces(&env)?;
    let settings = Settings::read(&env)?;
    let sandbox = Sandbox::start(&env, "queue-consumer", settings.table_name).await;
    let queue = Arc::new(TaskQueue::new(&sandbox.config, settings.engine.task_queue_url.clone()));
    let engine = sandbox.engine(&env, &settings.engine, queue.clone()).await?;
    let (reporter, table) = (&sandbox.reporter, &sandbox.table);
    let consumer = &Consumer { engine, visibility: queue, heartbeats: table.clone(), letters: table.clone() };
    let work = |event: LambdaEvent<_>| async move {
        let done = consumer.handle(event.payload, event.context.deadline).await;
        // Nobody waits for this answer but the queue, which deletes messages when it has it; they are hidden for longer than that.
        join(reporter.report(), telemetry::flush()).await;
        done
    };
    lambda_runtime::run(service_fn(work)).await
}
