//! Pages of dead runs, in any order that operators ask for.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::MOST;
use crate::domain::dead::DeadEntry;
use crate::domain::id::{RunId, TenantId};
use crate::domain::run::Run;
use crate::domain::state::RunState;
use crate::engine::ports::JournalError;
use crate::operate::{DeadFilter, DeadIndex, DeadRange, Records, Whose};

/// So many times more entries than fit a page are read where some of them will not fit the filter, and each time more than before.
const MORE: usize = 4;

/// What a list is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortBy {
    /// When they died: the order of the index.
    DiedAt,
    /// When they were accepted.
    CreatedAt,
    /// How many attempts have failed.
    Attempts,
    /// What they have spent.
    Tokens,
}

/// The order of a list. Where two are equal, their ids decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sort {
    /// What it goes by.
    pub by: SortBy,
    /// Whether the least comes first.
    pub ascending: bool,
}

impl Default for Sort {
    fn default() -> Self {
        Self { by: SortBy::DiedAt, ascending: false }
    }
}

/// What the API calls them; a minus in front turns them round.
const WORDS: [(&str, SortBy); 4] =
    [("died_at", SortBy::DiedAt), ("created_at", SortBy::CreatedAt), ("attempts", SortBy::Attempts), ("tokens", SortBy::Tokens)];

/// A text that is no order, or no cursor of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

impl FromStr for Sort {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let (ascending, word) = text.strip_prefix('-').map_or((true, text), |word| (false, word));
        let (_, by) = WORDS.into_iter().find(|(name, _)| *name == word).ok_or(Unreadable)?;
        Ok(Self { by, ascending })
    }
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = WORDS.into_iter().find(|(_, by)| *by == self.by).map_or("", |(word, _)| word);
        write!(f, "{}{word}", if self.ascending { "" } else { "-" })
    }
}

impl Sort {
    fn value(self, entry: &DeadEntry) -> i64 {
        match self.by {
            SortBy::DiedAt => entry.died_at.as_millisecond(),
            SortBy::CreatedAt => entry.created_at.as_millisecond(),
            SortBy::Attempts => entry.attempts.into(),
            SortBy::Tokens => i64::try_from(entry.tokens).unwrap_or(i64::MAX),
        }
    }

    fn cursor(self, entry: &DeadEntry) -> Cursor {
        Cursor { sort: self, value: self.value(entry), run: entry.run }
    }

    fn is_behind(self, entry: &DeadEntry, cursor: Cursor) -> bool {
        let order = (self.value(entry), entry.run).cmp(&(cursor.value, cursor.run));
        if self.ascending { order.is_gt() } else { order.is_lt() }
    }
}

/// A place in a list: the sort key of its last entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Of which list.
    pub sort: Sort,
    value: i64,
    run: RunId,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}~{}~{}", self.sort, self.value, self.run)
    }
}

impl FromStr for Cursor {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let mut parts = text.splitn(3, '~');
        let mut part = || parts.next().ok_or(Unreadable);
        let (sort, value, run) = (part()?.parse()?, part()?, part()?.parse().map_err(|_| Unreadable)?);
        let cursor = Self { sort, value: value.parse().map_err(|_| Unreadable)?, run };
        // One place has one name, and a time is one.
        if cursor.to_string() == text && Timestamp::from_millisecond(cursor.value).is_ok() { Ok(cursor) } else { Err(Unreadable) }
    }
}

/// Which page of which list.
#[derive(Debug)]
pub struct DeadQuery<'a> {
    /// Of whose runs.
    pub whose: Whose<'a>,
    /// Which of them.
    pub filter: &'a DeadFilter,
    /// In which order.
    pub sort: Sort,
    /// Behind this place.
    pub behind: Option<Cursor>,
    /// Entries at most.
    pub limit: usize,
}

/// A part of a list. While there is a cursor there may be more, even after a short or an empty page.
#[derive(Debug, PartialEq)]
pub struct DeadPage {
    /// The runs, as their records stand.
    pub runs: Vec<Run>,
    /// Where the next page begins.
    pub next: Option<Cursor>,
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// In this order all have to be looked at, and there are more than [`MOST`].
    #[error("more are dead than can be sorted at once")]
    TooMany,
    /// The store cannot be reached.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Lists dead runs. A run that the index has and the record knows better of is left out.
///
/// # Errors
/// See [`ListError`].
pub async fn list_dead(index: &dyn DeadIndex, records: &dyn Records, query: &DeadQuery<'_>) -> Result<DeadPage, ListError> {
    let (entries, next) = match query.sort.by {
        SortBy::DiedAt => in_order(index, query).await?,
        SortBy::CreatedAt | SortBy::Attempts | SortBy::Tokens => sorted(index, query).await?,
    };
    Ok(DeadPage { runs: runs_of(records, &entries).await?, next })
}

/// As the index has them: it is read until the page is full.
async fn in_order(index: &dyn DeadIndex, query: &DeadQuery<'_>) -> Result<(Vec<DeadEntry>, Option<Cursor>), JournalError> {
    let sort = query.sort;
    let mut range = query.filter.range(sort.ascending);
    range.behind = query.behind.and_then(|place| Some((Timestamp::from_millisecond(place.value).ok()?, place.run)));
    let (mut round, mut read) = (round_of(query), 0);
    let mut found = Vec::new();
    while read < MOST {
        let entries = index.dead(query.whose, &range, round).await?;
        let is_last = entries.len() < round;
        range.behind = entries.last().map(|entry| (entry.died_at, entry.run));
        read += entries.len();
        found.extend(entries.into_iter().filter(|entry| query.filter.fits(entry)));
        if found.len() > query.limit {
            found.truncate(query.limit);
            let next = found.last().map(|entry| sort.cursor(entry));
            return Ok((found, next));
        }
        if is_last {
            return Ok((found, None));
        }
        round = (round * MORE).min(MOST);
    }
    let next = range.behind.map(|(died_at, run)| Cursor { sort, value: died_at.as_millisecond(), run });
    Ok((found, next))
}

/// One more than a page shows that there are more. The index of all tenants is read whole each time, so once.
const fn round_of(query: &DeadQuery<'_>) -> usize {
    match query.whose {
        Whose::All => MOST,
        Whose::Tenant(_) => {
            if is_plain(query.filter) {
                query.limit.saturating_add(1)
            } else {
                query.limit.saturating_add(1) * MORE
            }
        }
    }
}

/// Whether the index itself leaves out what is not meant.
const fn is_plain(filter: &DeadFilter) -> bool {
    filter.code.is_none()
        && filter.agent.is_none()
        && filter.provider.is_none()
        && filter.event_type.is_none()
        && filter.source.is_none()
        && filter.trigger.is_none()
        && filter.fingerprint.is_none()
        && filter.min_attempts.is_none()
        && filter.max_attempts.is_none()
        && filter.text.is_none()
}

/// In another order than the index has.
async fn sorted(index: &dyn DeadIndex, query: &DeadQuery<'_>) -> Result<(Vec<DeadEntry>, Option<Cursor>), ListError> {
    let sort = query.sort;
    let range: DeadRange = query.filter.range(false);
    let mut entries = index.dead(query.whose, &range, MOST + 1).await?;
    if entries.len() > MOST {
        return Err(ListError::TooMany);
    }
    entries.retain(|entry| query.filter.fits(entry) && query.behind.is_none_or(|place| sort.is_behind(entry, place)));
    entries.sort_unstable_by_key(|entry| (sort.value(entry), entry.run));
    if !sort.ascending {
        entries.reverse();
    }
    let has_more = entries.len() > query.limit;
    entries.truncate(query.limit);
    let next = entries.last().filter(|_| has_more).map(|entry| sort.cursor(entry));
    Ok((entries, next))
}

/// Their records, in their order; those that are not dead any more are left out.
async fn runs_of(records: &dyn Records, entries: &[DeadEntry]) -> Result<Vec<Run>, JournalError> {
    let mut of: HashMap<&TenantId, Vec<RunId>> = HashMap::new();
    for entry in entries {
        of.entry(&entry.tenant).or_default().push(entry.run);
    }
    let reads = of.into_iter().map(|(tenant, ids)| async move { records.runs(tenant, &ids).await });
    let mut runs: HashMap<RunId, Run> = try_join_all(reads).await?.into_iter().flatten().map(|run| (run.id, run)).collect();
    let dead = entries.iter().filter_map(|entry| runs.remove(&entry.run)).filter(|run| run.state == RunState::Dead);
    Ok(dead.collect())
}
