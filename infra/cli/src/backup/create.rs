//! The whole table into one archive: segments side by side, each page a part of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc;

use serde_json::{Value, json};

use super::items::{is_passing, key, kind, problem, unfinished};
use super::table::{Page, Table};
use super::{FORMAT, VERSION};
use crate::archive::{Writer, sum_of};
use crate::error::{Error, Result};
use crate::screen::Screen;

/// Pages that are read before they are written.
const AHEAD: usize = 4;

/// What is in an archive, in numbers.
#[derive(Debug, Default)]
struct Tally {
    table: String,
    items: u64,
    kinds: BTreeMap<&'static str, u64>,
    left_out: BTreeMap<&'static str, u64>,
    unfinished: BTreeMap<String, u64>,
}

/// Gives the manifest.
pub(super) fn execute(table: &dyn Table, out: &Path, segments: u32, screen: Screen) -> Result<Value> {
    let began_at = crate::clock::now();
    let mut writer = Writer::create(out)?;
    let mut tally = Tally::default();
    std::thread::scope(|scope| {
        let (send, pages) = mpsc::sync_channel::<Result<Page>>(AHEAD);
        for segment in 0..segments {
            let send = send.clone();
            scope.spawn(move || read(table, segment, segments, &send));
        }
        drop(send);
        for page in pages {
            tally.take(&mut writer, page?)?;
            screen.progress(&format!("{} items", tally.items));
        }
        Ok::<_, Error>(())
    })?;
    screen.end_progress();
    let manifest = json!({
        "format": FORMAT, "version": VERSION, "made_by": concat!("reprise ", env!("CARGO_PKG_VERSION")),
        "began_at": began_at, "created_at": crate::clock::now(), "table": tally.table, "segments": segments,
        "items": tally.items, "kinds": tally.kinds, "left_out": tally.left_out, "unfinished": tally.unfinished,
        "bytes": writer.parts().iter().map(|part| part.bytes).sum::<u64>(),
        "sha256": sum_of(writer.parts()), "parts": writer.parts(),
    });
    writer.finish(&manifest)?;
    Ok(manifest)
}

/// Reads a segment to its end. A receiver that is gone has met an error.
fn read(table: &dyn Table, segment: u32, of: u32, send: &mpsc::SyncSender<Result<Page>>) {
    let mut cursor = None;
    loop {
        let page = table.page(segment, of, cursor.as_deref());
        cursor = page.as_ref().ok().and_then(|page| page.next.clone());
        if send.send(page).is_err() || cursor.is_none() {
            return;
        }
    }
}

impl Tally {
    fn take(&mut self, writer: &mut Writer, page: Page) -> Result<()> {
        let mut lines = String::new();
        for item in &page.items {
            // The table's own items: one that cannot be verified later is told now.
            if let Some(problem) = problem(item) {
                let key = key(item).map(|(pk, sk)| format!("{pk} {sk}")).unwrap_or_default();
                return Err(Error::new(format!("the item `{key}` {problem}")).with_hint("the archive was not made; the table needs repair"));
            }
            let kind = key(item).map_or("other", |(pk, sk)| kind(pk, sk));
            if is_passing(kind) {
                *self.left_out.entry(kind).or_default() += 1;
                continue;
            }
            if let Some(state) = unfinished(kind, item) {
                *self.unfinished.entry(state.to_owned()).or_default() += 1;
            }
            *self.kinds.entry(kind).or_default() += 1;
            self.items += 1;
            lines += &serde_json::to_string(item).map_err(|error| Error::new("an item cannot be written").because(error))?;
            lines.push('\n');
        }
        self.table = page.table;
        if lines.is_empty() { Ok(()) } else { writer.add(&format!("items/{:06}.jsonl", writer.parts().len()), lines.as_bytes()) }
    }
}
