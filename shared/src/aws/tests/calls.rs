//! What a run costs in calls, counted where they leave the process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::super::items::{conversation_item, event_item, run_item, turn_item};
use super::wire::{Log, json_of, table};
use super::{clock, run};
use crate::domain::clock::{Clock, after};
use crate::domain::conversation::Conversation;
use crate::domain::id::RunId;
use crate::domain::message::Message;
use crate::domain::run::Run;
use crate::domain::state::RunState;
use crate::domain::turn::{Turn, TurnEnd};
use crate::domain::waiting::Waiting;
use crate::engine::{Advance, Engine, Window};
use crate::fakes::{CountingHold, FixedClock, MemoryQueue, MemoryStore, Scripted, ScriptedModel, an_event, engine};

/// Who is in the run's conversation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Others {
    /// Nobody was before it.
    None,
    /// There were turns before it.
    Before,
    /// The same, and a run waits for its turn.
    BeforeAndBehind,
}

/// Calls of a run that takes `steps` steps from its claim to its end, by operation; and its queue.
async fn calls_of(steps: usize, others: Others) -> (BTreeMap<String, usize>, Log, Arc<MemoryQueue>) {
    let at = clock().now();
    let event = an_event(at);
    let run = Run { event: event.id, has_history: others != Others::None, ..run() };
    let next = Run { state: RunState::Waiting, waiting: Some(Waiting::Turn), conversation: run.conversation, ..super::run() };
    let conversation = Conversation { line: vec![next.id], ..Conversation::new(run.conversation, run.id, at) };
    let turn = Turn {
        response: Some("a".into()),
        ended: Some(TurnEnd::Completed),
        ..Turn::new(RunId::lower_bound(at), vec![Message::user("q")], at)
    };
    let record = json_of(&run_item(&run).unwrap());
    let stored_event = json_of(&event_item(&run.tenant, &event).unwrap());
    let (waiting, turn) = (json_of(&run_item(&next).unwrap()), json_of(&turn_item(&run, &turn).unwrap()));
    let conversation = json_of(&conversation_item(&run.tenant, &conversation).unwrap());
    let writes = AtomicUsize::new(0);
    let answer = move |operation: &str, body: &Value| match operation {
        "UpdateItem" => (200, json!({"Attributes": record})),
        "GetItem" if body["Key"]["sk"]["S"] == "event" => (200, json!({"Item": stored_event})),
        "GetItem" => (200, json!({"Item": waiting})),
        "Query" => (200, json!({"Items": [turn], "Count": 1})),
        "TransactWriteItems" if others == Others::BeforeAndBehind && writes.fetch_add(1, Ordering::Relaxed) + 1 == steps => {
            let is_last = |place: usize, of: usize| place + 1 == of;
            let of = body["TransactItems"].as_array().unwrap().len();
            let reason = |place| {
                if is_last(place, of) { json!({"Code": "ConditionalCheckFailed", "Item": conversation}) } else { json!({"Code": "None"}) }
            };
            let reasons: Vec<Value> = (0..of).map(reason).collect();
            let kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
            (400, json!({"__type": kind, "Message": "cancelled", "CancellationReasons": reasons}))
        }
        _ => (200, json!({})),
    };
    let (table, log) = table(answer);
    let queue = Arc::new(MemoryQueue::default());
    // Different tools in turn: the same call too often in a row would end the run.
    let script = (0..steps / 2).map(|n| Scripted::Calls(vec![if n % 2 == 0 { "clock" } else { "none_such" }]));
    let clock = Arc::new(FixedClock::at("2026-01-02T03:04:05Z"));
    let fakes = engine(Arc::new(MemoryStore::default()), queue.clone(), Arc::new(ScriptedModel::new(script)), clock.clone());
    let engine = Engine { journal: Arc::new(table), ..fakes };
    let window = Window { deadline: after(clock.now(), Duration::from_secs(300)), cut_calls: false };
    let delivery = engine.delivery("m", 0, 1);
    let advance = engine.take_up(&run.task(), &delivery, window, &CountingHold::default()).await.unwrap();
    assert!(matches!(advance, Advance::Ended { state: RunState::Completed, .. }), "{advance:?}");
    let mut calls = BTreeMap::new();
    for request in log.lock().unwrap().iter() {
        *calls.entry(request.operation.clone()).or_default() += 1;
    }
    (calls, log, queue)
}

#[tokio::test]
async fn a_run_of_n_steps_costs_n_and_2_calls() {
    for steps in [1, 3, 19] {
        let (calls, ..) = Box::pin(calls_of(steps, Others::None)).await;
        let expected = [("GetItem", 1), ("TransactWriteItems", steps), ("UpdateItem", 1)].map(|(name, n)| (name.to_owned(), n));
        assert_eq!(calls, expected.into(), "{steps} steps");
    }
}

#[tokio::test]
async fn in_a_conversation_it_costs_one_more_and_two_more_where_a_run_waits_for_its_turn() {
    for steps in [1, 3, 19] {
        let (calls, ..) = Box::pin(calls_of(steps, Others::Before)).await;
        assert_eq!(calls.values().sum::<usize>(), steps + 3, "{calls:?}");
        let (calls, log, queue) = Box::pin(calls_of(steps, Others::BeforeAndBehind)).await;
        assert_eq!(calls.values().sum::<usize>(), steps + 5, "{calls:?}");
        assert_eq!(queue.take().len(), 1, "whose turn it is now is sent");
        let last = log.lock().unwrap().last().unwrap().clone();
        assert_eq!(last.body["TransactItems"].as_array().unwrap().len(), 6, "record, step, spend, turn, conversation, the next run");
    }
}

#[tokio::test]
async fn the_engine_writes_the_same_bytes_for_a_late_step() {
    let (_, log, _) = Box::pin(calls_of(19, Others::None)).await;
    let steps: Vec<usize> = log.lock().unwrap().iter().filter(|r| r.operation == "TransactWriteItems").map(|r| r.bytes).collect();
    // Steps 4 and 8 are results of the same tool, 5 and 9 are answers that ask for the same one.
    assert_eq!((steps[3], steps[4]), (steps[7], steps[8]));
}
