//! A question, its answer, and everything that an answer tells.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::client::{list, number, text};
use tests::{Stack, fresh};

#[test]
fn the_curl_line_of_the_readme_prints_text() {
    let stack = Stack::beside();
    let body = br#"{"prompt":"Summarise the stack services in one sentence."}"#.to_vec();
    let answer = stack.api.send("POST", "/v1/agent", &[("content-type", "application/json")], body).must(200);
    assert!(text(&answer, "response").contains("Reprise"), "{answer}");
}

#[test]
fn an_answer_tells_all_that_the_contract_promises() {
    let stack = Stack::beside();
    let prompt = fresh("What can you do?");
    let metadata = json!({"order": 7, "tags": ["a", "b"], "nested": {"ü": null}});
    let answer = stack.ask(&json!({"prompt": prompt, "agent": "assistant", "metadata": metadata}));
    let body = answer.must(200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert!(!answer.header("x-request-id").is_empty());
    assert!(text(&body, "run_id").starts_with("run_") && text(&body, "conversation_id").starts_with("conv_"), "{body}");
    assert_eq!(body["status"], "completed");
    assert_eq!(body["metadata"], metadata);
    assert!(text(&body, "created_at").ends_with('Z'));
    let said = text(&body, "response");
    assert_eq!(body["messages"], json!([{"role": "user", "content": prompt}, {"role": "assistant", "content": said}]));
    let [step] = list(&body, "steps") else { panic!("one step expected: {body}") };
    assert_eq!((number(step, "index"), text(step, "kind")), (1, "model".into()));
    assert_eq!(body["usage"], json!({"input_tokens": 20, "output_tokens": 38}));
}

#[test]
fn a_run_shows_later_what_its_answer_told() {
    let stack = Stack::beside();
    let answer = stack.ask(&json!({"prompt": "long answer", "metadata": {"k": "v"}})).must(200);
    let run = stack.run(&text(&answer, "run_id"));
    for field in ["run_id", "conversation_id", "status", "response", "created_at", "usage", "metadata"] {
        assert_eq!(run[field], answer[field], "{field}");
    }
    assert_eq!((&run["agent"], &run["prompt"], &run["error"]), (&json!("assistant"), &json!("long answer"), &Value::Null));
    assert_eq!((number(&run, "attempts"), number(&run, "steps")), (1, 1));
    assert!(text(&run, "created_at") <= text(&run, "ended_at"), "{run}");
}

#[test]
fn a_tool_turn_goes_from_model_to_tool_to_model() {
    let stack = Stack::beside();
    let answer = stack.ask(&json!({"prompt": fresh("What time is it in Berlin?")})).must(200);
    let steps = list(&answer, "steps");
    let kinds: Vec<_> = steps.iter().map(|step| text(step, "kind")).collect();
    assert_eq!(kinds, ["model", "tool", "model"], "{answer}");
    let indexes: Vec<_> = steps.iter().map(|step| number(step, "index")).collect();
    assert_eq!(indexes, [1, 2, 3]);
    assert!(steps.iter().all(|step| text(step, "started_at") <= text(step, "ended_at")));
    assert_eq!(steps[0]["message"]["tool_calls"][0], steps[1]["call"]);
    assert!(text(&steps[1], "output").contains("Europe/Berlin"), "{answer}");
    assert_eq!(steps[2]["message"]["content"], answer["response"]);

    // Usage adds up, and the provider was told the tool's result.
    for field in ["input_tokens", "output_tokens"] {
        let sum: u64 = [0, 2].iter().map(|i| number(&steps[*i]["usage"], field)).sum();
        assert_eq!(number(&answer["usage"], field), sum);
    }
    let run = text(&answer, "run_id");
    let calls = stack.model_calls(&run);
    assert_eq!(calls.iter().map(|call| call.step).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(
        calls[1].messages.last().map(|(role, said)| (role.as_str(), said.as_str())),
        Some(("tool", text(&steps[1], "output").as_str()))
    );

    // The steps' own page shows the same, in parts as well.
    assert_eq!(stack.steps(&run), steps);
    let first = stack.api.get(&format!("/v1/runs/{run}/steps?limit=2")).must(200);
    let rest = stack.api.get(&format!("/v1/runs/{run}/steps?limit=2&cursor={}", text(&first, "next_cursor"))).must(200);
    assert_eq!([list(&first, "steps"), list(&rest, "steps")].concat(), steps);
    assert_eq!(rest["next_cursor"], Value::Null);
}

#[test]
fn a_caller_whose_answer_takes_too_long_gets_an_address_and_then_the_answer() {
    let stack = Stack::beside();
    let begun = Instant::now();
    let accepted = stack.ask(&json!({"prompt": fresh("slow answer")}));
    let body = accepted.must(202);
    assert!(begun.elapsed() < Duration::from_secs(20), "the gateway would have given up: {:?}", begun.elapsed());
    let run = text(&body, "run_id");
    assert_eq!(accepted.header("location"), format!("/v1/runs/{run}"));
    assert_eq!(body["response"], Value::Null);
    let run = stack.wait_until(&run, "completed");
    assert!(text(&run, "response").contains("six seconds"), "{run}");
    // A hand-over for want of time is no failed attempt.
    assert_eq!((&run["error"], number(&run, "attempts")), (&Value::Null, 1), "{run}");
}

#[test]
fn the_api_describes_itself() {
    let document = Stack::beside().api.get("/openapi.json").must(200);
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.")), "{document}");
    for path in ["/v1/agent", "/v1/runs/{id}", "/v1/dlq"] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
}
