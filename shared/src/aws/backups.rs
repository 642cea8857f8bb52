//! What is known of backups, in DynamoDB.
//!
//! | item | pk | sk |
//! |---|---|---|
//! | a backup that was verified | `#backups` | `<when>#<first of its sum>` |
//!
//! One is made a day or so, so one partition holds all of them. No tenant has this key.

use async_trait::async_trait;

use super::items::{Item, Key, Table, from_json, json_text, n, s};
use super::unavailable;
use crate::backup::{Backups, NotedBackup};
use crate::domain::clock::rfc3339_millis;
use crate::engine::ports::JournalError;

const BACKUPS: &str = "#backups";
/// How long a note is kept: longer than any archive of it is of use.
const KEPT_SECONDS: i64 = 400 * 24 * 60 * 60;

fn item(backup: &NotedBackup) -> Result<Item, JournalError> {
    let sum: String = backup.sha256.chars().take(8).collect();
    let mut item = Key { pk: BACKUPS.into(), sk: format!("{}#{sum}", rfc3339_millis::format(backup.at)) }.into_item();
    item.insert("body".into(), s(json_text(backup)?));
    item.insert("expires_at".into(), n(backup.at.as_second() + KEPT_SECONDS));
    Ok(item)
}

#[async_trait]
impl Backups for Table {
    async fn note(&self, backup: &NotedBackup) -> Result<(), JournalError> {
        let put = self.client.put_item().table_name(&self.name).set_item(Some(item(backup)?));
        put.send().await.map(|_| ()).map_err(unavailable)
    }

    async fn last_backups(&self, limit: usize) -> Result<Vec<NotedBackup>, JournalError> {
        self.newest_below(BACKUPS, "~", limit).await?.iter().map(|item| from_json(item, "body")).collect()
    }
}
