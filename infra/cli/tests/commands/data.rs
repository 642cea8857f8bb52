//! `reprise event`, `reprise conversation`, `reprise history` and `reprise completions`.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{Checkout, Stub, command, reprise, stderr, stdout};

const EVENT: &str = r#"{"event_id":"evt_1","type":"ticket.opened","source":"crm/eu","payload":{"id":1},"run_id":null,
    "matches":[{"trigger":"t","agent":"triage","outcome":"started","run_id":"run_1"}]}"#;

#[test]
fn an_event_is_published_from_the_command_line_a_file_or_standard_input() {
    let checkout = Checkout::new("publish");
    std::fs::write(checkout.0.join("payload.json"), r#"{"id":1}"#).unwrap();
    for payload in [r#"{"id":1}"#, "@payload.json", "-"] {
        let stub = Stub::of(&[("POST /v1/events", 202, EVENT)]);
        let publish = ["event", "publish", "ticket.opened", "--source", "crm/eu", "--payload", payload, "--id", "T-1", "--url", &stub.url];
        let mut child =
            command(&publish).current_dir(&checkout.0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let _unread = child.stdin.take().unwrap().write_all(br#"{"id":1}"#);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let sent = json!({"type": "ticket.opened", "source": "crm/eu", "payload": {"id": 1}, "id": "T-1"});
        assert_eq!(stub.body("POST /v1/events"), sent);
        assert!(stdout(&output).contains("triggers      t  triage  started  run_1"), "{}", stdout(&output));
    }
    let stub = Stub::of(&[]);
    let output = stub.reprise(&["event", "publish", "x", "--source", "y", "--payload", "text"]);
    assert_eq!((output.status.code(), stub.lines().len()), (Some(2), 0));
    assert!(stderr(&output).contains("the payload is not JSON"), "{}", stderr(&output));
}

#[test]
fn events_are_listed_with_the_runs_they_made_and_one_is_shown() {
    let stub = Stub::of(&[
        ("GET /v1/events?limit=20&source=crm%2Feu&type=ticket.opened", 200, &format!(r#"{{"events":[{EVENT}],"next_cursor":null}}"#)),
        ("GET /v1/events/evt_1", 200, EVENT),
    ]);
    let shown = stdout(&stub.reprise(&["event", "list", "--type", "ticket.opened", "--source", "crm/eu"]));
    assert!(shown.contains("evt_1  ticket.opened  crm/eu      run_1"), "{shown}");
    assert!(stdout(&stub.reprise(&["event", "show", "evt_1"])).contains("\"id\": 1"));
}

fn turns(cursor: Value, runs: &[&str]) -> String {
    let turn = |run: &&str| json!({"run_id": run, "status": "completed", "created_at": "t", "messages": [{"role": "user", "content": "hi"}], "response": "hello"});
    json!({"conversation_id": "conv_1", "line": [], "turns": runs.iter().map(turn).collect::<Vec<_>>(), "next_cursor": cursor}).to_string()
}

#[test]
fn a_conversation_is_shown_exported_whole_and_deleted_to_its_end_after_a_yes() {
    let checkout = Checkout::new("conversation");
    let stub = Stub::of(&[
        ("GET /v1/conversations/conv_1?limit=50", 200, &turns(Value::Null, &["run_1"])),
        ("GET /v1/conversations/conv_1?limit=100", 200, &turns(json!("c"), &["run_1", "run_2"])),
        ("GET /v1/conversations/conv_1?cursor=c&limit=100", 200, &turns(Value::Null, &["run_3"])),
        ("DELETE /v1/conversations/conv_1", 202, r#"{"conversation_id":"conv_1","deleted":false}"#),
        ("DELETE /v1/conversations/conv_1", 200, r#"{"conversation_id":"conv_1","deleted":true}"#),
    ]);
    let with = |arguments: &[&str]| checkout.reprise(&[&["conversation"], arguments, &["--url", &stub.url]].concat());
    let shown = stdout(&with(&["show", "conv_1"]));
    assert!(shown.contains("user      hi\nanswer    hello"), "{shown}");

    let exported = with(&["export", "conv_1"]);
    let runs: Vec<Value> = stdout(&exported).lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["run_id"].clone()).collect();
    assert_eq!(runs, ["run_1", "run_2", "run_3"]);
    assert_eq!(with(&["export", "conv_1", "--out", "talk.jsonl"]).status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(checkout.0.join("talk.jsonl")).unwrap(), stdout(&exported));

    assert_eq!(with(&["delete", "conv_1"]).status.code(), Some(2), "nobody said yes");
    assert!(!stub.lines().iter().any(|line| line.starts_with("DELETE")));
    assert_eq!(stdout(&with(&["delete", "conv_1", "--yes"])), "conv_1 is deleted\n");
}

#[test]
fn the_history_is_streamed_and_a_file_is_there_whole_or_not_at_all() {
    let checkout = Checkout::new("history");
    let page = |cursor: Value, id: &str| json!({"executions": [{"run_id": id, "status": "failed"}], "next_cursor": cursor}).to_string();
    let stub = Stub::of(&[
        ("GET /v1/history?limit=100&status=failed", 200, &page(json!("c"), "run_1")),
        ("GET /v1/history?cursor=c&limit=100&status=failed", 200, &page(Value::Null, "run_2")),
        ("GET /v1/history?cursor=c&limit=100&status=failed", 503, r#"{"title":"Unavailable","code":"unavailable"}"#),
    ]);
    let export = ["history", "export", "--status", "failed", "--jsonl", "--url", &stub.url];
    let output = checkout.reprise(&export);
    assert_eq!(stdout(&output), "{\"run_id\":\"run_1\",\"status\":\"failed\"}\n{\"run_id\":\"run_2\",\"status\":\"failed\"}\n");
    let mut head = command(&export).stdout(Stdio::piped()).spawn().unwrap();
    drop(head.stdout.take());
    assert_eq!(head.wait().unwrap().code(), Some(0), "a reader that has enough is no error");
    let broken = checkout.reprise(&[&export[..], &["--out", "history.jsonl"]].concat());
    assert_eq!(broken.status.code(), Some(1), "{}", stderr(&broken));
    assert!(!checkout.0.join("history.jsonl").exists(), "half of it is nothing");
}

#[test]
fn each_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let output = reprise(&["completions", shell]);
        assert!(output.status.success() && stdout(&output).contains("retry-all"), "{shell}");
    }
}

#[test]
fn every_command_has_help_and_the_ones_that_change_much_have_examples() {
    for command in [
        &["dlq"][..],
        &["dlq", "list"],
        &["dlq", "retry"],
        &["dlq", "retry-all"],
        &["dlq", "discard"],
        &["dlq", "job"],
        &["dlq", "letters"],
        &["replay"],
        &["replays"],
        &["run"],
        &["run", "start"],
        &["run", "cancel"],
        &["event"],
        &["event", "publish"],
        &["conversation"],
        &["history", "export"],
        &["health"],
        &["provider"],
        &["completions"],
    ] {
        let help = reprise(&[command, &["--help"]].concat());
        assert!(help.status.success() && stdout(&help).contains("Example"), "{command:?} has no example");
    }
    assert!(stdout(&reprise(&["--help"])).contains("Exit codes"));
}

#[test]
fn an_export_is_its_owners_alone_and_one_that_fails_leaves_nothing_behind() {
    use std::os::unix::fs::PermissionsExt as _;
    let checkout = Checkout::new("export-mode");
    let first = ("GET /v1/conversations/conv_1?limit=100", 200, turns(json!("c"), &["run_1"]));
    let second = "GET /v1/conversations/conv_1?cursor=c&limit=100";
    let broken = Stub::of(&[(first.0, first.1, &first.2), (second, 500, "{}")]);
    let export = |stub: &Stub| checkout.reprise(&["conversation", "export", "conv_1", "--out", "c.jsonl", "--url", &stub.url]);
    let left = || {
        std::fs::read_dir(&checkout.0).unwrap().filter(|entry| entry.as_ref().unwrap().path().to_string_lossy().contains("c.jsonl")).count()
    };
    assert_eq!((export(&broken).status.code(), left()), (Some(1), 0));
    let whole = Stub::of(&[(first.0, first.1, &first.2), (second, 200, &turns(Value::Null, &["run_2"]))]);
    assert_eq!((export(&whole).status.code(), left()), (Some(0), 1));
    let mode = std::fs::metadata(checkout.0.join("c.jsonl")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it holds what people asked");
}
