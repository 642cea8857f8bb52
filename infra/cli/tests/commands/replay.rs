//! `reprise replay` and `reprise replays`.

use serde_json::{Value, json};

use crate::support::{Stub, stderr, stdout};

fn job(status: &str) -> String {
    let counts = json!({"selected": 1, "done": 1, "skipped": 0, "failed": 0, "in_flight": 0});
    json!({"job_id": "job_1", "kind": "replay", "status": status, "counts": counts}).to_string()
}

fn result(event: &str) -> Value {
    json!({
        "id": event, "outcome": "done", "event_id": event, "trigger": "review",
        "old": {"run_id": "run_1", "status": "completed", "answer": "It is low.", "error": null, "steps": 3, "input_tokens": 900, "output_tokens": 100, "cost_usd": 0.02, "duration_ms": 3200},
        "new": {"run_id": "run_2", "status": "completed", "answer": "It is high.", "error": null, "steps": 4, "input_tokens": 700, "output_tokens": 100, "cost_usd": 0.01, "duration_ms": 1100},
        "difference": {"same_answer": false, "status_changed": false, "steps": 1, "input_tokens": -200, "output_tokens": 0, "cost_usd": -0.01, "duration_ms": -2100},
    })
}

fn results(events: &[&str]) -> String {
    json!({"results": events.iter().map(|event| result(event)).collect::<Vec<_>>(), "next_cursor": null}).to_string()
}

#[test]
fn one_run_with_another_model_is_one_command_and_shows_both_answers() {
    let stub = Stub::of(&[
        ("POST /v1/replays", 202, &job("queued")),
        ("GET /v1/replays/job_1", 200, &job("running")),
        ("GET /v1/replays/job_1", 200, &job("completed")),
        ("GET /v1/replays/job_1/results?limit=100", 200, &results(&["evt_1"]).replace("completed", "running")),
        ("GET /v1/replays/job_1/results?limit=1", 200, &results(&["evt_1"])),
    ]);
    let output = stub.reprise(&["replay", "run_1", "--model", "openai::m"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stub.body("POST /v1/replays"), json!({"runs": ["run_1"], "model": "openai::m"}));
    let shown = stdout(&output);
    for part in [
        "evt_1 review\n               OLD        NEW        DIFFERENCE\n",
        "steps          3          4          +1\n",
        "input tokens   900        700        -200",
        "old answer\n  It is low.",
        "new answer\n  It is high.",
        "0 the same, 1 different, 0 new",
    ] {
        assert!(shown.contains(part), "{part} is missing in {shown}");
    }
}

#[test]
fn only_pages_with_runs_that_go_on_are_read_again_and_out_of_time_is_3() {
    let first = "GET /v1/replays/job_1/results?limit=100";
    let second = "GET /v1/replays/job_1/results?cursor=c&limit=100";
    let again = "GET /v1/replays/job_1/results?cursor=c&limit=1";
    let page = results(&["evt_1"]).replace(r#""next_cursor":null"#, r#""next_cursor":"c""#);
    let going = results(&["evt_2"]).replace("completed", "running");
    let stub = |after: &str| {
        Stub::of(&[
            ("POST /v1/replays", 202, &job("queued")),
            ("GET /v1/replays/job_1", 200, &job("completed")),
            (first, 200, &page),
            (second, 200, &going),
            (again, 200, &going),
            (again, 503, "{}"),
            (again, 200, after),
        ])
    };
    let done = stub(&results(&["evt_2"]));
    let replay = ["replay", "--all", "--yes", "--compare"];
    let output = done.reprise(&replay);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let count = |line: &str| done.lines().iter().filter(|asked| *asked == line).count();
    assert_eq!((count(first), count(second), count(again)), (1, 1, 3));
    assert!(stdout(&output).contains("2 different") && !stdout(&output).contains("running"), "{}", stdout(&output));

    let output = stub(&going).reprise(&[&replay[..], &["--timeout", "0"]].concat());
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(
        stdout(&output).contains("1 still going on") && stderr(&output).contains("reprise replays job_1 --compare"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_cost_that_is_not_known_is_not_told_as_none() {
    let unknown = results(&["evt_1"]).replace("-0.01", "null");
    let stub = Stub::of(&[("GET /v1/replays/job_1", 200, &job("completed")), ("GET /v1/replays/job_1/results?limit=100", 200, &unknown)]);
    let shown = stdout(&stub.reprise(&["replays", "job_1", "--compare"]));
    assert!(shown.ends_with("tokens -200, cost unknown\n"), "{shown}");
}

#[test]
fn many_are_chosen_by_their_fields_after_a_yes_and_compared_line_by_line() {
    let stub = Stub::of(&[
        ("POST /v1/replays", 202, &job("queued")),
        ("GET /v1/replays/job_1", 200, &job("completed")),
        ("GET /v1/replays/job_1/results?limit=100", 200, &results(&["evt_1", "evt_2", "evt_3", "evt_4"])),
    ]);
    let replay =
        ["replay", "--type", "ticket.opened", "--since", "2026-11-22T02:00:00Z", "--status", "failed", "--trigger", "t", "--rate", "5"];
    let output =
        stub.reprise(&[&replay[..], &["--with-agent", "helper", "--with-side-effects", "--reason", "r", "--yes", "--compare"]].concat());
    let filter = json!({"type": "ticket.opened", "since": "2026-11-22T02:00:00.000Z", "status": "failed", "trigger": "t"});
    let sent = json!({"filter": filter, "agent": "helper", "with_side_effects": true, "reason": "r", "rate": 5});
    assert_eq!(stub.body("POST /v1/replays"), sent);
    assert!(
        stdout(&output).contains("evt_4  run_1  run_2  completed  differs  3 → 4  1000 → 800  0.02 → 0.01  3.2 → 1.1"),
        "{}",
        stdout(&output)
    );
    assert!(stdout(&output).ends_with("0 the same, 4 different, 0 new; tokens -800, cost -0.040000 US$\n"), "{}", stdout(&output));
}

#[test]
fn a_dry_run_tells_which_triggers_would_match() {
    let found = json!({"event_id": "evt_1", "type": "ticket.opened", "trigger": "t", "agent": "triage", "replay_of": "run_1"});
    let plan = json!({"dry_run": true, "events": 7, "would_start": 1, "matches": [found], "would_skip": [{"id": "evt_2", "detail": "no trigger matches"}], "complete": true}).to_string();
    let stub = Stub::of(&[("POST /v1/replays", 200, &plan)]);
    let output = stub.reprise(&["replay", "--event", "evt_1", "--event", "evt_2", "--dry-run"]);
    assert_eq!(stub.body("POST /v1/replays"), json!({"events": ["evt_1", "evt_2"], "dry_run": true}));
    assert_eq!(
        stdout(&output),
        "events: 7; they would start 1 run; nothing was started\n+ evt_1 ticket.opened by trigger t → triage (was run_1)\n- evt_2: no trigger matches\n"
    );
}

#[test]
fn nothing_chosen_is_refused_before_anything_is_asked() {
    let stub = Stub::of(&[]);
    for arguments in
        [&["replay"][..], &["replay", "run_1", "--all"], &["replay", "--last", "soon"], &["replay", "run_1", "--dry-run", "--compare"]]
    {
        assert_eq!(stub.reprise(arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(stub.lines(), [""; 0]);
}

#[test]
fn replays_are_listed_and_cancelled() {
    let stub = Stub::of(&[
        ("GET /v1/replays?limit=20", 200, &format!(r#"{{"jobs":[{}],"next_cursor":null}}"#, job("running"))),
        ("POST /v1/replays/job_1/cancel", 202, &job("cancelling")),
        ("GET /v1/replays/job_1/results?limit=100", 200, &results(&["evt_1"])),
        ("GET /v1/replays/job_1", 200, &job("running")),
    ]);
    assert!(stdout(&stub.reprise(&["replays"])).contains("job_1  replay  running"));
    assert!(stdout(&stub.reprise(&["replays", "job_1", "--cancel"])).contains("cancelling"));
    let lines = stdout(&stub.reprise(&["replays", "job_1", "--compare", "--format", "jsonl"]));
    assert_eq!(serde_json::from_str::<Value>(&lines).unwrap(), result("evt_1"));
}
