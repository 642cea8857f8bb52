//! `reprise stack health`: asks the probes of the stack itself.

use std::process::ExitCode;
use std::time::Duration;

use crate::error::{FAILED, Result};
use crate::http::Http;
use crate::out::{brief, say};
use crate::stack::layout::Layout;
use crate::stack::settings::Settings;

/// The readiness probe promises an answer within 2 s; liveness is far faster.
const LIMIT: Duration = Duration::from_secs(5);
const PROBES: [&str; 3] = ["/health", "/healthz", "/api/production/ready"];

/// Exit code 0 when each probe answers 200, 1 when one does not, 2 when nothing answers.
pub(crate) fn execute(layout: &Layout) -> Result<ExitCode> {
    let settings = Settings::required(layout)?;
    let http = Http::new(&settings.url(), LIMIT)?;
    let mut healthy = true;
    for path in PROBES {
        let reply = http.get(path)?;
        healthy &= reply.status == 200;
        say!("{} {path:<22} HTTP {}  {}", if reply.status == 200 { "ok  " } else { "FAIL" }, reply.status, brief(&reply.body, 240));
    }
    say!("{}", if healthy { "healthy" } else { "not healthy" });
    Ok(ExitCode::from(if healthy { 0 } else { FAILED }))
}
