//! JSON lines to standard output or into a file, and `reprise history export`.

use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::args::{Export, History, HistoryCommand, given, rfc3339};
use crate::config::Env;
use crate::error::{Error, Result};
use crate::http::Http;
use crate::pages;
use crate::screen::{Screen, runs};

/// Above the gateway's 29 s, so that its own answer is seen.
const CALL_LIMIT: Duration = Duration::from_secs(35);

/// Where lines go. A file appears under its name when all of it is on the disk.
pub(crate) struct Lines {
    to: Box<dyn Write>,
    file: Option<(PathBuf, PathBuf)>,
    pub(crate) count: usize,
}

impl Lines {
    /// Into a file, or to standard output.
    pub(crate) fn to(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self { to: Box::new(std::io::stdout().lock()), file: None, count: 0 }) };
        let mut part = path.as_os_str().to_owned();
        part.push(format!(".{}.part", std::process::id()));
        let part = PathBuf::from(part);
        // Questions and answers are nobody else's business.
        let file = File::options().write(true).create_new(true).mode(0o600).open(&part).map_err(|error| unwritable(&part, error))?;
        Ok(Self { to: Box::new(BufWriter::new(file)), file: Some((part, path.to_owned())), count: 0 })
    }

    /// A line for each. A reader that has gone (`| head`) has enough.
    pub(crate) fn write(&mut self, rows: &[Value]) -> Result<ControlFlow<()>> {
        let written = rows.iter().try_for_each(|row| {
            self.count += 1;
            writeln!(self.to, "{row}")
        });
        match written.and_then(|()| self.to.flush()) {
            Ok(()) => Ok(ControlFlow::Continue(())),
            Err(error) if self.file.is_none() && error.kind() == ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Gives a file its name.
    pub(crate) fn finish(mut self) -> Result<()> {
        let Some((part, path)) = &self.file else { return Ok(()) };
        self.to.flush().map_err(|error| unwritable(part, error))?;
        File::open(part).and_then(|file| file.sync_all()).and_then(|()| fs::rename(part, path)).map_err(|error| unwritable(path, error))?;
        self.file = None;
        Ok(())
    }

    fn failed(&self, error: std::io::Error) -> Error {
        match &self.file {
            Some((part, _)) => unwritable(part, error),
            None => Error::new("cannot write to standard output").because(error),
        }
    }
}

impl Drop for Lines {
    /// What did not come to its end leaves nothing behind.
    fn drop(&mut self) {
        if let Some((part, _)) = &self.file {
            let _gone = fs::remove_file(part);
        }
    }
}

fn unwritable(path: &Path, error: std::io::Error) -> Error {
    Error::new(format!("cannot write {}", path.display())).because(error)
}

pub(crate) fn execute(history: &History, env: &Env) -> Result<ExitCode> {
    let HistoryCommand::Export(export) = &history.command;
    let http = Http::to(&history.target, env, CALL_LIMIT)?;
    let mut lines = Lines::to(export.out.as_deref())?;
    let screen = Screen::of(env);
    pages::each(&http, "/v1/history", &query(export), "executions", usize::MAX, |_, found| {
        let more = lines.write(&found)?;
        if export.out.is_some() {
            screen.progress(&format!("{} runs", lines.count));
        }
        Ok(more)
    })?;
    let count = lines.count;
    lines.finish()?;
    if let Some(path) = &export.out {
        screen.remark(&format!("{} in {}", runs(count as u64), path.display()));
    }
    Ok(ExitCode::SUCCESS)
}

fn query(export: &Export) -> serde_json::Map<String, Value> {
    given([
        ("since", export.since.map(|time| json!(rfc3339(time)))),
        ("until", export.until.map(|time| json!(rfc3339(time)))),
        ("agent", export.agent.as_ref().map(|agent| json!(agent))),
        ("status", export.status.as_ref().map(|status| json!(status))),
    ])
}
