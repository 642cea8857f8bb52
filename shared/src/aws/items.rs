//! The one table: its keys and how records become items and back.
//!
//! | item | pk | sk |
//! |---|---|---|
//! | run | `<tenant>#run#<run>` | `run` |
//! | what its record had no room for | `<tenant>#run#<run>` | `archive#000001` |
//! | its own input | `<tenant>#run#<run>` | `input`, or `input#000001` for the first that an operator wrote |
//! | step | `<tenant>#run#<run>` | `step#000001`, see [`super::chunks`] |
//! | what was said of a step so far | `<tenant>#run#<run>` | `delta#000001#<try>#000001` |
//! | event | `<tenant>#event#<event>` | `event` |
//! | what a tenant has spent on a day | `<tenant>#spend#<day>#<partition>` | `<shard>`, see [`crate::domain::spend`] |
//! | conversation | `<tenant>#conv#<conversation>` | `conv` |
//! | turn | `<tenant>#conv#<conversation>` | `turn#<run>` |
//! | used key | `<tenant>#key#<digest>` | `key` |
//! | mark of a trigger | `<tenant>#mark#<mark>` | `mark` |
//!
//! Index `by_time`: every run and every event, written once. Index `by_state`: runs that an operator looks for, written when the state
//! changes. Index `due`: runs that have not ended, of all tenants, by the time when somebody must look. These hold keys only. Index
//! `dead`: dead runs by the time of their death, with what an operator looks for ([`DeadEntry`]). All are spread over [`SHARDS`]
//! partitions (ADR 0006 has the arithmetic).
//! Free-form JSON is stored as text, because DynamoDB nests only 32 levels deep.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::unavailable;
use crate::domain::conversation::Conversation;
use crate::domain::dead::DeadEntry;
use crate::domain::delta::{Delta, Try};
use crate::domain::event::{AgentInput, Event};
use crate::domain::id::{ConversationId, EventId, RunId, TenantId};
use crate::domain::idempotency::UsedKey;
use crate::domain::run::{Archive, Run};
use crate::domain::spend::Spend;
use crate::domain::state::RunState;
use crate::domain::turn::Turn;
use crate::engine::ports::JournalError;
use crate::metrics::Meter;

/// Partitions per tenant and index: 1,000 runs a second are 125 writes a second for each, far below DynamoDB's 1,000.
pub(super) const SHARDS: u8 = 8;

pub(super) type Item = HashMap<String, AttributeValue>;

/// The table, as all adapters share it.
#[derive(Debug, Clone)]
pub struct Table {
    pub(super) client: aws_sdk_dynamodb::Client,
    pub(super) name: String,
    /// Hears of what is written.
    pub(super) meter: Arc<Meter>,
}

impl Table {
    /// The table `name` of that account.
    #[must_use]
    pub fn new(config: &aws_config::SdkConfig, name: String) -> Self {
        Self { client: aws_sdk_dynamodb::Client::new(config), name, meter: Arc::default() }
    }

    /// A table behind a client of the caller's making, for tests.
    #[must_use]
    pub fn with_client(client: aws_sdk_dynamodb::Client, name: String) -> Self {
        Self { client, name, meter: Arc::default() }
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

    /// A further part of a step, from 1: sorts behind the step and before the next one.
    pub(super) fn step_part(tenant: &TenantId, run: RunId, index: u32, number: usize) -> Self {
        Self { sk: format!("step#{index:06}#{number:02}"), ..Self::run(tenant, run) }
    }

    /// Sorts by step, then by try, then by its place.
    pub(super) fn delta(tenant: &TenantId, run: RunId, step: u32, attempt: Try, seq: u32) -> Self {
        let Try { lease_no, number } = attempt;
        Self { sk: format!("delta#{step:06}#{lease_no:010}-{number:04}#{seq:06}"), ..Self::run(tenant, run) }
    }

    pub(super) fn archive(tenant: &TenantId, run: RunId, index: u32) -> Self {
        Self { sk: format!("archive#{index:06}"), ..Self::run(tenant, run) }
    }

    pub(super) fn input(run: &Run) -> Self {
        let number = run.redriven.input_no;
        let sk = if number == 0 { "input".to_owned() } else { format!("input#{number:06}") };
        Self { sk, ..Self::run(&run.tenant, run.id) }
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

    pub(super) fn used_key(tenant: &TenantId, digest: &str) -> Self {
        Self { pk: format!("{tenant}#key#{digest}"), sk: "key".into() }
    }

    pub(super) fn mark(tenant: &TenantId, key: &str) -> Self {
        Self { pk: format!("{tenant}#mark#{key}"), sk: "mark".into() }
    }

    /// A day's items of a tenant are spread over eight partitions, which see 125 writes a second each at 1,000 runs a second.
    pub(super) fn spend(tenant: &TenantId, day: Date, shard: u8) -> Self {
        Self { pk: format!("{tenant}#spend#{day}#{}", shard % SHARDS), sk: format!("{shard:02}") }
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

/// The partition of `by_time` that holds a shard of the events.
pub(super) fn event_partition(tenant: &TenantId, shard: u8) -> String {
    format!("{tenant}#events#{shard}")
}

/// The partition of `by_state` that a run belongs to in `state`, if operators look for that state.
pub(super) fn state_partition(run: &Run, state: RunState) -> Option<String> {
    state.is_listed_by_state().then(|| index_partition(&run.tenant, Some(state), run.id.shard(SHARDS)))
}

/// The partition of index `due` that a shard is. Its runs are those of all tenants: one sweeper looks after them.
pub(super) fn due_partition(shard: u8) -> String {
    format!("due#{shard}")
}

/// The sort key of index `due`: by time, in 13 digits of milliseconds, which last until the year 2286.
pub(super) fn due_sort_key(due_ms: i64, tenant: &TenantId, run: RunId) -> String {
    format!("{due_ms:013}#{tenant}#{run}")
}

/// The attribute that index `dead` holds besides keys.
pub(super) const DEAD: &str = "dead";

/// The partition of index `dead` that a shard of a tenant is.
pub(super) fn dead_partition(tenant: &TenantId, shard: u8) -> String {
    format!("{tenant}#dead#{shard}")
}

/// The sort key of index `dead`, like that of `due`.
pub(super) fn dead_sort_key(died_at: Timestamp, run: RunId) -> String {
    format!("{}{run}", dead_bound(died_at))
}

/// What all sort keys of that millisecond begin with.
pub(super) fn dead_bound(died_at: Timestamp) -> String {
    format!("{:013}#", died_at.as_millisecond().max(0))
}

pub(super) fn dead_of(item: &Item) -> Result<DeadEntry, JournalError> {
    from_json(item, DEAD)
}

fn fields<T: Serialize>(record: &T, key: Key) -> Result<Item, JournalError> {
    let mut item: Item = serde_dynamo::to_item(record).map_err(unavailable)?;
    item.extend(key.into_item());
    Ok(item)
}

fn read<T: DeserializeOwned>(item: Item) -> Result<T, JournalError> {
    serde_dynamo::from_item(item).map_err(unavailable)
}

pub(super) fn json_text<T: Serialize>(record: &T) -> Result<String, JournalError> {
    serde_json::to_string(record).map_err(unavailable)
}

fn body<T: Serialize>(record: &T, key: Key) -> Result<Item, JournalError> {
    let mut item = key.into_item();
    item.insert("body".into(), s(json_text(record)?));
    Ok(item)
}

pub(super) fn from_json<T: DeserializeOwned>(item: &Item, attribute: &'static str) -> Result<T, JournalError> {
    let text = item.get(attribute).and_then(|value| value.as_s().ok()).ok_or(JournalError::NotFound)?;
    serde_json::from_str(text).map_err(unavailable)
}

pub(super) fn run_item(run: &Run) -> Result<Item, JournalError> {
    let mut item = fields(run, Key::run(&run.tenant, run.id))?;
    let shard = run.id.shard(SHARDS);
    item.insert("gsi1pk".into(), s(index_partition(&run.tenant, None, shard)));
    item.insert("gsi1sk".into(), s(run.id));
    if let Some(partition) = state_partition(run, run.state) {
        item.insert("gsi2pk".into(), s(partition));
        item.insert("gsi2sk".into(), s(run.id));
    }
    if let Some(entry) = run.dead_entry() {
        item.insert("gsi4pk".into(), s(dead_partition(&run.tenant, shard)));
        item.insert("gsi4sk".into(), s(dead_sort_key(entry.died_at, run.id)));
        item.insert(DEAD.into(), s(json_text(&entry)?));
    }
    if let Some(due_ms) = run.due_ms {
        item.insert("gsi3pk".into(), s(due_partition(shard)));
        item.insert("gsi3sk".into(), s(due_sort_key(due_ms, &run.tenant, run.id)));
    }
    Ok(item)
}

pub(super) fn run_of(item: Item) -> Result<Run, JournalError> {
    read(item)
}

pub(super) fn delta_item(run: &Run, delta: &Delta, expires_at: i64) -> Result<Item, JournalError> {
    let mut item = fields(delta, Key::delta(&run.tenant, run.id, delta.step, delta.attempt, delta.seq))?;
    item.insert("expires_at".into(), n(expires_at));
    Ok(item)
}

pub(super) fn delta_of(item: Item) -> Result<Delta, JournalError> {
    read(item)
}

pub(super) fn archive_item(run: &Run, archive: &Archive) -> Result<Item, JournalError> {
    body(archive, Key::archive(&run.tenant, run.id, archive.index))
}

pub(super) fn archive_of(item: &Item) -> Result<Archive, JournalError> {
    from_json(item, "body")
}

pub(super) fn input_item(run: &Run, input: &AgentInput) -> Result<Item, JournalError> {
    body(input, Key::input(run))
}

pub(super) fn input_of(item: &Item) -> Result<AgentInput, JournalError> {
    from_json(item, "body")
}

pub(super) fn event_item(tenant: &TenantId, event: &Event) -> Result<Item, JournalError> {
    let mut item = body(event, Key::event(tenant, event.id))?;
    item.insert("gsi1pk".into(), s(event_partition(tenant, event.id.shard(SHARDS))));
    item.insert("gsi1sk".into(), s(event.id));
    Ok(item)
}

pub(super) fn event_of(item: &Item) -> Result<Event, JournalError> {
    from_json(item, "body")
}

pub(super) fn turn_item(run: &Run, turn: &Turn) -> Result<Item, JournalError> {
    let mut item = fields(turn, Key::turn(&run.tenant, run.conversation, turn.run_id))?;
    item.insert("messages".into(), s(json_text(&turn.messages)?));
    Ok(item)
}

pub(super) fn turn_of(mut item: Item) -> Result<Turn, JournalError> {
    let messages = from_json(&item, "messages")?;
    // The text gives way to the list, so that the rest can be read as a turn.
    item.insert("messages".into(), AttributeValue::L(Vec::new()));
    Ok(Turn { messages, ..read(item)? })
}

pub(super) fn conversation_item(tenant: &TenantId, conversation: &Conversation) -> Result<Item, JournalError> {
    fields(conversation, Key::conversation(tenant, conversation.id))
}

pub(super) fn conversation_of(item: Item) -> Result<Conversation, JournalError> {
    read(item)
}

pub(super) fn spend_of(item: Item) -> Result<Spend, JournalError> {
    read(item)
}

pub(super) fn key_item(tenant: &TenantId, key: &UsedKey) -> Result<Item, JournalError> {
    fields(key, Key::used_key(tenant, &key.digest))
}

pub(super) fn key_of(item: Item) -> Result<UsedKey, JournalError> {
    read(item)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::Clock;
    use crate::domain::failure::{Failure, FailureCode};
    use crate::domain::idempotency::{KeyOutcome, RequestKey};
    use crate::domain::message::{Message, ToolCall};
    use crate::domain::run::Transition;
    use crate::domain::turn::TurnEnd;
    use crate::domain::waiting::Waiting;
    use crate::fakes::{FixedClock, a_run, an_event};

    fn run() -> Run {
        a_run(&"acme".parse().unwrap(), FixedClock::at("2026-01-02T03:04:05.678Z").now())
    }

    fn keys(item: &Item) -> Vec<(&str, &str)> {
        let names = ["gsi1pk", "gsi2pk", "gsi3pk", "gsi3sk"];
        names.into_iter().filter_map(|name| Some((name, item.get(name)?.as_s().ok()?.as_str()))).collect()
    }

    #[test]
    fn every_record_survives_the_table() {
        let mut run = run();
        run.note(Failure::new(FailureCode::ProviderTimeout, "slow", run.created_at, 2));
        let call = ToolCall { id: "c".into(), name: "wait".into(), arguments: serde_json::json!({"seconds": 5}) };
        run.waiting = Some(Waiting::of(&call, 3, run.created_at).unwrap());
        (run.abandoned, run.message, run.cost_micros) = (true, Some("m1".into()), None);
        assert_eq!(run_of(run_item(&run).unwrap()).unwrap(), run);
        let event = an_event(run.created_at);
        assert_eq!(event_of(&event_item(&run.tenant, &event).unwrap()).unwrap(), event);
        let message = Message { tool_calls: vec![call], ..Message::assistant("") };
        let turn = Turn { response_step: Some(3), ended: Some(TurnEnd::Completed), ..Turn::new(run.id, vec![message], run.created_at) };
        assert_eq!(turn_of(turn_item(&run, &turn).unwrap()).unwrap(), turn);
        let mut conversation = Conversation::new(run.conversation, run.id, run.created_at);
        assert_eq!(conversation_of(conversation_item(&run.tenant, &conversation).unwrap()).unwrap(), conversation);
        (conversation.active_run, conversation.line, conversation.is_being_deleted) = (None, vec![run.id], true);
        assert_eq!(conversation_of(conversation_item(&run.tenant, &conversation).unwrap()).unwrap(), conversation);
        let archive = Archive { index: 1, transitions: run.transitions.clone(), failures: run.failures.clone() };
        assert_eq!(archive_of(&archive_item(&run, &archive).unwrap()).unwrap(), archive);
        let input = event.agent_input().unwrap();
        assert_eq!(input_of(&input_item(&run, &input).unwrap()).unwrap(), input);
        let delta = Delta { step: 3, attempt: Try { lease_no: 2, number: 1 }, seq: 4, start: 90, text: "so far".into() };
        assert_eq!(delta_of(delta_item(&run, &delta, 1).unwrap()).unwrap(), delta);
        let key = RequestKey { digest: "d".into(), fingerprint: "f".into() };
        for outcome in [KeyOutcome::Run(run.id), KeyOutcome::Event(event.id)] {
            let used = UsedKey::new(&key, outcome, run.created_at);
            assert_eq!(key_of(key_item(&run.tenant, &used).unwrap()).unwrap(), used);
        }
    }

    #[test]
    fn every_key_starts_with_the_tenant_but_those_of_what_is_due() {
        let (run, conversation) = (run(), Conversation::new(run().conversation, run().id, run().created_at));
        let used = UsedKey::new(&RequestKey { digest: "d".into(), fingerprint: "f".into() }, KeyOutcome::Run(run.id), run.created_at);
        for item in [
            run_item(&run).unwrap(),
            turn_item(&run, &Turn::new(run.id, Vec::new(), run.created_at)).unwrap(),
            event_item(&run.tenant, &an_event(run.created_at)).unwrap(),
            conversation_item(&run.tenant, &conversation).unwrap(),
            key_item(&run.tenant, &used).unwrap(),
            Key::mark(&run.tenant, "m").into_item(),
        ] {
            assert!(item["pk"].as_s().unwrap().starts_with("acme#"), "{item:?}");
            assert!(keys(&item).iter().all(|(name, key)| name.starts_with("gsi3") || key.starts_with("acme#")), "{item:?}");
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
    fn what_is_due_is_sorted_by_time_and_what_has_ended_is_not_due() {
        let mut run = run();
        let (shard, id) = (run.id.shard(SHARDS), run.id);
        run.due_ms = Some(1_767_323_045_678);
        let item = run_item(&run).unwrap();
        assert!(keys(&item).contains(&("gsi3pk", &format!("due#{shard}"))));
        assert!(keys(&item).contains(&("gsi3sk", &format!("1767323045678#acme#{id}"))));
        run.due_ms = Some(1);
        assert!(run_item(&run).unwrap()["gsi3sk"].as_s().unwrap().starts_with("0000000000001#"), "as text it sorts as the number does");
        run.due_ms = None;
        assert!(keys(&run_item(&run).unwrap()).iter().all(|(name, _)| !name.starts_with("gsi3")));
    }

    #[test]
    fn a_run_record_stays_small_whatever_happens() {
        let mut run = run();
        let mut archives = 0;
        for attempt in 0..50 {
            run.note(Failure::new(FailureCode::ProviderUnavailable, "x".repeat(300), run.created_at, attempt));
            run.transitions.push(Transition { by: "w".repeat(100), ..run.transitions[0].clone() });
            archives += usize::from(run.spill().is_some());
        }
        let size: usize = run_item(&run).unwrap().iter().map(|(name, value)| name.len() + format!("{value:?}").len()).sum();
        assert!(size < 12_000, "{size} bytes");
        assert!(archives > 1 && run.archives as usize == archives);
    }
}
