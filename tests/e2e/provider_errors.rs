//! A model that fails is an error, never an empty or invented answer.

use serde_json::{Value, json};
use tests::client::text;
use tests::runs::LONG;
use tests::{Stack, fresh, wait_for};

/// What the provider does, and the code that tells of it.
/// Of a stream that holds no events nobody can say whether it was garbage or broke off.
const RETRYABLE: [(&str, &str); 3] =
    [("provider error", "provider_unavailable"), ("garbage", "provider_unavailable"), ("empty answer", "invalid_answer")];

#[test]
fn a_model_that_fails_never_becomes_an_answer() {
    let stack = Stack::alone();
    // All at once: each takes the caller's three seconds, and then its attempts in the background.
    let prompts = RETRYABLE.map(|(prompt, code)| (fresh(prompt), code));
    let ask = |prompt: &str| stack.ask(&json!({"prompt": prompt}));
    let answers = std::thread::scope(|scope| {
        let asking = prompts.each_ref().map(|(prompt, _)| scope.spawn(move || ask(prompt)));
        asking.map(|asking| asking.join().unwrap())
    });
    for (answer, (prompt, code)) in answers.iter().zip(&prompts) {
        let accepted = answer.must(202);
        assert_eq!(accepted["response"], Value::Null, "{prompt}");
        let run = text(&accepted, "run_id");
        let dead = stack.wait_until(&run, "dead");
        assert_eq!((&dead["error"]["code"], &dead["response"]), (&json!(code), &Value::Null), "{prompt}: {dead}");
        assert!(stack.steps(&run).is_empty(), "{prompt}");
        let letter = wait_for("its message on the dead-letter queue", LONG, || stack.dead_letters.find(&run).ok_or("not there"));
        stack.dead_letters.delete(&letter);
    }
}

#[test]
fn a_provider_that_recovers_in_time_is_no_error_at_all() {
    let stack = Stack::beside();
    let run = stack.start(&fresh("fails 3 times"));
    let done = stack.wait_until(&run, "completed");
    assert_eq!(done["error"], Value::Null, "{done}");
    let statuses: Vec<_> = stack.model_calls(&run).iter().map(|call| call.status).collect();
    assert_eq!(statuses, [500, 500, 500, 200]);
}

#[test]
fn a_provider_without_room_is_waited_for_and_burns_no_attempt() {
    let stack = Stack::beside();
    let run = stack.start(&fresh("rate limited"));
    let shown = wait_for("more refusals than the run has attempts", LONG, || {
        let shown = stack.run(&run);
        let refusals = shown["failures"].as_array().map_or(0, Vec::len);
        if refusals > 2 { Ok(shown) } else { Err(shown) }
    });
    assert_eq!(shown["error"]["code"], "provider_rate_limited", "{shown}");
    assert_ne!(shown["status"], "dead", "{shown}");
    stack.api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).must(200);
}
