//! `reprise run`.

use std::net::TcpListener;

use crate::support::{Stub, reprise, stderr, stdout};

#[test]
fn a_tail_prints_each_step_once_over_pages_and_polls_and_ends_with_the_run() {
    let step = |index: u32| {
        format!(r#"{{"index":{index},"kind":"tool","call":{{"name":"clock","arguments":{{}}}},"output":"noon","is_error":false}}"#)
    };
    let (running, done) =
        (r#"{"run_id":"run_1","status":"running"}"#, r#"{"run_id":"run_1","status":"completed","response":"It is noon."}"#);
    let stub = Stub::of(&[
        ("GET /v1/runs/run_1", 200, running),
        ("GET /v1/runs/run_1", 200, done),
        ("GET /v1/runs/run_1/steps", 200, &format!(r#"{{"steps":[{}],"next_cursor":"a/b"}}"#, step(1))),
        ("GET /v1/runs/run_1/steps?cursor=a%2Fb", 200, &format!(r#"{{"steps":[{}],"next_cursor":null}}"#, step(2))),
    ]);
    let output = stub.reprise(&["run", "tail", "run_1"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!((text.matches("#1 ").count(), text.matches("#2 ").count()), (1, 1), "{text}");
    assert!(text.ends_with("It is noon.\n"), "{text}");
}

#[test]
fn a_tail_of_a_dead_run_says_why_and_exits_with_1() {
    let stub = Stub::of(&[
        ("GET /v1/runs/run_1", 200, r#"{"run_id":"run_1","status":"dead","error":{"code":"provider_error","message":"HTTP 500"}}"#),
        ("GET /v1/runs/run_1/steps", 200, r#"{"steps":[]}"#),
    ]);
    let output = stub.reprise(&["run", "tail", "run_1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("provider_error: HTTP 500"), "{}", stderr(&output));
}

#[test]
fn a_tail_that_runs_out_of_time_exits_with_3() {
    let stub = Stub::of(&[
        ("GET /v1/runs/run_1", 200, r#"{"run_id":"run_1","status":"waiting"}"#),
        ("GET /v1/runs/run_1/steps", 200, r#"{"steps":[]}"#),
    ]);
    assert_eq!(stub.reprise(&["run", "tail", "run_1", "--timeout", "0"]).status.code(), Some(3));
}

#[test]
fn an_accepted_run_says_how_to_follow_it() {
    let stub = Stub::of(&[("POST /v1/agent", 202, r#"{"run_id":"run_1","status":"queued","response":null}"#)]);
    let output = stub.reprise(&["run", "start", "hi", "--background"]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), "run_1 is queued; follow it with: reprise run tail run_1\n"));
    assert_eq!(stub.body("POST /v1/agent"), serde_json::json!({"prompt": "hi", "background": true}));
}

#[test]
fn a_problem_document_is_explained() {
    let output = Stub::of(&[]).reprise(&["run", "show", "nope"]);
    assert_eq!(output.status.code(), Some(1));
    for part in ["error: Not found (HTTP 404)", "code: not_found", "request id: r-0", "hint: check the id"] {
        assert!(stderr(&output).contains(part), "{part} is missing in {}", stderr(&output));
    }
}

#[test]
fn nobody_there_is_not_a_failed_run() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(reprise(&["run", "show", "run_1", "--url", &format!("http://{free}")]).status.code(), Some(2));
}
