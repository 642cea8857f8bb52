//! `reprise stack restart`: new processes for the functions. What they have begun is taken up again from its record, as after any
//! other end of a worker; the emulator stays, because the data is in its memory.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::args::Restart;
use crate::error::{Error, FAILED, Result};
use crate::http::Http;
use crate::out::say;
use crate::stack::FUNCTIONS;
use crate::stack::emulator::Emulator;
use crate::stack::layout::Layout;
use crate::stack::settings::Settings;

/// A function starts in milliseconds; the emulator takes a moment to let the old one go.
const LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(200);

pub(crate) fn execute(layout: &Layout, restart: &Restart) -> Result<ExitCode> {
    for function in &restart.functions {
        if !FUNCTIONS.contains(&function.as_str()) {
            return Err(Error::unreachable(format!("there is no function `{function}`"))
                .with_hint(format!("choose from {}; for the rest of the stack: `reprise stack down`, then `up`", FUNCTIONS.join(", "))));
        }
    }
    let settings = Settings::required(layout)?;
    let _lock = layout.lock()?;
    let emulator = Emulator::new(&settings)?;
    let all: Vec<String> = FUNCTIONS.map(str::to_owned).into();
    let functions = if restart.functions.is_empty() { &all } else { &restart.functions };
    for function in functions {
        // A function whose variables are written, changed or not, gets a new process with its next invocation.
        let name = layout.function_name(function);
        let variables = emulator.variables(&name)?;
        emulator.set_variables(&name, &variables)?;
    }
    if !answers(&Http::new(&settings.url(), LIMIT)?) {
        say!("restarted {}, but the stack does not answer", functions.join(", "));
        return Ok(ExitCode::from(FAILED));
    }
    say!("restarted {}; the data of stack `{}` is as it was", functions.join(", "), layout.name);
    Ok(ExitCode::SUCCESS)
}

fn answers(http: &Http) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < LIMIT {
        if http.get("/ready").is_ok_and(|reply| reply.is_success()) {
            return true;
        }
        std::thread::sleep(PAUSE);
    }
    false
}
