//! Whether an archive is whole and all of it can be used.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::items::{Journals, key, kind, problem, unfinished};
use super::table::Item;
use super::{FORMAT, VERSION};
use crate::archive::{self, damaged};
use crate::error::{Error, Result};

/// An archive that was found to be whole.
pub(super) struct Checked {
    pub(super) manifest: Value,
    /// Runs that had not ended, by their states.
    pub(super) unfinished: BTreeMap<String, u64>,
    pub(super) journals: Journals,
}

/// Reads all of it: every sum, every count, every item.
pub(super) fn execute(path: &Path) -> Result<Checked> {
    let (mut count, mut kinds) = (0_u64, BTreeMap::<&str, u64>::new());
    let (mut unfinished_runs, mut journals) = (BTreeMap::new(), Journals::default());
    let manifest = archive::read(path, |name, bytes| {
        for item in items(path, name, bytes)? {
            let kind = key(&item).map_or("other", |(pk, sk)| kind(pk, sk));
            count += 1;
            *kinds.entry(kind).or_default() += 1;
            if let Some(state) = unfinished(kind, &item) {
                *unfinished_runs.entry(state.to_owned()).or_default() += 1;
            }
            journals.note(&item);
        }
        Ok(())
    })?;
    if manifest["format"] != FORMAT {
        return Err(Error::new(format!("{} is no backup", path.display())).with_hint("`reprise backup list` shows those of a folder"));
    }
    if manifest["version"] != VERSION {
        let version = &manifest["version"];
        return Err(Error::new(format!("{} has version {version}; this reprise reads {VERSION}", path.display()))
            .with_hint("use the reprise that made it"));
    }
    if (&manifest["items"], &manifest["kinds"], &manifest["unfinished"]) != (&json!(count), &json!(kinds), &json!(unfinished_runs)) {
        return Err(damaged(path, "its items are not those that its manifest counts"));
    }
    Ok(Checked { manifest, unfinished: unfinished_runs, journals })
}

/// The items of a part.
pub(super) fn items(path: &Path, part: &str, bytes: &[u8]) -> Result<Vec<Item>> {
    let bad = |line: usize, what: &str| damaged(path, &format!("{part} line {}: {what}", line + 1));
    let text = std::str::from_utf8(bytes).map_err(|_| bad(0, "is no text"))?;
    let mut items = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let item: Item = serde_json::from_str(line).map_err(|error| bad(number, "is no item").because(error))?;
        if let Some(problem) = problem(&item) {
            return Err(bad(number, problem));
        }
        items.push(item);
    }
    Ok(items)
}
