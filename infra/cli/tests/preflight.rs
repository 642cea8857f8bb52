//! `infra/local/preflight.sh`, run against made-up toolchains: a missing or too old tool is named with the version that is needed.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its stage should panic")]

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder that is the whole PATH of the script: the few system tools that it uses, and stubs.
struct Machine(PathBuf);

impl Machine {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("reprise-preflight-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let machine = Self(folder);
        for tool in ["sh", "sed", "awk", "dirname"] {
            symlink(real(tool), machine.0.join(tool)).unwrap();
        }
        machine.with("rustc", "echo 'rustc 1.99.0 (abc 2026-01-01)'").with("cargo", ":").with("cc", ":").with("npm", ":");
        machine.with("python3", "[ \"$1\" = -c ] && case \"$2\" in *platform*) echo 3.12.1;; esac").with("node", "echo v22.1.0");
        machine
    }

    /// Adds or replaces a program by a shell script.
    fn with(&self, name: &str, script: &str) -> &Self {
        let path = self.0.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn without(&self, name: &str) -> &Self {
        std::fs::remove_file(self.0.join(name)).unwrap();
        self
    }

    fn preflight(&self) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../local/preflight.sh");
        Command::new(self.0.join("sh")).arg(script).env_clear().env("PATH", &self.0).output().unwrap()
    }

    /// Runs the script, which must fail, and returns what it said.
    fn refused(&self) -> String {
        let output = self.preflight();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

fn real(tool: &str) -> PathBuf {
    ["/bin", "/usr/bin"].iter().map(|folder| Path::new(folder).join(tool)).find(|path| path.exists()).unwrap()
}

#[test]
fn a_machine_with_everything_passes_and_its_versions_are_named() {
    let machine = Machine::new("passes");
    let output = machine.preflight();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "Rust 1.99.0\nPython 3.12.1\nNode 22.1.0\n");
}

#[test]
fn each_missing_tool_is_named_at_once() {
    let machine = Machine::new("missing");
    machine.without("rustc").without("python3").without("node").without("cc");
    let said = machine.refused();
    for part in [
        "Rust was not found; Rust 1.",
        "Python was not found; Python 3.11 or newer",
        "Node was not found; Node 20.15 or newer",
        "no C compiler",
    ] {
        assert!(said.contains(part), "`{part}` is missing in:\n{said}");
    }
}

#[test]
fn a_tool_that_is_too_old_is_named_with_both_versions() {
    let machine = Machine::new("old");
    machine.with("rustc", "echo 'rustc 1.70.0-nightly (abc)'").with("python3", "echo 3.9.18").with("node", "echo v20.9.0");
    let said = machine.refused();
    for part in ["Rust 1.70.0-nightly is too old; Rust 1.", "Python 3.9.18 is too old; Python 3.11", "Node 20.9.0 is too old; Node 20.15"] {
        assert!(said.contains(part), "`{part}` is missing in:\n{said}");
    }
}

#[test]
fn numbers_are_compared_as_numbers() {
    let machine = Machine::new("numbers");
    machine.with("node", "echo v20.15.0").with("python3", "[ \"$1\" = -c ] && case \"$2\" in *platform*) echo 3.100.0;; esac");
    assert_eq!(machine.preflight().status.code(), Some(0));
}

#[test]
fn a_python_without_venv_and_a_node_without_npm_are_named() {
    let machine = Machine::new("parts");
    machine.with("python3", "case \"$2\" in *platform*) echo 3.12.1;; *) exit 1;; esac").without("npm");
    let said = machine.refused();
    assert!(said.contains("no venv module") && said.contains("npm was not found"), "{said}");
}
