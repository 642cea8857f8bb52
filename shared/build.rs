//! Compiles `infra/agents` into the bundle that the library embeds (ADR 0009). A file that does not hold stops the build.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use domain::agent_files::{FOLDER, seal};

#[expect(dead_code, unreachable_pub, reason = "the library's modules: here they are only read and written, there they are used")]
#[path = "src/domain"]
mod domain {
    pub mod agent_files;
    pub mod bundle_file;
    pub mod canonical;
    pub mod definition;
    pub mod pattern;
    pub mod template;
    pub mod wildcard;
}
#[path = "src/agent_folder.rs"]
mod agent_folder;

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
