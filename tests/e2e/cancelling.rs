//! Cancelling: nothing is written after it.

use std::time::Duration;

use serde_json::{Value, json};
use tests::client::text;
use tests::requests::Call;
use tests::runs::LONG;
use tests::{Stack, fresh, wait_for};

#[test]
fn a_cancel_reaches_the_call_within_two_seconds_and_nothing_is_written_after_it() {
    let stack = Stack::beside();
    let accepted = stack.ask(&json!({"prompt": fresh("slow answer"), "background": true})).must(202);
    let (run, conversation) = (text(&accepted, "run_id"), text(&accepted, "conversation_id"));
    stack.wait_until(&run, "running");
    let begun = stack.log_position();
    let looks = |since: u64| {
        let calls = stack.calls(&run, since).into_iter();
        calls.filter(|call| call.function == "queue-consumer" && call.operation == "GetItem").collect::<Vec<_>>()
    };
    wait_for("the worker to look whether it still has the run", LONG, || if looks(begun).is_empty() { Err("not yet") } else { Ok(()) });

    let cancelled = stack.api.post(&format!("/v1/runs/{run}/cancel"), &Value::Null).must(200);
    let since = stack.log_position();
    let written = |call: &Call| call.function == "agent-api" && call.is_write() && call.status == 200;
    let at = stack.calls(&run, begun).into_iter().filter(written).map(|call| call.at).max().expect("the cancel was written");
    assert_eq!((&cancelled["status"], &cancelled["error"]["code"]), (&json!("cancelled"), &json!("cancel_requested")));
    let record = stack.run(&run);
    let again = stack.api.post(&format!("/v1/runs/{run}/cancel"), &Value::Null).must(200);
    assert_eq!(again, cancelled, "a second cancel changes nothing");

    // Free at once, while the old worker may still wait for its model.
    stack.ask(&json!({"prompt": fresh("next, please"), "conversation_id": conversation})).must(200);

    // The answer takes six seconds: a worker that went on with it would look every second or two.
    std::thread::sleep(Duration::from_secs(7));
    let after: Vec<u64> = looks(since).iter().map(|call| call.at).collect();
    let [look] = after[..] else { panic!("one look, which tells the worker: {after:?}") };
    assert!(look < at + 2_000, "the worker noticed after {} ms", look.saturating_sub(at));
    assert!(stack.model_calls(&run).is_empty(), "the provider saw its caller go away");
    let written = stack.calls(&run, since).into_iter().find(|call| call.is_write() && call.status == 200);
    assert!(written.is_none(), "{written:?}");
    assert_eq!(stack.run(&run), record);
    assert!(stack.steps(&run).is_empty());
}

#[test]
fn a_completed_run_cannot_be_cancelled() {
    let stack = Stack::beside();
    let run = text(&stack.ask(&json!({"prompt": fresh("What can you do?")})).must(200), "run_id");
    let refused = stack.api.post(&format!("/v1/runs/{run}/cancel"), &Value::Null).refused(409, None);
    assert_eq!((&refused["code"], &refused["run_id"]), (&json!("already_ended"), &json!(run)));
    assert_eq!(stack.run(&run)["status"], "completed");
}

#[test]
fn a_caller_whose_run_is_cancelled_meanwhile_hears_so() {
    let stack = Stack::beside();
    let marker = fresh("slow answer");
    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| stack.ask(&json!({"prompt": marker})));
        let run = wait_for("the run to be there", LONG, || {
            let runs = stack.api.get("/v1/runs?status=running&limit=100").must(200);
            let ids = runs["runs"].as_array().cloned().unwrap_or_default().into_iter().map(|run| text(&run, "run_id"));
            ids.into_iter().find(|id| stack.run(id)["prompt"] == marker).ok_or("not there")
        });
        stack.api.post(&format!("/v1/runs/{run}/cancel"), &Value::Null).must(200);
        asking.join().unwrap()
    });
    assert_eq!(answer.refused(409, None)["code"], "cancelled");
}
