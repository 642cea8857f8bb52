//! `reprise dlq`.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Checkout, Stub, command, stderr, stdout};

const ENTRY: &str = r#"{"run_id":"run_1","agent":"triage","error":{"code":"provider_timeout","message":"no answer in 60 s","provider":"openai::gpt-4o"},
    "attempts":4,"steps":2,"failed_step":{"index":3,"kind":"model","name":null},"redrives":1,"age_seconds":7300}"#;

fn job(status: &str, done: u32, failed: u32) -> String {
    json!({"job_id": "job_1", "kind": "retry", "status": status, "created_by": "ana", "reason": "back",
        "counts": {"selected": 3, "done": done, "skipped": 0, "failed": failed, "in_flight": 0}})
    .to_string()
}

#[test]
fn a_list_asks_for_what_fits_follows_pages_and_has_a_line_for_each() {
    let other = ENTRY.replace("run_1", "run_2");
    let first = "GET /v1/dlq?code=provider_timeout&limit=2&min_attempts=2&sort=-tokens";
    let second = "GET /v1/dlq?code=provider_timeout&cursor=a%2Fb&limit=1&min_attempts=2&sort=-tokens";
    let stub = Stub::of(&[
        (first, 200, &format!(r#"{{"count":3,"entries":[{ENTRY}],"queue":{{"approximate_messages":5}},"next_cursor":"a/b"}}"#)),
        (second, 200, &format!(r#"{{"count":3,"entries":[{other}],"queue":null,"next_cursor":"c"}}"#)),
    ]);
    let list = ["dlq", "list", "--code", "provider_timeout", "--min-attempts", "2", "--sort", "-tokens", "--limit", "2"];
    let output = stub.reprise(&list);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let shown = stdout(&output);
    assert!(
        shown.contains("run_1  2h        provider_timeout  openai::gpt-4o  triage  4         3 model  1         no answer in 60 s\n"),
        "{shown}"
    );
    assert!(shown.ends_with("2 shown, 3 dead in all; more with a higher --limit; 5 messages on the queue\n"), "{shown}");
    assert_eq!(stub.lines(), [first, second]);

    let lines = stdout(&stub.reprise(&[&list[..], &["--format", "jsonl"]].concat()));
    let ids: Vec<Value> = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["run_id"].clone()).collect();
    assert_eq!(ids, ["run_1", "run_2"]);
    let whole: Value = serde_json::from_str(&stdout(&stub.reprise(&[&list[..], &["--format", "json"]].concat()))).unwrap();
    assert_eq!((&whole["count"], &whole["next_cursor"], whole["entries"].as_array().unwrap().len()), (&3.into(), &"c".into(), 2));
}

#[test]
fn ages_become_times_and_stats_tell_what_died_of_what() {
    let stub = Stub::answering(|_| {
        let group = json!({"fingerprint": "3f9a00aa11bb", "code": "provider_timeout", "provider": "openai", "message": "no answer in # s",
            "agents": ["triage", "helper"], "count": 312, "first_died_at": "2026-11-22T02:10:00.000Z", "last_died_at": "2026-11-22T03:00:00.000Z"});
        (200, json!({"count": 312, "complete": true, "groups": [group]}).to_string())
    });
    let output = stub.reprise(&["dlq", "stats", "--since", "2h", "--tenant", "*"]);
    assert!(stdout(&output).contains("3f9a00aa11bb  312   provider_timeout  openai"), "{}", stdout(&output));
    let line = &stub.lines()[0];
    assert!(line.starts_with("GET /v1/dlq/stats?since=20") && line.ends_with("&tenant=%2A"), "{line}");
}

#[test]
fn one_run_is_shown_with_its_failed_step_and_raw_only_where_it_is_asked_for() {
    let stub = Stub::of(&[
        (
            "GET /v1/dlq/run_1",
            200,
            r#"{"run_id":"run_1","error":{"code":"x","message":"m"},"failed_step":{"index":3,"kind":"tool","name":"lookup","arguments":{"id":7}},"payload":{"key":"[redacted]"},"redacted":["/key"]}"#,
        ),
        ("GET /v1/dlq/run_1/payload", 200, r#"{"payload":{"key":"sk-1"}}"#),
    ]);
    let shown = stdout(&stub.reprise(&["dlq", "show", "run_1"]));
    assert!(shown.contains("failed step   3 tool lookup {\"id\":7}\n") && shown.contains("redacted      /key"), "{shown}");
    assert!(stdout(&stub.reprise(&["dlq", "show", "run_1", "--raw"])).contains("sk-1"));
}

#[test]
fn one_run_is_put_back_with_what_was_said() {
    let checkout = Checkout::new("dlq-input");
    std::fs::write(checkout.0.join("mended.json"), r#"{"prompt":"again"}"#).unwrap();
    let stub = Stub::of(&[("POST /v1/dlq/run_1/retry", 202, r#"{"run_id":"run_1","status":"queued","epoch":3}"#)]);
    let retry = ["dlq", "retry", "run_1", "--from-start", "--model", "openai::m", "--with-agent", "helper", "--input", "mended.json"];
    let output = checkout.reprise(&[&retry[..], &["--reason", "r", "--force", "--url", &stub.url]].concat());
    assert_eq!(stdout(&output), "run_1 is queued; follow it with: reprise run tail run_1\n", "{}", stderr(&output));
    let sent =
        json!({"from": "start", "model": "openai::m", "agent": "helper", "input": {"prompt": "again"}, "reason": "r", "force": true});
    assert_eq!(stub.body("POST /v1/dlq/run_1/retry"), sent);
}

#[test]
fn nothing_chosen_is_refused_and_so_is_more_than_one_way_to_choose() {
    let stub = Stub::of(&[]);
    for (arguments, part) in [
        (&["dlq", "retry"][..], "`--all`"),
        (&["dlq", "discard", "--reason", "r"], "`--all`"),
        (&["dlq", "retry", "run_1", "--code", "x"], "only one of the three"),
        (&["dlq", "retry", "--all", "--code", "x"], "only one of the three"),
        (&["dlq", "retry", "run_1", "run_2", "--input", "x.json"], "--input is for one run"),
    ] {
        let output = stub.reprise(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(part), "{arguments:?}: {}", stderr(&output));
    }
    assert_eq!(stub.lines(), [""; 0]);
}

#[test]
fn many_runs_are_a_job_that_is_waited_for_and_its_failures_are_the_exit_code() {
    let failures = r#"{"results":[{"run_id":"run_1","outcome":"done"},{"run_id":"run_2","outcome":"failed","detail":"conversation_full"}],"next_cursor":null}"#;
    let stub = Stub::of(&[
        ("POST /v1/dlq/retry", 202, &job("queued", 0, 0)),
        ("GET /v1/dlq/jobs/job_1", 200, &job("running", 1, 0)),
        ("GET /v1/dlq/jobs/job_1", 200, &job("completed", 2, 1)),
        ("GET /v1/dlq/jobs/job_1/results?limit=100", 200, failures),
    ]);
    let retry =
        ["dlq", "retry", "--code", "provider_timeout", "--canary", "3", "--canary-timeout", "60", "--rate", "10", "--concurrency", "5"];
    let output = stub.reprise(&[&retry[..], &["--yes"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let sent = json!({"filter": {"code": "provider_timeout"}, "canary": {"size": 3, "timeout_seconds": 60}, "rate": 10, "concurrency": 5});
    assert_eq!(stub.body("POST /v1/dlq/retry"), sent);
    let shown = stdout(&output);
    for part in [
        "status        completed",
        "3 selected, 2 done, 0 skipped, 1 failed",
        "run_2  failed   conversation_full",
        "reprise dlq job job_1 --results",
    ] {
        assert!(shown.contains(part), "{part} is missing in {shown}");
    }
}

#[test]
fn all_done_is_0_stopped_is_1_and_out_of_time_is_3_with_the_way_back() {
    for (status, failed, code) in [("completed", 0, 0), ("stopped", 0, 1), ("cancelled", 0, 1), ("running", 0, 3)] {
        let stub =
            Stub::of(&[("POST /v1/dlq/retry-all", 202, &job("queued", 0, 0)), ("GET /v1/dlq/jobs/job_1", 200, &job(status, 2, failed))]);
        let output = stub.reprise(&["dlq", "retry-all", "--yes", "--timeout", "0"]);
        assert_eq!(output.status.code(), Some(code), "{status}: {}", stderr(&output));
        assert_eq!(stub.body("POST /v1/dlq/retry-all"), json!({}));
        assert_eq!(code == 3, stderr(&output).contains("reprise dlq job job_1 --wait"), "{}", stderr(&output));
    }
}

#[test]
fn where_all_were_refused_nothing_was_done_and_that_is_1() {
    let skipped = job("completed", 0, 0).replace(r#""skipped":0"#, r#""skipped":3"#);
    let some = job("completed", 2, 0).replace(r#""skipped":0"#, r#""skipped":1"#);
    for (body, code) in [(skipped, 1), (some, 0)] {
        let results = r#"{"results":[{"run_id":"run_1","outcome":"skipped","detail":"loop_guard"}],"next_cursor":null}"#;
        let stub = Stub::of(&[
            ("POST /v1/dlq/retry", 202, &job("queued", 0, 0)),
            ("GET /v1/dlq/jobs/job_1", 200, &body),
            ("GET /v1/dlq/jobs/job_1/results?limit=100", 200, results),
        ]);
        let output = stub.reprise(&["dlq", "retry", "--code", "x", "--yes"]);
        assert_eq!(output.status.code(), Some(code), "{}", stdout(&output));
        assert!(stdout(&output).contains("loop_guard"), "{}", stdout(&output));
    }
    let plan =
        r#"{"dry_run":true,"count":0,"would":[],"refused":[{"run_id":"run_1","code":"loop_guard","detail":"3 times"}],"warnings":[]}"#;
    let output = Stub::of(&[("POST /v1/dlq/retry", 200, plan)]).reprise(&["dlq", "retry", "--code", "x"]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(stdout(&output).contains("loop_guard") && stderr(&output).contains("nothing was done"), "{}", stderr(&output));
}

#[test]
fn a_wait_lives_through_a_throttle_an_outage_and_a_broken_connection() {
    let job_1 = "GET /v1/dlq/jobs/job_1";
    let stub = Stub::of(&[
        ("POST /v1/dlq/retry-all", 202, &job("queued", 0, 0)),
        (job_1, 429, r#"{"message":"Too Many Requests"}"#),
        (job_1, 200, &job("running", 1, 0)),
        (job_1, 503, r#"{"title":"Unavailable"}"#),
        (job_1, 0, ""),
        (job_1, 200, &job("completed", 3, 0)),
    ]);
    let output = stub.reprise(&["dlq", "retry-all", "--yes"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("3 selected, 3 done"), "{}", stdout(&output));
}

#[test]
fn a_wait_without_answers_is_unfinished_and_tells_the_way_back_but_what_is_not_there_is_told_at_once() {
    let down =
        Stub::of(&[("POST /v1/dlq/retry-all", 202, &job("queued", 0, 0)), ("GET /v1/dlq/jobs/job_1", 503, r#"{"title":"Unavailable"}"#)]);
    let output = down.reprise(&["dlq", "retry-all", "--yes", "--timeout", "0"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    for part in ["Unavailable", "reprise dlq job job_1 --wait"] {
        assert!(stderr(&output).contains(part), "{part} is missing in {}", stderr(&output));
    }
    assert_eq!(down.reprise(&["dlq", "job", "job_2", "--wait"]).status.code(), Some(1), "there is none");
    assert_eq!(down.reprise(&["dlq", "job", "job_1", "--wait"]).status.code(), Some(1), "nobody can say whether there is one");
}

#[test]
fn more_than_one_run_is_changed_only_after_a_yes() {
    let two = r#"{"dry_run":true,"count":2,"would":[],"refused":[],"warnings":["openai is disabled"]}"#;
    let stub = Stub::of(&[("POST /v1/dlq/discard", 200, two)]);
    let output = stub.reprise(&["dlq", "discard", "run_1", "run_2", "--reason", "r"]);
    assert_eq!(output.status.code(), Some(2));
    for part in ["warning: openai is disabled", "give up 2 runs?", "--yes"] {
        assert!(stderr(&output).contains(part), "{part} is missing in {}", stderr(&output));
    }
    assert_eq!(stub.body("POST /v1/dlq/discard"), json!({"ids": ["run_1", "run_2"], "reason": "r", "dry_run": true}));

    let none = Stub::of(&[("POST /v1/dlq/retry", 200, r#"{"dry_run":true,"count":0,"would":[],"refused":[],"warnings":[]}"#)]);
    let output = none.reprise(&["dlq", "retry", "--code", "x"]);
    assert_eq!((output.status.code(), none.lines().len()), (Some(0), 1), "{}", stderr(&output));
    assert!(stdout(&output).starts_with("nothing to do"), "{}", stdout(&output));
}

#[test]
fn a_dry_run_changes_nothing_and_tells_what_would_be() {
    let would = json!({"run_id": "run_1", "action": "retry", "from": "failed_step", "step": 3, "agent": "triage"});
    let refused = json!({"run_id": "run_2", "code": "loop_guard", "detail": "it was put back 3 times"});
    let plan =
        json!({"dry_run": true, "count": 2, "complete": true, "would": [would], "refused": [refused], "warnings": ["a breaker is open"]});
    let stub = Stub::of(&[("POST /v1/dlq/retry-all", 200, &plan.to_string())]);
    let output = stub.reprise(&["dlq", "retry-all", "--dry-run"]);
    assert_eq!(stub.body("POST /v1/dlq/retry-all"), json!({"dry_run": true}));
    let shown = stdout(&output);
    for part in [
        "meant: 2 runs; nothing was changed\n",
        "run_1  retry     failed_step  3     triage",
        "run_2  loop_guard  it was put back 3 times",
        "warning: a breaker is open",
    ] {
        assert!(shown.contains(part), "{part} is missing in {shown}");
    }
}

#[test]
fn the_queues_own_move_wants_a_yes_and_nothing_that_it_cannot_do() {
    let stub = Stub::of(&[("POST /v1/dlq/retry-all", 202, r#"{"status":"started","task":"t"}"#)]);
    assert_eq!(stub.reprise(&["dlq", "retry-all", "--native"]).status.code(), Some(2));
    for cannot in [&["--canary", "3"][..], &["--tenant", "acme"], &["--dry-run"], &["--model", "openai::m"]] {
        assert_eq!(stub.reprise(&[&["dlq", "retry-all", "--native", "--yes"][..], cannot].concat()).status.code(), Some(2), "{cannot:?}");
    }
    assert_eq!(stub.lines(), [""; 0]);
    assert_eq!(stub.reprise(&["dlq", "retry-all", "--native", "--rate", "5", "--yes"]).status.code(), Some(0));
    assert_eq!(stub.body("POST /v1/dlq/retry-all"), json!({"native": true, "rate": 5}));
}

#[test]
fn a_job_is_looked_at_cancelled_and_its_results_are_listed() {
    let stub = Stub::of(&[
        ("GET /v1/dlq/jobs?limit=20", 200, &format!(r#"{{"jobs":[{}],"next_cursor":null}}"#, job("running", 1, 0))),
        ("GET /v1/dlq/jobs/job_1", 200, &job("running", 1, 0)),
        ("POST /v1/dlq/jobs/job_1/cancel", 202, &job("cancelling", 1, 0)),
        (
            "GET /v1/dlq/jobs/job_1/results?limit=100",
            200,
            r#"{"results":[{"run_id":"run_1","outcome":"done","at":"t","detail":null}],"next_cursor":null}"#,
        ),
    ]);
    assert!(stdout(&stub.reprise(&["dlq", "jobs"])).contains("job_1  retry  running  3"), "{}", stdout(&stub.reprise(&["dlq", "jobs"])));
    assert!(stdout(&stub.reprise(&["dlq", "job", "job_1"])).contains("status        running"));
    assert!(stdout(&stub.reprise(&["dlq", "job", "job_1", "--cancel"])).contains("cancelling"));
    assert!(stdout(&stub.reprise(&["dlq", "job", "job_1", "--results"])).contains("run_1   done"));
}

#[test]
fn letters_are_listed_shown_mended_and_discarded() {
    let checkout = Checkout::new("letters");
    std::fs::write(checkout.0.join("mended.json"), r#"{"v":1}"#).unwrap();
    let stub = Stub::of(&[
        (
            "GET /v1/dlq/letters?limit=20&status=open",
            200,
            r#"{"letters":[{"letter_id":"ltr_1","status":"open","receives":4,"problem":"not JSON","body_preview":"{"}],"next_cursor":null}"#,
        ),
        ("GET /v1/dlq/letters/ltr_1", 200, r#"{"letter_id":"ltr_1","body":"{"}"#),
        ("POST /v1/dlq/letters/ltr_1/move", 200, r#"{"letter_id":"ltr_1","status":"moved"}"#),
        ("POST /v1/dlq/letters/ltr_1/discard", 200, r#"{"letter_id":"ltr_1","status":"discarded"}"#),
    ]);
    let with = |arguments: &[&str]| checkout.reprise(&[&["dlq", "letters"], arguments, &["--url", &stub.url]].concat());
    assert!(stdout(&with(&[])).contains("ltr_1   open"), "{}", stdout(&with(&[])));
    assert!(stdout(&with(&["show", "ltr_1"])).contains("body          {"));
    assert_eq!(stdout(&with(&["move", "ltr_1", "--body", "mended.json", "--reason", "comma"])), "ltr_1 is moved\n");
    assert_eq!(stub.body("POST /v1/dlq/letters/ltr_1/move"), json!({"body": "{\"v\":1}", "reason": "comma"}));
    assert_eq!(with(&["discard", "ltr_1"]).status.code(), Some(2), "a reason is needed");
    assert_eq!(with(&["discard", "ltr_1", "--reason", "spam"]).status.code(), Some(0));
}

#[test]
fn an_interruption_leaves_the_job_running_and_tells_the_way_back() {
    let stub = Stub::of(&[("POST /v1/dlq/retry-all", 202, &job("queued", 0, 0)), ("GET /v1/dlq/jobs/job_1", 200, &job("running", 1, 0))]);
    let mut child =
        command(&["dlq", "retry-all", "--yes", "--url", &stub.url]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    // Its second look at the job comes after it has begun to listen for signals.
    while stub.lines().iter().filter(|line| line.starts_with("GET")).count() < 2 {
        assert!(Instant::now() < end && child.try_wait().unwrap().is_none(), "it does not wait for the job: {:?}", stub.lines());
        std::thread::sleep(Duration::from_millis(20));
    }
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    for part in ["interrupted", "reprise dlq job job_1 --wait", "reprise dlq job job_1 --cancel"] {
        assert!(stderr(&output).contains(part), "{part} is missing in {}", stderr(&output));
    }
    assert!(!stub.lines().iter().any(|line| line.contains("cancel")), "nobody asked it to stop");
}

#[test]
fn a_dry_run_that_was_none_is_no_success() {
    let stub = Stub::of(&[("POST /v1/dlq/retry-all", 202, r#"{"status":"started","task":"t"}"#)]);
    let output = stub.reprise(&["dlq", "retry-all", "--dry-run"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("does not know dry runs: it was done"), "{}", stderr(&output));
}

#[test]
fn a_dry_run_of_one_tells_the_step_that_would_be_next() {
    let would = json!({"action": "retry", "step": {"index": 3, "kind": "tool", "name": "lookup", "arguments": null}, "agent": "triage"});
    let stub = Stub::of(&[("POST /v1/dlq/run_1/retry", 200, &json!({"dry_run": true, "would": would}).to_string())]);
    let output = stub.reprise(&["dlq", "retry", "run_1", "--dry-run"]);
    assert_eq!(stub.body("POST /v1/dlq/run_1/retry"), json!({"dry_run": true}));
    assert!(stdout(&output).contains("step          3 tool lookup\n"), "{}", stdout(&output));
}
