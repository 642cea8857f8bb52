//! `/v1/backup/items`: the table out, page by page, and back; `/v1/backup`: which copies were made and found whole.

use jiff::Timestamp;
use lambda_http::http::StatusCode;
use serde::{Deserialize, Serialize};
use shared::backup::{self, BackupError, MOST_ITEMS, MOST_SEGMENTS, NotedBackup, RawItem, RawKey, Segment};
use shared::domain::clock::rfc3339_millis;
use shared::http::{Call, Problem, Reply, json_body};

use crate::{OperatorApi, unavailable};

/// Hexadecimal digits of a SHA-256.
const SUM_DIGITS: usize = 64;

impl OperatorApi {
    pub(crate) async fn read_items(&self, call: &Call) -> Result<Reply, Problem> {
        let mut query = call.query();
        let number = format!("must be a whole number from 1 to {MOST_SEGMENTS}");
        let of = query.take_with("segments", &number, |text| text.parse().ok().filter(|of| (1..=MOST_SEGMENTS).contains(of)))?.unwrap_or(1);
        let index =
            query.take_with("segment", "must be a whole number from 0, below `segments`", |text| text.parse().ok().filter(|i| *i < of))?;
        let after: Option<RawKey> = query.take("cursor", "must be a next_cursor of this list")?;
        query.finish()?;
        let segment = Segment { index: index.unwrap_or(0), of };
        let page = self.table.read_page(segment, after.as_ref()).await.map_err(refused)?;
        let view = ItemsView {
            table: self.table.table_name(),
            segment: segment.index,
            segments: segment.of,
            items: &page.items,
            next_cursor: page.next.map(|key| key.to_string()),
        };
        Reply::json(StatusCode::OK, &view)
    }

    pub(crate) async fn write_items(&self, by: &str, call: &Call) -> Result<Reply, Problem> {
        let body: ItemsBody = json_body(&call.body)?;
        if !(1..=MOST_ITEMS).contains(&body.items.len()) {
            return Err(Problem::invalid("items", format!("must be 1 to {MOST_ITEMS} items")));
        }
        let restored = backup::restore(self.table.as_ref(), &body.items).await.map_err(refused)?;
        tracing::info!(by, written = restored.written, unchanged = restored.unchanged, kept = restored.kept.len(), "items restored");
        Reply::json(StatusCode::OK, &restored)
    }
}

impl OperatorApi {
    pub(crate) async fn last_backups(&self, call: &Call) -> Result<Reply, Problem> {
        let mut query = call.query();
        let limit = query.limit()?;
        query.finish()?;
        let backups = self.backups.last_backups(limit).await.map_err(unavailable)?;
        Reply::json(StatusCode::OK, &BackupsView { backups })
    }

    pub(crate) async fn note_backup(&self, by: &str, call: &Call) -> Result<Reply, Problem> {
        let body: NoteBody = json_body(&call.body)?;
        let at = self.clock.now();
        if body.began_at > at {
            return Err(Problem::invalid("began_at", "must not be in the future"));
        }
        if body.sha256.len() != SUM_DIGITS || !body.sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(Problem::invalid("sha256", format!("must be {SUM_DIGITS} hexadecimal digits in lower case")));
        }
        let NoteBody { began_at, sha256, items, bytes } = body;
        let backup = NotedBackup { at, by: by.to_owned(), began_at, sha256, items, bytes };
        self.backups.note(&backup).await.map_err(unavailable)?;
        tracing::info!(by, items, bytes, "backup noted");
        Reply::json(StatusCode::CREATED, &backup)
    }
}

fn refused(error: BackupError) -> Problem {
    match error {
        BackupError::BadCursor => Problem::invalid("cursor", "is no place in this segment"),
        BackupError::BadItem(index, problem) => Problem::invalid(&format!("items[{index}]"), problem),
        BackupError::Journal(error) => unavailable(error),
    }
}

#[derive(Debug, Serialize)]
struct ItemsView<'a> {
    table: &'a str,
    segment: u32,
    segments: u32,
    items: &'a [RawItem],
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize)]
struct BackupsView {
    backups: Vec<NotedBackup>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoteBody {
    #[serde(with = "rfc3339_millis")]
    began_at: Timestamp,
    sha256: String,
    items: u64,
    bytes: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemsBody {
    items: Vec<RawItem>,
}
