//! The lines of README.md's `sh` blocks. A new line is run like the others unless it is named in [`NOT_HERE`].

use std::path::{Path, PathBuf};
use std::process::Command;

/// What cannot run inside a test of itself, on a stack that other tests use, or without an account; and where it runs instead.
/// Make still has to know the target (`make -n`).
const NOT_HERE: [(&str, &str); 6] = [
    ("make run", "infra/checks/e2e.sh brings the test stack up by the same command, `reprise stack up`"),
    ("make test", "this test is part of it"),
    ("make stop", "infra/checks/e2e.sh ends the test stack by the same command, `reprise stack down`"),
    ("make build", ".ci/run builds the packages"),
    ("make deploy DRY_RUN=1", ".ci/run does the dry run, on those packages"),
    ("make deploy BUCKET=my-artifacts", "needs an account; its dry run is the same script"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn commands() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.flat_map(str::lines).map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn run(command: &str) -> (bool, String) {
    // The README talks to the user's stack; the tests have one of their own, which the shell knows by these variables.
    let command = command.replace("localhost:8000", "${REPRISE_TEST_URL#http://}");
    let prelude = ": \"${REPRISE_TEST_URL:?is not set: make test starts a stack and sets it}\"; export REPRISE_URL=$REPRISE_TEST_URL";
    let output =
        Command::new("bash").args(["-o", "pipefail", "-c", &format!("{prelude}; {command}")]).current_dir(root()).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

#[test]
fn every_command_of_the_readme_works() {
    let commands = commands();
    assert!(commands.len() > 10, "the blocks were not found: {commands:?}");
    for command in commands {
        let command = match NOT_HERE.iter().find(|(name, _)| *name == command) {
            Some((name, _)) => name.replacen("make", "make -n", 1),
            None => command,
        };
        let (succeeded, text) = run(&command);
        assert!(succeeded, "{command}\n{text}");
        assert!(!text.trim().is_empty(), "{command} prints nothing");
    }
}

#[test]
fn each_exception_is_still_in_the_readme() {
    let commands = commands();
    for (name, _) in NOT_HERE {
        assert!(commands.iter().any(|command| command == name), "{name} is not in README.md any more");
    }
}

#[test]
fn each_link_and_folder_of_the_readme_exists() {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let paths =
        text.split('`').skip(1).step_by(2).filter(|word| {
            ["functions/", "shared/", "infra/", "tests/", "template.yaml", ".ci/"].iter().any(|start| word.starts_with(start))
        });
    for path in paths {
        assert!(path == "infra/deploy/parameters" || root().join(path).exists(), "{path} does not exist");
    }
}

/// Every Rust file below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

#[test]
fn each_test_that_the_readme_names_exists() {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let is_name = |word: &&str| word.len() > 20 && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    // Metrics have such names too.
    let is_test = |word: &&str| is_name(word) && !word.starts_with("reprise_");
    let names: Vec<&str> = text.split('`').skip(1).step_by(2).filter(is_test).collect();
    assert!(names.len() > 15, "the table was not found: {names:?}");
    let code: String = ["functions", "shared", "tests"]
        .iter()
        .flat_map(|folder| sources(&root().join(folder)))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    for name in names {
        assert!(code.contains(&format!("fn {name}()")), "there is no test {name}");
    }
}
