//! The binary as a user calls it: exit codes and what is printed, against a made-up API and in a made-up checkout.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its stage should panic")]

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};

/// An HTTP server that answers `METHOD /path?query` with the next of its answers, and the last one for ever.
fn api(answers: &[(&str, u16, &str)]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut queues: HashMap<String, Vec<(u16, String)>> = HashMap::new();
    for (request, status, body) in answers {
        queues.entry((*request).to_owned()).or_default().push((*status, (*body).to_owned()));
    }
    // Ends with the test process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap(), &mut queues);
        }
    });
    url
}

fn answer(mut stream: TcpStream, queues: &mut HashMap<String, Vec<(u16, String)>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if header.trim().is_empty() {
            break;
        }
    }
    reader.read_exact(&mut vec![0; length]).unwrap();
    let request = first.trim().trim_end_matches(" HTTP/1.1");
    let (status, body) = match queues.get_mut(request) {
        Some(queue) if queue.len() > 1 => queue.remove(0),
        Some(queue) => queue[0].clone(),
        None => (404, format!(r#"{{"title":"Not found","detail":"no answer for {request}","code":"not_found","request_id":"r-0"}}"#)),
    };
    write!(
        stream,
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
}

fn reprise(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reprise")).args(arguments).env_remove("REPRISE_URL").env_remove("REPRISE_STACK").output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_tail_prints_each_step_once_over_pages_and_polls_and_ends_with_the_run() {
    let step = |index: u32| {
        format!(r#"{{"index":{index},"kind":"tool","call":{{"name":"clock","arguments":{{}}}},"output":"noon","is_error":false}}"#)
    };
    let (running, done) =
        (r#"{"run_id":"run_1","status":"running"}"#, r#"{"run_id":"run_1","status":"completed","response":"It is noon."}"#);
    let url = api(&[
        ("GET /v1/runs/run_1", 200, running),
        ("GET /v1/runs/run_1", 200, done),
        ("GET /v1/runs/run_1/steps", 200, &format!(r#"{{"steps":[{}],"next_cursor":"a/b"}}"#, step(1))),
        ("GET /v1/runs/run_1/steps?cursor=a%2Fb", 200, &format!(r#"{{"steps":[{}],"next_cursor":null}}"#, step(2))),
    ]);
    let output = reprise(&["run", "tail", "run_1", "--url", &url]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!((text.matches("#1 ").count(), text.matches("#2 ").count()), (1, 1), "{text}");
    assert!(text.ends_with("It is noon.\n"), "{text}");
}

#[test]
fn a_tail_of_a_dead_run_says_why_and_exits_with_1() {
    let url = api(&[
        ("GET /v1/runs/run_1", 200, r#"{"run_id":"run_1","status":"dead","error":{"code":"provider_error","message":"HTTP 500"}}"#),
        ("GET /v1/runs/run_1/steps", 200, r#"{"steps":[]}"#),
    ]);
    let output = reprise(&["run", "tail", "run_1", "--url", &url]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("provider_error: HTTP 500"), "{}", stderr(&output));
}

#[test]
fn a_tail_that_runs_out_of_time_exits_with_3() {
    let url = api(&[
        ("GET /v1/runs/run_1", 200, r#"{"run_id":"run_1","status":"waiting"}"#),
        ("GET /v1/runs/run_1/steps", 200, r#"{"steps":[]}"#),
    ]);
    assert_eq!(reprise(&["run", "tail", "run_1", "--timeout", "0", "--url", &url]).status.code(), Some(3));
}

#[test]
fn an_accepted_run_says_how_to_follow_it() {
    let url = api(&[("POST /v1/agent", 202, r#"{"run_id":"run_1","status":"queued","response":null}"#)]);
    let output = reprise(&["run", "start", "hi", "--background", "--url", &url]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), "run_1 is queued; follow it with: reprise run tail run_1\n"));
}

#[test]
fn a_problem_document_is_explained() {
    let output = reprise(&["run", "show", "nope", "--url", &api(&[])]);
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

/// A checkout in which nothing runs.
struct Checkout(PathBuf);

impl Checkout {
    fn new(test: &str) -> Self {
        let root = std::env::temp_dir().join(format!("reprise-commands-{}-{test}", std::process::id()));
        std::fs::create_dir_all(root.join("infra/local")).unwrap();
        std::fs::write(root.join("template.yaml"), "").unwrap();
        Self(root)
    }

    fn reprise(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_reprise")).args(arguments).current_dir(&self.0).env_remove("REPRISE_STACK").output().unwrap()
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn stopping_what_does_not_run_is_no_error() {
    let checkout = Checkout::new("down");
    let output = checkout.reprise(&["stack", "down"]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), "nothing is running: there is no stack `dev`\n"));
    assert!(!checkout.0.join(".local").exists(), "asking leaves nothing behind");
}

#[test]
fn status_is_machine_readable_and_health_of_nothing_could_not_be_asked() {
    let checkout = Checkout::new("status");
    let status = checkout.reprise(&["stack", "status", "--format", "json"]);
    let body: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!((status.status.code(), &body["running"]), (Some(1), &serde_json::Value::Bool(false)));
    assert_eq!(checkout.reprise(&["stack", "health"]).status.code(), Some(2));
}

#[test]
fn a_failing_phase_names_itself_its_cause_and_its_log() {
    let checkout = Checkout::new("phase");
    std::fs::write(checkout.0.join("infra/local/preflight.sh"), "echo 'Rust 1.0 is too old' >&2; exit 1").unwrap();
    let output = checkout.reprise(&["stack", "up"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("[1/9] toolchain"));
    for part in ["error: toolchain:", "  | Rust 1.0 is too old", "log: .local/stacks/dev/log/toolchain.log"] {
        assert!(stderr(&output).contains(part), "{part} is missing in {}", stderr(&output));
    }
}
