//! Which dead runs a job is about: a snapshot of what was dead when it was asked for, in the order in which they died.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::domain::clock::after;
use crate::domain::dead::Fingerprint;
use crate::domain::definition::ModelRef;
use crate::domain::id::{RunId, TenantId};
use crate::domain::job::{Item, Job};
use crate::domain::state::RunState;
use crate::engine::ports::JournalError;
use crate::operate::{DeadFilter, DeadIndex, DeadRange, Records, Whose};

/// The most ids that one order may name: they stand in the record of the job, which every batch writes.
pub const MOST_IDS: usize = 1_000;
/// Entries of the index read at once, and how often, before a batch begins with what was found.
const PAGE: usize = 200;
const PAGES: usize = 10;
/// Entries read at once, and how often, to count them.
const COUNTED_PAGE: usize = 1_000;
const COUNTED_PAGES: usize = 50;

/// Which of the dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// These.
    Ids(Vec<RunId>),
    /// Those that are like this.
    Filter(Box<DeadFilter>),
    /// All of them.
    All,
}

/// What a job for dead runs is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadOrder {
    /// Which.
    pub selection: Selection,
    /// Of which tenant; absent: of all of them, which only operators may say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// Whether they begin anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub from_start: bool,
    /// The model to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelRef>,
    /// The agent that takes them over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Whether also those that were put back too often.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// A dead run, as an item of a job names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DeadItem {
    pub(super) tenant: TenantId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fingerprint: Option<Fingerprint>,
}

impl DeadOrder {
    /// The order of a job.
    ///
    /// # Errors
    /// When it is none for dead runs.
    pub fn of(job: &Job) -> Result<Self, JournalError> {
        serde_json::from_value(job.order.clone()).map_err(|error| JournalError::Unavailable(Box::new(error)))
    }

    fn whose(&self) -> Whose<'_> {
        self.tenant.as_ref().map_or(Whose::All, Whose::Tenant)
    }

    fn filter(&self) -> DeadFilter {
        match &self.selection {
            Selection::Filter(filter) => filter.as_ref().clone(),
            Selection::Ids(_) | Selection::All => DeadFilter::default(),
        }
    }

    /// What was dead at `asked_at`: the millisecond itself belongs to it.
    fn range(&self, asked_at: Timestamp) -> DeadRange {
        let range = self.filter().range(true);
        let end = after(asked_at, std::time::Duration::from_millis(1));
        DeadRange { until: Some(range.until.map_or(end, |until| until.min(end))), ..range }
    }

    /// Pages of that size, so many. The dead of all tenants are read as a whole each time, whatever part is asked for: so once.
    const fn pages(&self, size: usize, count: usize) -> (usize, usize) {
        if self.tenant.is_none() { (COUNTED_PAGE * COUNTED_PAGES, 1) } else { (size, count) }
    }

    /// How many they are, about.
    pub(super) async fn count(&self, index: &dyn DeadIndex, records: &dyn Records, asked_at: Timestamp) -> Result<u64, JournalError> {
        match (&self.selection, &self.tenant) {
            (Selection::Ids(ids), _) => return Ok(ids.len() as u64),
            (Selection::All, Some(tenant)) => return records.count(tenant, RunState::Dead).await,
            (Selection::All | Selection::Filter(_), _) => {}
        }
        let (filter, mut range, mut count) = (self.filter(), self.range(asked_at), 0);
        let (page_size, pages) = self.pages(COUNTED_PAGE, COUNTED_PAGES);
        for _ in 0..pages {
            let page = index.dead(self.whose(), &range, page_size).await?;
            count += page.iter().filter(|entry| filter.fits(entry)).count() as u64;
            match page.last() {
                Some(last) if page.len() == page_size => range.behind = Some((last.died_at, last.run)),
                Some(_) | None => break,
            }
        }
        Ok(count)
    }

    /// The next ones behind `cursor`, see [`super::Work::next`].
    pub(super) async fn next(
        &self,
        index: &dyn DeadIndex,
        records: &dyn Records,
        asked_at: Timestamp,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Item>, Option<String>), JournalError> {
        if let (Selection::Ids(ids), Some(tenant)) = (&self.selection, &self.tenant) {
            return named(records, tenant, ids, cursor, limit).await;
        }
        let (filter, mut range) = (self.filter(), self.range(asked_at));
        range.behind = cursor.map(place).transpose()?;
        let mut items = Vec::new();
        let (page_size, pages) = self.pages(PAGE, PAGES);
        for _ in 0..pages {
            let page = index.dead(self.whose(), &range, page_size).await?;
            let is_last = page.len() < page_size;
            for entry in page {
                range.behind = Some((entry.died_at, entry.run));
                if filter.fits(&entry) {
                    items.push(item(entry.run, &entry.tenant, Some(entry.fingerprint)));
                }
                if items.len() >= limit {
                    return Ok((items, range.behind.map(cursor_at)));
                }
            }
            if is_last {
                return Ok((items, None));
            }
        }
        Ok((items, range.behind.map(cursor_at)))
    }
}

/// Those that were named; of each how it had failed.
async fn named(
    records: &dyn Records,
    tenant: &TenantId,
    ids: &[RunId],
    cursor: Option<&str>,
    limit: usize,
) -> Result<(Vec<Item>, Option<String>), JournalError> {
    let from = cursor.map_or(Ok(0), str::parse).map_err(|_| unreadable())?;
    let to = ids.len().min(from + limit);
    let ids_now = ids.get(from..to).unwrap_or_default();
    let runs = records.runs(tenant, ids_now).await?;
    let of = |id: &RunId| runs.iter().find(|run| run.id == *id).and_then(|run| run.failures.last()).map(Fingerprint::of);
    let items = ids_now.iter().map(|id| item(*id, tenant, of(id))).collect();
    Ok((items, (to < ids.len()).then(|| to.to_string())))
}

fn item(run: RunId, tenant: &TenantId, fingerprint: Option<Fingerprint>) -> Item {
    Item { key: run.to_string(), data: json!(DeadItem { tenant: tenant.clone(), fingerprint }) }
}

fn cursor_at((died_at, run): (Timestamp, RunId)) -> String {
    format!("{}#{run}", died_at.as_millisecond())
}

fn place(cursor: &str) -> Result<(Timestamp, RunId), JournalError> {
    let read = || {
        let (millis, run) = cursor.split_once('#')?;
        Some((Timestamp::from_millisecond(millis.parse().ok()?).ok()?, run.parse().ok()?))
    };
    read().ok_or_else(unreadable)
}

fn unreadable() -> JournalError {
    JournalError::Unavailable("the cursor of a job cannot be read".into())
}
