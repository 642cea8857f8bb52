//! What log lines of the real functions say of a run.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;
use tests::client::{number, text};
use tests::runs::LONG;
use tests::{Stack, fresh, wait_for};

/// Said of a message that no attempt is made for.
const OUTDATED: &str = "message of an older epoch dropped";

/// The lines of a function that name a run.
#[track_caller]
fn about(lines: &[String], run: &str) -> Vec<Value> {
    let named = lines.iter().filter(|line| line.contains(run));
    named.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn every_line_about_a_run_says_whose_it_is_and_which_attempt_and_step_and_none_says_what_was_said() {
    let stack = Stack::beside();
    let word = fresh("whisper");
    // Three calls of the first attempt, one of the second.
    let run = stack.start(&format!("echo after 1 clock, then fails 4 times {word}"));
    let done = stack.wait_until(&run, "completed");
    assert!(text(&done, "response").contains(&word), "{done}");
    let since: Timestamp = text(&done, "created_at").parse().unwrap();

    let (accepting, working) = wait_for("the lines about the failed calls", LONG, || {
        let (accepting, working) = (stack.lines("agent-api", since), stack.lines("queue-consumer", since));
        let failed = about(&working, &run).iter().filter(|line| line["message"] == "model call failed").count();
        if failed == 4 { Ok((accepting, working)) } else { Err(format!("{failed} lines")) }
    });
    for line in accepting.iter().chain(&working) {
        assert!(!line.contains(&word), "{line}");
    }
    let (accepted, worked) = (about(&accepting, &run), about(&working, &run));
    assert!(accepted.iter().any(|line| line["message"] == "run accepted"), "{accepted:?}");
    let mut tenants = BTreeSet::new();
    for line in accepted.iter().chain(&worked) {
        assert!(!text(line, "request.id").is_empty(), "{line}");
        tenants.insert(text(line, "tenant"));
    }
    assert_eq!(tenants.len(), 1, "{tenants:?}");
    for line in worked.iter().filter(|line| line["message"] != OUTDATED) {
        assert!((1..=2).contains(&number(line, "attempt")), "{line}");
    }
    let failed = worked.iter().filter(|line| line["message"] == "model call failed");
    let places: Vec<_> = failed.map(|line| (number(line, "attempt"), number(line, "step"))).collect();
    assert_eq!(places, [(1, 3), (1, 3), (1, 3), (2, 3)]);
}
