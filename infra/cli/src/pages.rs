//! Lists of the API: as many pages as are wanted, as one document or page by page.

use std::ops::ControlFlow;

use serde_json::{Map, Value};

use crate::error::Result;
use crate::http::{Http, segment};

/// What the API gives at most on one page.
const PAGE: usize = 100;

/// Up to `limit` of the list under `rows`, with the other fields of its first page; `next_cursor` says whether there is more.
pub(crate) fn fetch(http: &Http, path: &str, query: &Map<String, Value>, rows: &str, limit: usize) -> Result<Value> {
    let mut whole: Option<Value> = None;
    let mut all = Vec::new();
    each(http, path, query, rows, limit, |page, found| {
        whole.get_or_insert_with(|| page.clone())["next_cursor"] = page["next_cursor"].clone();
        all.extend(found);
        Ok(ControlFlow::Continue(()))
    })?;
    let mut whole = whole.unwrap_or_else(|| Value::Object(Map::new()));
    whole[rows] = all.into();
    Ok(whole)
}

/// Hands over page after page, until there are no more, `limit` rows were given, or `take` has enough.
pub(crate) fn each(
    http: &Http,
    path: &str,
    query: &Map<String, Value>,
    rows: &str,
    limit: usize,
    mut take: impl FnMut(&Value, Vec<Value>) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let (mut left, mut cursor) = (limit, None);
    loop {
        let mut query = query.clone();
        query.insert("limit".to_owned(), left.min(PAGE).into());
        query.extend(cursor.map(|cursor| ("cursor".to_owned(), cursor)));
        let page = http.fetch(&format!("{path}{}", encoded(&query)))?;
        let found = page[rows].as_array().cloned().unwrap_or_default();
        left = left.saturating_sub(found.len());
        let enough = take(&page, found)?.is_break();
        cursor = Some(page["next_cursor"].clone()).filter(|cursor| !cursor.is_null());
        if enough || left == 0 || cursor.is_none() {
            return Ok(());
        }
    }
}

/// `?name=value&…` in the order of the names, whatever keeps the map; or nothing.
pub(crate) fn encoded(query: &Map<String, Value>) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut pairs: Vec<_> = query.iter().map(|(name, value)| format!("{name}={}", segment(&text(value)))).collect();
    pairs.sort_unstable();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}
