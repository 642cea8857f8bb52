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

#[test]
fn a_tail_for_programs_has_a_line_for_each_step_and_one_for_the_run() {
    let stub = Stub::of(&[
        ("GET /v1/runs/run_1", 200, r#"{"run_id":"run_1","status":"dead","error":{"code":"provider_error","message":"HTTP 500"}}"#),
        ("GET /v1/runs/run_1/steps", 200, r#"{"steps":[{"index":1,"kind":"tool"}]}"#),
    ]);
    let output = stub.reprise(&["run", "tail", "run_1", "--format", "jsonl"]);
    let lines: Vec<serde_json::Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((output.status.code(), &lines[0]["index"], &lines[1]["status"]), (Some(1), &1.into(), &"dead".into()));
}

#[test]
fn runs_are_listed_by_what_they_are_and_when() {
    let line = "GET /v1/runs?agent=triage&limit=5&since=2026-11-22T02%3A10%3A00.000Z&status=dead";
    let run = r#"{"run_id":"run_1","status":"dead","agent":"triage","steps":2,"attempts":4,"usage":{"input_tokens":5,"output_tokens":6},"error":{"code":"x"}}"#;
    let stub = Stub::of(&[(line, 200, &format!(r#"{{"runs":[{run}],"next_cursor":null}}"#))]);
    let list = ["run", "list", "--status", "dead", "--agent", "triage", "--since", "2026-11-22T02:10:00Z", "--limit", "5"];
    let shown = stdout(&stub.reprise(&list));
    assert!(shown.contains("run_1  dead    triage           2      4         11"), "{shown}");
    assert_eq!(stub.lines(), [line]);
}

#[test]
fn each_run_is_told_to_stop_and_one_that_refuses_does_not_keep_the_others() {
    let ended = r#"{"title":"Conflict","detail":"the run is completed","code":"already_ended"}"#;
    let stub = Stub::of(&[
        ("POST /v1/runs/run_1/cancel", 409, ended),
        ("POST /v1/runs/run_2/cancel", 200, r#"{"run_id":"run_2","status":"cancelled"}"#),
    ]);
    let output = stub.reprise(&["run", "cancel", "run_1", "run_2"]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), "run_2 is cancelled\n"));
    assert!(stderr(&output).contains("run_1: Conflict") && stderr(&output).contains("the run is completed"), "{}", stderr(&output));
}

#[test]
fn an_answer_goes_to_the_question_that_is_open() {
    let waits =
        r#"{"run_id":"run_1","status":"waiting","waiting":{"for":"answer","question_id":"q2","question":"May I?","expires_at":"t"}}"#;
    let stub =
        Stub::of(&[("GET /v1/runs/run_1", 200, waits), ("POST /v1/runs/run_1/answer", 202, r#"{"run_id":"run_1","status":"queued"}"#)]);
    let output = stub.reprise(&["run", "answer", "run_1", "Yes"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stub.body("POST /v1/runs/run_1/answer"), serde_json::json!({"question_id": "q2", "answer": "Yes"}));
    let output = stub.reprise(&["run", "answer", "run_1", "--approve"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("it wants an answer, not leave"), "{}", stderr(&output));
}

#[test]
fn a_call_is_allowed_or_not_with_the_reason() {
    let waits = r#"{"run_id":"run_1","status":"waiting","waiting":{"for":"approval","question_id":"q3","question":"Send it?","tool":"mail","arguments":{"to":"x"},"expires_at":"t"}}"#;
    let stub =
        Stub::of(&[("GET /v1/runs/run_1", 200, waits), ("POST /v1/runs/run_1/answer", 202, r#"{"run_id":"run_1","status":"queued"}"#)]);
    assert_eq!(stub.reprise(&["run", "answer", "run_1", "yes"]).status.code(), Some(2));
    assert_eq!(stub.reprise(&["run", "answer", "run_1", "--reject", "too expensive"]).status.code(), Some(0));
    let sent = serde_json::json!({"question_id": "q3", "approved": false, "answer": "too expensive"});
    assert_eq!(stub.body("POST /v1/runs/run_1/answer"), sent);
    assert!(stdout(&stub.reprise(&["run", "show", "run_1"])).contains("leave until t, to call mail({\"to\":\"x\"}): Send it?"));
}

#[test]
fn an_answer_to_a_run_that_waits_for_nobody_is_no_answer() {
    let stub = Stub::of(&[("GET /v1/runs/run_1", 200, r#"{"run_id":"run_1","status":"running"}"#)]);
    let output = stub.reprise(&["run", "answer", "run_1", "Yes"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("run_1 is running and waits for nobody"), "{}", stderr(&output));
}
