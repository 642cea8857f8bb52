//! `reprise dlq`: what died and why, and how it is put back or given up.

mod jobs;
mod letters;
mod list;
mod retry;
mod show;

use std::process::ExitCode;
use std::time::Duration;

use crate::args::{Dlq, DlqCommand};
use crate::config::Env;
use crate::error::Result;
use crate::http::Http;
use crate::job::{Desk, Kind, plan};
use crate::screen::Screen;

/// Above the gateway's 29 s, so that its own answer is seen.
const CALL_LIMIT: Duration = Duration::from_secs(35);
/// Bulk actions on dead runs.
const JOBS: Kind = Kind { path: "/v1/dlq/jobs", command: "reprise dlq job", item: "run_id", verb: "put back", plan };
/// Those that give up.
const DISCARDS: Kind = Kind { verb: "give up", ..JOBS };

pub(crate) fn execute(dlq: &Dlq, env: &Env) -> Result<ExitCode> {
    let http = Http::to(&dlq.target, env, CALL_LIMIT)?;
    let desk = Desk { http: &http, screen: Screen::of(env), format: dlq.format };
    match &dlq.command {
        DlqCommand::List(wanted) => list::list(&desk, wanted),
        DlqCommand::Stats(filters) => list::stats(&desk, filters),
        DlqCommand::Show(wanted) => show::execute(&desk, wanted),
        DlqCommand::Retry(retry) => retry::some(&desk, retry),
        DlqCommand::RetryAll(retry) => retry::all(&desk, retry),
        DlqCommand::Discard(discard) => retry::discard(&desk, discard),
        DlqCommand::Jobs(wanted) => jobs::list(&desk, wanted.limit),
        DlqCommand::Job(wanted) => jobs::one(&desk, wanted),
        DlqCommand::Letters(letters) => letters::execute(&desk, letters),
    }
}
