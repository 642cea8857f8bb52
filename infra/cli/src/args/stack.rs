//! `reprise stack …`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

use super::{Format, key_value};

const UP_VARIABLES: &str = "\
Variables:
  PORT=8000 EMULATOR_PORT=4566 MODEL_PORT=4010   the ports, all on loopback
  OPENAI_API_KEY with MODEL                      use a real model instead of the offline demo model
  MODEL, MODEL_BASE_URL, MODEL_API_KEY           the same for any other provider or OpenAI-compatible server
  EMULATOR_MINUTE_SECONDS=60                     how long a minute of alarms and schedules is, from 10
  PYTHON=python3                                 the interpreter that makes the project's own environment";

#[derive(Debug, Subcommand)]
pub(crate) enum Stack {
    /// Install, build, start, deploy, wait until ready and ask one question; again: seconds
    #[command(after_help = UP_VARIABLES)]
    Up(Up),
    /// End exactly what `up` started; the data of the stack goes with it
    Down(Down),
    /// Give the functions new processes, with the code and the data that they have
    Restart(Restart),
    /// What runs, where, since when
    Status(Status),
    /// Ask the probes: exit 0 healthy, 1 not, 2 nothing answered
    Health(Health),
    /// Logs of processes of the stack, or of deployed functions
    Logs(Logs),
    /// Ask what the operations manual asks after a deploy: exit 0 when every answer is as expected
    Smoke(Named),
    /// Hot reload: `cargo lambda watch` behind the same address and on the same data, until Ctrl-C
    Watch(Named),
    /// Invoke a deployed function with an event fixture and print its response
    Invoke(Invoke),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Named {
    /// Name of the stack
    #[arg(long, default_value = "dev", env = "REPRISE_STACK", value_parser = stack_name)]
    pub(crate) name: String,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) stack: Named,
    /// Do not send the demonstration request at the end
    #[arg(long)]
    pub(crate) no_ask: bool,
    /// A parameter of template.yaml; may be repeated, wins over what `up` would choose, and holds until `down`
    #[arg(long = "parameter", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) parameters: Vec<(String, String)>,
    /// Cargo profile of the functions: `dev` builds fastest, `local` runs fastest
    #[arg(long, value_enum, default_value_t = Profile::Dev)]
    pub(crate) profile: Profile,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Down {
    #[command(flatten)]
    pub(crate) stack: Named,
    /// Remove the stack's folder as well: logs, ports, outputs (asks first)
    #[arg(long)]
    pub(crate) remove_data: bool,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Restart {
    /// Which functions (left out: all)
    #[arg(value_name = "FUNCTION")]
    pub(crate) functions: Vec<String>,
    #[command(flatten)]
    pub(crate) stack: Named,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Health {
    /// Which part (left out: all)
    #[arg(value_enum)]
    pub(crate) part: Option<Part>,
    #[command(flatten)]
    pub(crate) stack: Named,
}

/// What `stack health` can be asked about alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    Api,
    Database,
    Queue,
    Emulator,
    Model,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    Dev,
    Local,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) stack: Named,
    /// How to print it: for people, or for programs
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Logs {
    /// emulator, model, build, tools, deploy, or a function: health, agent-api, queue-consumer, dlq-redrive, operator-api, sweeper
    #[arg(default_value = "agent-api", value_name = "SOURCE")]
    pub(crate) sources: Vec<String>,
    #[command(flatten)]
    pub(crate) stack: Named,
    /// How many of the last lines of each [default: 50, or with --since all]
    #[arg(long, value_name = "N")]
    pub(crate) tail: Option<usize>,
    /// Keep printing new lines until Ctrl-C
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// For people: time, level, message and fields of each line, no JSON (LOG_JSON=0 does the same)
    #[arg(long)]
    pub(crate) plain: bool,
    /// Only this far back, for example 90s, 10m or 2h (functions only: the others write no times of ours)
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(crate) since: Option<jiff::SignedDuration>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Invoke {
    /// health, agent-api, queue-consumer, dlq-redrive, operator-api or sweeper
    pub(crate) function: String,
    /// A file, or the name of a fixture in tests/fixtures/events/FUNCTION/ (left out: the first; `list` names them)
    #[arg(long, value_name = "FILE|NAME")]
    pub(crate) event: Option<String>,
    #[command(flatten)]
    pub(crate) stack: Named,
}

/// A path given by `--event`, when it is one.
pub(crate) fn as_file(event: &str) -> Option<PathBuf> {
    let path = PathBuf::from(event);
    path.is_file().then_some(path)
}

/// The name becomes a folder and, after `reprise-`, the name of a CloudFormation stack and of its functions.
fn stack_name(text: &str) -> Result<String, String> {
    let fits = text.len() <= 24
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if fits { Ok(text.to_owned()) } else { Err("use 1 to 24 of a-z, 0-9 and -, beginning with a letter".to_owned()) }
}

pub(super) fn age(text: &str) -> Result<jiff::SignedDuration, String> {
    let age: jiff::SignedDuration = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    if age.is_negative() { Err("an age is not negative".to_owned()) } else { Ok(age) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_people_write_them() {
        assert_eq!(age("10m").unwrap().as_secs(), 600);
        assert_eq!(age("90s").unwrap().as_secs(), 90);
        assert!(age("soon").is_err());
        assert!(age("-5m").is_err());
    }
}
