//! Incidents: what operators write down while something is wrong. They belong to no tenant.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::id::IncidentId;
use crate::domain::incident::{Entry, Incident, IncidentStatus, Unresolved, Update};
use crate::engine::ports::JournalError;

/// How often a change is computed anew because somebody else has changed the incident meanwhile.
const TRIES: usize = 5;
/// Incidents read at once.
const ROUND: usize = 100;

/// Where incidents are kept. Reads are strongly consistent.
#[async_trait]
pub trait Incidents: Send + Sync {
    /// One of them.
    async fn incident(&self, id: IncidentId) -> Result<Option<Incident>, JournalError>;
    /// Those below `before`, newest first, at most `limit`.
    async fn incidents(&self, before: Option<IncidentId>, limit: usize) -> Result<Vec<Incident>, JournalError>;
    /// Entries of a timeline after the one with number `after`, in order, at most `limit`.
    async fn entries(&self, id: IncidentId, after: u32, limit: usize) -> Result<Vec<Entry>, JournalError>;
    /// Writes an incident with the newest entry of its timeline, both or neither.
    ///
    /// # Errors
    /// [`JournalError::Lost`] if it has such an entry already: somebody else was faster.
    async fn record(&self, incident: &Incident, entry: &Entry) -> Result<(), JournalError>;
}

/// Why something cannot be said of an incident.
#[derive(Debug, thiserror::Error)]
pub enum IncidentError {
    /// There is no such incident.
    #[error("no such incident")]
    NotFound,
    /// It cannot be called resolved yet.
    #[error("the fix was not watched for long enough")]
    Unresolved(Unresolved),
    /// The store cannot be reached.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Some incidents, and where the next page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncidentPage {
    /// Newest first.
    pub incidents: Vec<Incident>,
    /// The cursor of the next page.
    pub next: Option<IncidentId>,
}

/// Adds a note.
///
/// # Errors
/// See [`IncidentError`].
pub async fn note(store: &dyn Incidents, id: IncidentId, text: &str, by: &str, now: Timestamp) -> Result<(Incident, Entry), IncidentError> {
    change(store, id, |incident| Ok(incident.noted(text.to_owned(), by, now))).await
}

/// Says what is known now.
///
/// # Errors
/// See [`IncidentError`].
pub async fn update(
    store: &dyn Incidents,
    id: IncidentId,
    update: &Update,
    by: &str,
    now: Timestamp,
) -> Result<(Incident, Entry), IncidentError> {
    change(store, id, |incident| incident.updated(update.clone(), by, now)).await
}

/// Lists incidents, newest first; only those in `status` if one is given.
///
/// # Errors
/// When the store cannot be reached.
pub async fn list(
    store: &dyn Incidents,
    status: Option<IncidentStatus>,
    mut before: Option<IncidentId>,
    limit: usize,
) -> Result<IncidentPage, JournalError> {
    let mut found = Vec::new();
    loop {
        let read = store.incidents(before, ROUND).await?;
        let is_last = read.len() < ROUND;
        before = read.last().map(|incident| incident.id);
        found.extend(read.into_iter().filter(|incident| status.is_none_or(|status| incident.status == status)));
        if found.len() > limit {
            found.truncate(limit);
            return Ok(IncidentPage { next: found.last().map(|incident| incident.id), incidents: found });
        }
        if is_last {
            return Ok(IncidentPage { incidents: found, next: None });
        }
    }
}

/// Reads, changes and writes, anew if somebody else was faster.
async fn change(
    store: &dyn Incidents,
    id: IncidentId,
    with: impl Fn(Incident) -> Result<(Incident, Entry), Unresolved>,
) -> Result<(Incident, Entry), IncidentError> {
    for _ in 0..TRIES {
        let incident = store.incident(id).await?.ok_or(IncidentError::NotFound)?;
        let (incident, entry) = with(incident).map_err(IncidentError::Unresolved)?;
        match store.record(&incident, &entry).await {
            Ok(()) => return Ok((incident, entry)),
            Err(JournalError::Lost) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(JournalError::Unavailable("the incident changes too often".into()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::Clock;
    use crate::domain::incident::Severity;
    use crate::fakes::{FixedClock, MemoryIncidents};

    async fn open(store: &MemoryIncidents, now: Timestamp) -> Incident {
        let (incident, entry) = Incident::open(IncidentId::new(now), "t".into(), Severity::P1, String::new(), now, "ana", now);
        store.record(&incident, &entry).await.unwrap();
        incident
    }

    #[tokio::test]
    async fn two_who_write_at_the_same_time_both_stand_in_the_timeline() {
        let (store, clock) = (MemoryIncidents::default(), FixedClock::at("2026-01-02T03:04:05Z"));
        let id = open(&store, clock.now()).await.id;
        store.races.store(2, std::sync::atomic::Ordering::Relaxed);
        let (incident, entry) = note(&store, id, "mine", "bo", clock.now()).await.unwrap();
        assert_eq!((incident.entries, entry.no), (4, 4), "behind the two that were faster");
        let texts: Vec<_> = store.entries(id, 1, 10).await.unwrap().into_iter().map(|entry| (entry.no, entry.text)).collect();
        assert_eq!(texts, [(2, "faster".into()), (3, "faster".into()), (4, "mine".to_owned())]);
    }

    #[tokio::test]
    async fn a_list_is_newest_first_and_paged() {
        let (store, clock) = (MemoryIncidents::default(), FixedClock::at("2026-01-02T03:04:05Z"));
        let mut ids = Vec::new();
        for _ in 0..5 {
            clock.advance(std::time::Duration::from_secs(1));
            ids.insert(0, open(&store, clock.now()).await.id);
        }
        let over = Update { status: Some(IncidentStatus::Resolved), force: true, ..Update::default() };
        update(&store, ids[1], &over, "ana", clock.now()).await.unwrap();
        let page = list(&store, Some(IncidentStatus::Investigating), None, 2).await.unwrap();
        assert_eq!((page.incidents.iter().map(|it| it.id).collect::<Vec<_>>(), page.next), (vec![ids[0], ids[2]], Some(ids[2])));
        let rest = list(&store, Some(IncidentStatus::Investigating), page.next, 2).await.unwrap();
        assert_eq!((rest.incidents.iter().map(|it| it.id).collect::<Vec<_>>(), rest.next), (vec![ids[3], ids[4]], None));
        assert_eq!(list(&store, None, None, 100).await.unwrap().incidents.len(), 5);
    }
}
