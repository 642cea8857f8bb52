//! `reprise run tail`: prints the steps of a run as they are journaled, until the run ends.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::args::{Format, Tail};
use crate::error::{Error, Result, UNFINISHED};
use crate::http::Http;
use crate::out::{print_json, printable, reader_is_gone, say};
use crate::run::steps;
use crate::run::view::Run;

/// A step takes seconds. While nothing happens the interval doubles up to the slowest, so that a waiting run costs little.
const FASTEST: Duration = Duration::from_millis(300);
const SLOWEST: Duration = Duration::from_secs(3);

/// Exit code 0 completed, or nobody reads on; 1 ended otherwise, 3 still going on when the time is up.
pub(crate) fn execute(http: &Http, tail: &Tail, format: Format) -> Result<ExitCode> {
    let start = Instant::now();
    let (mut printed, mut interval, mut status) = (0, FASTEST, String::new());
    loop {
        // The state before the steps: a run that has ended then has all its steps.
        let run = Run::fetch(http, &tail.id)?;
        let new = steps::fetch_after(http, &tail.id, printed)?;
        for step in &new {
            printed = printed.max(steps::index(step));
            match format {
                Format::Table => say!("{}", steps::render(step)),
                Format::Json | Format::Jsonl => print_json(Format::Jsonl, step),
            }
        }
        if run.status != status && !run.ended() && format == Format::Table {
            say!("     {}{}", run.status, run.waiting().map(|what| format!(" for {}", printable(&what))).unwrap_or_default());
        }
        if run.ended() {
            match format {
                Format::Table => say!("\n{}", printable(&run.answer()?)),
                Format::Json | Format::Jsonl => print_json(Format::Jsonl, &run.body),
            }
            return Ok(run.exit_code());
        }
        if reader_is_gone() {
            return Ok(ExitCode::SUCCESS);
        }
        if start.elapsed() >= Duration::from_secs(tail.timeout) {
            return Err(Error::new(format!("the run {} is still {} after {} s", run.id, run.status, tail.timeout))
                .with_code(UNFINISHED)
                .with_hint("it goes on; ask again"));
        }
        interval = if new.is_empty() && run.status == status { (interval * 2).min(SLOWEST) } else { FASTEST };
        status = run.status;
        std::thread::sleep(interval);
    }
}
