//! `reprise stack logs`: the log file of a process, or the CloudWatch log of a deployed function.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use crate::args::Logs;
use crate::config::Env;
use crate::error::{Error, Result};
use crate::out::{brief, printable, reader_is_gone, say};
use crate::stack::FUNCTIONS;
use crate::stack::emulator::{Emulator, LogEvent};
use crate::stack::layout::Layout;
use crate::stack::phases::Setup;
use crate::stack::process::EMULATOR;
use crate::stack::settings::Settings;

/// New lines appear this soon with `--follow`.
const POLL: Duration = Duration::from_millis(500);
/// Lines of each, where nothing says how many.
const TAIL: usize = 50;
/// The last errors of a function that are shown with a failed phase.
const EXPLAINING: usize = 3;
/// What has a log file in the stack's folder.
const FILES: [&str; 7] = ["emulator", "model", "watch", "tools", "build", "deploy", "toolchain"];

/// Where lines come from, and how far they were read.
enum Source {
    Function { emulator: Emulator, name: String, since: i64, seen: Vec<LogEvent> },
    File { path: PathBuf, at: u64 },
}

pub(crate) fn execute(layout: &Layout, logs: &Logs, env: &Env) -> Result<ExitCode> {
    let is_plain = logs.plain || env.get("LOG_JSON") == Some("0");
    let sources = logs.sources.iter().map(|name| Ok((name.as_str(), Source::open(layout, logs, name)?)));
    let mut sources = sources.collect::<Result<Vec<_>>>()?;
    let width = if sources.len() > 1 { sources.iter().map(|(name, _)| name.len()).max().unwrap_or_default() } else { 0 };
    // Who says how far back wants all of it.
    let mut last = logs.tail.or((logs.since.is_none()).then_some(TAIL));
    loop {
        let mut lines = Vec::new();
        for (name, source) in &mut sources {
            let new = source.read()?;
            let skipped = last.map_or(0, |tail| new.len().saturating_sub(tail));
            lines.extend(new.into_iter().skip(skipped).map(|(at, line)| (at, *name, line)));
        }
        // Stable: what has no time of its own stays where it is.
        lines.sort_by_key(|(at, ..)| *at);
        for (_, name, line) in lines {
            let line = if is_plain { plain(&line) } else { line };
            if width > 0 { say!("{name:<width$} | {line}") } else { say!("{line}") }
        }
        if !logs.follow || reader_is_gone() {
            return Ok(ExitCode::SUCCESS);
        }
        last = None;
        std::thread::sleep(POLL);
    }
}

impl Source {
    fn open(layout: &Layout, logs: &Logs, name: &str) -> Result<Self> {
        if FUNCTIONS.contains(&name) {
            let age = logs.since.map_or(i64::MAX, |age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
            let since = crate::clock::now().as_millisecond().saturating_sub(age).max(0);
            let emulator = Emulator::new(&Settings::required(layout)?)?;
            return Ok(Self::Function { emulator, name: layout.function_name(name), since, seen: Vec::new() });
        }
        if FILES.contains(&name) {
            return Ok(Self::File { path: layout.log_file(name), at: 0 });
        }
        Err(Error::unreachable(format!("there is no log of `{name}`")).with_hint(format!(
            "choose from {}, {}",
            FILES.join(", "),
            FUNCTIONS.join(", ")
        )))
    }

    /// The lines since the last time, with their times.
    fn read(&mut self) -> Result<Vec<(i64, String)>> {
        match self {
            Self::Function { emulator, name, since, seen } => {
                let events = emulator.log_events(name, *since)?;
                let new = events.iter().filter(|event| !seen.contains(event)).map(|event| (event.timestamp, line(event))).collect();
                // From the last time on, without the lines of that same millisecond that are already printed.
                *since = events.last().map_or(*since, |event| event.timestamp);
                if !events.is_empty() {
                    *seen = events.into_iter().filter(|event| event.timestamp == *since).collect();
                }
                Ok(new)
            }
            Self::File { path, at } => Ok(new_lines(path, at)?.into_iter().map(|line| (0, line)).collect()),
        }
    }
}

/// A line as people read it; one that holds no JSON stays as it is.
fn plain(line: &str) -> String {
    let Some((time, Ok(Value::Object(mut fields)))) = line.split_once(' ').map(|(time, rest)| (time, serde_json::from_str(rest))) else {
        return line.to_owned();
    };
    let mut take = |name: &str| fields.remove(name).and_then(|value| Some(value.as_str()?.to_owned())).unwrap_or_default();
    let (level, message, _) = (take("level"), take("message"), take("timestamp"));
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{time} {level:<5} {message}  {}", fields.join(" ")).trim_end().to_owned()
}

/// The lines behind `at`, which is moved behind them.
fn new_lines(path: &Path, at: &mut u64) -> Result<Vec<String>> {
    let failed = |error: std::io::Error| Error::unreachable("there is no such log (yet)").because(error).with_log(path.to_path_buf());
    let mut file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.len() < *at {
        // It was written anew.
        *at = 0;
    }
    file.seek(SeekFrom::Start(*at)).map_err(failed)?;
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(failed)?;
    *at += u64::try_from(text.len()).unwrap_or_default();
    Ok(String::from_utf8_lossy(&text).lines().map(printable).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_begins_with_its_time() {
        let event = LogEvent { timestamp: 1_795_305_593_042, message: "{\"level\":\"INFO\"}\n".into() };
        assert_eq!(line(&event), "2026-11-21T23:59:53.042Z {\"level\":\"INFO\"}");
    }

    #[test]
    fn a_plain_line_tells_all_that_the_json_tells() {
        let json = r#"2026-11-22T10:46:24.499Z {"timestamp":"x","level":"WARN","message":"request","route":"/v1/agent","status":503}"#;
        assert_eq!(plain(json), r#"2026-11-22T10:46:24.499Z WARN  request  route="/v1/agent" status=503"#);
        assert_eq!(plain("2026-11-22T10:46:24.499Z END RequestId: 1"), "2026-11-22T10:46:24.499Z END RequestId: 1");
    }

    #[test]
    fn a_file_is_read_on_from_where_it_ended_and_from_the_start_when_it_is_new() {
        let path = std::env::temp_dir().join(format!("reprise-logs-{}", std::process::id()));
        let mut at = 0;
        assert!(new_lines(&path, &mut at).is_err());
        std::fs::write(&path, "one\ntwo\n").unwrap();
        assert_eq!(new_lines(&path, &mut at).unwrap(), ["one", "two"]);
        assert_eq!(new_lines(&path, &mut at).unwrap(), Vec::<String>::new());
        std::fs::write(&path, "three\n").unwrap();
        assert_eq!(new_lines(&path, &mut at).unwrap(), ["three"]);
        std::fs::remove_file(&path).unwrap();
    }
}
