//! `reprise stack down`: ends exactly what `up` (and `watch`) started for this stack, and nothing that only looks like it.

use std::process::ExitCode;

use crate::error::Result;
use crate::out::say;
use crate::stack::layout::Layout;
use crate::stack::process::{self, EMULATOR, MODEL, WATCH};

pub(crate) fn execute(layout: &Layout) -> Result<ExitCode> {
    if !layout.folder().is_dir() {
        say!("nothing is running: there is no stack `{}`", layout.name);
        return Ok(ExitCode::SUCCESS);
    }
    let _lock = layout.lock()?;
    let mut ended = Vec::new();
    // The watcher first: it gives the functions back while the emulator still lives.
    for name in [WATCH, EMULATOR, MODEL] {
        if process::end(layout, name)? {
            ended.push(name);
        }
    }
    for file in [layout.watch_file(), layout.outputs_file(), layout.settings_file()] {
        let _none = std::fs::remove_file(file);
    }
    if ended.is_empty() {
        say!("nothing is running in stack `{}`", layout.name);
    } else {
        say!(
            "ended {} of stack `{}`; its data went with it, its logs are in {}",
            ended.join(" and "),
            layout.name,
            layout.short(&layout.folder().join("log")).display()
        );
    }
    Ok(ExitCode::SUCCESS)
}
