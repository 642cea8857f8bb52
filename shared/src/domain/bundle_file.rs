//! The file that definitions are compiled into and shipped as: what it holds, and how it is known to be whole.
//!
//! It lies beside the files that it was compiled from ([`FOLDER`]), so that a function can tell a bundle that was forgotten when
//! a file was changed. Shared with `build.rs` and the command `reprise agents`; no I/O.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::canonical::{sha256, sorted};
use super::definition::Bundle;

/// Raised when a bundle of before cannot be read as it was meant.
pub const FORMAT: u64 = 1;
/// The folder beside a function's program.
pub const FOLDER: &str = "agents";
/// The file's name in it; all others there are sources.
pub const FILE: &str = "bundle.json";

/// What the file holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BundleFile {
    /// See [`FORMAT`].
    pub format: u64,
    /// Of all the rest, as compact JSON with its names in order: the file may be printed in any way.
    pub sha256: String,
    /// The SHA-256 of each source, by its name.
    pub sources: BTreeMap<String, String>,
    /// What was compiled.
    pub bundle: Bundle,
}

/// Why a bundle is not used. Each names the file that is meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// It is not there.
    #[error("{file} is missing; `reprise agents compile` makes it, and `make build` packs it")]
    Missing {
        /// Which.
        file: String,
    },
    /// It cannot be read.
    #[error("{file} cannot be read: {problem}")]
    Unreadable {
        /// Which.
        file: String,
        /// Why.
        problem: String,
    },
    /// Another version of the program has compiled it.
    #[error("{file} was compiled for another version of this program: {problem}; compile it again")]
    Foreign {
        /// Which.
        file: String,
        /// What is different.
        problem: String,
    },
    /// It is not what was compiled.
    #[error("{file} was altered: it says that its SHA-256 is {said}, and it is {is}; compile it again")]
    Altered {
        /// Which.
        file: String,
        /// What it says of itself.
        said: String,
        /// What it is.
        is: String,
    },
    /// A source is not what it was compiled from.
    #[error("{bundle} is stale: {file} {problem}; compile it again")]
    Stale {
        /// Which bundle.
        bundle: String,
        /// Which source.
        file: String,
        /// What is different.
        problem: &'static str,
    },
}

impl BundleFile {
    /// A bundle and the hashes of what it was compiled from.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn seal(bundle: Bundle, sources: BTreeMap<String, String>) -> serde_json::Result<Self> {
        let mut file = Self { format: FORMAT, sha256: String::new(), sources, bundle };
        file.sha256 = checksum(&serde_json::to_value(&file)?);
        file.bundle.version.clone_from(&file.sha256);
        Ok(file)
    }

    /// Reads what [`BundleFile::seal`] made, from `file`.
    ///
    /// # Errors
    /// When it was altered, or is of another format.
    pub fn open(file: &str, text: &str) -> Result<Self, BundleError> {
        let altered = |said: &str, is: String| BundleError::Altered { file: file.to_owned(), said: said.to_owned(), is };
        let foreign = |problem: String| BundleError::Foreign { file: file.to_owned(), problem };
        let value: Value = serde_json::from_str(text)
            .map_err(|error| BundleError::Unreadable { file: file.to_owned(), problem: format!("it is no JSON: {error}") })?;
        match value.get("format").and_then(Value::as_u64) {
            Some(FORMAT) => {}
            Some(other) => return Err(foreign(format!("its format is {other}, not {FORMAT}"))),
            None => return Err(foreign("it says no format".into())),
        }
        let (said, is) = (value.get("sha256").and_then(Value::as_str).unwrap_or("nothing").to_owned(), checksum(&value));
        if said != is {
            return Err(altered(&said, is));
        }
        let mut read: Self = serde_json::from_value(value).map_err(|error| foreign(error.to_string()))?;
        read.bundle.version = is;
        Ok(read)
    }

    /// Whether it was compiled from exactly these files, given with their hashes.
    ///
    /// # Errors
    /// The first file that is not there, has changed, or was not compiled.
    pub fn check_sources(&self, bundle: &str, found: &BTreeMap<String, String>) -> Result<(), BundleError> {
        let stale = |file: &str, problem| Err(BundleError::Stale { bundle: bundle.to_owned(), file: file.to_owned(), problem });
        for (name, hash) in &self.sources {
            match found.get(name) {
                None => return stale(name, "is not there any more"),
                Some(is) if is != hash => return stale(name, "has changed since"),
                Some(_) => {}
            }
        }
        match found.keys().find(|name| !self.sources.contains_key(*name)) {
            Some(new) => stale(new, "was added since"),
            None => Ok(()),
        }
    }
}

/// Of all but the checksum itself.
fn checksum(value: &Value) -> String {
    let mut value = sorted(value);
    if let Some(fields) = value.as_object_mut() {
        fields.remove("sha256");
    }
    sha256(value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), sha256(text))).collect()
    }

    fn sealed() -> BundleFile {
        BundleFile::seal(Bundle::embedded(), sources(&[("a.yaml", "a"), ("b.yaml", "b")])).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_however_it_was_printed() {
        let file = sealed();
        for text in [serde_json::to_string(&file).unwrap(), serde_json::to_string_pretty(&file).unwrap()] {
            let opened = BundleFile::open("x", &text).unwrap();
            assert_eq!(opened, file);
            assert_eq!(opened.bundle.version, file.sha256);
        }
        let again = BundleFile::seal(file.bundle.clone(), file.sources.clone()).unwrap();
        assert_eq!(again, file, "the same definitions are the same bundle");
    }

    #[test]
    fn a_bundle_that_was_altered_anywhere_does_not_open() {
        let file = sealed();
        let text = serde_json::to_string(&file).unwrap();
        for (from, to) in [("a.yaml", "c.yaml"), ("assistant", "assistent"), ("\"steps\":20", "\"steps\":21")] {
            assert!(text.contains(from), "{from}");
            let error = BundleFile::open("agents/bundle.json", &text.replacen(from, to, 1)).unwrap_err();
            assert!(matches!(error, BundleError::Altered { .. }), "{error:?}");
            assert!(error.to_string().contains("agents/bundle.json"), "{error}");
        }
        let mut unsaid: Value = serde_json::from_str(&text).unwrap();
        unsaid.as_object_mut().unwrap().remove("sha256");
        assert!(matches!(BundleFile::open("x", &unsaid.to_string()), Err(BundleError::Altered { .. })));
    }

    #[test]
    fn a_bundle_of_another_format_does_not_open() {
        let text = serde_json::to_string(&sealed()).unwrap();
        for (text, says) in [
            (text.replacen("\"format\":1", "\"format\":2", 1), "its format is 2, not 1"),
            ("{}".into(), "says no format"),
            (text[..100].to_owned(), "no JSON"),
            (String::new(), "no JSON"),
        ] {
            let error = BundleFile::open("x", &text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_bundle_that_lacks_what_this_version_needs_names_it() {
        let mut value = serde_json::to_value(sealed()).unwrap();
        value["bundle"].as_object_mut().unwrap().remove("prices");
        value["sha256"] = checksum(&value).into();
        let error = BundleFile::open("x", &value.to_string()).unwrap_err();
        assert!(matches!(&error, BundleError::Foreign { problem, .. } if problem.contains("prices")), "{error:?}");
    }

    #[test]
    fn a_source_that_changed_came_or_went_makes_it_stale() {
        let file = sealed();
        let said = |found: &[(&str, &str)]| file.check_sources("agents/bundle.json", &sources(found)).map_err(|error| error.to_string());
        assert_eq!(said(&[("a.yaml", "a"), ("b.yaml", "b")]), Ok(()));
        for (found, says) in [
            (&[("a.yaml", "a"), ("b.yaml", "B")][..], "b.yaml has changed since"),
            (&[("a.yaml", "a")][..], "b.yaml is not there any more"),
            (&[("a.yaml", "a"), ("b.yaml", "b"), ("c.yaml", "c")][..], "c.yaml was added since"),
        ] {
            let error = said(found).unwrap_err();
            assert!(error.starts_with("agents/bundle.json is stale: ") && error.contains(says), "{error}");
        }
    }
}
