//! `reprise stack logs`: the log file of a process, or the CloudWatch log of a deployed function.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::args::Logs;
use crate::error::{Error, Result};
use crate::out::{brief, printable, say};
use crate::stack::FUNCTIONS;
use crate::stack::emulator::{Emulator, LogEvent};
use crate::stack::layout::Layout;
use crate::stack::phases::Setup;
use crate::stack::process::EMULATOR;
use crate::stack::settings::Settings;

/// New lines appear this soon with `--follow`.
const POLL: Duration = Duration::from_millis(500);
/// The last errors of a function that are shown with a failed phase.
const EXPLAINING: usize = 3;
/// What has a log file in the stack's folder.
const FILES: [&str; 7] = ["emulator", "model", "watch", "tools", "build", "deploy", "toolchain"];

pub(crate) fn execute(layout: &Layout, logs: &Logs) -> Result<ExitCode> {
    if FUNCTIONS.contains(&logs.source.as_str()) {
        of_function(layout, logs)?;
    } else if FILES.contains(&logs.source.as_str()) {
        of_file(&layout.log_file(&logs.source), logs)?;
    } else {
        return Err(Error::unreachable(format!("there is no log of `{}`", logs.source)).with_hint(format!(
            "choose one of {}, {}",
            FILES.join(", "),
            FUNCTIONS.join(", ")
        )));
    }
    Ok(ExitCode::SUCCESS)
}

fn of_function(layout: &Layout, logs: &Logs) -> Result<()> {
    let emulator = Emulator::new(&Settings::required(layout)?)?;
    let function = layout.function_name(&logs.source);
    let since = logs.since.map_or(0, |age| crate::clock::now().as_millisecond() - i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
    let mut events = emulator.log_events(&function, since)?;
    for event in &events[events.len().saturating_sub(logs.tail)..] {
        say!("{}", line(event));
    }
    if !logs.follow {
        return Ok(());
    }
    loop {
        std::thread::sleep(POLL);
        // From the last time on, without the lines of that same millisecond that were already printed.
        let last = events.last().map_or(since, |event| event.timestamp);
        let known: Vec<LogEvent> = events.into_iter().filter(|event| event.timestamp == last).collect();
        events = emulator.log_events(&function, last)?;
        for event in events.iter().filter(|event| !known.contains(event)) {
            say!("{}", line(event));
        }
    }
}

/// Adds to an error what a deployed function has just logged, and keeps its log in a file of the stack's folder.
pub(crate) fn explain(setup: &Setup, function: &str, error: Error) -> Error {
    let log = setup.layout.log_file(function);
    let events = Emulator::new(&setup.settings).and_then(|emulator| emulator.log_events(&setup.layout.function_name(function), 0));
    // An emulator that cannot say it changes nothing about the error at hand.
    let Ok(events) = events else { return error.with_log(setup.layout.short(&setup.layout.log_file(EMULATOR))) };
    let lines: Vec<String> = events.iter().map(line).collect();
    let _kept = std::fs::write(&log, lines.join("\n") + "\n");
    let bad: Vec<&String> = lines.iter().filter(|line| line.contains("\"ERROR\"") || line.contains("panicked")).collect();
    let error = bad[bad.len().saturating_sub(EXPLAINING)..].iter().fold(error, |error, line| error.because(brief(line, 400)));
    error.with_log(setup.layout.short(&log))
}

fn line(event: &LogEvent) -> String {
    let time = jiff::Timestamp::from_millisecond(event.timestamp).map(|time| time.strftime("%FT%T%.3fZ").to_string()).unwrap_or_default();
    format!("{time} {}", printable(event.message.trim_end()))
}

fn of_file(path: &Path, logs: &Logs) -> Result<()> {
    let failed = |error: std::io::Error| Error::unreachable("there is no such log (yet)").because(error).with_log(path.to_path_buf());
    let mut file = File::open(path).map_err(failed)?;
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(failed)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(logs.tail)..] {
        say!("{}", printable(line));
    }
    if !logs.follow {
        return Ok(());
    }
    loop {
        std::thread::sleep(POLL);
        let (at, length) = (file.stream_position().map_err(failed)?, file.metadata().map_err(failed)?.len());
        if length < at {
            // It was written anew.
            file.seek(SeekFrom::Start(0)).map_err(failed)?;
        }
        let mut more = Vec::new();
        file.read_to_end(&mut more).map_err(failed)?;
        for line in String::from_utf8_lossy(&more).lines() {
            say!("{}", printable(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_begins_with_its_time() {
        let event = LogEvent { timestamp: 1_795_305_593_042, message: "{\"level\":\"INFO\"}\n".into() };
        assert_eq!(line(&event), "2026-11-21T23:59:53.042Z {\"level\":\"INFO\"}");
    }
}
