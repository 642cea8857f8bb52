//! `reprise stack`: one folder per stack (`layout`), processes with pid files (`process`), phases on the screen (`progress`).
//!
//! Read next: `stack/up.rs`.

mod down;
mod emulator;
mod health;
mod invoke;
mod layout;
mod logs;
mod model;
mod phases;
mod ports;
mod proc_table;
mod process;
mod progress;
mod restart;
mod settings;
mod signals;
mod spawn;
mod status;
mod up;
mod watch;

use std::process::ExitCode;

use crate::args::Stack;
use crate::config::Env;
use crate::error::Result;
use crate::http::Http;
use crate::smoke;
pub(crate) use emulator::Emulator;
pub(crate) use layout::{Layout, repository};
pub(crate) use settings::Settings;
pub(crate) use signals::stop_on_signal;

/// The deployed functions, in the order of the template; folder, crate, binary and artefact have the same name.
pub(crate) const FUNCTIONS: [&str; 6] = ["health", "agent-api", "queue-consumer", "dlq-redrive", "operator-api", "sweeper"];

pub(crate) fn execute(command: Stack, env: &Env) -> Result<ExitCode> {
    match command {
        Stack::Up(up) => up::execute(&Layout::find(&up.stack.name)?, &up, env),
        Stack::Down(down) => down::execute(&Layout::find(&down.stack.name)?, &down),
        Stack::Restart(restart) => restart::execute(&Layout::find(&restart.stack.name)?, &restart),
        Stack::Status(status) => status::execute(&Layout::find(&status.stack.name)?, status.format),
        Stack::Health(health) => health::execute(&Layout::find(&health.stack.name)?, health.part),
        Stack::Smoke(named) => smoke::execute(&Http::new(&Settings::required(&Layout::find(&named.name)?)?.url(), smoke::LIMIT)?),
        Stack::Logs(logs) => logs::execute(&Layout::find(&logs.stack.name)?, &logs, env),
        Stack::Watch(named) => watch::execute(&Layout::find(&named.name)?, env),
        Stack::Invoke(invoke) => invoke::execute(&Layout::find(&invoke.stack.name)?, &invoke),
    }
}
