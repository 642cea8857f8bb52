//! The one table: its keys and how records become items and back.
//!
//! | item | pk | sk |
//! |---|---|---|
//! | run | `<tenant>#run#<run>` | `run` |
//! | step | `<tenant>#run#<run>` | `step#000001` |
//! | event | `<tenant>#event#<event>` | `event` |
//! | conversation | `<tenant>#conv#<conversation>` | `conv` |
//! | turn | `<tenant>#conv#<conversation>` | `turn#<run>` |
//!
//! Index `by_time`: every run, written once. Index `by_state`: runs that an operator looks for, written when the state
//! changes. Both hold keys only and are spread over [`SHARDS`] partitions (ADR 0006 has the arithmetic).
//! Free-form JSON is stored as text, because DynamoDB nests only 32 levels deep.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::unavailable;
use crate::domain::event::Event;
use crate::domain::id::{ConversationId, EventId, RunId, TenantId};
use crate::domain::run::Run;
use crate::domain::state::RunState;
use crate::domain::step::Step;
use crate::domain::turn::{Conversation, Turn};
use crate::engine::ports::JournalError;

/// Partitions per tenant and index: 1,000 runs a second are 125 writes a second for each, far below DynamoDB's 1,000.
pub(super) const SHARDS: u8 = 8;

pub(super) type Item = HashMap<String, AttributeValue>;

/// The table, as all adapters share it.
#[derive(Debug, Clone)]
pub struct Table {
    pub(super) client: aws_sdk_dynamodb::Client,
    pub(super) name: String,
}

impl Table {
    /// The table `name` of that account.
    #[must_use]
    pub fn new(config: &aws_config::SdkConfig, name: String) -> Self {
        Self { client: aws_sdk_dynamodb::Client::new(config), name }
    }

    /// A table behind a client of the caller's making, for tests.
    #[must_use]
    pub const fn with_client(client: aws_sdk_dynamodb::Client, name: String) -> Self {
        Self { client, name }
    }

    /// Whether the table answers: reads one key that never exists.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), JournalError> {
        let key = s("#ping");
        let get = self.client.get_item().table_name(&self.name).key("pk", key.clone()).key("sk", key);
        get.send().await.map(|_| ()).map_err(unavailable)
    }
}

pub(super) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(super) fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// The two parts of a primary key.
pub(super) struct Key {
    pub(super) pk: String,
    pub(super) sk: String,
}

impl Key {
    pub(super) fn run(tenant: &TenantId, run: RunId) -> Self {
        Self { pk: format!("{tenant}#run#{run}"), sk: "run".into() }
    }

    /// Zero-padded, so that steps sort by number; six digits are more than any agent's limit of steps.
    pub(super) fn step(tenant: &TenantId, run: RunId, index: u32) -> Self {
        Self { sk: format!("step#{index:06}"), ..Self::run(tenant, run) }
    }

    pub(super) fn event(tenant: &TenantId, event: EventId) -> Self {
        Self { pk: format!("{tenant}#event#{event}"), sk: "event".into() }
    }

    pub(super) fn conversation(tenant: &TenantId, conversation: ConversationId) -> Self {
        Self { pk: format!("{tenant}#conv#{conversation}"), sk: "conv".into() }
    }

    pub(super) fn turn(tenant: &TenantId, conversation: ConversationId, run: RunId) -> Self {
        Self { sk: format!("turn#{run}"), ..Self::conversation(tenant, conversation) }
    }

    pub(super) fn into_item(self) -> Item {
        HashMap::from([("pk".to_owned(), s(self.pk)), ("sk".to_owned(), s(self.sk))])
    }
}

/// The partition of an index: of all runs, or of those in a state.
pub(super) fn index_partition(tenant: &TenantId, state: Option<RunState>, shard: u8) -> String {
    match state {
        None => format!("{tenant}#runs#{shard}"),
        Some(state) => format!("{tenant}#{}#{shard}", state.as_str()),
    }
}

/// The partition of `by_state` that a run belongs to in `state`, if operators look for that state.
pub(super) fn state_partition(run: &Run, state: RunState) -> Option<String> {
    state.is_listed_by_state().then(|| index_partition(&run.tenant, Some(state), run.id.shard(SHARDS)))
}

fn fields<T: Serialize>(record: &T) -> Result<Item, JournalError> {
    serde_dynamo::to_item(record).map_err(unavailable)
}

fn read<T: DeserializeOwned>(item: Item) -> Result<T, JournalError> {
    serde_dynamo::from_item(item).map_err(unavailable)
}

fn json<T: Serialize>(record: &T) -> Result<AttributeValue, JournalError> {
    serde_json::to_string(record).map(s).map_err(unavailable)
}

fn from_json<T: DeserializeOwned>(item: &Item, attribute: &'static str) -> Result<T, JournalError> {
    let text = item.get(attribute).and_then(|value| value.as_s().ok()).ok_or(JournalError::NotFound)?;
    serde_json::from_str(text).map_err(unavailable)
}

pub(super) fn run_item(run: &Run) -> Result<Item, JournalError> {
    let mut item = fields(run)?;
    item.extend(Key::run(&run.tenant, run.id).into_item());
    item.insert("gsi1pk".into(), s(index_partition(&run.tenant, None, run.id.shard(SHARDS))));
    item.insert("gsi1sk".into(), s(run.id));
    if let Some(partition) = state_partition(run, run.state) {
        item.insert("gsi2pk".into(), s(partition));
        item.insert("gsi2sk".into(), s(run.id));
    }
    Ok(item)
}

pub(super) fn run_of(item: Item) -> Result<Run, JournalError> {
    read(item)
}

pub(super) fn step_item(run: &Run, step: &Step) -> Result<Item, JournalError> {
    let mut item = Key::step(&run.tenant, run.id, step.index).into_item();
    item.insert("body".into(), json(step)?);
    Ok(item)
}

pub(super) fn step_of(item: &Item) -> Result<Step, JournalError> {
    from_json(item, "body")
}

pub(super) fn event_item(tenant: &TenantId, event: &Event) -> Result<Item, JournalError> {
    let mut item = Key::event(tenant, event.id).into_item();
    item.insert("body".into(), json(event)?);
    Ok(item)
}

pub(super) fn event_of(item: &Item) -> Result<Event, JournalError> {
    from_json(item, "body")
}

pub(super) fn turn_item(run: &Run, event: &Event) -> Result<Item, JournalError> {
    let mut item = Key::turn(&run.tenant, run.conversation, run.id).into_item();
    item.insert("run_id".into(), s(run.id));
    item.insert("messages".into(), json(&event.input.as_messages())?);
    item.insert("created_at".into(), s(crate::domain::clock::rfc3339_millis::format(run.created_at)));
    Ok(item)
}

pub(super) fn turn_of(mut item: Item) -> Result<Turn, JournalError> {
    let messages = from_json(&item, "messages")?;
    // The text gives way to the list, so that the rest can be read as a turn.
    item.insert("messages".into(), AttributeValue::L(Vec::new()));
    Ok(Turn { messages, ..read(item)? })
}

pub(super) fn conversation_of(item: Item) -> Result<Conversation, JournalError> {
    read(item)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::Clock;
    use crate::domain::failure::{Failure, FailureCode};
    use crate::fakes::{FixedClock, a_run, an_event};

    fn run() -> Run {
        a_run(&"acme".parse().unwrap(), FixedClock::at("2026-01-02T03:04:05.678Z").now())
    }

    #[test]
    fn every_record_survives_the_table() {
        let mut run = run();
        run.note(Failure::new(FailureCode::ProviderTimeout, "slow", run.created_at, 2));
        assert_eq!(run_of(run_item(&run).unwrap()).unwrap(), run);
        let event = an_event(run.created_at);
        assert_eq!(event_of(&event_item(&run.tenant, &event).unwrap()).unwrap(), event);
        let turn = turn_of(turn_item(&run, &event).unwrap()).unwrap();
        assert_eq!((turn.run_id, turn.messages.len(), turn.response), (run.id, 1, None));
    }

    #[test]
    fn every_key_starts_with_the_tenant() {
        let run = run();
        for item in [run_item(&run).unwrap(), turn_item(&run, &an_event(run.created_at)).unwrap()] {
            for name in ["pk", "gsi1pk", "gsi2pk"] {
                if let Some(value) = item.get(name) {
                    assert!(value.as_s().unwrap().starts_with("acme#"), "{name}");
                }
            }
        }
    }

    #[test]
    fn only_runs_that_operators_look_for_are_in_the_index_by_state() {
        let mut run = run();
        for state in RunState::ALL {
            run.state = state;
            assert_eq!(run_item(&run).unwrap().contains_key("gsi2pk"), state.is_listed_by_state(), "{state:?}");
        }
    }

    #[test]
    fn a_run_record_stays_small_whatever_happens() {
        let mut run = run();
        for attempt in 0..50 {
            run.note(Failure::new(FailureCode::ProviderUnavailable, "x".repeat(300), run.created_at, attempt));
        }
        let size: usize = run_item(&run).unwrap().iter().map(|(name, value)| name.len() + format!("{value:?}").len()).sum();
        assert!(size < 8_000, "{size} bytes");
    }
}
