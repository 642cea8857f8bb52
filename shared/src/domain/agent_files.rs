//! Reads and checks the files of `infra/agents`: one agent per file with its triggers, the tools, and the prices.
//!
//! Part of the crate `agent-files`, for `build.rs` and the command `reprise agents`; the library compiles it for its tests. Every refusal names file, line, field
//! and what to write instead, and all of them are collected, so that one look shows all that is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_saphyr::{Error, Location};

use super::bundle_file::BundleFile;
use super::canonical::sha256;
use super::definition::{Bundle, DEFAULT_AGENT};
use super::tool_definition::ToolDefinition;

mod agent;
#[cfg(test)]
mod building_tests;
mod openapi;
pub mod optimized;
mod output;
mod price;
#[cfg(test)]
mod schema_tests;
mod short;
mod strategy;
#[cfg(test)]
mod tests;
mod tool;
mod trigger;

/// The folder of the files, from the root of the repository.
pub const FOLDER: &str = "infra/agents";
/// The file in it that holds no agent.
const PRICES: &str = "prices.yaml";
/// The file of tools.
const TOOLS_FILE: &str = "tools.yaml";
/// Where the texts are that agents name.
const PROMPTS: &str = "prompts/";
/// Where `reprise agents optimize` writes, a file per agent.
pub const OPTIMIZED: &str = "optimized/";

/// A file as it was found.
#[derive(Debug)]
pub struct SourceFile {
    /// Its name within [`FOLDER`], e.g. `assistant.yaml` or `prompts/assistant.md`.
    pub name: String,
    /// What it holds.
    pub text: String,
}

/// A part of a file that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Within [`FOLDER`].
    pub file: String,
    /// From 1; none if the file as a whole is meant.
    pub line: Option<u64>,
    /// E.g. `triggers[0].rate.limit`; empty if none is meant.
    pub field: String,
    /// What is wrong, and what to write.
    pub problem: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{FOLDER}/{}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        match self.field.as_str() {
            "" => write!(f, ": {}", self.problem),
            field => write!(f, ": {field}: {}", self.problem),
        }
    }
}

/// All agents, triggers and prices of the files.
///
/// # Errors
/// Everything that is wrong with them, in the order of the files and their lines.
pub fn compile(files: &[SourceFile]) -> Result<Bundle, Vec<Refusal>> {
    let mut checks = Checks { files, ..Checks::default() };
    let mut bundle = Bundle { version: String::new(), agents: Vec::new(), triggers: Vec::new(), prices: Vec::new(), tools: Vec::new() };
    let (mut attached, mut files): (Vec<_>, Vec<_>) = files.iter().partition(|file| file.name.contains('/'));
    files.sort_by(|a, b| a.name.cmp(&b.name));
    // First, for agents name them.
    if let Some(file) = files.iter().find(|file| file.name == TOOLS_FILE) {
        file.name.clone_into(&mut checks.file);
        bundle.tools = tool::read(&mut checks, &file.text);
        checks.tools.clone_from(&bundle.tools);
    }
    for file in files.into_iter().filter(|file| file.name != TOOLS_FILE) {
        file.name.clone_into(&mut checks.file);
        match file.name.strip_suffix(".yaml") {
            _ if file.name == PRICES => bundle.prices = price::read(&mut checks, &file.text),
            Some(stem) => {
                if let Some((agent, triggers)) = agent::read(&mut checks, stem, &file.text) {
                    bundle.agents.push(agent);
                    bundle.triggers.extend(triggers);
                }
            }
            None => checks.refuse_at(None, "", "must end in `.yaml`, or it would be passed over"),
        }
    }
    attached.sort_by(|a, b| a.name.cmp(&b.name));
    for file in attached {
        file.name.clone_into(&mut checks.file);
        if file.name.starts_with(OPTIMIZED) {
            optimized::read(&mut checks, &file.text, &mut bundle.agents);
        } else if !checks.used.contains(file.name.as_str()) {
            checks.refuse_at(None, "", "no file names it, so it would be passed over; name it, or remove it");
        }
    }
    if checks.refusals.is_empty() && !bundle.agents.iter().any(|agent| agent.name == DEFAULT_AGENT) {
        checks.file = format!("{DEFAULT_AGENT}.yaml");
        checks.refuse_at(None, "", "is missing: requests that name no agent are for it");
    }
    if checks.refusals.is_empty() { Ok(bundle) } else { Err(checks.refusals) }
}

/// As [`compile`], ready to be written: with its checksum and those of the files.
///
/// # Errors
/// Everything that is wrong with them.
pub fn seal(files: &[SourceFile]) -> Result<BundleFile, Vec<Refusal>> {
    let bundle = compile(files)?;
    let sources = files.iter().map(|file| (file.name.clone(), sha256(&file.text))).collect();
    let whole = |problem: String| vec![Refusal { file: String::new(), line: None, field: String::new(), problem }];
    let sealed = BundleFile::seal(bundle, sources).map_err(|error| whole(format!("the bundle cannot be written: {error}")))?;
    // A number that JSON does not keep to the last digit would make the functions refuse the bundle.
    let text = serde_json::to_string(&sealed).map_err(|error| whole(format!("the bundle cannot be written: {error}")))?;
    match BundleFile::open("the bundle", &text) {
        Ok(read) if read == sealed => Ok(sealed),
        Ok(_) => Err(whole("the bundle does not read back as it was written".into())),
        Err(error) => Err(whole(error.to_string())),
    }
}

/// What was found so far.
#[derive(Debug, Default)]
struct Checks<'f> {
    /// All files.
    files: &'f [SourceFile],
    /// Those that another file names.
    used: BTreeSet<&'f str>,
    /// The one that is read.
    file: String,
    refusals: Vec<Refusal>,
    /// The tools that are defined.
    tools: Vec<ToolDefinition>,
    /// Where each trigger is defined, by name.
    triggers: BTreeMap<String, String>,
    /// How many triggers each event type has.
    of_a_type: BTreeMap<String, usize>,
}

/// A value and where it stands.
type At<T> = serde_saphyr::Spanned<T>;

impl<'f> Checks<'f> {
    /// The text of the file below `folder` that `at` names; a refusal if there is none.
    fn attached(&mut self, at: &At<String>, field: &str, folder: &str) -> Option<&'f str> {
        let found = self.files.iter().find(|file| file.name == at.value && file.name.starts_with(folder));
        let Some(file) = found else {
            self.refuse(at, field, format!("must be a file of {FOLDER}/{folder}, e.g. {folder}assistant.md; there is no `{}`", at.value));
            return None;
        };
        self.used.insert(&file.name);
        Some(&file.text)
    }

    /// What the text holds; a refusal if it does not fit.
    fn parse<T: DeserializeOwned>(&mut self, text: &str) -> Option<T> {
        // The reader knows the line, the wrapper the field: each of them is asked.
        let mut field = String::new();
        // In a filter, `no` is Norway and `010` is a code, as YAML 1.2 has it: what looks like a text is one.
        let options = serde_saphyr::options! {
            strict_booleans: true,
            leading_zero_numbers_as_strings: true,
            underscored_numbers_as_strings: true,
            reject_unsupported_tags: true,
        };
        let read = serde_saphyr::with_deserializer_from_str_with_options(text, options, |reader| {
            serde_path_to_error::deserialize(reader).map_err(|error| {
                field = error.path().to_string();
                error.into_inner()
            })
        });
        match read {
            Ok(value) => Some(value),
            Err(error) => {
                let location = error.location();
                // `.value` is the part of [`At`] that holds what the file has.
                let field = field.trim_end_matches(".?").split('.').filter(|part| !part.is_empty() && *part != "value").collect::<Vec<_>>();
                self.refuse_at(location, &field.join("."), said(&error));
                None
            }
        }
    }

    fn refuse_at(&mut self, location: Option<Location>, field: &str, problem: impl Into<String>) {
        let line = location.map(|location| location.line()).filter(|&line| line > 0);
        self.refusals.push(Refusal { file: self.file.clone(), line, field: field.to_owned(), problem: problem.into() });
    }

    fn refuse<T>(&mut self, at: &At<T>, field: &str, problem: impl Into<String>) {
        self.refuse_at(Some(at.referenced), field, problem);
    }

    /// The number, refused outside of the bounds.
    fn within<N: Copy + PartialOrd + fmt::Display>(&mut self, at: &At<N>, field: &str, least: N, most: N) -> N {
        if at.value < least || at.value > most {
            self.refuse(at, field, format!("must be from {least} to {most}; it is {}", at.value));
        }
        at.value
    }

    /// The text, refused if it is blank or too long.
    fn text(&mut self, at: &At<String>, field: &str, most: usize) -> String {
        if at.value.trim().is_empty() {
            self.refuse(at, field, "must not be empty");
        } else if at.value.len() > most {
            self.refuse(at, field, format!("has {} bytes; at most {most} are allowed", at.value.len()));
        }
        at.value.clone()
    }

    /// The number, refused outside of the bounds or if it is none.
    fn share(&mut self, at: &At<f64>, field: &str, least: f64, most: f64) -> f64 {
        if !(least..=most).contains(&at.value) {
            self.refuse(at, field, format!("must be from {least} to {most}; it is {}", at.value));
        }
        at.value
    }

    /// A name that may stand in a URL, a key and a log line.
    fn name(&mut self, at: &At<String>, field: &str) -> String {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let name = at.value.as_str();
        if name.is_empty() || name.len() > 64 || !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(fits) {
            self.refuse(at, field, format!("must be 1 to 64 of a-z, 0-9 and `-`, beginning with a letter; it is `{name}`"));
        }
        name.to_owned()
    }

    /// US dollars as millionths.
    fn micros(&mut self, at: &At<f64>, field: &str) -> u64 {
        const MOST: f64 = 1_000_000.0;
        let micros = at.value * 1e6;
        if !(0.0..=MOST).contains(&at.value) || (micros - micros.round()).abs() > 1e-3 {
            self.refuse(at, field, format!("must be from 0 to {MOST} US dollars with at most six decimals; it is {}", at.value));
            return 0;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 10^12, as checked above")]
        {
            micros.round() as u64
        }
    }
}

/// What the reader says, in our words where it speaks of its own, and without the place, which is told apart.
fn said(error: &serde_saphyr::Error) -> String {
    match error.without_snippet() {
        Error::DuplicateMappingKey { key, .. } => format!("`{}` stands here twice; remove one", key.as_deref().unwrap_or("the field")),
        Error::InvalidScalar { ty: "u32" | "u64", .. } => "must be a whole number, not below 0".into(),
        Error::InvalidScalar { ty: "floating point", .. } => "must be a number".into(),
        Error::Unexpected { expected: "mapping start", .. } => "must be a map of fields".into(),
        Error::Unexpected { expected: "sequence start", .. } => "must be a list".into(),
        other => {
            let text = other.to_string();
            text.split(" at line ").next().unwrap_or(&text).to_owned()
        }
    }
}

/// A field that may be left out, but not be left empty: `filter:` with nothing after it would silently take everything.
fn filled<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
