//! `reprise`: runs the whole system on one machine (`stack`) and talks to it (`run`, `provider`); compiles what agents are (`agents`).
//!
//! Read next: `args/mod.rs` for the commands, `stack/up.rs` for what `make run` does, `error.rs` for exit codes.

mod agents;
mod archive;
mod args;
mod backup;
mod clock;
mod config;
mod conversation;
mod dlq;
mod error;
mod event;
mod export;
mod health;
mod http;
mod incident;
mod job;
mod out;
mod pages;
mod problem;
mod provider;
mod replay;
mod run;
mod screen;
mod smoke;
mod stack;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let args = args::Args::parse();
    let env = config::Env::read();
    let done = match args.command {
        args::Command::Stack(command) => stack::execute(command, &env),
        args::Command::Run(command) => run::execute(&command, &env),
        args::Command::Dlq(command) => dlq::execute(&command, &env),
        args::Command::Replay(command) => replay::execute(&command, &env),
        args::Command::Replays(command) => replay::look(&command, &env),
        args::Command::Smoke(target) => http::Http::to(&target, &env, smoke::LIMIT).and_then(|http| smoke::execute(&http)),
        args::Command::Provider(command) => provider::execute(&command, &env),
        args::Command::Event(command) => event::execute(&command, &env),
        args::Command::Conversation(command) => conversation::execute(&command, &env),
        args::Command::History(command) => export::execute(&command, &env),
        args::Command::Health(command) => health::execute(&command, &env),
        args::Command::Completions(command) => Ok(out::completions(command.shell)),
        args::Command::Incident(command) => incident::execute(&command, &env),
        args::Command::Backup(command) => backup::execute(&command, &env),
        args::Command::Agents(command) => agents::execute(&command, &env),
    };
    done.unwrap_or_else(|error| error.report())
}
