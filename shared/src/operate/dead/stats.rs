//! What they died of, in numbers.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;

use super::MOST;
use crate::domain::dead::{DeadEntry, Fingerprint};
use crate::domain::id::RunId;
use crate::engine::ports::JournalError;
use crate::operate::{DeadFilter, DeadIndex, Whose};

/// Groups that are told; the rest are counted.
const GROUPS: usize = 100;

/// Runs that died of the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What they have in common.
    pub fingerprint: Fingerprint,
    /// The code of the failure.
    pub code: String,
    /// The model that failed, if one did.
    pub provider: Option<String>,
    /// The beginning of its message, as the latest of them has it.
    pub message: String,
    /// Their agents.
    pub agents: BTreeSet<String>,
    /// How many.
    pub count: u64,
    /// When the first of them died.
    pub first_died_at: Timestamp,
    /// When the last did.
    pub last_died_at: Timestamp,
    /// The last.
    pub run: RunId,
}

/// Counts of dead runs.
#[derive(Debug, PartialEq, Eq)]
pub struct Stats {
    /// How many in all.
    pub count: u64,
    /// Whether all were looked at and are told of: else the numbers are those of the latest [`MOST`], or of the largest groups.
    pub complete: bool,
    /// The largest first.
    pub groups: Vec<Group>,
}

/// Counts the dead by what they died of.
///
/// # Errors
/// When the store cannot be reached.
pub async fn dead_stats(index: &dyn DeadIndex, whose: Whose<'_>, filter: &DeadFilter) -> Result<Stats, JournalError> {
    let mut entries = index.dead(whose, &filter.range(false), MOST + 1).await?;
    let mut complete = entries.len() <= MOST;
    entries.truncate(MOST);
    entries.retain(|entry| filter.fits(entry));
    let count = entries.len() as u64;
    let mut groups: HashMap<Fingerprint, Group> = HashMap::new();
    // The latest come first.
    for entry in entries {
        match groups.get_mut(&entry.fingerprint) {
            Some(group) => {
                group.count += 1;
                group.first_died_at = entry.died_at;
                group.agents.insert(entry.agent);
            }
            None => {
                groups.insert(entry.fingerprint.clone(), group_of(entry));
            }
        }
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_unstable_by(|one, other| {
        (other.count, other.last_died_at, &other.fingerprint).cmp(&(one.count, one.last_died_at, &one.fingerprint))
    });
    complete &= groups.len() <= GROUPS;
    groups.truncate(GROUPS);
    Ok(Stats { count, complete, groups })
}

fn group_of(entry: DeadEntry) -> Group {
    Group {
        fingerprint: entry.fingerprint,
        code: entry.code,
        provider: entry.provider,
        message: entry.message,
        agents: BTreeSet::from([entry.agent]),
        count: 1,
        first_died_at: entry.died_at,
        last_died_at: entry.died_at,
        run: entry.run,
    }
}
