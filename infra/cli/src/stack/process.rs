//! The background processes of a stack: recorded when started, verified before they are trusted, reused or signalled.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::stack::layout::Layout;
use crate::stack::proc_table::{self, Entry};

pub(crate) const EMULATOR: &str = "emulator";
pub(crate) const MODEL: &str = "model";
/// The watcher is in the foreground of its own command; it is recorded so that `down` and `up` know of it.
pub(crate) const WATCH: &str = "watch";

/// How long a process may take to end itself after TERM. The emulator ends its functions first: well under a second.
const GRACE: Duration = Duration::from_secs(5);

/// A pid file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) pid: i32,
    /// As `proc_table::Entry::start`.
    start: String,
    /// A part of the command line that stays the same when a wrapper replaces itself (`env node x` becomes `node x`).
    marker: String,
    /// RFC 3339, for `status`.
    pub(crate) started_at: String,
}

impl Record {
    /// Records a process that was just started.
    pub(crate) fn write(layout: &Layout, process: &str, pid: u32, marker: &str) -> Result<()> {
        let failed = |what: String| Error::new(format!("cannot record the process {process}")).because(what);
        let pid = i32::try_from(pid).map_err(|error| failed(error.to_string()))?;
        let start = proc_table::find(pid).map(|entry| entry.start).unwrap_or_default();
        let record = Self { pid, start, marker: marker.to_owned(), started_at: crate::clock::now().strftime("%FT%TZ").to_string() };
        let text = serde_json::to_vec(&record).map_err(|error| failed(error.to_string()))?;
        std::fs::write(layout.pid_file(process), text).map_err(|error| failed(error.to_string()))
    }

    fn read(layout: &Layout, process: &str) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(layout.pid_file(process)).ok()?).ok()
    }

    fn is(&self, entry: &Entry) -> bool {
        // For a moment, while a program replaces itself, its command line is empty.
        entry.start == self.start && (entry.command.is_empty() || entry.command.contains(&self.marker))
    }
}

/// The living process that we started under this name, if any.
pub(crate) fn alive(layout: &Layout, process: &str) -> Option<Record> {
    let record = Record::read(layout, process)?;
    proc_table::find(record.pid).is_some_and(|entry| record.is(&entry)).then_some(record)
}

/// Ends the process and its group, then forgets it. `false` when nothing of it was running.
pub(crate) fn end(layout: &Layout, process: &str) -> Result<bool> {
    let Some(record) = Record::read(layout, process) else { return Ok(false) };
    let ended = if alive(layout, process).is_some() {
        stop_group(&record, process)?;
        true
    } else {
        stop_orphans(&record)
    };
    let _gone = std::fs::remove_file(layout.pid_file(process));
    Ok(ended)
}

/// Sends TERM to the group, waits, then KILL to what is left of it.
fn stop_group(record: &Record, process: &str) -> Result<()> {
    let Some(pid) = Pid::from_raw(record.pid) else { return Ok(()) };
    let members = || proc_table::group(record.pid);
    // Only the leader: it ends its functions in order; what it leaves behind gets the KILL.
    let _gone = kill_process(pid, Signal::TERM);
    let leader_gone = || proc_table::find(record.pid).is_none_or(|entry| !record.is(&entry));
    if !wait_until(GRACE, leader_gone) || !members().is_empty() {
        let _gone = kill_process_group(pid, Signal::KILL);
    }
    if wait_until(GRACE, || leader_gone() && members().is_empty()) {
        return Ok(());
    }
    Err(Error::new(format!("the process {process} (pid {}) did not end", record.pid)))
}

/// Functions that outlived a killed emulator. They kept its group, whose number the kernel does not give out while a member lives.
fn stop_orphans(record: &Record) -> bool {
    if proc_table::find(record.pid).is_some() {
        return false;
    }
    let orphans: Vec<Entry> = proc_table::group(record.pid).into_iter().filter(|entry| entry.command.ends_with("/bootstrap")).collect();
    for pid in orphans.iter().filter_map(|entry| Pid::from_raw(entry.pid)) {
        let _gone = kill_process(pid, Signal::KILL);
    }
    !orphans.is_empty()
}

fn wait_until(limit: Duration, done: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    use super::*;

    fn layout(test: &str) -> Layout {
        let root = std::env::temp_dir().join(format!("reprise-cli-{}-{test}", std::process::id()));
        let layout = Layout { root, name: "t".into() };
        drop(layout.lock().unwrap());
        layout
    }

    #[test]
    fn a_started_process_is_found_and_ended_with_its_group() {
        let layout = layout("ended");
        let mut child = Command::new("sh").args(["-c", "sleep 61 & sleep 61"]).process_group(0).spawn().unwrap();
        Record::write(&layout, MODEL, child.id(), "sleep 61").unwrap();
        assert!(alive(&layout, MODEL).is_some());
        assert!(end(&layout, MODEL).unwrap());
        let group = i32::try_from(child.id()).unwrap();
        assert!(proc_table::group(group).is_empty());
        assert!(!end(&layout, MODEL).unwrap(), "nothing is left to end");
        child.wait().unwrap();
        std::fs::remove_dir_all(&layout.root).unwrap();
    }

    #[test]
    fn a_pid_that_now_belongs_to_another_process_is_left_alone() {
        let layout = layout("reused");
        let mut child = Command::new("sleep").arg("62").process_group(0).spawn().unwrap();
        Record::write(&layout, MODEL, child.id(), "sleep 62").unwrap();
        let text = std::fs::read_to_string(layout.pid_file(MODEL)).unwrap();
        let record: Record = serde_json::from_str(&text).unwrap();
        let other = Record { start: "1".into(), ..record };
        std::fs::write(layout.pid_file(MODEL), serde_json::to_vec(&other).unwrap()).unwrap();
        assert!(alive(&layout, MODEL).is_none());
        assert!(!end(&layout, MODEL).unwrap());
        assert_eq!(child.try_wait().unwrap(), None, "the other process still runs");
        child.kill().unwrap();
        child.wait().unwrap();
        std::fs::remove_dir_all(&layout.root).unwrap();
    }
}
