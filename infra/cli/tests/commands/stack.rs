//! `reprise stack`, where nothing runs.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{Checkout, command, stderr, stdout};

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

#[test]
fn logs_that_are_followed_end_when_nobody_reads_on() {
    let checkout = Checkout::new("follow");
    let log = checkout.0.join(".local/stacks/dev/log/model.log");
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    std::fs::write(&log, "one\n").unwrap();
    let mut child = command(&["stack", "logs", "model", "--follow"]).current_dir(&checkout.0).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(first, "one\n");
    let end = Instant::now() + Duration::from_secs(30);
    let mut file = std::fs::File::options().append(true).open(&log).unwrap();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("it prints on for nobody");
        }
        writeln!(file, "more").unwrap();
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(status.code(), Some(0));
}
