//! One row of the table: what every probe must say under one fault, and what the manual's own lines and our command make of it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::client::Answer;
use tests::{Stack, wait_for};

/// What a fault does to the probes. A healthy stack is the default.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    /// The fault, for people.
    pub(crate) fault: &'static str,
    /// The checks of `/api/production/ready` that are false; none: it is ready.
    pub(crate) not_ready: &'static [&'static str],
    /// What `/health/detailed` says in all, and of which part it says so.
    pub(crate) detailed: (&'static str, &'static str),
    /// What `/api/production/health` says in all, and of which check.
    pub(crate) health: (&'static str, &'static str),
    /// The heartbeat's word, and a part of what it says.
    pub(crate) heartbeat: (&'static str, &'static str),
    /// Whether `/metrics` can tell its numbers.
    pub(crate) metrics: bool,
}

/// All is well.
pub(crate) const HEALTHY: Row = Row {
    fault: "nothing",
    not_ready: &[],
    detailed: ("healthy", "worker"),
    health: ("healthy", "worker"),
    heartbeat: ("pass", "Workers take messages off the queue"),
    metrics: true,
};

/// The probes learn of a fault when they ask again: after the period of their cache, or the time that a function keeps what it knows.
const KNOWN: Duration = Duration::from_secs(20);
/// What all checks may take; the product ends them after 1.5 s, and writes down what was found within 0.2 s.
const LONGEST_MS: u64 = 2_000;
const CHECKS: [&str; 4] = ["llm", "environment", "dependencies", "queue"];

impl Row {
    /// Fails unless every probe says within a few seconds what this row says, and liveness asks nobody.
    #[track_caller]
    pub(crate) fn holds(&self, stack: &Stack) {
        wait_for(&format!("what the probes say while this is wrong: {}", self.fault), KNOWN, || self.cells(stack));
        self.liveness_asks_nobody(stack);
        self.lines(stack);
    }

    fn cells(&self, stack: &Stack) -> Result<(), String> {
        let is_ready = self.not_ready.is_empty();
        let (ready, detailed, health) = ("/api/production/ready", "/health/detailed", "/api/production/health");
        let answer = stack.api.get(ready);
        let said = cell(&answer, is_ready)?;
        let is_false: Vec<_> = CHECKS.into_iter().filter(|check| said["checks"][check] != true).collect();
        expect(&answer, said["ready"] == is_ready && is_false == self.not_ready && said["checks"]["queueDetails"] == said["queueHealth"])?;
        for path in ["/ready", "/readyz"] {
            let answer = stack.api.get(path);
            let word = cell(&answer, is_ready)?["status"].clone();
            expect(&answer, word == if is_ready { "ready" } else { "not_ready" })?;
        }
        let answer = stack.api.get(detailed);
        let said = cell(&answer, self.detailed.0 != "unhealthy")?;
        let parts = said["indicators"].as_array().cloned().unwrap_or_default();
        let part = parts.iter().find(|part| part["name"] == self.detailed.1).map(|part| &part["status"]);
        expect(&answer, said["status"] == self.detailed.0 && part.is_some_and(|status| status == self.detailed.0))?;
        expect(&answer, said["took_ms"].as_u64().is_some_and(|took| took < LONGEST_MS))?;
        let answer = stack.api.get(health);
        let said = cell(&answer, self.health.0 != "unhealthy")?;
        let check = match self.health.0 {
            "healthy" => "pass",
            "degraded" => "warn",
            _ => "fail",
        };
        expect(&answer, said["status"] == self.health.0 && said["checks"][self.health.1]["status"] == check)?;
        expect(&answer, said["responseTime"].as_u64().is_some_and(|took| took < LONGEST_MS))?;
        let answer = stack.api.get("/api/production/queue/heartbeat");
        let said = cell(&answer, self.heartbeat.0 == "pass")?["status"].clone();
        let message = said["message"].as_str().unwrap_or_default();
        expect(&answer, said["status"] == self.heartbeat.0 && message.contains(self.heartbeat.1))?;
        let answer = stack.api.get("/metrics");
        expect(&answer, answer.status == if self.metrics { 200 } else { 503 })
    }

    #[track_caller]
    fn liveness_asks_nobody(&self, stack: &Stack) {
        let since = stack.log_position();
        for path in ["/health", "/healthz", "/live"] {
            assert_eq!(stack.api.get(path).status, 200, "{path} while this is wrong: {}", self.fault);
        }
        let asked: Vec<_> = stack.calls("", since).into_iter().filter(|call| call.function == "health").collect();
        assert!(asked.is_empty(), "liveness asked somebody: {asked:?}");
    }

    /// The monitoring manual's script and lines as they are printed there, and our own command.
    #[track_caller]
    fn lines(&self, stack: &Stack) {
        let queue_is_well = !self.not_ready.contains(&"queue");
        for (line, is_well) in [
            (script(), queue_is_well),
            (GUARD.to_owned(), self.not_ready.is_empty()),
            (PULSE.to_owned(), self.heartbeat.0 == "pass"),
            ("reprise health --detailed".to_owned(), self.not_ready.is_empty() && self.detailed.0 == "healthy" && self.metrics),
        ] {
            // What it says once the probes agree is what it says: a probe on the border of two periods may be asked again.
            wait_for(&format!("{line} while this is wrong: {}", self.fault), KNOWN, || {
                let (code, printed) = run(&line, stack);
                // An answer of 503 never reaches jq: then curl's 22 is what is left, or jq's own 4, which older ones than 1.7 do not know.
                let is_right = if is_well { code == 0 } else { code == 1 || line.contains("jq -e") && [4, 22].contains(&code) };
                if is_right { Ok(()) } else { Err(format!("exit code {code}: {printed}")) }
            });
        }
        if !queue_is_well {
            let (code, printed) = run(&script(), stack);
            assert!(code == 1 && printed.contains("Queue readiness failed: SQS connection failed"), "{code}: {printed}");
        }
    }
}

const GUARD: &str = r#"curl -fsSL "${API_ORIGIN:-http://localhost:5000}/api/production/ready" \
    | jq -e 'select(.checks.queue == true) | .ready == true' >/dev/null"#;
const PULSE: &str = r#"curl -fsS "$APP_URL/api/production/queue/heartbeat" | jq -e '.status.status == "pass"'"#;

/// The verification script, as `tests/manuals` has read it off the manual.
fn script() -> String {
    let lines = include_str!("../../manuals/lines.txt");
    let script = lines.lines().find(|line| line.starts_with("#!/usr/bin/env bash")).unwrap_or_default();
    script.replace(" ⏎ ", "\n")
}

fn run(line: &str, stack: &Stack) -> (i32, String) {
    let url = stack.api.base();
    let own = std::env::current_exe().unwrap_or_default();
    let built: PathBuf = own.ancestors().nth(2).unwrap_or(Path::new("")).to_owned();
    let given = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([built].into_iter().chain(std::env::split_paths(&given))).unwrap_or(given);
    let mut command = Command::new("bash");
    command.args(["-o", "pipefail", "-c", line]).env("PATH", path).env("REPRISE_URL", url).stdin(std::process::Stdio::null());
    match command.envs([("API_BASE", url), ("API_ORIGIN", url), ("APP_URL", url)]).output() {
        Err(error) => (-1, error.to_string()),
        Ok(done) => {
            let printed = [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
            (done.status.code().unwrap_or(-1), printed)
        }
    }
}

/// The JSON of an answer whose status says whether all is well.
fn cell(answer: &Answer, is_well: bool) -> Result<Value, String> {
    expect(answer, answer.status == if is_well { 200 } else { 503 })?;
    serde_json::from_str(&answer.body).map_err(|error| format!("{}: {error}: {}", answer.asked, answer.body))
}

fn expect(answer: &Answer, holds: bool) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{} said {} {}", answer.asked, answer.status, answer.body)) }
}

/// How long a request took, and its answer.
pub(crate) fn timed(stack: &Stack, path: &str) -> (Duration, Answer) {
    let begun = Instant::now();
    let answer = stack.api.get(path);
    (begun.elapsed(), answer)
}
