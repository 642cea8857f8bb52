//! Workers as processes of this machine: which one holds a run, and its sudden death. Reads `/proc`, so Linux only.

use std::fs;
use std::process::Command;

use crate::Stack;

impl Stack {
    /// The process that works on a run, if one does.
    #[must_use]
    pub fn worker_of(&self, run: &str) -> Option<u32> {
        // `<function>/<log stream>/<message>/<delivery>`; the log stream is the sandbox's own.
        let owner = self.lease_owner(run)?;
        let stream = format!("AWS_LAMBDA_LOG_STREAM_NAME={}", owner.split('/').nth(1)?);
        let function = format!("AWS_LAMBDA_FUNCTION_NAME={}-", self.name);
        let fits = |variable: &[u8]| [variable == stream.as_bytes(), variable.starts_with(function.as_bytes())];
        processes_with(fits).first().copied()
    }

    /// The processes of a function, whatever they do.
    #[must_use]
    pub fn processes_of(&self, function: &str) -> Vec<u32> {
        let name = format!("AWS_LAMBDA_FUNCTION_NAME={}-{function}", self.name);
        processes_with(|variable| [variable == name.as_bytes()])
    }
}

/// The processes whose environment has a variable for each thing that is wanted.
fn processes_with<const N: usize>(wanted: impl Fn(&[u8]) -> [bool; N]) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let fits = |id: &u32| {
        // Other users' processes cannot be read, and none of them is ours.
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        let mut found = [false; N];
        for variable in environment.split(|byte| *byte == 0) {
            for (found, is_it) in found.iter_mut().zip(wanted(variable)) {
                *found |= is_it;
            }
        }
        found.into_iter().all(|found| found)
    };
    ids.filter(fits).collect()
}

/// Sends a signal, `KILL` or `TERM`.
///
/// # Panics
/// When there is no such process.
#[track_caller]
pub fn signal(process: u32, name: &str) {
    let done = Command::new("kill").args([format!("-{name}"), process.to_string()]).status();
    assert!(done.is_ok_and(|status| status.success()), "process {process} cannot be signalled");
}
