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

const AGENT: &str = "name: assistant\nversion: 2\ndescription: Helps.\ninstructions: Be brief.\ntools: [clock]\n";

/// A checkout with one agent.
fn with_agent(test: &str, text: &str) -> Checkout {
    let checkout = Checkout::new(test);
    std::fs::create_dir_all(checkout.0.join("infra/agents")).unwrap();
    std::fs::write(checkout.0.join("infra/agents/assistant.yaml"), text).unwrap();
    checkout
}

#[test]
fn a_mistake_in_an_agents_file_is_told_with_its_place_and_exits_with_1() {
    let checkout = with_agent("validate", &AGENT.replace("clock", "hammer").replace("version: 2", "version: 0"));
    let output = checkout.reprise(&["agents", "validate"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    for part in
        ["infra/agents/assistant.yaml:2: version: must be from 1", "infra/agents/assistant.yaml:5: tools[0]: no tool is named `hammer`"]
    {
        assert!(stdout(&output).contains(part), "{part} is missing in {}", stdout(&output));
    }
    let json = checkout.reprise(&["agents", "validate", "--format", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((json.status.code(), &report["valid"], &report["problems"][1]["line"]), (Some(1), &false.into(), &5.into()));
    assert_eq!(checkout.reprise(&["agents", "compile"]).status.code(), Some(1));
    assert!(!checkout.0.join("target").exists(), "what does not hold is not compiled");
    std::fs::write(checkout.0.join("infra/agents/assistant.yaml"), AGENT).unwrap();
    assert_eq!(checkout.reprise(&["agents", "validate"]).status.code(), Some(0));
}

#[test]
fn a_bundle_is_compiled_the_same_each_time_checked_and_compared() {
    let checkout = with_agent("compile", AGENT);
    let bundle = checkout.0.join("target/agents/bundle.json");
    assert_eq!(checkout.reprise(&["agents", "compile", "--check"]).status.code(), Some(1), "nothing is there");
    assert_eq!(checkout.reprise(&["agents", "compile"]).status.code(), Some(0));
    let first = std::fs::read(&bundle).unwrap();
    std::fs::write(checkout.0.join("target/agents/old.yaml"), "x").unwrap();
    assert_eq!(checkout.reprise(&["agents", "compile", "--check"]).status.code(), Some(1), "a file does not belong there");
    assert_eq!(checkout.reprise(&["agents", "compile"]).status.code(), Some(0));
    assert_eq!(std::fs::read(&bundle).unwrap(), first);
    assert_eq!(checkout.reprise(&["agents", "compile", "--check"]).status.code(), Some(0));
    assert_eq!(checkout.reprise(&["agents", "diff"]).status.code(), Some(0));

    std::fs::write(checkout.0.join("infra/agents/assistant.yaml"), AGENT.replace("brief", "long")).unwrap();
    let diff = checkout.reprise(&["agents", "diff"]);
    assert_eq!(diff.status.code(), Some(1), "{}", stdout(&diff));
    assert!(stdout(&diff).contains("~ agents.assistant.instructions: \"Be brief.\" → \"Be long.\""), "{}", stdout(&diff));
    assert!(stdout(&diff).contains("its version is still 2; raise it to 3"), "{}", stdout(&diff));

    let altered = String::from_utf8(first).unwrap().replacen("Be brief.", "Be rude.", 1);
    std::fs::write(&bundle, altered).unwrap();
    let refused = checkout.reprise(&["agents", "diff"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("bundle.json was altered"), "{}", stderr(&refused));

    let foreign = checkout.0.join("other");
    std::fs::create_dir_all(&foreign).unwrap();
    std::fs::write(foreign.join("precious.txt"), "x").unwrap();
    assert_eq!(checkout.reprise(&["agents", "compile", "--out", foreign.to_str().unwrap()]).status.code(), Some(1));
    assert!(foreign.join("precious.txt").exists());
}

#[test]
fn an_agent_is_shown_with_its_defaults() {
    let checkout = with_agent("show", AGENT);
    let shown = checkout.reprise(&["agents", "show", "assistant", "--format", "json"]);
    let agent: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!((&agent["caps"]["steps"], &agent["strategy"]), (&20.into(), &"react".into()));
    let unknown = checkout.reprise(&["agents", "show", "nobody"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("there are: assistant"), "{}", stderr(&unknown));
}

/// A stack whose agent answers in capitals once an example does. It runs the definitions of that version.
fn imitator(version: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let agents = format!(r#"{{"bundle":"{version}","agents":[]}}"#);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            imitate(stream.unwrap(), &agents);
        }
    });
    url
}

fn imitate(mut stream: TcpStream, agents: &str) {
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
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let answer = if first.starts_with("GET /v1/agents ") {
        agents.to_owned()
    } else if first.starts_with("POST /v1/agent ") {
        let asked: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let prompt = asked["prompt"].as_str().unwrap();
        let is_led = asked["messages"].as_array().unwrap().iter().any(|message| message["content"].as_str().unwrap().starts_with("LOUD "));
        let said = if is_led { format!("LOUD {}", prompt.to_uppercase()) } else { prompt.to_owned() };
        serde_json::json!({"run_id": "run_1", "status": "completed", "response": said}).to_string()
    } else {
        r#"{"steps":[{"kind":"model","provider":"openai","model":"demo"}],"next_cursor":null}"#.to_owned()
    };
    let length = answer.len();
    write!(stream, "HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{answer}")
        .unwrap();
}

#[test]
fn examples_are_chosen_by_what_the_agent_answers_compiled_with_their_scores_and_found_again_from_the_record() {
    let checkout = with_agent("optimize", AGENT);
    let validated = checkout.reprise(&["agents", "validate", "--format", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&validated.stdout).unwrap();
    let version = report["version"].as_str().unwrap();
    let rows: String = (0..8).map(|i| format!("{{\"input\":\"word {i}\",\"output\":\"LOUD WORD {i}\"}}\n")).collect();
    std::fs::write(checkout.0.join("set.jsonl"), rows).unwrap();
    let command = ["agents", "optimize", "assistant", "--data", "set.jsonl", "--metric", "f1", "--threshold", "0.9", "--seed", "3"];
    let with = |more: &[&str]| checkout.reprise(&[&command[..], more].concat());

    let other = with(&["--url", &imitator("another")]);
    assert_eq!(other.status.code(), Some(1));
    assert!(stderr(&other).contains("the stack runs the definitions another"), "{}", stderr(&other));

    let done = with(&["--url", &imitator(version), "--record", "answers.jsonl"]);
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    let path = checkout.0.join("infra/agents/optimized/assistant.json");
    let written = std::fs::read_to_string(&path).unwrap();
    let chosen: serde_json::Value = serde_json::from_str(&written).unwrap();
    assert_eq!((&chosen["found"]["after"], &chosen["found"]["model"]), (&1.0.into(), &"openai::demo".into()), "{}", stdout(&done));
    assert!(chosen["found"]["before"].as_f64().unwrap() < 1.0);
    let bundle: serde_json::Value = serde_json::from_slice(&std::fs::read(checkout.0.join("target/agents/bundle.json")).unwrap()).unwrap();
    let agent = &bundle["bundle"]["agents"][0];
    assert_eq!((&agent["examples"], &agent["optimized"]), (&chosen["examples"], &chosen["found"]), "compiled with its scores");

    std::fs::remove_file(&path).unwrap();
    let replayed = with(&["--replay", "answers.jsonl"]);
    assert_eq!(replayed.status.code(), Some(0), "{}", stderr(&replayed));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), written, "the same, with nobody asked");

    let another = with(&["--replay", "answers.jsonl", "--max-examples", "1"]);
    assert_eq!(another.status.code(), Some(1));
    assert!(stderr(&another).contains("the record has no answer"), "{}", stderr(&another));
}
