//! `reprise stack health`: asks the probes of the stack itself.

use std::process::ExitCode;
use std::time::Duration;

use crate::args::Part;
use crate::error::{FAILED, Result};
use crate::http::Http;
use crate::out::{brief, say};
use crate::stack::layout::Layout;
use crate::stack::settings::Settings;

/// The readiness probe promises an answer within 2 s; liveness is far faster.
const LIMIT: Duration = Duration::from_secs(5);

/// What is asked about each part.
const PROBES: [(Part, &str); 6] = [
    (Part::Api, "/health"),
    (Part::Api, "/healthz"),
    (Part::Database, "/ready"),
    (Part::Queue, "/api/production/ready"),
    (Part::Emulator, "/_ministack/health"),
    (Part::Model, "/health"),
];

/// Exit code 0 when each probe answers 200, 1 when one does not, 2 when nothing answers.
pub(crate) fn execute(layout: &Layout, part: Option<Part>) -> Result<ExitCode> {
    let settings = Settings::required(layout)?;
    let mut healthy = true;
    for (of, path) in PROBES {
        let base = match of {
            Part::Api | Part::Database | Part::Queue => settings.url(),
            Part::Emulator => settings.emulator_url(),
            Part::Model => settings.model_url(),
        };
        // A model of the user's own need not have the probe of ours: it is asked for by name only.
        let is_asked = part.map_or(!matches!(of, Part::Emulator | Part::Model), |part| part == of);
        if !is_asked {
            continue;
        }
        let reply = Http::new(&base, LIMIT)?.get(path)?;
        healthy &= reply.status == 200;
        say!("{} {path:<22} HTTP {}  {}", if reply.status == 200 { "ok  " } else { "FAIL" }, reply.status, brief(&reply.body, 240));
    }
    say!("{}", if healthy { "healthy" } else { "not healthy" });
    Ok(ExitCode::from(if healthy { 0 } else { FAILED }))
}
