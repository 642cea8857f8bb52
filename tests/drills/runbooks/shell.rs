//! A shell as an operator has it: what one block sets, the next one knows.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::fresh;

/// Longer than every wait of a command of ours in a runbook.
const SECONDS: &str = "150";

/// One shell. Each block is a process of its own, which takes over variables and functions from the one before it.
pub(crate) struct Shell {
    state: PathBuf,
}

/// What a block did.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) text: String,
}

impl Shell {
    pub(crate) fn new() -> Self {
        Self { state: std::env::temp_dir().join(fresh("reprise-runbook")) }
    }

    /// Runs a block, from the root of the repository.
    pub(crate) fn run(&self, script: &str) -> Said {
        let state = self.state.display();
        let script = format!(
            "set -eua -o pipefail\nif [ -f {state} ]; then . {state}; fi\ntrap '{{ export -p; declare -f; }} >{state}' EXIT\n{script}"
        );
        let mut command = Command::new("timeout");
        command.args([SECONDS, "bash", "-c", &script]).current_dir(root()).stdin(std::process::Stdio::null());
        command.env("PATH", path());
        // What a person in a terminal has not set either.
        command.env_remove("REPRISE_PROFILE").env("NO_COLOR", "1");
        match command.output() {
            Err(error) => Said { code: -1, text: error.to_string() },
            Ok(output) => Said {
                code: output.status.code().unwrap_or(-1),
                text: format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
            },
        }
    }

    /// Another one that knows the same.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::new();
        std::fs::copy(&self.state, &copy.state).unwrap_or_else(|error| panic!("{}: {error}", self.state.display()));
        copy
    }

    /// Sets a variable for the blocks to come.
    pub(crate) fn set(&self, name: &str, value: &str) {
        let said = self.run(&format!("{name}='{value}'"));
        assert_eq!(said.code, 0, "{name}={value}: {}", said.text);
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // It is not there if no block was run.
        let _gone = std::fs::remove_file(&self.state);
    }
}

/// The search path with `reprise` on it: this test's own binary is in `target/<profile>/deps/`.
fn path() -> OsString {
    let built = std::env::current_exe().ok().and_then(|own| Some(own.ancestors().nth(2)?.to_owned())).unwrap_or_default();
    let given = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths([built].into_iter().chain(std::env::split_paths(&given))).unwrap_or(given)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
