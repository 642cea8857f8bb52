//! Dead letters: shows them and puts them back, one by one or in bulk. Wiring only; see `lib.rs`.

use std::sync::Arc;

use dlq_redrive::worker::{self, JobDeliveries};
use dlq_redrive::{Choices, DlqApi, JobsApi, Replays, Settings};
use shared::aws::{DeadLetters, JobMessages, Sandbox, TaskQueue};
use shared::config::Environment;
use shared::definitions;
use shared::jobs::{Desk, Worker};
use shared::letters::LetterDesk;
use shared::operate::{DeadIndex, Redrive};
use shared::replay::Replayer;
use shared::telemetry;

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    let env = Environment::of_process();
    telemetry::start(&env)?;
    let settings = Settings::read(&env)?;
    let Sandbox { config, clock, table, reporter, .. } = Sandbox::start(&env, "dlq-redrive", settings.table_name).await;
    let messages = Arc::new(JobMessages::new(&config, settings.jobs_queue_url));
    let queue = Arc::new(TaskQueue::new(&config, settings.task_queue_url));
    let dead_letters = Arc::new(DeadLetters::new(&config, settings.dlq_url, settings.dlq_arn));
    let letters = LetterDesk { book: table.clone(), queue: queue.clone(), dead_letters: dead_letters.clone(), clock: clock.clone() };
    let redrive = Redrive { records: table.clone(), queue, dead_letters, clock: clock.clone() };
    let (records, events, queue) = (table.clone(), table.clone(), redrive.queue.clone());
    let replayer = Replayer { records, events, queue, bundle: definitions::load(&env)?, clock: clock.clone() };
    let index: Arc<dyn DeadIndex> = table.clone();
    let kinds = worker::kinds(&redrive, &index, &replayer);
    let worker = Worker { store: table.clone(), queue: messages.clone(), records: table.clone(), kinds, clock: clock.clone() };
    let desk = Desk { store: table.clone(), queue: messages.clone(), clock };
    let (auth, choices) = (settings.auth, Choices { bundle: replayer.bundle.clone(), providers: settings.providers });
    let replays = Replays { desk: desk.clone(), replayer, choices: choices.clone() };
    let jobs = JobsApi { desk, redrive: redrive.clone(), index: index.clone(), switches: table, choices: choices.clone(), auth };
    let api = DlqApi { redrive, jobs, index, letters, replays, choices, redactor: settings.redactor, auth };
    shared::http::serve_with(Arc::new(api), Arc::new(JobDeliveries { worker, visibility: messages }), reporter).await
}
