//! Which definitions a function runs with: those that were compiled and packed beside its program (ADR 0009).
//!
//! Where `REQUIRE_COMPILED` says so, a function does not start without them, or with others than their sources say. Otherwise, as
//! under `make watch`, those that are built into the program stand in, and the log says so.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{ConfigError, Environment, variables};
use crate::domain::bundle_file::{BundleError, BundleFile, FILE, FOLDER};
use crate::domain::canonical::sha256;
use crate::domain::definition::Bundle;

/// Why a function has no definitions.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionsError {
    /// The variable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The files.
    #[error("{0} ({name} is true)", name = variables::REQUIRE_COMPILED)]
    Bundle(#[from] BundleError),
}

/// The definitions of this function.
///
/// # Errors
/// Names the variable or the file that is missing or wrong.
pub fn load(env: &Environment) -> Result<Arc<Bundle>, DefinitionsError> {
    load_from(&beside_the_program(), env.flag(variables::REQUIRE_COMPILED)?)
}

/// What [`load`] would find, for a probe: the log says nothing of it.
///
/// # Errors
/// As [`load`].
pub fn check(env: &Environment) -> Result<Bundle, DefinitionsError> {
    match read(&beside_the_program()) {
        Ok(bundle) => Ok(bundle),
        Err(error) if env.flag(variables::REQUIRE_COMPILED)? => Err(error.into()),
        Err(_) => Ok(Bundle::embedded()),
    }
}

/// As [`load`], from this folder.
///
/// # Errors
/// Names the file that is missing or wrong, if compiled definitions are required.
pub fn load_from(folder: &Path, is_required: bool) -> Result<Arc<Bundle>, DefinitionsError> {
    let bundle = match read(folder) {
        Ok(bundle) => bundle,
        Err(error) if is_required => return Err(error.into()),
        Err(error) => {
            let bundle = Bundle::embedded();
            tracing::info!(reason = %error, bundle.version = bundle.short_version(), "the definitions that are built in are used");
            return Ok(Arc::new(bundle));
        }
    };
    tracing::info!(bundle.version = bundle.short_version(), agents = bundle.agents.len(), "definitions read");
    Ok(Arc::new(bundle))
}

/// The folder that is packed with the program.
fn beside_the_program() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    program.parent().unwrap_or(Path::new("")).join(FOLDER)
}

fn read(folder: &Path) -> Result<Bundle, BundleError> {
    let mut sources = BTreeMap::new();
    let mut text = None;
    hashes(folder, "", &mut sources, &mut text)?;
    let name = named(FILE);
    let text = text.ok_or_else(|| BundleError::Missing { file: name.clone() })?;
    let file = BundleFile::open(&name, &text)?;
    file.check_sources(&name, &sources)?;
    Ok(file.bundle)
}

/// The hash of each file in and below the folder, by its name there; and what the bundle says.
fn hashes(folder: &Path, prefix: &str, sources: &mut BTreeMap<String, String>, bundle: &mut Option<String>) -> Result<(), BundleError> {
    let unreadable = |name: &str, error: &std::io::Error| BundleError::Unreadable { file: named(name), problem: error.to_string() };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(prefix, &error)),
    };
    for entry in entries {
        let path = entry.map_err(|error| unreadable(prefix, &error))?.path();
        let name = format!("{prefix}{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            hashes(&path, &format!("{name}/"), sources, bundle)?;
            continue;
        }
        let bytes = fs::read(&path).map_err(|error| unreadable(&name, &error))?;
        if name == FILE {
            *bundle = Some(String::from_utf8_lossy(&bytes).into_owned());
        } else {
            sources.insert(name, sha256(bytes));
        }
    }
    Ok(())
}

fn named(file: &str) -> String {
    format!("{FOLDER}/{file}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent_folder;
    use crate::domain::agent_files::seal;

    /// A folder as it is packed; it goes with the value.
    struct Packed(PathBuf);

    impl Packed {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("definitions-{name}-{}", std::process::id()));
            let files = agent_folder::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/agents")).unwrap();
            for file in &files {
                let path = folder.join(&file.name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, &file.text).unwrap();
            }
            fs::write(folder.join(FILE), serde_json::to_string_pretty(&seal(&files).unwrap()).unwrap()).unwrap();
            Self(folder)
        }

        fn refused(&self) -> String {
            let Err(error) = load_from(&self.0, true) else { panic!("it was taken") };
            error.to_string()
        }
    }

    impl Drop for Packed {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_was_packed_is_read_and_is_what_was_built_in() {
        let packed = Packed::new("read");
        assert_eq!(*load_from(&packed.0, true).unwrap(), Bundle::embedded());
    }

    #[test]
    fn a_missing_bundle_is_refused_by_name() {
        let packed = Packed::new("missing");
        fs::remove_file(packed.0.join(FILE)).unwrap();
        assert!(packed.refused().starts_with("agents/bundle.json is missing"), "{}", packed.refused());
        let Err(error) = load_from(Path::new("/nowhere/at/all"), true) else { panic!("it was taken") };
        assert!(error.to_string().starts_with("agents/bundle.json is missing"), "{error}");
    }

    #[test]
    fn a_stale_bundle_is_refused_and_says_which_file() {
        let packed = Packed::new("stale");
        fs::write(packed.0.join("assistant.yaml"), "name: assistant").unwrap();
        assert!(packed.refused().contains("agents/bundle.json is stale: assistant.yaml has changed since"), "{}", packed.refused());
        fs::remove_file(packed.0.join("assistant.yaml")).unwrap();
        assert!(packed.refused().contains("assistant.yaml is not there any more"), "{}", packed.refused());
        let packed = Packed::new("stale-new");
        fs::create_dir_all(packed.0.join("prompts")).unwrap();
        fs::write(packed.0.join("prompts/new.md"), "x").unwrap();
        assert!(packed.refused().contains("prompts/new.md was added since"), "{}", packed.refused());
    }

    #[test]
    fn an_altered_bundle_is_refused() {
        let packed = Packed::new("altered");
        let path = packed.0.join(FILE);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replacen("\"steps\": 20", "\"steps\": 2000", 1)).unwrap();
        assert!(packed.refused().starts_with("agents/bundle.json was altered"), "{}", packed.refused());
        fs::write(&path, text.replacen("\"format\": 1", "\"format\": 0", 1)).unwrap();
        assert!(packed.refused().contains("its format is 0, not 1"), "{}", packed.refused());
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(packed.refused().starts_with("agents/bundle.json cannot be read"), "{}", packed.refused());
    }

    #[test]
    fn where_none_is_required_the_one_that_is_built_in_stands_in() {
        assert_eq!(*load_from(Path::new("/nowhere/at/all"), false).unwrap(), Bundle::embedded());
        let packed = Packed::new("not-required");
        fs::write(packed.0.join(FILE), "{}").unwrap();
        assert_eq!(*load_from(&packed.0, false).unwrap(), Bundle::embedded());
    }

    #[test]
    fn the_variable_is_required_and_says_yes_or_no() {
        let said = |env: Environment| load(&env).unwrap_err().to_string();
        assert!(said(Environment::of(|_| None)).contains("REQUIRE_COMPILED: is not set"));
        assert!(said(Environment::of(|_| Some("yes".into()))).contains("REQUIRE_COMPILED: must be `true` or `false`"));
        assert!(said(Environment::of(|_| Some("true".into()))).contains("agents/bundle.json is missing"), "a test has none beside it");
        assert_eq!(*load(&Environment::of(|_| Some("false".into()))).unwrap(), Bundle::embedded());
    }
}
