//! Runs that die, where they are seen, and how they come back. Each test runs alone: they share one dead-letter queue.

use serde_json::{Value, json};
use tests::client::{list, number, text};
use tests::runs::LONG;
use tests::{Stack, fresh, wait_for};

/// A run that will die, and the word that heals its provider.
fn dead_run(stack: &Stack) -> (String, String) {
    let word = fresh("patient");
    let run = stack.start(&format!("fails until healed {word}"));
    (run, word)
}

/// Dead runs, those of other tests included: their messages are gone, their records stay.
fn dead_count(stack: &Stack) -> u64 {
    number(&stack.api.get("/v1/dlq").must(200), "count")
}

fn wait_for_death(stack: &Stack, run: &str) {
    stack.wait_until(run, "dead");
    wait_for("its message on the dead-letter queue", LONG, || stack.dead_letters.find(run).map(|_| ()).ok_or("not there"));
}

#[test]
fn a_dead_run_is_shown_with_its_failures_and_completes_when_it_is_retried() {
    let stack = Stack::alone();
    let others = dead_count(&stack);
    let (run, word) = dead_run(&stack);
    wait_for_death(&stack, &run);

    let shown = stack.api.get("/v1/dlq").must(200);
    assert_eq!((number(&shown, "count"), number(&shown["queue"], "approximate_messages")), (others + 1, 1), "{shown}");
    let Some(entry) = list(&shown, "entries").first() else { panic!("no entry: {shown}") };
    assert_eq!((&entry["run_id"], &entry["agent"]), (&json!(run), &json!("assistant")), "newest first");
    assert_eq!((&entry["error"]["code"], number(entry, "attempts")), (&json!("provider_unavailable"), 2), "{entry}");
    assert!(!text(&entry["error"], "message").is_empty());
    assert!(text(entry, "created_at") <= text(entry, "first_failed_at"), "{entry}");
    assert!(text(entry, "first_failed_at") < text(entry, "last_failed_at"), "{entry}");
    assert_eq!(list(entry, "failures").len(), 2, "{entry}");

    stack.heal(&word);
    let retry = stack.api.post(&format!("/v1/dlq/{run}/retry"), &Value::Null);
    assert_eq!((&retry.must(202)["run_id"], &retry.must(202)["status"]), (&json!(run), &json!("queued")));
    assert_eq!(retry.header("location"), format!("/v1/runs/{run}"));
    let revived = stack.wait_until(&run, "completed");
    assert!(text(&revived, "response").contains("well again"), "{revived}");
    assert_eq!(revived["error"], Value::Null);
    assert!(stack.dead_letters.find(&run).is_none(), "the message of a retried run is gone");
    assert_eq!(dead_count(&stack), others);

    let refused = stack.api.post(&format!("/v1/dlq/{run}/retry"), &Value::Null).refused(409, None);
    assert_eq!(refused["code"], "not_dead");
}

#[test]
fn looking_at_the_dead_touches_no_message() {
    let stack = Stack::alone();
    let (run, word) = dead_run(&stack);
    wait_for_death(&stack, &run);
    let before = stack.dead_letters.find(&run).unwrap();
    // The sweeper looks at letters too; here it is about the API.
    let since = stack.log_position();
    for _ in 0..3 {
        stack.api.get("/v1/dlq").must(200);
        stack.api.get("/v1/dlq?limit=1").must(200);
    }
    let mut calls = stack.calls("", since);
    calls.retain(|call| call.function == "dlq-redrive");
    let touching = |operation: &str| !(operation.starts_with("Get") || operation == "Query" || operation == "BatchGetItem");
    let touched: Vec<_> = calls.iter().filter(|call| touching(&call.operation)).collect();
    assert!(touched.is_empty() && !calls.is_empty(), "{touched:?}");
    let after = stack.dead_letters.find(&run).unwrap();
    assert_eq!(after.body, before.body);

    stack.heal(&word);
    stack.api.post(&format!("/v1/dlq/{run}/retry"), &Value::Null).must(202);
    stack.wait_until(&run, "completed");
}

#[test]
fn retry_all_brings_every_dead_run_back() {
    let stack = Stack::alone();
    let others = dead_count(&stack);
    let dead: Vec<_> = (0..3).map(|_| dead_run(&stack)).collect();
    for (run, word) in &dead {
        wait_for_death(&stack, run);
        stack.heal(word);
    }
    assert_eq!(dead_count(&stack), others + 3);
    let moved = stack.api.post("/v1/dlq/retry-all", &Value::Null).must(202);
    assert_eq!(moved["status"], "started", "{moved}");
    for (run, _) in &dead {
        stack.wait_until(run, "completed");
    }
    assert_eq!(dead_count(&stack), others);
    for (run, _) in &dead {
        assert!(stack.dead_letters.find(run).is_none());
    }
}

#[test]
fn a_message_that_cannot_be_read_reaches_the_dead_letter_queue_as_it_was() {
    let stack = Stack::alone();
    let others = dead_count(&stack);
    let word = fresh("poison");
    let poison = [
        format!("{word} is not JSON: \"quotes\" \n and ünïcödé ✓"),
        format!(r#"{{"v":99,"tenant":"local","run":"{word}","epoch":1}}"#),
        format!(r#"{{"v":1,"tenant":"local","run":"../{word}","epoch":1}}"#),
    ];
    for body in &poison {
        stack.tasks.send(body);
    }
    // A good run beside them is not held up.
    stack.wait_until(&stack.start(&fresh("healthy")), "completed");
    for body in &poison {
        let found = wait_for("the message on the dead-letter queue", LONG, || {
            let messages = stack.dead_letters.look();
            messages.iter().find(|message| message.body == *body).cloned().ok_or(format!("{messages:?}"))
        });
        stack.dead_letters.delete(&found);
    }
    assert_eq!(dead_count(&stack), others, "poison is no run");
}
