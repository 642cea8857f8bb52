//! One line of a manual, and how it is run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;
use tests::client::{Client, list, text};
use tests::{fresh, wait_for};

/// Longer than a run needs to die, with two attempts and their pauses.
const LONG: Duration = Duration::from_secs(120);

/// A line of a manual.
pub(crate) struct Line {
    /// As it is printed there.
    pub(crate) there: &'static str,
    /// What is typed here; empty for the same, on our port.
    here: &'static str,
    /// What must hold before.
    before: fn(&World),
    /// What must come of it.
    check: Check,
}

type Check = Box<dyn Fn(&Said, &World) -> Result<(), String>>;

/// What a command did.
pub(crate) struct Said {
    code: i32,
    out: String,
    err: String,
}

/// The stack that is asked.
pub(crate) struct World {
    pub(crate) api: Client,
    model: Client,
    emulator: Client,
    url: String,
    /// A run that has died, and the word that heals what it died of.
    dead: Mutex<Option<(String, String)>>,
}

/// The line as it is, against our port.
pub(crate) fn verbatim(there: &'static str) -> Line {
    ours(there, "")
}

/// The line's equivalent.
pub(crate) fn ours(there: &'static str, here: &'static str) -> Line {
    Line { there, here, before: |_| {}, check: Box::new(|said, _| said.exits(0)) }
}

impl Line {
    /// Exit code 0, and this somewhere on standard output.
    pub(crate) fn says(self, part: &'static str) -> Self {
        self.checked(move |said, world| said.exits(0).and_then(|()| said.has(&world.filled(part))))
    }

    /// Exit code 0, and JSON that is right.
    pub(crate) fn json(self, is_right: impl Fn(&Value) -> bool + 'static) -> Self {
        self.checked(move |said, _| {
            said.exits(0)?;
            let value: Value = serde_json::from_str(&said.out).map_err(|error| format!("no JSON ({error}): {said}"))?;
            if is_right(&value) { Ok(()) } else { Err(format!("not what it must be: {value}")) }
        })
    }

    /// This exit code, and this on standard output or standard error.
    pub(crate) fn refuses(self, code: i32, part: &'static str) -> Self {
        self.checked(move |said, _| {
            said.exits(code)?;
            if said.err.contains(part) { Ok(()) } else { said.has(part) }
        })
    }

    /// Anything.
    pub(crate) fn checked(mut self, check: impl Fn(&Said, &World) -> Result<(), String> + 'static) -> Self {
        self.check = Box::new(check);
        self
    }

    /// After this.
    pub(crate) fn after(mut self, before: fn(&World)) -> Self {
        self.before = before;
        self
    }

    /// What is typed.
    pub(crate) fn here(&self, world: &World) -> String {
        world.filled(if self.here.is_empty() { self.there } else { self.here })
    }
}

/// Runs a line.
pub(crate) fn run(line: &Line, world: &World) -> Result<(), String> {
    (line.before)(world);
    (line.check)(&world.run(&line.here(world)), world)
}

impl Said {
    pub(crate) fn exits(&self, code: i32) -> Result<(), String> {
        if self.code == code { Ok(()) } else { Err(format!("it must exit with {code}: {self}")) }
    }

    pub(crate) fn has(&self, part: &str) -> Result<(), String> {
        if self.out.contains(part) { Ok(()) } else { Err(format!("`{part}` is not in it: {self}")) }
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let brief = |text: &str| text.chars().take(1_500).collect::<String>();
        write!(f, "exit code {}\n  stdout: {}\n  stderr: {}", self.code, brief(&self.out), brief(&self.err))
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let url = tests::address("REPRISE_TEST_URL");
        let [model, emulator] = ["REPRISE_TEST_MODEL", "REPRISE_TEST_EMULATOR"].map(|name| Client::new(&tests::address(name)));
        Self { api: Client::new(&url), model, emulator, url, dead: Mutex::default() }
    }

    /// Waits until a canary of the sweeper has come through the queue: what a stack needs to know that its workers live.
    pub(crate) fn beats(&self) {
        wait_for("a heartbeat that passes", LONG, || {
            let answer = self.api.get("/api/production/queue/heartbeat");
            if answer.status == 200 { Ok(()) } else { Err(answer.body) }
        });
    }

    /// Lets a run die, whose provider fails until it is healed.
    pub(crate) fn dies(&self) {
        let word = fresh("patient");
        let prompt = format!("fails until healed {word}");
        let started = self.api.post("/v1/agent", &serde_json::json!({"prompt": prompt, "background": true})).must(202);
        let run = text(&started, "run_id");
        self.waits(&run, "dead");
        *self.dead.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some((run, word));
    }

    /// Heals what the last one died of.
    pub(crate) fn heals(&self) {
        let (_, word) = self.dead();
        assert_eq!(self.model.send("POST", "/reprise/heal", &[], word.into_bytes()).status, 200, "the model cannot be healed");
    }

    /// Waits until a run is in that state.
    pub(crate) fn waits(&self, run: &str, state: &str) {
        wait_for(&format!("{run} to be {state}"), LONG, || {
            let shown = self.api.get(&format!("/v1/runs/{run}")).json();
            if shown["status"] == state { Ok(()) } else { Err(shown["status"].to_string()) }
        });
    }

    /// How many consumers there may be at once, as the queue's mapping has it.
    pub(crate) fn consumers(&self) -> Option<u64> {
        let mappings = self.emulator.get("/2015-03-31/event-source-mappings/").must(200);
        let of_consumer = |mapping: &&Value| text(mapping, "FunctionArn").ends_with("-queue-consumer");
        list(&mappings, "EventSourceMappings").iter().find(of_consumer)?["ScalingConfig"]["MaximumConcurrency"].as_u64()
    }

    /// Deploys a build of `operator-api` that does not start, over the release that runs.
    pub(crate) fn deploys_badly(&self) {
        let said = self.run("cd ../.. && sh tests/drills/runbooks/bad_deploy.sh operator-api");
        assert_eq!(said.code, 0, "{said}");
    }

    /// The run that has died, and the word that heals it.
    pub(crate) fn dead(&self) -> (String, String) {
        self.dead.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone().unwrap_or_default()
    }

    fn filled(&self, text: &str) -> String {
        let address = self.url.trim_start_matches("http://");
        let text = text.replace("localhost:8000", address).replace("localhost:5000", address);
        text.replace("{dead}", &self.dead().0)
    }

    fn run(&self, line: &str) -> Said {
        let (host, port) = self.url.trim_start_matches("http://").split_once(':').unwrap_or(("localhost", "8000"));
        let mut command = Command::new("bash");
        command.args(["-o", "pipefail", "-c", line]).current_dir(root().join("tests/manuals"));
        // What the manuals leave to be set.
        command.envs([("HOST", host), ("PORT", port), ("API_BASE", &self.url), ("API_ORIGIN", &self.url), ("APP_URL", &self.url)]);
        // What a rollback needs, as the README of the runbooks sets it for a local stack.
        let stack = format!("reprise-{}", tests::address("REPRISE_STACK"));
        command.env("BUCKET", format!("{stack}-artifacts")).env("STACK", stack).env("AWS_ENDPOINT_URL", self.emulator.base());
        command.envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_DEFAULT_REGION", "us-east-1")]);
        command.env("PATH", path()).env("REPRISE_URL", &self.url).env("TERM", "xterm").stdin(std::process::Stdio::null());
        match command.output() {
            Err(error) => Said { code: -1, out: String::new(), err: error.to_string() },
            Ok(output) => Said {
                code: output.status.code().unwrap_or(-1),
                out: String::from_utf8_lossy(&output.stdout).into_owned(),
                err: String::from_utf8_lossy(&output.stderr).into_owned(),
            },
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The search path with `reprise` on it: this test's own binary is in `target/<profile>/deps/`.
fn path() -> std::ffi::OsString {
    let own = std::env::current_exe().unwrap_or_default();
    let built = own.ancestors().nth(2).unwrap_or(Path::new("")).to_owned();
    let given = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths([built].into_iter().chain(std::env::split_paths(&given))).unwrap_or(given)
}
