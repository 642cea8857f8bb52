//! Dead letters: shows them and puts them back. Wiring only; see `lib.rs`.

use std::sync::Arc;

use dlq_redrive::{DlqApi, Settings};
use shared::aws::{DeadLetters, Table, TaskQueue, sdk_config};
use shared::config::Environment;
use shared::letters::LetterDesk;
use shared::operate::Redrive;
use shared::telemetry::{self, SystemClock};

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    let env = Environment::of_process();
    telemetry::start(&env)?;
    let settings = Settings::read(&env)?;
    let config = sdk_config("dlq-redrive").await;
    let (table, clock) = (Arc::new(Table::new(&config, settings.table_name)), Arc::new(SystemClock));
    let queue = Arc::new(TaskQueue::new(&config, settings.task_queue_url));
    let dead_letters = Arc::new(DeadLetters::new(&config, settings.dlq_url, settings.dlq_arn));
    let letters = LetterDesk { book: table.clone(), queue: queue.clone(), dead_letters: dead_letters.clone(), clock: clock.clone() };
    let redrive = Redrive { records: table.clone(), queue, dead_letters, clock };
    shared::http::serve(Arc::new(DlqApi { redrive, index: table, letters, redactor: settings.redactor, auth: settings.auth })).await
}
