//! Compiles `infra/agents/*.yaml` into one JSON bundle (ADR 0009). A file that does not hold stops the build.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use sha2::{Digest, Sha256};

use domain::agent_files::{FOLDER, SourceFile, compile};
use domain::definition::Bundle;

#[expect(dead_code, unreachable_pub, reason = "the library's modules: here they are only read and written, there they are used")]
#[path = "src/domain"]
mod domain {
    pub mod agent_files;
    pub mod definition;
    pub mod pattern;
    pub mod template;
    pub mod wildcard;
}

fn main() -> ExitCode {
    match build() {
        Ok(version) => {
            println!("cargo::rustc-env=REPRISE_BUNDLE_VERSION={version}");
            ExitCode::SUCCESS
        }
        Err(problems) => {
            for problem in problems.to_string().lines() {
                println!("cargo::error={problem}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Writes the bundle and gives its version.
#[expect(clippy::disallowed_methods, reason = "cargo says in the environment where to write; no configuration is read")]
fn build() -> Result<String, Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("..").join(FOLDER);
    // The folder too: a file may come or go.
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).map_err(|error| format!("{FOLDER}: {error}"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            println!("cargo::rerun-if-changed={}", path.display());
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).map_err(|error| format!("{FOLDER}/{name}: {error}"))?;
            files.push(SourceFile { name, text });
        }
    }
    let bundle = compile(&files).map_err(|refusals| refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let json = serde_json::to_string(&bundle)?;
    if serde_json::from_str::<Bundle>(&json)? != bundle {
        return Err("the bundle does not read back as it was written".into());
    }
    fs::write(Path::new(&env::var("OUT_DIR")?).join("bundle.json"), &json)?;
    Ok(Sha256::digest(&json).iter().map(|byte| format!("{byte:02x}")).collect())
}
