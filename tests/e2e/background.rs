//! Background runs: what accepting one costs, and that every accepted one ends.

use std::collections::HashMap;

use serde_json::{Value, json};
use tests::client::{list, number, text};
use tests::requests::Call;
use tests::runs::LONG;
use tests::{Stack, fresh, wait_for};

const RUNS: usize = 200;
/// Callers at the same time.
const CALLERS: usize = 4;

#[test]
fn a_background_run_is_accepted_at_once_and_completes() {
    let stack = Stack::beside();
    let accepted = stack.ask(&json!({"prompt": fresh("What time is it in Berlin?"), "background": true, "metadata": {"a": 1}}));
    let body = accepted.must(202);
    let run = text(&body, "run_id");
    assert_eq!(accepted.header("location"), format!("/v1/runs/{run}"));
    assert_eq!((&body["status"], &body["response"], &body["metadata"]), (&json!("queued"), &Value::Null, &json!({"a": 1})));
    let run = stack.wait_until(&run, "completed");
    assert!(text(&run, "response").contains("Europe/Berlin"), "{run}");
    assert_eq!(number(&run, "steps"), 3);
}

#[test]
fn two_hundred_accepted_runs_all_complete_and_each_costs_one_write_and_one_message() {
    // Alone, so that a killed worker's second claim is not counted here.
    let stack = Stack::alone();
    let since = stack.log_position();
    let word = fresh("many");
    let accepted: Vec<String> = std::thread::scope(|scope| {
        let caller = |_| scope.spawn(|| (0..RUNS / CALLERS).map(|_| stack.start(&word)).collect::<Vec<_>>());
        let callers: Vec<_> = (0..CALLERS).map(caller).collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    assert_eq!(accepted.len(), RUNS);

    wait_for("all of them to be completed", LONG, || {
        let done = accepted.iter().filter(|id| stack.run(id)["status"] == "completed").count();
        if done == RUNS { Ok(()) } else { Err(format!("{done} of {RUNS}")) }
    });

    let mut by_run: HashMap<String, Vec<Call>> = HashMap::new();
    for call in stack.calls("run_", since) {
        for id in accepted.iter().filter(|id| call.body.contains(id.as_str())) {
            by_run.entry(id.clone()).or_default().push(call.clone());
        }
    }
    for id in &accepted {
        let calls = &by_run[id];
        let of = |function: &'static str| calls.iter().filter(move |call| call.function == function);
        let writes: Vec<_> = of("agent-api").filter(|call| call.is_write()).map(|call| &call.operation).collect();
        assert_eq!(writes, ["TransactWriteItems"], "{id}");
        let messages: Vec<_> = of("agent-api").filter(|call| call.service == "sqs").collect();
        let [message] = messages[..] else { panic!("{id}: {} calls to SQS", messages.len()) };
        assert_eq!(message.operation, "SendMessage");
        // One step: claim, and the end together with the step. The event is read by its own id, which the log cannot tell.
        assert_eq!(of("queue-consumer").filter(|call| call.service == "dynamodb").count(), 2, "{id}");
    }
}

#[test]
fn a_message_delivered_twice_does_its_work_once() {
    let stack = Stack::beside();
    let run = stack.start(&fresh("What time is it in Berlin?"));
    let message = json!({"v": 1, "tenant": "local", "run": run, "epoch": 1}).to_string();
    for _ in 0..3 {
        stack.tasks.send(&message);
    }
    let done = stack.wait_until(&run, "completed");
    // One that found the run taken comes back after its lease, and one that comes after the end finds nothing to do.
    stack.tasks.send(&message);
    stack.wait_until(&stack.start(&fresh("later")), "completed");
    assert_eq!(stack.run(&run), done);
    assert_eq!(stack.model_calls(&run).iter().map(|call| call.step).collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn every_message_belongs_to_its_tenant() {
    let stack = Stack::beside();
    let since = stack.log_position();
    stack.wait_until(&stack.start(&fresh("group")), "completed");
    let sent: Vec<_> = stack.calls("run_", since).into_iter().filter(|call| call.operation == "SendMessage").collect();
    assert!(!sent.is_empty());
    for call in sent {
        let message: Value = serde_json::from_str(&call.body).unwrap();
        assert_eq!(message["MessageGroupId"], "local", "{message}");
    }
}

#[test]
fn a_run_of_n_steps_costs_the_worker_n_plus_two_calls() {
    let stack = Stack::alone();
    for (prompt, n) in [("What can you do?", 1), ("What time is it in Berlin?", 3), ("Compare the time in Berlin and Tokyo", 5)] {
        let since = stack.log_position();
        let run = stack.start(&fresh(prompt));
        assert_eq!(number(&stack.wait_until(&run, "completed"), "steps"), n);
        let calls = worker_calls(&stack, since);
        assert!(calls.len() as u64 <= n + 2, "{n} steps cost {} calls: {calls:?}", calls.len());
    }
}

#[test]
fn history_costs_the_worker_two_calls_more_at_most() {
    let stack = Stack::alone();
    let mut conversation = stack.ask(&json!({"prompt": fresh("What can you do?")})).must(200)["conversation_id"].clone();
    for _ in 0..2 {
        let since = stack.log_position();
        let body = json!({"prompt": fresh("What time is it in Berlin?"), "conversation_id": conversation, "background": true});
        let accepted = stack.ask(&body).must(202);
        conversation = accepted["conversation_id"].clone();
        stack.wait_until(&text(&accepted, "run_id"), "completed");
        let calls = worker_calls(&stack, since);
        assert!(calls.len() <= 3 + 4, "3 steps cost {} calls: {calls:?}", calls.len());
    }
    let turns = stack.api.get(&format!("/v1/conversations/{}", conversation.as_str().unwrap())).must(200);
    assert_eq!(list(&turns, "turns").len(), 3);
}

/// What the worker asked of the table, the mark of a canary that came by left out.
fn worker_calls(stack: &Stack, since: u64) -> Vec<String> {
    let calls = stack.calls("", since).into_iter();
    // A function reads what is known of the providers every two seconds, whatever it works on.
    let is_own = |body: &str| body.contains("heartbeat") || body.contains("#providers");
    let is_work = |call: &Call| call.service == "dynamodb" && call.function == "queue-consumer" && !is_own(&call.body);
    calls.filter(is_work).map(|call| call.operation).collect()
}
