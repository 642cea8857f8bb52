//! Incidents in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;

use super::{locked, unavailable};
use crate::domain::id::IncidentId;
use crate::domain::incident::{Entry, Incident};
use crate::engine::ports::JournalError;
use crate::operate::Incidents;

/// Incidents and their timelines.
#[derive(Debug, Default)]
pub struct MemoryIncidents {
    kept: Mutex<BTreeMap<IncidentId, (Incident, Vec<Entry>)>>,
    /// How often somebody else writes first.
    pub races: AtomicU32,
    /// Refuses everything while true.
    pub is_down: Mutex<bool>,
}

impl MemoryIncidents {
    fn check(&self) -> Result<(), JournalError> {
        if *locked(&self.is_down) { Err(unavailable()) } else { Ok(()) }
    }
}

#[async_trait]
impl Incidents for MemoryIncidents {
    async fn incident(&self, id: IncidentId) -> Result<Option<Incident>, JournalError> {
        self.check()?;
        Ok(locked(&self.kept).get(&id).map(|(incident, _)| incident.clone()))
    }

    async fn incidents(&self, before: Option<IncidentId>, limit: usize) -> Result<Vec<Incident>, JournalError> {
        self.check()?;
        let kept = locked(&self.kept);
        let found = kept.values().rev().map(|(incident, _)| incident).filter(|incident| before.is_none_or(|before| incident.id < before));
        Ok(found.take(limit).cloned().collect())
    }

    async fn entries(&self, id: IncidentId, after: u32, limit: usize) -> Result<Vec<Entry>, JournalError> {
        self.check()?;
        let kept = locked(&self.kept);
        let entries = kept.get(&id).map(|(_, entries)| entries.as_slice()).unwrap_or_default();
        Ok(entries.iter().filter(|entry| entry.no > after).take(limit).cloned().collect())
    }

    async fn record(&self, incident: &Incident, entry: &Entry) -> Result<(), JournalError> {
        self.check()?;
        let mut kept = locked(&self.kept);
        let raced = self.races.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        if raced && let Some((known, entries)) = kept.get_mut(&incident.id) {
            let (faster, entry) = known.clone().noted("faster".into(), "else", entry.at);
            *known = faster;
            entries.push(entry);
        }
        let written = kept.get(&incident.id).map_or(0, |(known, _)| known.entries);
        if written + 1 != entry.no {
            return Err(JournalError::Lost);
        }
        let (known, entries) = kept.entry(incident.id).or_insert_with(|| (incident.clone(), Vec::new()));
        *known = incident.clone();
        entries.push(entry.clone());
        Ok(())
    }
}
