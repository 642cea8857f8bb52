//! `reprise stack watch`: `cargo lambda watch` behind the deployed stack.
//!
//! The deployed functions are told to hand each invocation to the watched binary (`MINISTACK_LAMBDA_PROXY_URL`), so requests, the queue
//! and schedules reach the code that was just edited, on the same address and the same data. At the end they are given back.

use std::io::IsTerminal as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value};

use crate::config::Env;
use crate::error::{Error, Result};
use crate::out::say;
use crate::stack::emulator::{Emulator, REGION};
use crate::stack::layout::Layout;
use crate::stack::process::{self, EMULATOR, Record, WATCH};
use crate::stack::settings::{self, Settings};
use crate::stack::{FUNCTIONS, ports, signals};

/// The emulator forwards the invocations of a function that has this variable.
const PROXY: &str = "MINISTACK_LAMBDA_PROXY_URL";
/// The watcher's server is up in a second; it compiles later, at the first request.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Ctrl-C reaches the watcher too; it ends its functions within this.
const END_LIMIT: Duration = Duration::from_secs(5);

pub(crate) fn execute(layout: &Layout, env: &Env) -> Result<ExitCode> {
    let settings = Settings::required(layout)?;
    if process::alive(layout, EMULATOR).is_none() {
        return Err(Error::unreachable(format!("the stack `{}` is not running", layout.name))
            .with_hint("start it with `make run`, then `make watch`"));
    }
    if process::alive(layout, WATCH).is_some() {
        return Err(Error::new(format!("the stack `{}` is being watched already", layout.name)));
    }
    detach_stale(layout, &settings)?;
    let port = settings::port(env, "WATCH_PORT", 9100)?;
    ports::require_free(port, "WATCH_PORT")?;
    let cargo_lambda = install(layout)?;
    let emulator = Emulator::new(&settings)?;
    let env_file = write_env_file(layout, &settings, &emulator)?;
    let stop = signals::stop_on_signal()?;
    Record::write(layout, WATCH, std::process::id(), "stack watch")?;
    let child = start(layout, env, &cargo_lambda, port, &env_file);
    let outcome = child.and_then(|mut child| {
        let outcome = wait_for_port(port, &mut child, &stop).and_then(|()| attach(layout, &emulator, port)).and_then(|()| {
            say!("\nwatching: edit a function, and the next request to {} runs it. Ctrl-C ends it.\n", settings.url());
            wait_for_end(&mut child, &stop)
        });
        stop_child(&mut child);
        outcome
    });
    let restored = detach(layout, &emulator);
    let _gone = std::fs::remove_file(layout.pid_file(WATCH));
    outcome.and(restored)?;
    say!("the deployed functions answer again on {}", settings.url());
    Ok(ExitCode::SUCCESS)
}

/// Gives the functions back that a watcher, ended without a chance to do so, left redirected.
pub(crate) fn detach_stale(layout: &Layout, settings: &Settings) -> Result<()> {
    if !layout.watch_file().exists() || process::alive(layout, WATCH).is_some() {
        return Ok(());
    }
    detach(layout, &Emulator::new(settings)?)
}

fn attach(layout: &Layout, emulator: &Emulator, port: u16) -> Result<()> {
    std::fs::write(layout.watch_file(), "{}").map_err(|error| Error::new("cannot record the watcher").because(error))?;
    for function in FUNCTIONS {
        let name = layout.function_name(function);
        let mut variables = emulator.variables(&name)?;
        variables.insert(PROXY.to_owned(), Value::String(format!("http://127.0.0.1:{port}/2015-03-31/functions/{function}/invocations")));
        emulator.set_variables(&name, &variables)?;
    }
    Ok(())
}

/// Takes the redirection away; everything else that the functions have stays, whoever set it.
fn detach(layout: &Layout, emulator: &Emulator) -> Result<()> {
    for function in FUNCTIONS {
        let name = layout.function_name(function);
        let mut variables = emulator.variables(&name)?;
        if variables.remove(PROXY).is_some() {
            emulator.set_variables(&name, &variables)?;
        }
    }
    let _gone = std::fs::remove_file(layout.watch_file());
    Ok(())
}

/// Installs cargo-lambda into the project's folder, where it is not yet.
fn install(layout: &Layout) -> Result<PathBuf> {
    let status = Command::new("sh").args(["infra/local/install.sh", "build"]).current_dir(&layout.root).status();
    let installed = status.map_err(|error| Error::new("cannot run infra/local/install.sh").because(error))?;
    if !installed.success() {
        return Err(Error::new("cargo-lambda could not be installed").with_log(".local/install-build.log".into()));
    }
    Ok(layout.root.join(".local/build-venv/bin/cargo-lambda"))
}

/// Watched functions share one environment: the union of what the deployed ones have, and where the emulator is.
fn write_env_file(layout: &Layout, settings: &Settings, emulator: &Emulator) -> Result<PathBuf> {
    let mut union = Map::new();
    for function in FUNCTIONS {
        union.extend(emulator.variables(&layout.function_name(function))?);
    }
    union.remove(PROXY);
    let path = layout.folder().join("run/watch.env");
    write_private(&path, &env_file(&union, settings))
        .map_err(|error| Error::new("cannot write the variables of the functions").because(error))?;
    Ok(path)
}

/// Only for this user: the file holds the key of the model.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

fn env_file(variables: &Map<String, Value>, settings: &Settings) -> String {
    let ours = [
        ("AWS_ENDPOINT_URL", settings.emulator_url()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("AWS_REGION", REGION.to_owned()),
        // A watched function has the definitions that it was just built with, and no package around it.
        ("REQUIRE_COMPILED", "false".to_owned()),
    ];
    let own = variables.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?.to_owned())));
    let own = own.filter(|(name, _)| ours.iter().all(|(our, _)| our != name));
    own.chain(ours.iter().map(|(name, value)| (*name, value.clone()))).map(|(name, value)| format!("{name}={value}\n")).collect()
}

fn start(layout: &Layout, env: &Env, cargo_lambda: &Path, port: u16, env_file: &Path) -> Result<Child> {
    let mut command = Command::new(cargo_lambda);
    command.args(["lambda", "watch", "--invoke-address", "127.0.0.1", "--invoke-port", &port.to_string(), "--env-file"]).arg(env_file);
    command.args(["--color", if std::io::stdout().is_terminal() { "always" } else { "never" }]).current_dir(&layout.root);
    // The user's own AWS settings must not reach the functions: everything they need is in the file.
    for name in env.names().filter(|name| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command.spawn().map_err(|error| Error::new("cannot run cargo lambda watch").because(error))
}

fn wait_for_port(port: u16, child: &mut Child, stop: &AtomicBool) -> Result<()> {
    let (start, address) = (Instant::now(), SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    while start.elapsed() < START_LIMIT && !stop.load(Ordering::Relaxed) {
        if TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok() {
            return Ok(());
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(Error::new(format!("cargo lambda watch ended with {status}")));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err(Error::new(format!("cargo lambda watch did not listen on port {port}")))
}

fn wait_for_end(child: &mut Child, stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(Error::new(format!("cargo lambda watch ended with {status}")));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn stop_child(child: &mut Child) {
    let start = Instant::now();
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // Ctrl-C has reached it already when it came from the terminal; a second one does no harm.
        let _gone = kill_process(pid, Signal::INT);
    }
    while start.elapsed() < END_LIMIT {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let _gone = child.kill().and_then(|()| child.wait());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watched_functions_get_the_deployed_variables_and_the_emulators_address() {
        let deployed = [("TABLE_NAME", "t"), ("MODEL_API_KEY_SECRET", ""), ("REQUIRE_COMPILED", "true")];
        let variables = deployed.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
        let text = env_file(&variables, &Settings { port: 1, emulator_port: 2, model_port: 3 });
        let mut lines: Vec<_> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "AWS_ACCESS_KEY_ID=test",
                "AWS_ENDPOINT_URL=http://127.0.0.1:2",
                "AWS_REGION=us-east-1",
                "AWS_SECRET_ACCESS_KEY=test",
                "MODEL_API_KEY_SECRET=",
                "REQUIRE_COMPILED=false",
                "TABLE_NAME=t"
            ]
        );
    }
}
