//! The command where a person sits: on a terminal, which is asked, and shown bars and colours. Everywhere else in these tests there is none.

use std::process::{Command, Output};

use serde_json::json;

use crate::support::{Stub, command, stderr, stdout};

/// Runs a command on a terminal of its own, types an answer when it is asked, and prints what was on the screen; the exit code is the
/// command's. `python3 -c … ANSWER COMMAND …`
const TERMINAL: &str = r#"
import fcntl, os, pty, struct, sys, termios
answer, command = sys.argv[1], sys.argv[2:]
child, terminal = pty.fork()
if child == 0:
    # As wide as nothing is cut.
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
    os.execv(command[0], command)
seen = b""
while True:
    try:
        part = os.read(terminal, 4096)
    except OSError:
        # Linux says so when nobody has the other end any more.
        break
    if not part:
        break
    seen += part
    if answer and b"[y/N]" in seen:
        os.write(terminal, answer.encode() + b"\n")
        answer = ""
os.write(1, seen)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;

/// `reprise` on a terminal where somebody answers its question.
fn on_a_terminal(stub: &Stub, answer: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let reprise = command(&[arguments, &["--url", &stub.url]].concat());
    let mut terminal = Command::new("python3");
    terminal.args(["-c", TERMINAL, answer]).arg(reprise.get_program()).args(reprise.get_args());
    for (name, value) in reprise.get_envs() {
        match value {
            Some(value) => terminal.env(name, value),
            None => terminal.env_remove(name),
        };
    }
    terminal.env("TERM", "xterm").envs(environment.iter().copied()).output().unwrap()
}

/// Three dead runs are put back; one is skipped.
fn three_dead_runs() -> Stub {
    let plan = json!({"dry_run": true, "count": 3, "complete": true, "would": [], "refused": [], "warnings": []});
    let job = |status: &str, done: u32, skipped: u32| {
        json!({"job_id": "job_1", "kind": "retry", "status": status,
            "counts": {"selected": 3, "done": done, "skipped": skipped, "failed": 0, "in_flight": 0}})
        .to_string()
    };
    let skipped = json!({"results": [{"run_id": "run_3", "outcome": "skipped", "detail": "loop_guard"}], "next_cursor": null});
    Stub::of(&[
        ("POST /v1/dlq/retry-all", 200, &plan.to_string()),
        ("POST /v1/dlq/retry-all", 202, &job("queued", 0, 0)),
        ("GET /v1/dlq/jobs/job_1", 200, &job("running", 1, 0)),
        ("GET /v1/dlq/jobs/job_1", 200, &job("completed", 2, 1)),
        ("GET /v1/dlq/jobs/job_1/results?limit=100", 200, &skipped.to_string()),
    ])
}

const QUESTION: &str = "put back 3 runs? [y/N]";
/// What makes a word yellow.
const YELLOW: &str = "\u{1b}[38;5;11m";

#[test]
fn who_is_asked_and_says_no_has_changed_nothing() {
    for answer in ["n", " ", "yes, but later"] {
        let stub = three_dead_runs();
        let said = on_a_terminal(&stub, answer, &["dlq", "retry-all"], &[]);
        let seen = stdout(&said);
        assert_eq!(said.status.code(), Some(2), "{seen}{}", stderr(&said));
        assert!(seen.contains(QUESTION) && seen.contains("not done"), "{seen}");
        assert_eq!(stub.lines(), ["POST /v1/dlq/retry-all"], "only what it would do was asked");
        assert_eq!(stub.body("POST /v1/dlq/retry-all"), json!({"dry_run": true}));
    }
}

#[test]
fn who_says_yes_sees_a_bar_while_it_goes_on_and_colours_at_its_end() {
    let stub = three_dead_runs();
    let said = on_a_terminal(&stub, "y", &["dlq", "retry-all"], &[]);
    let seen = stdout(&said);
    assert_eq!(said.status.code(), Some(0), "{seen}{}", stderr(&said));
    assert_eq!(stub.asked()[1].json(), json!({}), "it is done, not tried out");
    assert!(seen.contains(QUESTION), "{seen}");
    // The line is written over, and taken away before the result is printed.
    assert!(seen.contains("\r\u{1b}[2Kjob_1  ████████░░░░░░░░░░░░░░░░  1/3 · running"), "{seen}");
    let Some((_, result)) = seen.rsplit_once("\r\u{1b}[2K") else { panic!("no line was taken away: {seen}") };
    assert!(result.contains("3 selected, 2 done, 1 skipped"), "{seen}");
    assert!(result.contains("\u{1b}[1mOUTCOME") && result.contains(&format!("{YELLOW}skipped")), "{result:?}");

    let plain = stdout(&on_a_terminal(&three_dead_runs(), "y", &["dlq", "retry-all"], &[("NO_COLOR", "1")]));
    assert!(plain.contains("1/3 · running") && plain.contains("run_3  skipped"), "{plain:?}");
    assert!(!plain.replace("\u{1b}[2K", "").contains('\u{1b}'), "{plain:?}");
}
