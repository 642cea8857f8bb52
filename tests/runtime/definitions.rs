//! A function and the definitions that are packed with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_files::agent_folder;
use agent_files::domain::agent_files::seal;
use agent_files::domain::bundle_file::FILE;

use crate::function::{Function, binary};

const SOON: Duration = Duration::from_secs(5);
const REQUIRED: [(&str, Option<&str>); 1] = [("REQUIRE_COMPILED", Some("true"))];

/// A folder with a function and its definitions, as a package is unpacked.
struct Package(PathBuf);

impl Package {
    fn of(function: &str) -> Self {
        Self::unpacked(function).unwrap_or_else(|error| panic!("the package of {function}: {error}"))
    }

    fn unpacked(function: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let folder = std::env::temp_dir().join(tests::fresh("package"));
        let agents = folder.join("agents");
        let files =
            agent_folder::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/agents")).map_err(|error| format!("{error:?}"))?;
        for file in &files {
            let path = agents.join(&file.name);
            fs::create_dir_all(path.parent().unwrap_or(&agents))?;
            fs::write(path, &file.text)?;
        }
        let sealed = seal(&files).map_err(|error| format!("{error:?}"))?;
        fs::write(agents.join(FILE), serde_json::to_string(&sealed)?)?;
        // A link where it can be one: debug builds are large.
        let (built, program) = (binary(function), folder.join("bootstrap"));
        fs::hard_link(&built, &program).or_else(|_| fs::copy(&built, &program).map(|_| ()))?;
        Ok(Self(folder))
    }

    fn bundle(&self) -> PathBuf {
        self.0.join("agents").join(FILE)
    }
}

impl Drop for Package {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The functions that run agents.
const RUNNERS: [&str; 2] = ["agent-api", "queue-consumer"];

#[test]
fn a_function_starts_with_the_definitions_that_were_packed_with_it() {
    for name in RUNNERS {
        let package = Package::of(name);
        let function = Function::start_program(&package.0.join("bootstrap"), name, &REQUIRED);
        let _ = function.api.must_hear("next");
        assert!(function.printed().contains("definitions read"), "{}", function.printed());
    }
}

#[test]
fn a_function_does_not_start_with_missing_stale_or_altered_definitions_and_names_the_file() {
    type Damage = fn(&Package);
    let damages: [(Damage, &str); 3] = [
        (|package| fs::remove_file(package.bundle()).unwrap(), "agents/bundle.json"),
        (|package| fs::write(package.0.join("agents/triage.yaml"), "name: triage").unwrap(), "triage.yaml"),
        (
            |package| {
                let text = fs::read_to_string(package.bundle()).unwrap();
                fs::write(package.bundle(), text.replacen("You are", "You were", 1)).unwrap();
            },
            "agents/bundle.json",
        ),
    ];
    for name in RUNNERS {
        for (damage, file) in damages {
            let package = Package::of(name);
            damage(&package);
            let mut function = Function::start_program(&package.0.join("bootstrap"), name, &REQUIRED);
            assert!(!function.wait_for_end(SOON).success(), "{name} took it");
            assert!(function.printed().contains(file), "{}", function.printed());
            assert!(function.api.heard_nothing_of("next"), "{name} asked for work");
        }
    }
}

#[test]
fn where_none_are_required_a_function_says_that_it_uses_those_that_it_was_built_with() {
    let package = Package::of("queue-consumer");
    fs::remove_file(package.bundle()).unwrap();
    let function = Function::start_program(&package.0.join("bootstrap"), "queue-consumer", &[]);
    let _ = function.api.must_hear("next");
    assert!(function.printed().contains("the definitions that are built in are used"), "{}", function.printed());
}
