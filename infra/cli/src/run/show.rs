//! `reprise run show`: one run.

use std::process::ExitCode;

use crate::args::{Format, Show};
use crate::error::Result;
use crate::http::Http;
use crate::out::say;
use crate::run::view::Run;

/// Exit code 0 whenever the run could be shown, whatever its state: the question was answered.
pub(crate) fn execute(http: &Http, show: &Show) -> Result<ExitCode> {
    let run = Run::fetch(http, &show.id)?;
    match show.format {
        Format::Json => say!("{:#}", run.body),
        Format::Text => say!("{}", run.render()),
    }
    Ok(ExitCode::SUCCESS)
}
