use std::time::Duration;

use serde_json::{Value, json};
use tests::client::{Client, list, number, text};
use tests::{Stack, address, fresh, wait_for};

/// Runs of the bar.
const RUNS: usize = 200;
/// Longer than the breakers stay open.
const HEALING: Duration = Duration::from_secs(90);

fn providers(stack: &Stack) -> [Client; 2] {
    [Client::new(stack.model.base()), Client::new(&address("REPRISE_TEST_BACKUP"))]
}

/// From now on so many of a hundred calls fail, each kind as often as the others.
fn breaks(provider: &Client, percent: f64, kinds: &[&str]) {
    // A rule is asked only if those before it did not strike.
    let each = percent / 100.0 / kinds.len() as f64;
    let rate = |place: usize| each / (1.0 - each * place as f64);
    let rules: Vec<Value> =
        kinds.iter().enumerate().map(|(place, kind)| json!({"kind": kind, "rate": rate(place), "budget": 100_000})).collect();
    let body = json!({"seed": 7, "latency_ms": 0, "rules": rules}).to_string();
    let set = provider.send("PUT", "/reprise/faults", &[], body.into_bytes());
    assert_eq!(set.status, 200, "{}", set.body);
}

/// Ends that; what it did.
fn heals(provider: &Client) -> Value {
    provider.send("DELETE", "/reprise/faults", &[], Vec::new()).must(200)
}

fn breaker(stack: &Stack, model: &str) -> Value {
    let shown = stack.api.get("/v1/providers").must(200);
    let models: Vec<Value> = list(&shown, "providers").iter().flat_map(|provider| list(provider, "models").to_vec()).collect();
    models.into_iter().find(|found| found["model"] == model).map(|found| found["breaker"].clone()).unwrap_or_default()
}

/// Calls of runs until the breakers are closed.
fn until_closed(stack: &Stack) {
    wait_for("closed breakers of providers that are well", HEALING, || {
        stack.wait_until(&stack.start(&fresh("echo")), "completed");
        let states = ["openai::gpt-4o-mini", "backup::gpt-4o-mini"].map(|model| breaker(stack, model)["state"].clone());
        let is_closed = states.iter().all(|state| state.is_null() || state == "closed");
        if is_closed { Ok(()) } else { Err(format!("{states:?}")) }
    });
}

#[test]
fn half_of_what_one_provider_answers_is_worth_nothing_and_no_run_notices() {
    let stack = Stack::alone();
    let [a, _] = providers(&stack);
    breaks(&a, 50.0, &["limited", "error", "hang", "garbage"]);
    let runs: Vec<(String, String)> = (0..RUNS)
        .map(|n| {
            let prompt = fresh(if n % 3 == 0 { "echo after 1 clock" } else { "echo" });
            (stack.start(&prompt), prompt)
        })
        .collect();
    let mut from_backup = 0;
    for (run, prompt) in &runs {
        let ended = stack.wait_until(run, "completed");
        assert_eq!(text(&ended, "response"), format!("You said: {prompt}"), "no error body is ever an answer");
        from_backup += usize::from(stack.steps(run).iter().any(|step| step["provider"] == "backup"));
    }
    let injected = heals(&a);
    assert!(from_backup > 0, "nobody needed the other provider: {injected}");
    assert_eq!(number(&breaker(&stack, "openai::gpt-4o-mini"), "opened"), 1, "{injected}");
    until_closed(&stack);
    let breaker = breaker(&stack, "openai::gpt-4o-mini");
    assert_eq!((number(&breaker, "opened"), &breaker["state"]), (1, &json!("closed")));
    let run = stack.start(&fresh("echo"));
    stack.wait_until(&run, "completed");
    assert_eq!(stack.steps(&run)[0]["provider"], "openai", "it is asked again");
}

#[test]
fn with_two_providers_down_a_run_tells_of_both_and_is_completed_later() {
    let stack = Stack::alone();
    let both = providers(&stack);
    until_closed(&stack);
    for provider in &both {
        breaks(provider, 100.0, &["error"]);
    }
    let prompt = fresh("echo");
    let run = stack.start(&prompt);
    let failure = wait_for("a run that has asked both", Duration::from_secs(60), || {
        let shown = stack.run(&run);
        let error = shown["error"]["message"].as_str().unwrap_or_default().to_owned();
        if error.contains("openai::gpt-4o-mini: ") && error.contains("backup::gpt-4o-mini: ") { Ok(error) } else { Err(shown.to_string()) }
    });
    assert!(failure.contains("HTTP 500"), "{failure}");
    for provider in &both {
        heals(provider);
    }
    // Dead by now, or waiting for a breaker.
    let shown = stack.run(&run);
    if shown["status"] == "dead" {
        stack.api.post(&format!("/v1/dlq/{run}/retry"), &json!({})).must(202);
    }
    let ended = stack.wait_until(&run, "completed");
    assert_eq!(text(&ended, "response"), format!("You said: {prompt}"));
    until_closed(&stack);
}

#[test]
fn what_an_operator_switches_off_is_asked_no_more_within_seconds() {
    let stack = Stack::alone();
    until_closed(&stack);
    let answered_by = |stack: &Stack| {
        let run = stack.start(&fresh("echo"));
        stack.wait_until(&run, "completed");
        text(&stack.steps(&run)[0], "provider")
    };
    let within_seconds = |expected: &str| {
        wait_for("the operator's word at every function", Duration::from_secs(20), || {
            let found: Vec<String> = (0..3).map(|_| answered_by(&stack)).collect();
            if found.iter().all(|found| found == expected) { Ok(()) } else { Err(format!("{found:?}")) }
        });
    };
    stack.api.post("/v1/providers/disable", &json!({"name": "openai", "reason": "a test"})).must(200);
    within_seconds("backup");
    stack.api.post("/v1/providers/enable", &json!({"name": "openai"})).must(200);
    within_seconds("openai");
    stack.api.post("/v1/providers/pin", &json!({"name": "backup"})).must(200);
    within_seconds("backup");
    stack.api.post("/v1/providers/unpin", &json!({})).must(200);
    within_seconds("openai");
}
