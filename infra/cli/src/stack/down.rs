//! `reprise stack down`: ends exactly what `up` (and `watch`) started for this stack, and nothing that only looks like it.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use crate::args::Down;
use crate::error::{Error, FAILED, Result};
use crate::out::say;
use crate::stack::layout::Layout;
use crate::stack::process::{self, EMULATOR, MODEL, WATCH};

pub(crate) fn execute(layout: &Layout, down: &Down) -> Result<ExitCode> {
    if !layout.folder().is_dir() {
        say!("nothing is running: there is no stack `{}`", layout.name);
        return Ok(ExitCode::SUCCESS);
    }
    if down.remove_data && !down.yes && !is_confirmed(layout)? {
        say!("nothing was done");
        return Ok(ExitCode::from(FAILED));
    }
    let _lock = layout.lock()?;
    let mut ended = Vec::new();
    // The watcher first: it gives the functions back while the emulator still lives.
    for name in [WATCH, EMULATOR, MODEL] {
        if process::end(layout, name)? {
            ended.push(name);
        }
    }
    for file in [layout.watch_file(), layout.outputs_file(), layout.settings_file(), layout.parameters_file()] {
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
    if down.remove_data {
        let folder = layout.folder();
        std::fs::remove_dir_all(&folder).map_err(|error| Error::new(format!("cannot remove {}", folder.display())).because(error))?;
        say!("removed {}", layout.short(&folder).display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks who sits at the terminal. Where nobody does, nothing is removed that was not said to be.
fn is_confirmed(layout: &Layout) -> Result<bool> {
    let folder = layout.short(&layout.folder());
    let mut answer = String::new();
    if !std::io::stdin().is_terminal() {
        return Err(Error::unreachable(format!("this removes {} with all logs", folder.display())).with_hint("say --yes if you mean it"));
    }
    say!("This ends the stack `{}` and removes {} with all logs. Type yes:", layout.name, folder.display());
    std::io::stdin().read_line(&mut answer).map_err(|error| Error::new("no answer could be read").because(error))?;
    Ok(answer.trim() == "yes")
}
