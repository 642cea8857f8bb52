//! Compiles `infra/agents` into the bundle that the library embeds (ADR 0009). A file that does not hold stops the build.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use agent_files::agent_folder;
use agent_files::domain::agent_files::{FOLDER, seal};

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problems) => {
            for problem in problems.to_string().lines() {
                println!("cargo::error={problem}");
            }
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "cargo says in the environment where to write; no configuration is read")]
fn build() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("..").join(FOLDER);
    // The whole folder: a file may come, change or go.
    println!("cargo::rerun-if-changed={}", folder.display());
    let files = agent_folder::read(&folder)?;
    let sealed = seal(&files).map_err(|refusals| refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    fs::write(Path::new(&env::var("OUT_DIR")?).join("bundle.json"), serde_json::to_string(&sealed)?)?;
    Ok(())
}
