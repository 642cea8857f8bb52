//! Lists of runs, newest first, page by page.

use jiff::Timestamp;

use super::{Range, Records};
use crate::domain::id::{RunId, TenantId};
use crate::domain::run::Run;
use crate::domain::state::RunState;
use crate::engine::ports::JournalError;

/// How many runs a list looks at per round, and how many rounds it makes before it hands out a cursor instead.
const ROUND: usize = 100;
const ROUNDS: usize = 10;

/// Which runs a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Only in this state.
    pub state: Option<RunState>,
    /// Only of this agent.
    pub agent: Option<String>,
    /// Only accepted at or after.
    pub since: Option<Timestamp>,
    /// Only accepted before.
    pub until: Option<Timestamp>,
}

/// A part of a list. While there is a cursor there may be more, even after a short or an empty page.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The runs, newest first.
    pub runs: Vec<Run>,
    /// Where the next page begins.
    pub next: Option<RunId>,
}

/// Lists runs, newest first.
///
/// # Errors
/// When the store cannot be reached.
pub async fn list(
    records: &dyn Records,
    tenant: &TenantId,
    filter: &RunFilter,
    cursor: Option<RunId>,
    limit: usize,
) -> Result<Page, JournalError> {
    let mut range = Range {
        // Bounds are exclusive and the smallest id of a millisecond is never handed out, so `since` is inclusive.
        after: filter.since.map(RunId::lower_bound),
        before: [cursor, filter.until.map(RunId::lower_bound)].into_iter().flatten().min(),
    };
    // The store refuses a range whose end is before its beginning.
    if range.after.zip(range.before).is_some_and(|(after, before)| after >= before) {
        return Ok(Page { runs: Vec::new(), next: None });
    }
    let indexed = filter.state.filter(|state| state.is_listed_by_state());
    let mut found = Vec::new();
    for _ in 0..ROUNDS {
        let ids = records.ids(tenant, indexed, range, ROUND).await?;
        for run in records.runs(tenant, &ids).await? {
            let fits = filter.state.is_none_or(|state| run.state == state) && filter.agent.as_ref().is_none_or(|agent| *agent == run.agent);
            if fits {
                found.push(run);
            }
            if found.len() > limit {
                found.truncate(limit);
                let next = found.last().map(|run| run.id);
                return Ok(Page { runs: found, next });
            }
        }
        if ids.len() < ROUND {
            return Ok(Page { runs: found, next: None });
        }
        range.before = ids.last().copied();
    }
    Ok(Page { runs: found, next: range.before })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::{MemoryStore, a_run};

    fn tenant() -> TenantId {
        "acme".parse().unwrap()
    }

    #[tokio::test]
    async fn a_list_is_paged_by_its_sort_key_without_gap_or_repetition() {
        let store = MemoryStore::default();
        for n in 0..250_i64 {
            let mut run = a_run(&tenant(), Timestamp::from_millisecond(1_000_000 + n).unwrap());
            run.agent = if n % 10 == 0 { "rare".into() } else { "assistant".into() };
            store.put(run);
        }
        let filter = RunFilter { agent: Some("rare".into()), ..RunFilter::default() };
        let (mut cursor, mut seen) = (None, Vec::new());
        loop {
            let page = list(&store, &tenant(), &filter, cursor, 10).await.unwrap();
            assert!(page.runs.len() <= 10);
            seen.extend(page.runs.iter().map(|run| run.id));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), 25);
        assert!(seen.is_sorted_by(|a, b| a > b));
    }

    #[tokio::test]
    async fn time_bounds_are_since_inclusive_and_until_exclusive() {
        let store = MemoryStore::default();
        let at = |n| Timestamp::from_millisecond(n).unwrap();
        for n in [100, 200, 300] {
            store.put(a_run(&tenant(), at(n)));
        }
        let filter = RunFilter { since: Some(at(100)), until: Some(at(300)), ..RunFilter::default() };
        let page = list(&store, &tenant(), &filter, None, 10).await.unwrap();
        assert_eq!(page.runs.iter().map(|run| run.created_at).collect::<Vec<_>>(), [at(200), at(100)]);
    }
}
