//! Starting other programs: in the background with a log, or in the foreground of a phase until they end.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::config::Env;
use crate::error::{Error, Result};
use crate::stack::progress::{Watcher, interrupted};

/// How many lines of a log explain an error.
const LAST_LINES: usize = 15;
/// Enough for those lines; a log may be large.
const LAST_BYTES: u64 = 16 * 1024;

/// Gives a command an environment of exactly what every program of the stack needs: functions inherit the emulator's, and
/// must not find there what the template does not give them.
pub(crate) fn clean(command: &mut Command, env: &Env) {
    command.env_clear().envs(env.only(&["PATH", "HOME", "TMPDIR", "LANG"]));
}

/// Starts a process that outlives this one: a group of its own (so Ctrl-C here does not reach it), output appended to `log`.
pub(crate) fn background(command: &mut Command, log: &Path) -> Result<Child> {
    let file = OpenOptions::new().create(true).append(true).open(log).map_err(|error| cannot(command, &error))?;
    let errors = file.try_clone().map_err(|error| cannot(command, &error))?;
    command.process_group(0).stdin(Stdio::null()).stdout(file).stderr(errors).spawn().map_err(|error| cannot(command, &error))
}

/// Runs a program until it ends, its output in `log` (written anew); its last line is the detail of the phase.
/// With `stdout` its standard output goes there instead.
pub(crate) fn to_the_end(command: &mut Command, log: &Path, stdout: Option<&Path>, watcher: &Watcher) -> Result<()> {
    let create = |path: &Path| File::create(path).map_err(|error| cannot(command, &error));
    let errors = create(log)?;
    let output = match stdout {
        Some(path) => create(path)?,
        None => errors.try_clone().map_err(|error| cannot(command, &error))?,
    };
    let spawned = command.process_group(0).stdin(Stdio::null()).stdout(output).stderr(errors).spawn();
    let mut child = spawned.map_err(|error| cannot(command, &error))?;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => {
                return Err(Error::new(format!("`{}` ended with {status}", name(command))).because(last_lines(log, LAST_LINES)));
            }
            Ok(None) => {}
            Err(error) => return Err(cannot(command, &error)),
        }
        if watcher.stopped() {
            // The whole group: pip and rustc are children of what was started.
            let _gone = Pid::from_raw(i32::try_from(child.id()).unwrap_or_default()).map(|pid| kill_process_group(pid, Signal::TERM));
            let _status = child.wait();
            return Err(interrupted());
        }
        watcher.detail(&last_lines(log, 1));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The last non-empty lines of a log.
pub(crate) fn last_lines(log: &Path, count: usize) -> String {
    let mut text = Vec::new();
    if let Ok(mut file) = File::open(log) {
        let length = file.metadata().map(|data| data.len()).unwrap_or_default();
        let _short = file.seek(SeekFrom::Start(length.saturating_sub(LAST_BYTES))).and_then(|_| file.read_to_end(&mut text));
    }
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.split(['\n', '\r']).filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn name(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    command.get_args().next().map(|first| format!("{program} {}", first.to_string_lossy())).unwrap_or(program)
}

fn cannot(command: &Command, error: &std::io::Error) -> Error {
    Error::new(format!("cannot run `{}`", command.get_program().to_string_lossy())).because(error)
}
