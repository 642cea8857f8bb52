//! `/v1/backup/items`: the table out, page by page, and back.

use lambda_http::http::StatusCode;
use serde::{Deserialize, Serialize};
use shared::backup::{self, BackupError, MOST_ITEMS, MOST_SEGMENTS, RawItem, RawKey, Segment};
use shared::http::{Call, Problem, Reply, json_body};

use crate::{OperatorApi, unavailable};

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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemsBody {
    items: Vec<RawItem>,
}
