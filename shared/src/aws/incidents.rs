//! Incidents in DynamoDB.
//!
//! | item | pk | sk |
//! |---|---|---|
//! | incident | `#incidents` | `inc_…` |
//! | entry of its timeline | `#incident#inc_…` | `entry#000001` |
//!
//! An incident is written by people, a few times an hour, so one partition holds all of them. No tenant has these keys.

use async_trait::async_trait;

use super::expression::Expression;
use super::items::{Item, Key, Table, from_json, json_text, n, s};
use super::query::Stretch;
use super::transact::Refused;
use crate::domain::id::IncidentId;
use crate::domain::incident::{Entry, Incident};
use crate::engine::ports::JournalError;
use crate::operate::Incidents;

const INCIDENTS: &str = "#incidents";

fn key(id: IncidentId) -> Key {
    Key { pk: INCIDENTS.into(), sk: id.to_string() }
}

fn entry_key(id: IncidentId, no: u32) -> Key {
    Key { pk: format!("#incident#{id}"), sk: format!("entry#{no:06}") }
}

fn item(incident: &Incident) -> Result<Item, JournalError> {
    let mut item = key(incident.id).into_item();
    item.insert("body".into(), s(json_text(incident)?));
    item.insert("entries".into(), n(incident.entries));
    Ok(item)
}

fn entry_item(id: IncidentId, entry: &Entry) -> Result<Item, JournalError> {
    let mut item = entry_key(id, entry.no).into_item();
    item.insert("body".into(), s(json_text(entry)?));
    Ok(item)
}

#[async_trait]
impl Incidents for Table {
    async fn incident(&self, id: IncidentId) -> Result<Option<Incident>, JournalError> {
        self.get(key(id)).await?.map(|item| from_json(&item, "body")).transpose()
    }

    async fn incidents(&self, before: Option<IncidentId>, limit: usize) -> Result<Vec<Incident>, JournalError> {
        let below = before.map_or_else(|| "inc_~".into(), String::from);
        self.newest_below(INCIDENTS, &below, limit).await?.iter().map(|item| from_json(item, "body")).collect()
    }

    async fn entries(&self, id: IncidentId, after: u32, limit: usize) -> Result<Vec<Entry>, JournalError> {
        let Key { pk, sk: from } = entry_key(id, after.saturating_add(1));
        let stretch = Stretch { pk, from, to: "entry#~".into() };
        self.items(&stretch, Some(limit)).await?.iter().map(|item| from_json(item, "body")).collect()
    }

    async fn record(&self, incident: &Incident, entry: &Entry) -> Result<(), JournalError> {
        let before = incident.entries.saturating_sub(1);
        let condition = match before {
            0 => Expression::default().if_absent("pk"),
            _ => Expression::default().if_is("entries", n(before)),
        };
        let writes = vec![self.put(item(incident)?, condition)?, self.put_new(entry_item(incident.id, entry)?)?];
        self.transact(writes).await.map_err(|refused| match refused {
            Refused::Condition(..) => JournalError::Lost,
            Refused::Error(error) => error,
        })
    }
}
