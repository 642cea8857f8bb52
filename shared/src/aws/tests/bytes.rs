//! The journal is linear: what a step writes does not depend on how many came before it, nor on how long the conversation is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::items::{run_item, turn_item};
use super::wire::{Request, json_of, size_of, table};
use super::{clock, run};
use crate::domain::agent::DEFAULT_AGENT;
use crate::domain::clock::{Clock, after};
use crate::domain::definition::Bundle;
use crate::domain::event::AgentInput;
use crate::domain::id::RunId;
use crate::domain::message::{Message, ToolCall};
use crate::domain::run::{Cause, Run};
use crate::domain::state::{Command, RunState};
use crate::domain::step::{FinishReason, ModelStep, Step, StepBody, ToolStep, Usage};
use crate::domain::transcript::{Next, Transcript};
use crate::domain::turn::{Turn, TurnEnd};
use crate::engine::Engine;
use crate::engine::ports::{Guard, Journal, Lease, Write};
use crate::fakes::{MemoryStore, ScriptedModel, engine};
use crate::ledger::{Change, commit};

/// DynamoDB's limit of an item.
const LARGEST_ITEM: usize = 400 * 1024;
const TOOL_CALLS: u32 = 200;
/// About 1,000 tokens: 200 of them are 200,000.
const OUTPUT: usize = 4_000;

/// What the store is asked for a step, with the token that makes it unique left out and every number as `0`.
fn shape(request: &Request) -> String {
    let mut body = request.body.clone();
    body.as_object_mut().unwrap().remove("ClientRequestToken");
    let mut shape = String::new();
    for c in sorted(body).to_string().chars() {
        match c {
            '0'..='9' if shape.ends_with('0') => {}
            '0'..='9' => shape.push('0'),
            other => shape.push(other),
        }
    }
    shape
}

/// The client writes maps in any order.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let map: BTreeMap<String, Value> = map.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            Value::Object(map.into_iter().collect())
        }
        Value::Array(list) => list.into_iter().map(sorted).collect(),
        other => other,
    }
}

/// The items that a request puts.
fn puts(request: &Request) -> Vec<Value> {
    let items = request.body["TransactItems"].as_array().unwrap();
    items.iter().filter_map(|item| item.get("Put").map(|put| put["Item"].clone())).collect()
}

fn step_of(transcript: &Transcript, index: u32) -> Step {
    let at = after(clock().now(), Duration::from_secs(u64::from(index)));
    let body = match transcript.next() {
        Next::Model(_) if index < 2 * TOOL_CALLS => {
            let call = ToolCall { id: format!("call-{index}"), name: "clock".into(), arguments: json!({"number": index}) };
            let message = Message { content: None, tool_calls: vec![call], ..Message::assistant("") };
            StepBody::Model(model_step(message, FinishReason::ToolCalls))
        }
        Next::Model(_) => StepBody::Model(model_step(Message::assistant("done"), FinishReason::Stop)),
        Next::Tool(call) => StepBody::Tool(ToolStep { call, output: "x".repeat(OUTPUT), is_error: false, full: None, stand_in: None }),
        Next::Ended(answer) => panic!("ended: {answer}"),
        Next::Failed(_, problem) => panic!("failed: {problem}"),
    };
    Step { index, started_at: at, ended_at: at, body }
}

fn model_step(message: Message, finish_reason: FinishReason) -> ModelStep {
    let usage = Usage { input_tokens: 250_000, output_tokens: 50, ..Usage::default() };
    ModelStep::new("openai".into(), "m".into(), message, finish_reason, usage)
}

#[tokio::test]
async fn a_step_of_a_long_run_in_a_long_conversation_writes_the_bytes_of_an_early_one() {
    // Before this run the conversation has said 800 KB, about 200,000 tokens, in 10 turns.
    let mut run = Run { state: RunState::Running, lease_no: 1, attempts: 1, has_history: true, ..run() };
    run.lease_until_ms = after(clock().now(), Duration::from_secs(60)).as_millisecond();
    let earlier = RunId::lower_bound(clock().now());
    let turn = Turn {
        response: Some("a".repeat(40_000)),
        ended: Some(TurnEnd::Completed),
        ..Turn::new(earlier, vec![Message::user("q".repeat(40_000))], run.created_at)
    };
    let turn = json_of(&turn_item(&run, &turn).unwrap());
    let page = json!({"Items": vec![turn; 10], "Count": 10});
    let (table, log) = table(move |operation, _| (200, if operation == "Query" { page.clone() } else { json!({}) }));
    let history = table.history(&run).await.unwrap();
    let said: usize = history.iter().filter_map(|message| message.content.as_ref()).map(String::len).sum();
    assert_eq!((history.len(), said), (20, 800_000));
    log.lock().unwrap().clear();

    let mut transcript = Transcript::open(Bundle::embedded().agent(DEFAULT_AGENT).unwrap(), history, &AgentInput::default());
    let steps = 2 * TOOL_CALLS + 1;
    for index in 1..=steps {
        let step = step_of(&transcript, index);
        transcript.record(&step);
        run.usage += step.body.usage();
        run.updated_at = step.ended_at;
        if index < steps {
            table.write(&[Write::Progress(&run, &step), Write::Step(&run, &step)]).await.unwrap();
            run.steps = index;
        } else {
            let cause = Cause { at: step.ended_at, by: "worker-1", reason: "answered", patience: Duration::ZERO };
            let mut ended = Run { steps, ..run.clone() };
            ended.apply(Command::Complete, cause).unwrap();
            let guard = Guard::Held { lease_no: 1, steps: run.steps };
            commit(&table, Change { run: &ended, guard, step: Some(&step), response: Some(("done", step.index)), cause }).await.unwrap();
        }
    }
    let log = log.lock().unwrap();
    assert_eq!(log.len(), steps as usize, "a step is one request");
    assert!(transcript.messages().iter().filter_map(|message| message.content.as_ref()).map(String::len).sum::<usize>() > 1_600_000);
    // A step is one item and what it changes of its run: to the byte, and the same but for the digits of numbers, which are the
    // step's own (three times in its item, its index twice beside it) and the tokens so far.
    let written = |index: usize| (log[index - 1].bytes, size_of(&puts(&log[index - 1])[0]));
    assert_eq!((written(10), written(190)), ((5_371, 4_254), (5_381, 4_259)), "a tool's result");
    assert_eq!((written(11), written(191)), ((1_515, 379), (1_522, 382)), "a model's answer");
    for (early, late) in [(10, 190), (11, 191), (2, 400), (1, 399)] {
        assert!(shape(&log[early - 1]) == shape(&log[late - 1]), "{early} and {late}");
    }
    // The record of the run, which each of these updates bills, keeps its size too.
    let record = size_of(&json_of(&run_item(&run).unwrap()));
    assert!(record < 1_024, "{record} bytes: a step would be billed one unit more");
    let largest = log.iter().flat_map(puts).map(|item| size_of(&item)).max().unwrap();
    assert!(largest < LARGEST_ITEM, "{largest}");
    assert_eq!(puts(log.last().unwrap()).len(), 2, "the end of the run is its record and its last step");
}

#[tokio::test]
async fn the_record_of_a_run_that_goes_well_costs_each_write_one_unit() {
    let (fakes, run) = (Arc::new(MemoryStore::default()), run());
    let engine = Engine {
        worker: "queue-consumer/2026/01/02/[$LATEST]0123456789abcdef0123456789abcdef".into(),
        meter: Arc::default(),
        ..engine(fakes, Arc::default(), Arc::new(ScriptedModel::default()), Arc::new(clock()))
    };
    let delivery = engine.delivery("19dd0b57-b21e-4ac1-88bd-01bbb068cb78", 0, 1);
    let now = clock().now();
    let lease = Lease { owner: delivery.owner, now, until: after(now, Duration::from_secs(60)), message: delivery.message, sent_at: None };
    let mut run = lease.take(run);
    run.governed_by(&engine.bundle);
    (run.steps, run.usage) = (99, Usage { input_tokens: 10_000_000, output_tokens: 100_000, ..Usage::default() });
    let cause = Cause { at: now, by: &engine.worker, reason: "answered", patience: Duration::ZERO };
    let mut ended = run.clone();
    ended.apply(Command::Complete, cause).unwrap();
    for run in [run, ended] {
        let size = size_of(&json_of(&run_item(&run).unwrap()));
        // The tenant stands in it five times: a name of up to 15 characters fits too.
        let tenant = run.tenant.as_str().len();
        assert!(size + 5 * (15 - tenant) <= 1_024, "{size} bytes when {:?}", run.state);
    }
}
