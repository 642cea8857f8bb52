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
        let processes = fs::read_dir("/proc").ok()?.flatten();
        let mut ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        ids.find(|id| {
            // Other users' processes cannot be read, and none of them is ours.
            let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
            let has = |wanted: &dyn Fn(&[u8]) -> bool| environment.split(|byte| *byte == 0).any(wanted);
            has(&|variable| variable == stream.as_bytes()) && has(&|variable| variable.starts_with(function.as_bytes()))
        })
    }
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
