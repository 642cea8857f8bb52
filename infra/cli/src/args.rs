//! The command line. `--help` is the reference; exit codes are at its end.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::agents::Metric;

const EXIT_CODES: &str = "\
Exit codes:
  0    done; healthy; the run completed (or was accepted)
  1    it failed: a phase, a run that ended failed, dead or cancelled, an unhealthy stack
  2    bad arguments, or nothing answered
  3    `run tail` stopped waiting and the run still goes on
  130  interrupted";

const UP_VARIABLES: &str = "\
Variables:
  PORT=8000 EMULATOR_PORT=4566 MODEL_PORT=4010   the ports, all on loopback
  OPENAI_API_KEY with MODEL                      use a real model instead of the offline demo model
  MODEL, MODEL_BASE_URL, MODEL_API_KEY           the same for any other provider or OpenAI-compatible server
  PYTHON=python3                                 the interpreter that makes the project's own environment";

/// Run Reprise on this machine, and talk to it.
#[derive(Debug, Parser)]
#[command(name = "reprise", version, propagate_version = true, after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The local stack: start, stop, look at it, develop on it
    #[command(subcommand)]
    Stack(Stack),
    /// Agent runs: start one, show it, follow it
    Run(Run),
    /// Which models may be asked: see it, switch one off, send everything to another; acts within seconds, with no deploy
    Provider(Provider),
    /// Agents as files: check, compile, show and compare what infra/agents says
    Agents(Agents),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Stack {
    /// Install, build, start, deploy, wait until ready and ask one question; again: seconds
    #[command(after_help = UP_VARIABLES)]
    Up(Up),
    /// End exactly what `up` started; the data of the stack goes with it
    Down(Named),
    /// What runs, where, since when
    Status(Status),
    /// Ask the probes: exit 0 healthy, 1 not, 2 nothing answered
    Health(Named),
    /// Logs of a process of the stack, or of a deployed function
    Logs(Logs),
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
    /// A parameter of template.yaml; may be repeated, and wins over what `up` would choose
    #[arg(long = "parameter", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) parameters: Vec<(String, String)>,
    /// Cargo profile of the functions: `dev` builds fastest, `local` runs fastest
    #[arg(long, value_enum, default_value_t = Profile::Dev)]
    pub(crate) profile: Profile,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    Dev,
    Local,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) stack: Named,
    /// How to print it: for people, or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Logs {
    /// emulator, model, build, tools, deploy, or a function: health, agent-api, queue-consumer, dlq-redrive, sweeper
    #[arg(default_value = "agent-api")]
    pub(crate) source: String,
    #[command(flatten)]
    pub(crate) stack: Named,
    /// How many of the last lines
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub(crate) tail: usize,
    /// Keep printing new lines until Ctrl-C
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only this far back, for example 90s, 10m or 2h (functions only: the others write no times of ours)
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(crate) since: Option<jiff::SignedDuration>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Invoke {
    /// health, agent-api, queue-consumer, dlq-redrive or sweeper
    pub(crate) function: String,
    /// A file, or the name of a fixture in tests/fixtures/events/FUNCTION/ (left out: the first; `list` names them)
    #[arg(long, value_name = "FILE|NAME")]
    pub(crate) event: Option<String>,
    #[command(flatten)]
    pub(crate) stack: Named,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Agents {
    /// Folder of the definitions (left out: infra/agents of this checkout)
    #[arg(long, global = true, value_name = "FOLDER")]
    pub(crate) dir: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: AgentsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentsCommand {
    /// Tell all that is wrong, with file, line and field: exit 0 when all holds, 1 when not
    Validate(Validate),
    /// Write the checksummed bundle, and the files that it was made from, into the folder that is packed with the functions
    Compile(Compile),
    /// One agent with all its defaults, or all of them
    Show(ShowAgent),
    /// Choose few-shot examples for an agent by how well it does with them, and compile them into the bundle
    Optimize(Box<Optimize>),
    /// What the files change of a bundle: exit 1 when an agent changed and its version did not
    Diff(Diff),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Validate {
    /// How to print it: for people, or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Compile {
    /// Where to (left out: target/agents of this checkout)
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// Write nothing; exit 1 when the folder is not what the files say
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ShowAgent {
    /// Which (left out: all, in a line each)
    pub(crate) name: Option<String>,
    /// How to print it: for people, or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Diff {
    /// A bundle, or a folder with one or with definitions (left out: target/agents of this checkout)
    #[arg(value_name = "BUNDLE|FOLDER")]
    pub(crate) base: Option<PathBuf>,
    /// How to print it: for people, or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Provider {
    /// Address of the stack
    #[arg(long, global = true, env = "REPRISE_URL", default_value = "http://localhost:8000")]
    pub(crate) url: String,
    /// How to print it: for people, or for programs
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    #[command(subcommand)]
    pub(crate) command: ProviderCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProviderCommand {
    /// Models, breakers, and what operators have said
    List,
    /// Nobody asks this provider or model any more; runs that can go nowhere else wait
    Disable(NamedProvider),
    /// It may be asked again
    Enable(NamedProvider),
    /// Everything is sent to this provider or model, whatever agents and requests want
    Pin(NamedProvider),
    /// Calls go where they want to again
    Unpin(Why),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct NamedProvider {
    /// PROVIDER or PROVIDER::MODEL
    pub(crate) name: String,
    /// Why; kept with who and when
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Why {
    /// Why; for the log
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Optimize {
    /// Which agent
    pub(crate) agent: String,
    /// Lines of {"input": …, "output": …}: half are chosen from, the others are what is scored
    #[arg(long, value_name = "FILE.jsonl")]
    pub(crate) data: PathBuf,
    /// exact, contains, f1, json (share of expected fields), or a rule as JSON
    #[arg(long)]
    pub(crate) metric: Metric,
    /// Least score of an answer that becomes an example
    #[arg(long, default_value_t = 1.0, value_name = "0..1")]
    pub(crate) threshold: f64,
    /// Examples at most
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=32))]
    pub(crate) max_examples: u32,
    /// Sets of examples that are drawn at random, besides the ones that are always tried
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) draws: u32,
    /// Draws the same again
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Address of the stack whose agent answers
    #[arg(long, env = "REPRISE_URL", default_value = "http://localhost:8000")]
    pub(crate) url: String,
    /// Keep every answer in this file
    #[arg(long, value_name = "FILE.jsonl", conflicts_with = "replay")]
    pub(crate) record: Option<PathBuf>,
    /// Ask nobody: take the answers from such a file
    #[arg(long, value_name = "FILE.jsonl")]
    pub(crate) replay: Option<PathBuf>,
    /// Write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Run {
    /// Address of the stack
    #[arg(long, global = true, env = "REPRISE_URL", default_value = "http://localhost:8000")]
    pub(crate) url: String,
    #[command(subcommand)]
    pub(crate) command: RunCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RunCommand {
    /// Ask an agent; prints the answer, or the id of the run when it goes on in the background
    Start(Start),
    /// One run: state, answer or error, tokens
    Show(Show),
    /// Follow the steps of a run until it ends
    Tail(Tail),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Start {
    /// The question or order; `-` reads it from standard input
    pub(crate) prompt: String,
    /// Which agent; left out: the built-in one
    #[arg(long)]
    pub(crate) agent: Option<String>,
    /// Go on with this conversation
    #[arg(long, value_name = "ID")]
    pub(crate) conversation: Option<String>,
    /// Do not wait for the answer
    #[arg(long)]
    pub(crate) background: bool,
    /// Kept with the run; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) metadata: Vec<(String, String)>,
    /// How to print it: for people, or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Show {
    pub(crate) id: String,
    /// How to print it: for people, or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Tail {
    pub(crate) id: String,
    /// Stop waiting after so many seconds (exit code 3); the run itself goes on
    #[arg(long, default_value_t = 900, value_name = "SECONDS")]
    pub(crate) timeout: u64,
}

/// A path given by `--event`, when it is one.
pub(crate) fn as_file(event: &str) -> Option<PathBuf> {
    let path = PathBuf::from(event);
    path.is_file().then_some(path)
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

/// The name becomes a folder and, after `reprise-`, the name of a CloudFormation stack and of its functions.
fn stack_name(text: &str) -> Result<String, String> {
    let fits = text.len() <= 24
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if fits { Ok(text.to_owned()) } else { Err("use 1 to 24 of a-z, 0-9 and -, beginning with a letter".to_owned()) }
}

fn age(text: &str) -> Result<jiff::SignedDuration, String> {
    let age: jiff::SignedDuration = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    if age.is_negative() { Err("an age is not negative".to_owned()) } else { Ok(age) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn parameters_keep_equal_signs_in_their_values() {
        let args = Args::try_parse_from(["reprise", "stack", "up", "--parameter", "Model=a::b", "--parameter", "Key=x=y"]).unwrap();
        let Command::Stack(Stack::Up(up)) = args.command else { panic!("not up") };
        assert_eq!(up.parameters, [("Model".into(), "a::b".into()), ("Key".into(), "x=y".into())]);
        assert_eq!((up.stack.name.as_str(), up.profile), ("dev", Profile::Dev));
    }

    #[test]
    fn a_name_that_could_leave_its_folder_is_refused() {
        for name in ["..", "a/b", "", "A", "-x", "a_b", &"x".repeat(25)] {
            assert!(Args::try_parse_from(["reprise", "stack", "down", "--name", name]).is_err(), "{name} was taken");
        }
    }

    #[test]
    fn ages_read_as_people_write_them() {
        assert_eq!(age("10m").unwrap().as_secs(), 600);
        assert_eq!(age("90s").unwrap().as_secs(), 90);
        assert!(age("soon").is_err());
        assert!(age("-5m").is_err());
    }

    #[test]
    fn metadata_without_an_equal_sign_is_refused() {
        assert!(Args::try_parse_from(["reprise", "run", "start", "hi", "--metadata", "x"]).is_err());
    }
}
