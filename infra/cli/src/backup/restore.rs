//! An archive back into a table: verified as a whole first, what a reader begins with last, and never over something that is there.

use serde_json::{Value, json};

use super::items::{RANKS, has_expired, hold, key, kind, mend, rank, stop, unfinished};
use super::table::{Item, Table, Written};
use super::verify::{self, Checked};
use crate::archive;
use crate::args::{RestoreBackup, Unfinished};
use crate::error::{Error, Result};
use crate::screen::Screen;

/// Bytes and items of one request: Lambda takes 6 MB, and the body is a text within its event.
const LARGEST_REQUEST: usize = 1_500_000;
const MOST_ITEMS: usize = 500;
/// Keys that are shown of items that were not written because something else was there.
const SHOWN: usize = 20;

/// What was done.
#[derive(Debug, Default)]
struct Done {
    written: Written,
    expired: u64,
    mended: u64,
    held: u64,
    resumed: u64,
}

/// Says what was done.
pub(super) fn execute(table: &dyn Table, wanted: &RestoreBackup, screen: Screen) -> Result<Value> {
    let mut checked = verify::execute(&wanted.file)?;
    let unfinished: u64 = checked.unfinished.values().sum();
    if unfinished > 0 && wanted.unfinished.is_none() {
        return Err(undecided(&checked));
    }
    if !wanted.into_non_empty && !is_empty(table)? {
        let error = Error::new("the table of this deployment is not empty; nothing was written");
        return Err(error.with_hint("restore into a new stack; or --into-non-empty, which leaves all that is there as it is"));
    }
    if !wanted.yes {
        let (items, from) = (&checked.manifest["items"], &checked.manifest["created_at"]);
        let runs = match wanted.unfinished.filter(|_| unfinished > 0) {
            Some(Unfinished::Resume) => format!(", and let {unfinished} runs and bulk actions go on"),
            Some(Unfinished::Hold) => format!(", with {unfinished} runs and bulk actions that lie still"),
            None => String::new(),
        };
        screen.confirm(&format!("write {items} items of {from} into this deployment{runs}?"))?;
    }
    let mut done = Done::default();
    for pass in 0..RANKS {
        write_pass(table, wanted, &mut checked, pass, &mut done, screen)
            .map_err(|error| error.with_hint("what was written stays; the same command with --into-non-empty goes on"))?;
    }
    screen.end_progress();
    Ok(json!({
        "file": wanted.file, "written": done.written.written, "unchanged": done.written.unchanged, "kept": done.written.kept.len(),
        "kept_keys": done.written.kept.iter().take(SHOWN).collect::<Vec<_>>(),
        "expired": done.expired, "mended": done.mended, "held": done.held, "resumed": done.resumed,
    }))
}

/// Nobody has said what becomes of runs that had not ended: both answers can be wrong.
fn undecided(checked: &Checked) -> Error {
    let states: Vec<String> = checked.unfinished.iter().map(|(state, count)| format!("{count} {state}")).collect();
    Error::new(format!("not all in this backup had ended ({}); nothing was written", states.join(", ")))
        .because("--unfinished resume: the sweeper sends them within minutes. If another deployment still works on them, their models and tools are called twice.")
        .because("--unfinished hold: they lie still until somebody puts one back (reprise dlq retry), answers it, or cancels it; bulk actions are stopped.")
        .with_hint("add one of the two")
}

/// Whether no tenant has anything in it. What the system says of itself (heartbeats, breakers) is in every table.
fn is_empty(table: &dyn Table) -> Result<bool> {
    let mut cursor: Option<String> = None;
    loop {
        let page = table.page(0, 1, cursor.as_deref())?;
        if page.items.iter().any(|item| key(item).is_none_or(|(pk, _)| !pk.starts_with('#'))) {
            return Ok(false);
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(true);
        }
    }
}

/// Writes the items of one rank.
fn write_pass(table: &dyn Table, wanted: &RestoreBackup, checked: &mut Checked, pass: u8, done: &mut Done, screen: Screen) -> Result<()> {
    let now = crate::clock::now().as_second();
    let (mut batch, mut bytes) = (Vec::new(), 0);
    archive::read(&wanted.file, |part, lines| {
        for mut item in verify::items(&wanted.file, part, lines)? {
            let kind = key(&item).map_or("other", |(pk, sk)| kind(pk, sk));
            if rank(kind) != pass {
                continue;
            }
            if has_expired(&item, now) {
                done.expired += 1;
                continue;
            }
            if unfinished(kind, &item).is_some() && !settle(kind, &mut item, wanted.unfinished, checked, done) {
                continue;
            }
            if kind == "job" && wanted.unfinished == Some(Unfinished::Hold) {
                stop(&mut item, &of_the_backup(checked));
            }
            let size = serde_json::to_string(&item).map_or(LARGEST_REQUEST, |json| json.len());
            if !batch.is_empty() && (bytes + size > LARGEST_REQUEST || batch.len() >= MOST_ITEMS) {
                flush(table, &mut batch, done, screen)?;
                bytes = 0;
            }
            bytes += size;
            batch.push(item);
        }
        Ok(())
    })?;
    flush(table, &mut batch, done, screen)
}

/// What becomes of what had not ended; whether it is written at all.
fn settle(kind: &str, item: &mut Item, choice: Option<Unfinished>, checked: &mut Checked, done: &mut Done) -> bool {
    let is_run = kind == "run";
    done.mended += u64::from(is_run && mend(item, &mut checked.journals));
    match choice {
        Some(Unfinished::Resume) => done.resumed += 1,
        Some(Unfinished::Hold) | None => {
            hold(item, &of_the_backup(checked));
            done.held += 1;
        }
    }
    // A bulk action stays on record; what is left out is the mark by which it is found.
    is_run || choice == Some(Unfinished::Resume)
}

/// When the backup was made: the same however often a restore is started again, so that what it wrote before is what it would write.
fn of_the_backup(checked: &Checked) -> String {
    checked.manifest["created_at"].as_str().unwrap_or_default().to_owned()
}

fn flush(table: &dyn Table, batch: &mut Vec<Item>, done: &mut Done, screen: Screen) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let Written { written, unchanged, kept } = table.write(batch)?;
    done.written.written += written;
    done.written.unchanged += unchanged;
    done.written.kept.extend(kept);
    batch.clear();
    screen.progress(&format!("{} items written", done.written.written));
    Ok(())
}

#[cfg(test)]
#[path = "restore_tests.rs"]
mod tests;
