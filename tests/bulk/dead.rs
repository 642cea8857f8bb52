//! Runs that died, as they stand in the table, and what has become of them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use aws_sdk_dynamodb::config::{Credentials, Region};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use serde_json::json;
use shared::aws::Table;
use shared::domain::clock::Clock as _;
use shared::domain::clock::after;
use shared::domain::conversation::Conversation;
use shared::domain::event::Event;
use shared::domain::failure::{Failure, FailureCode};
use shared::domain::id::{RunId, TenantId};
use shared::domain::run::{Cause, Run};
use shared::domain::state::{Command, RunState};
use shared::domain::turn::Turn;
use shared::engine::ports::{ConversationWrite, Guard, Journal, Write};
use shared::fakes::{a_run, an_event};
use shared::operate::Records;
use shared::telemetry::SystemClock;
use tests::Stack;
use tests::client::{list, text};

/// Dead runs, where `BULK` does not say: what a loaded machine puts back in a minute or two.
const FEW: usize = 400;
/// Runs of one transaction: four items each.
const TOGETHER: usize = 25;
/// One in so many has its letter on the dead-letter queue.
const WITH_LETTER: usize = 10;

/// How many.
#[expect(clippy::disallowed_methods, reason = "how many is said by whoever starts the test")]
pub(crate) fn amount() -> usize {
    std::env::var("BULK").map_or(FEW, |text| text.parse().unwrap())
}

/// What a page may take, if somebody says so.
#[expect(clippy::disallowed_methods, reason = "a bar for a quiet machine is set by whoever has one")]
pub(crate) fn page_limit() -> Option<std::time::Duration> {
    std::env::var("PAGE_MS").ok().map(|text| std::time::Duration::from_millis(text.parse().unwrap()))
}

/// `target/<profile>/<name>`: this test's own binary is in `target/<profile>/deps/`.
pub(crate) fn binary(name: &str) -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join(name)
}

/// The runs of this test.
pub(crate) struct Dead {
    ids: Vec<RunId>,
    table: Table,
    runtime: tokio::runtime::Runtime,
}

fn tenant() -> TenantId {
    "local".parse().unwrap()
}

fn table(stack: &Stack) -> Table {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version_latest()
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::for_tests())
        .endpoint_url(stack.emulator.base())
        .build();
    Table::with_client(aws_sdk_dynamodb::Client::from_conf(config), stack.table())
}

/// A run that died of a provider that was down, with all that belongs to it.
fn dead(at: Timestamp, word: &str, number: usize) -> (Event, Run, Conversation, Turn) {
    let event = Event { payload: json!({"prompt": format!("echo that {word} {number}")}), ..an_event(at) };
    let mut run = Run { event: event.id, ..a_run(&tenant(), at) };
    run.state = RunState::Running;
    let died_at = after(at, std::time::Duration::from_millis(1));
    run.attempts = 2;
    run.note(Failure::new(FailureCode::ProviderUnavailable, "the provider does not answer", died_at, 2));
    let cause = Cause { at: died_at, by: "a worker of last night", reason: "provider_unavailable", patience: std::time::Duration::ZERO };
    run.apply(Command::Die, cause).unwrap();
    let mut conversation = Conversation::new(run.conversation, run.id, at);
    conversation.active_run = None;
    let turn = Turn::new(run.id, event.agent_input().unwrap().as_messages(), at);
    (event, run, conversation, turn)
}

impl Dead {
    /// Writes so many.
    pub(crate) fn write(stack: &Stack, word: &str, many: usize) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (table, now) = (table(stack), SystemClock.now());
        let begun = now.checked_sub(jiff::SignedDuration::from_hours(8)).unwrap();
        let at = |number: usize| after(begun, std::time::Duration::from_millis(number as u64));
        let all: Vec<_> = (0..many).map(|number| dead(at(number), word, number)).collect();
        runtime.block_on(async {
            let writing = all.chunks(TOGETHER).map(|some| {
                let table = &table;
                async move {
                    let tenant = tenant();
                    let writes: Vec<Write<'_>> = some
                        .iter()
                        .flat_map(|(event, run, conversation, turn)| {
                            [
                                Write::Event(&tenant, event),
                                Write::Run(run, Guard::New),
                                Write::Conversation(&tenant, ConversationWrite::Open(conversation)),
                                Write::Turn(run, turn),
                            ]
                        })
                        .collect();
                    table.write(&writes).await.unwrap();
                }
            });
            futures_util::stream::iter(writing).buffer_unordered(4).collect::<Vec<()>>().await;
        });
        for (_, run, ..) in all.iter().step_by(WITH_LETTER) {
            stack.dead_letters.send(&run.task().to_body());
        }
        Self { ids: all.into_iter().map(|(_, run, ..)| run.id).collect(), table, runtime }
    }

    fn runs(&self) -> Vec<Run> {
        let read = async |ids: &[RunId]| self.table.runs(&tenant(), ids).await.unwrap();
        self.runtime.block_on(async {
            let mut runs = Vec::new();
            for ids in self.ids.chunks(100) {
                runs.extend(read(ids).await);
            }
            runs
        })
    }

    /// How many have not completed; an error if one has ended otherwise, or is gone.
    pub(crate) fn completed(&self, _stack: &Stack) -> Result<usize, String> {
        let runs = self.runs();
        assert_eq!(runs.len(), self.ids.len(), "runs are lost");
        let bad = runs.iter().find(|run| matches!(run.state, RunState::Failed | RunState::Cancelled));
        assert!(bad.is_none(), "{bad:?}");
        Ok(runs.iter().filter(|run| run.state != RunState::Completed).count())
    }

    /// Each was put back by this job, once, and made the one call that it needed.
    pub(crate) fn assert_once_each(&self, _stack: &Stack, job: &str) {
        for run in self.runs() {
            assert_eq!(run.redriven.count, 1, "{run:?}");
            assert_eq!(run.redriven.by.map(|job| job.to_string()).as_deref(), Some(job), "{run:?}");
            let retried = run.transitions.iter().filter(|transition| transition.reason == "retried").count();
            assert_eq!((retried, run.steps), (1, 1), "{run:?}");
        }
    }

    /// Each has one result.
    pub(crate) fn assert_results(&self, stack: &Stack, job: &str) {
        let (mut found, mut path) = (Vec::new(), format!("/v1/dlq/jobs/{job}/results?limit=100"));
        loop {
            let page = stack.api.get(&path).must(200);
            found.extend(list(&page, "results").iter().filter(|result| result["outcome"] == "done").map(|result| text(result, "run_id")));
            match page["next_cursor"].as_str() {
                Some(cursor) => path = format!("/v1/dlq/jobs/{job}/results?limit=100&cursor={cursor}"),
                None => break,
            }
        }
        let told: BTreeSet<&String> = found.iter().collect();
        assert_eq!(told.len(), found.len(), "a run has two results");
        let missing = self.ids.iter().filter(|id| !told.contains(&id.to_string())).count();
        assert_eq!(missing, 0, "runs without a result");
    }
}
