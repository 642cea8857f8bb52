//! `reprise run`: what a user does with agent runs, over the same HTTP API that everyone uses.

mod list;
mod orders;
mod show;
mod start;
pub(crate) mod steps;
mod tail;
pub(crate) mod view;

use std::process::ExitCode;
use std::time::Duration;

use crate::args::{Run, RunCommand};
use crate::config::Env;
use crate::error::Result;
use crate::http::Http;
use crate::screen::Screen;

/// Above the gateway's 29 s, so that its own answer is seen.
const CALL_LIMIT: Duration = Duration::from_secs(35);

pub(crate) fn execute(run: &Run, env: &Env) -> Result<ExitCode> {
    let http = Http::to(&run.target, env, CALL_LIMIT)?;
    match &run.command {
        RunCommand::Start(start) => start::execute(&http, start, run.format),
        RunCommand::List(list) => list::execute(&http, Screen::of(env), list, run.format),
        RunCommand::Show(show) => show::execute(&http, show, run.format),
        RunCommand::Cancel(cancel) => orders::cancel(&http, cancel, run.format),
        RunCommand::Answer(answer) => orders::answer(&http, answer, run.format),
        RunCommand::Tail(tail) => tail::execute(&http, tail, run.format),
    }
}
