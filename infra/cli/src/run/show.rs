//! `reprise run show`: one run.

use std::process::ExitCode;

use crate::args::{Format, Show};
use crate::error::Result;
use crate::http::Http;
use crate::out;
use crate::run::view::Run;

/// Exit code 0 whenever the run could be shown, whatever its state: the question was answered.
pub(crate) fn execute(http: &Http, show: &Show, format: Format) -> Result<ExitCode> {
    let run = Run::fetch(http, &show.id)?;
    out::show(format, &run.body, |_| run.render());
    Ok(ExitCode::SUCCESS)
}
