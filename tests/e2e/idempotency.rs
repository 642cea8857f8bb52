//! A request that is sent again, or ten times at once, is one request.

use serde_json::{Value, json};
use tests::client::{Answer, text};
use tests::{Stack, fresh};

fn is_replay(answer: &Answer) -> bool {
    answer.header("idempotency-replayed") == "true"
}

/// The same request by so many callers at the same moment.
fn at_once(stack: &Stack, callers: usize, key: &str, body: &Value) -> Vec<Answer> {
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..callers).map(|_| scope.spawn(|| stack.ask_once(key, body))).collect();
        calls.into_iter().map(|call| call.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

#[test]
fn ten_requests_at_once_with_one_key_are_one_run_and_one_message() {
    let stack = Stack::beside();
    let since = stack.log_position();
    let answers = at_once(&stack, 10, &fresh("key"), &json!({"prompt": fresh("once"), "background": true}));
    let runs: Vec<_> = answers.iter().map(|answer| text(&answer.json(), "run_id")).collect();
    assert!(runs.iter().all(|run| *run == runs[0]), "{runs:?}");
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 202)), "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| !is_replay(answer)).count(), 1, "one has started it");
    stack.wait_until(&runs[0], "completed");
    assert_eq!(stack.model_calls(&runs[0]).len(), 1);
    let sent = stack.calls(&runs[0], since).into_iter().filter(|call| call.operation == "SendMessage").count();
    assert_eq!(sent, 1);
}

#[test]
fn callers_who_wait_with_one_key_all_get_the_answer_that_was_paid_for_once() {
    let stack = Stack::beside();
    let key = fresh("key");
    let body = json!({"prompt": fresh("What can you do?"), "metadata": {"a": 1, "b": 2}});
    let answers = at_once(&stack, 5, &key, &body);
    let first = answers[0].must(200);
    for answer in &answers {
        assert_eq!(answer.must(200), first);
    }
    let run = text(&first, "run_id");
    assert_eq!(stack.model_calls(&run).len(), 1);
    // Later, and written in another way.
    let again = format!(r#"{{ "metadata": {{"b": 2, "a": 1}}, "prompt": {} }}"#, body["prompt"]);
    let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
    let again = stack.api.send("POST", "/v1/agent", &headers, again.into_bytes());
    assert_eq!((again.must(200), is_replay(&again)), (first, true));
}

#[test]
fn a_caller_who_gave_up_finds_the_run_where_it_is() {
    let stack = Stack::beside();
    let (key, body) = (fresh("key"), json!({"prompt": fresh("slow answer")}));
    let first = stack.ask_once(&key, &body);
    let run = text(&first.must(202), "run_id");
    stack.wait_until(&run, "completed");
    let again = stack.ask_once(&key, &body);
    assert_eq!((text(&again.must(200), "run_id"), is_replay(&again)), (run, true));
    assert!(text(&again.json(), "response").contains("six seconds"));
}

#[test]
fn a_key_with_another_request_is_refused() {
    let stack = Stack::beside();
    let key = fresh("key");
    stack.ask_once(&key, &json!({"prompt": fresh("one")})).must(200);
    let refused = stack.ask_once(&key, &json!({"prompt": fresh("two")})).refused(422, Some("Idempotency-Key"));
    assert_eq!(refused["code"], "idempotency_key_reused");
    stack.ask_once("two words", &json!({"prompt": fresh("three")})).refused(400, Some("Idempotency-Key"));
}
