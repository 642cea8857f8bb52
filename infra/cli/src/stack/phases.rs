//! What each phase of `up` does. Each gives a short note for its line, or an error that names its cause.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::time::Duration;

use agent_files::domain::agent_files::FOLDER;
use serde_json::{Value, json};

use crate::agents::{Folder, into_folder};
use crate::args::Profile;
use crate::config::Env;
use crate::error::{Error, Result};
use crate::http::Http;
use crate::problem;
use crate::run::view::Run;
use crate::stack::emulator::Emulator;
use crate::stack::layout::Layout;
use crate::stack::model::Model;
use crate::stack::process::{self, EMULATOR, MODEL, Record};
use crate::stack::progress::Watcher;
use crate::stack::settings::Settings;
use crate::stack::spawn::{self, last_lines};
use crate::stack::{FUNCTIONS, ports};

/// The demonstration request. The offline model has an answer for it, and any model can give one.
pub(crate) const QUESTION: &str = "Summarise the stack services in one sentence.";
/// A cold Python start on a loaded machine takes a few seconds; ten times that means that it hangs.
const START_LIMIT: Duration = Duration::from_secs(30);
const READY_LIMIT: Duration = Duration::from_secs(60);
/// A run that was handed to the queue may use each of its attempts.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);
/// Above the gateway's 29 s, so that its own answer is seen.
const CALL_LIMIT: Duration = Duration::from_secs(35);
const PROBE_LIMIT: Duration = Duration::from_secs(3);

/// All that the phases need, shared between their threads.
pub(crate) struct Setup {
    pub(crate) layout: Layout,
    pub(crate) settings: Settings,
    pub(crate) model: Model,
    pub(crate) env: Env,
    pub(crate) profile: Profile,
    pub(crate) parameters: Vec<(String, String)>,
    /// Set by `build`: the folder of the built functions.
    pub(crate) bin_dir: OnceLock<PathBuf>,
    /// Set by `ask`.
    pub(crate) answer: OnceLock<String>,
}

/// Rust, a C compiler, Python and Node, each new enough. The script is also what the Makefile runs before there is a `reprise`.
pub(crate) fn toolchain(setup: &Setup, watcher: &Watcher) -> Result<String> {
    let log = setup.layout.log_file("toolchain");
    spawn::to_the_end(Command::new("sh").arg("infra/local/preflight.sh").current_dir(&setup.layout.root), &log, None, watcher)?;
    Ok(last_lines(&log, 10).replace('\n', ", "))
}

/// Each port is ours already, or free.
pub(crate) fn check_ports(setup: &Setup) -> Result<String> {
    let Settings { port, emulator_port, model_port } = setup.settings;
    if process::alive(&setup.layout, EMULATOR).is_none() {
        ports::require_free(port, "PORT")?;
        ports::require_free(emulator_port, "EMULATOR_PORT")?;
    }
    if setup.model.demo && process::alive(&setup.layout, MODEL).is_none() {
        ports::require_free(model_port, "MODEL_PORT")?;
    }
    Ok(format!("{port}, {emulator_port}{}", if setup.model.demo { format!(", {model_port}") } else { String::new() }))
}

pub(crate) fn tools(setup: &Setup, watcher: &Watcher) -> Result<String> {
    let log = setup.layout.log_file("tools");
    spawn::to_the_end(Command::new("sh").args(["infra/local/install.sh", "run"]).current_dir(&setup.layout.root), &log, None, watcher)?;
    Ok(if last_lines(&log, 1).is_empty() { "already installed" } else { "installed into .local" }.to_owned())
}

pub(crate) fn build(setup: &Setup, watcher: &Watcher) -> Result<String> {
    let profile = match setup.profile {
        Profile::Dev => "dev",
        Profile::Local => "local",
    };
    let report = setup.layout.folder().join("run/build.json");
    let mut cargo = Command::new(setup.env.get("CARGO").unwrap_or("cargo"));
    cargo.args(["build", "--profile", profile, "--message-format", "json-render-diagnostics"]);
    // By binary, not by package: then cargo chooses the same features as for `cargo run --bin` (the Makefile, cargo lambda watch),
    // and nothing is compiled twice.
    cargo.args(FUNCTIONS.iter().flat_map(|function| ["--bin", function])).current_dir(&setup.layout.root);
    spawn::to_the_end(&mut cargo, &setup.layout.log_file("build"), Some(&report), watcher)?;
    let report = std::fs::read_to_string(&report).map_err(|error| Error::new("cannot read cargo's report").because(error))?;
    let folder = built_into(&report).ok_or_else(|| Error::new("cargo's report names no built function"))?;
    Ok(format!("{} functions in {}", FUNCTIONS.len(), setup.layout.short(setup.bin_dir.get_or_init(|| folder)).display()))
}

/// The folder of the first function among cargo's artefacts; the target folder may be anywhere.
fn built_into(report: &str) -> Option<PathBuf> {
    let executable = report.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(|message| {
        (message["target"]["name"] == FUNCTIONS[0]).then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
    })?;
    executable.parent().map(Path::to_path_buf)
}

pub(crate) fn emulator(setup: &Setup, watcher: &Watcher) -> Result<String> {
    let (layout, settings) = (&setup.layout, &setup.settings);
    let probe = Http::new(&settings.emulator_url(), PROBE_LIMIT)?;
    let healthy = || probe.get("/_ministack/health").is_ok_and(|reply| reply.is_success());
    if process::alive(layout, EMULATOR).is_some() && healthy() {
        return Ok("already running".to_owned());
    }
    process::end(layout, EMULATOR)?;
    // Its outputs named resources that went with the old one.
    let _none = std::fs::remove_file(layout.outputs_file());
    let mut command = Command::new(layout.python());
    spawn::clean(&mut command, &setup.env);
    command.arg("infra/local/emulator.py").current_dir(&layout.root).env("STACK_DIR", layout.folder());
    command.env("PORT", settings.port.to_string()).env("EMULATOR_PORT", settings.emulator_port.to_string());
    command.envs(setup.env.only(&["EMULATOR_MINUTE_SECONDS"]));
    start(layout, EMULATOR, &mut command, "infra/local/emulator.py", watcher, healthy)?;
    Ok(settings.emulator_url())
}

pub(crate) fn model(setup: &Setup, watcher: &Watcher) -> Result<String> {
    let (layout, settings) = (&setup.layout, &setup.settings);
    if !setup.model.demo {
        process::end(layout, MODEL)?;
        return Ok(setup.model.describe());
    }
    let probe = Http::new(&settings.model_url(), PROBE_LIMIT)?;
    let healthy = || probe.get("/health").is_ok_and(|reply| reply.is_success());
    if process::alive(layout, MODEL).is_some() && healthy() {
        return Ok("offline demo model, already running".to_owned());
    }
    process::end(layout, MODEL)?;
    const SERVER: &str = "infra/local/model/server.mjs";
    let mut command = Command::new("node");
    spawn::clean(&mut command, &setup.env);
    command.args([SERVER, "--port", &settings.model_port.to_string()]).current_dir(&layout.root);
    start(layout, MODEL, &mut command, SERVER, watcher, healthy)?;
    Ok(format!("offline demo model at {}", settings.model_url()))
}

/// Starts a background process, records it at once (so that `down` finds it whatever happens next) and waits until it answers.
fn start(layout: &Layout, name: &str, command: &mut Command, marker: &str, watcher: &Watcher, healthy: impl Fn() -> bool) -> Result<()> {
    let log = layout.log_file(name);
    let mut child: Child = spawn::background(command, &log)?;
    Record::write(layout, name, child.id(), marker)?;
    let up = watcher.wait_for(START_LIMIT, || match child.try_wait() {
        Ok(Some(status)) => Err(Error::new(format!("it ended with {status}")).because(last_lines(&log, 15))),
        Ok(None) => Ok(healthy().then_some(())),
        Err(error) => Err(Error::new("cannot watch it").because(error)),
    })?;
    up.ok_or_else(|| Error::new(format!("it did not answer within {} s", START_LIMIT.as_secs())).because(last_lines(&log, 15)))
}

pub(crate) fn deploy(setup: &Setup, watcher: &Watcher) -> Result<String> {
    let layout = &setup.layout;
    let bin_dir = setup.bin_dir.get().ok_or_else(|| Error::new("nothing was built"))?;
    let mut command = Command::new(layout.python());
    spawn::clean(&mut command, &setup.env);
    // In the environment, because a command line can be read by every user of the machine.
    command.env("MODEL_API_KEY", &setup.model.api_key).arg("infra/local/deploy.py").current_dir(&layout.root);
    command.arg("--stack-dir").arg(layout.folder()).args(["--stack-name", &layout.stack_name()]);
    command.args(["--endpoint-url", &setup.settings.emulator_url()]).arg("--bin-dir").arg(bin_dir);
    // Anew each time: who changes an agent's file and runs `up` again runs with it, whatever cargo thought.
    let agents = layout.folder().join("agents");
    into_folder(&Folder::find(Some(&layout.root.join(FOLDER)))?, &agents)?;
    command.arg("--agents").arg(&agents);
    command.args(["--secret-parameter", "ModelApiKeySecret=MODEL_API_KEY"]);
    for (key, value) in template_parameters(setup) {
        command.args(["--parameter", &format!("{key}={value}")]);
    }
    let log = layout.log_file("deploy");
    spawn::to_the_end(&mut command, &log, None, watcher)?;
    // Its last line is `deploy:  3.1s done`; the phase has a name and a time of its own.
    let last = last_lines(&log, 1);
    Ok(last.split_once("s ").map_or(last.as_str(), |(_, note)| note).to_owned())
}

/// The parameters of the template for this machine; those of the command line come last and win.
fn template_parameters(setup: &Setup) -> Vec<(String, String)> {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    let own = [
        ("Local", "true"),
        ("ApiAuth", "NONE"),
        ("Architecture", architecture),
        ("Model", &setup.model.name),
        ("ModelBaseUrl", &setup.model.base_url),
        // The name that the operations manual's smoke tests have built in.
        ("ModelAliases", r#"{"ollama/llama3":"assistant"}"#),
        // Far above what the emulator can do: the throttle protects an account, and here there is none.
        ("RequestsPerSecond", "10000"),
    ];
    let own = own.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    let own = own.filter(|(key, _)| !setup.parameters.iter().any(|(given, _)| given == key));
    own.chain(setup.parameters.iter().cloned()).collect()
}

/// Waits until the stack says of itself that its queue works; a failed model check is only said, for the next phase shows why.
pub(crate) fn ready(setup: &Setup, watcher: &Watcher) -> Result<String> {
    let http = Http::new(&setup.settings.url(), PROBE_LIMIT)?;
    let mut last = "no answer yet".to_owned();
    let checks = watcher.wait_for(READY_LIMIT, || {
        match http.get("/api/production/ready") {
            // Waiting does not change who may ask.
            Ok(reply) if [401, 403].contains(&reply.status) => return Err(problem::explain(&reply)),
            Ok(reply) => {
                let checks = reply.json()["checks"].clone();
                last = format!("HTTP {} {}", reply.status, crate::out::brief(&reply.body, 600));
                if checks["queue"] == true {
                    return Ok(Some(checks));
                }
            }
            Err(error) => last = error.render().replace('\n', " "),
        }
        watcher.detail(&last);
        Ok(None)
    })?;
    let checks = checks.ok_or_else(|| {
        Error::new(format!("checks.queue was not true within {} s", READY_LIMIT.as_secs()))
            .because(format!("last state: {last}"))
            .with_hint("see `reprise stack health` and `reprise stack logs emulator`")
    })?;
    first_tick(setup)?;
    let failing: Vec<&str> =
        checks.as_object().into_iter().flatten().filter(|(_, ok)| **ok == false).map(|(name, _)| name.as_str()).collect();
    Ok(if failing.is_empty() { "all checks pass".to_owned() } else { format!("the queue is ready; failing: {}", failing.join(", ")) })
}

/// The schedule's first tick is a minute away; until a canary has come through the queue, the heartbeat says that nobody works.
fn first_tick(setup: &Setup) -> Result<()> {
    Emulator::new(&setup.settings)?.start(&setup.layout.function_name("sweeper"), b"{}")
}

/// One question to an agent. A slow model may make it a background run, which is then awaited.
pub(crate) fn ask(setup: &Setup, watcher: &Watcher) -> Result<String> {
    let http = Http::new(&setup.settings.url(), CALL_LIMIT)?;
    let body = json!({ "prompt": QUESTION }).to_string();
    let reply = http.post("/v1/agent", &[("content-type", "application/json")], body.as_bytes())?;
    if !reply.is_success() {
        return Err(problem::explain(&reply));
    }
    let mut run = Run::from_start(&reply.json());
    if !run.ended() {
        watcher.detail("the model is slow: waiting for the run");
        let ended = watcher.wait_for(ANSWER_LIMIT, || Run::fetch(&http, &run.id).map(|run| run.ended().then_some(run)))?;
        run = ended.ok_or_else(|| {
            Error::new(format!("the run {} did not end within {} s", run.id, ANSWER_LIMIT.as_secs()))
                .with_hint(format!("follow it with `reprise run tail {}`", run.id))
        })?;
    }
    let answer = run.answer().map_err(|error| match setup.model.demo {
        true => error,
        false => {
            error.with_hint(format!("is this right: MODEL={}, MODEL_BASE_URL={}, and the API key?", setup.model.name, setup.model.base_url))
        }
    })?;
    let _first = setup.answer.set(answer);
    Ok(run.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_folder_is_read_from_cargos_report() {
        let report = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"serde"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"health"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"health"},"executable":"/t/debug/health"}"#,
            "\n",
        );
        assert_eq!(built_into(report), Some("/t/debug".into()));
        assert_eq!(built_into(""), None);
    }

    #[test]
    fn a_parameter_of_the_command_line_replaces_ours() {
        let env = Env::default();
        let settings = Settings::from_env(&env).unwrap();
        let setup = Setup {
            layout: Layout { root: "/r".into(), name: "t".into() },
            model: Model::from_env(&env, &settings.model_url()),
            settings,
            env,
            profile: Profile::Dev,
            parameters: vec![("Model".into(), "x::y".into()), ("LeaseSeconds".into(), "5".into())],
            bin_dir: OnceLock::new(),
            answer: OnceLock::new(),
        };
        let all = template_parameters(&setup);
        assert_eq!(all.iter().filter(|(key, _)| key == "Model").count(), 1);
        assert!(all.contains(&("LeaseSeconds".into(), "5".into())) && all.contains(&("Local".into(), "true".into())));
    }
}
