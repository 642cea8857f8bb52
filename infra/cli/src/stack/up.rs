//! `reprise stack up`: nine phases from a checkout to an answer. Run again it reuses what lives and takes seconds.

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use crate::args::Up;
use crate::config::Env;
use crate::error::{Error, Result};
use crate::out::{printable, say};
use crate::stack::layout::Layout;
use crate::stack::logs;
use crate::stack::model::Model;
use crate::stack::phases::{self, QUESTION, Setup};
use crate::stack::process::{self, EMULATOR, MODEL};
use crate::stack::progress::{Phase, Progress, Watcher};
use crate::stack::settings::Settings;
use crate::stack::{signals, watch};

/// The phases without `ask`.
const PHASES: usize = 8;

pub(crate) fn execute(layout: &Layout, up: &Up, env: &Env) -> Result<ExitCode> {
    let settings = Settings::from_env(env)?;
    let _lock = layout.lock()?;
    refuse_other_ports(layout, &settings)?;
    settings.record(layout)?;
    let model = Model::from_env(env, &settings.model_url());
    say!("Reprise stack `{}` on {} · model: {}", layout.name, settings.url(), model.describe());
    if let Some(note) = model.note {
        say!("note: {note}");
    }
    let parameters = with_remembered(layout, &up.parameters);
    if parameters.len() > up.parameters.len() {
        say!("parameters of an earlier `up` hold until `down`: {}", names(&parameters, &up.parameters));
    }
    let setup = Arc::new(Setup {
        layout: layout.clone(),
        settings,
        model,
        env: env.clone(),
        profile: up.profile,
        parameters,
        bin_dir: OnceLock::new(),
        answer: OnceLock::new(),
    });
    let mut progress = Progress::new(PHASES + usize::from(!up.no_ask), signals::stop_on_signal()?);
    run(&mut progress, &setup, up.no_ask)?;
    say!("");
    if let Some(answer) = setup.answer.get() {
        say!("question  {QUESTION}\nanswer    {}\n", printable(answer).replace('\n', "\n          "));
    }
    say!("{}", next_steps(&setup));
    Ok(ExitCode::SUCCESS)
}

fn run(progress: &mut Progress, setup: &Arc<Setup>, no_ask: bool) -> Result<()> {
    let phase = |name: &'static str, log: Option<&str>, work: fn(&Setup, &Watcher) -> Result<String>| {
        let log = log.map(|log| setup.layout.short(&setup.layout.log_file(log)));
        let setup = Arc::clone(setup);
        Phase { name, log, work: Box::new(move |watcher| work(&setup, watcher)) }
    };
    progress.run(vec![phase("toolchain", Some("toolchain"), phases::toolchain)])?;
    progress.run(vec![phase("ports", None, |setup, _| phases::check_ports(setup))])?;
    // Side by side: one waits for the network, the other for the compiler.
    progress.run(vec![phase("tools", Some("tools"), phases::tools), phase("build", Some("build"), phases::build)])?;
    progress.run(vec![phase("emulator", Some("emulator"), phases::emulator), phase("model", Some("model"), phases::model)])?;
    progress.run(vec![phase("deploy", Some("deploy"), phases::deploy)])?;
    // Not before: what the template does not take must not stand in the way of every `up` that follows.
    remember(&setup.layout, &setup.parameters)?;
    watch::detach_stale(&setup.layout, &setup.settings)?;
    progress.run(vec![phase("ready", None, |setup, watcher| {
        phases::ready(setup, watcher).map_err(|error| logs::explain(setup, "health", error))
    })])?;
    if !no_ask {
        progress.run(vec![phase("ask", None, |setup, watcher| {
            phases::ask(setup, watcher).map_err(|error| logs::explain(setup, "agent-api", error))
        })])?;
    }
    Ok(())
}

/// The ports of a running stack cannot change under it.
fn refuse_other_ports(layout: &Layout, wanted: &Settings) -> Result<()> {
    let running = [EMULATOR, MODEL].iter().any(|name| process::alive(layout, name).is_some());
    match Settings::recorded(layout) {
        Some(recorded) if running && recorded != *wanted => {
            let Settings { port, emulator_port, model_port } = recorded;
            Err(Error::new(format!(
                "the stack `{}` already runs with PORT={port} EMULATOR_PORT={emulator_port} MODEL_PORT={model_port}",
                layout.name
            ))
            .with_hint("stop it first (`make stop`), or use the same ports"))
        }
        Some(_) | None => Ok(()),
    }
}

/// What was given now, and what was given to an `up` before it: run again it changes nothing that nobody said.
fn with_remembered(layout: &Layout, given: &[(String, String)]) -> Vec<(String, String)> {
    let before = std::fs::read(layout.parameters_file()).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let before: Vec<(String, String)> = before.unwrap_or_default();
    let kept = before.into_iter().filter(|(name, _)| given.iter().all(|(now, _)| now != name));
    kept.chain(given.iter().cloned()).collect()
}

fn remember(layout: &Layout, parameters: &[(String, String)]) -> Result<()> {
    let file = layout.parameters_file();
    let failed = |error: &dyn std::fmt::Display| Error::new("cannot write the parameters").because(error).with_log(file.clone());
    let text = serde_json::to_vec(parameters).map_err(|error| failed(&error))?;
    std::fs::write(&file, text).map_err(|error| failed(&error))
}

/// Those that were not given now.
fn names(all: &[(String, String)], given: &[(String, String)]) -> String {
    let before = all.iter().filter(|(name, _)| given.iter().all(|(now, _)| now != name));
    before.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
}

fn next_steps(setup: &Setup) -> String {
    let url = setup.settings.url();
    let program = std::env::current_exe().map_or_else(|_| "reprise".into(), |path| setup.layout.short(&path));
    let program = program.display();
    let address = if setup.settings.port == Settings::PORT { String::new() } else { format!("--url {url} ") };
    let stop =
        if setup.layout.name == "dev" { "make stop".to_owned() } else { format!("{program} stack down --name {}", setup.layout.name) };
    format!(
        "Try next ({url}):\n  \
         curl -s {url}/v1/agent -H 'content-type: application/json' -d '{{\"prompt\":\"What time is it in Berlin?\"}}'\n  \
         curl -s {url}/v1/runs\n  \
         {program} run {address}start \"What can you do?\"\n  \
         make watch   edit a function, the next request runs it\n  \
         make test    every check and test\n  \
         {stop}   end it; the data goes with it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_holds_until_it_is_given_anew() {
        let root = std::env::temp_dir().join(format!("reprise-up-{}", std::process::id()));
        let layout = Layout { root: root.clone(), name: "t".into() };
        std::fs::create_dir_all(layout.folder()).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let first = with_remembered(&layout, &[pair("A", "1"), pair("B", "1")]);
        assert_eq!(first, [pair("A", "1"), pair("B", "1")]);
        assert_eq!(with_remembered(&layout, &[]), [], "what was never deployed is not remembered");
        remember(&layout, &first).unwrap();
        let second = with_remembered(&layout, &[pair("A", "2")]);
        assert_eq!((second.as_slice(), names(&second, &[pair("A", "2")]).as_str()), ([pair("B", "1"), pair("A", "2")].as_slice(), "B"));
        remember(&layout, &second).unwrap();
        assert_eq!(with_remembered(&layout, &[]), [pair("B", "1"), pair("A", "2")]);
        std::fs::remove_dir_all(root).unwrap();
    }
}
