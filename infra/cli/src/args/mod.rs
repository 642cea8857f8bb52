//! The command line, a file per topic. `--help` is the reference; exit codes are at its end.

mod agents;
mod backup;
mod bulk;
mod dlq;
mod event;
mod filters;
mod health;
mod incident;
mod provider;
mod replay;
mod run;
mod stack;
mod target;

use clap::{Parser, Subcommand};

pub(crate) use self::agents::{Agents, AgentsCommand, Compile, Diff, Optimize, ShowAgent, Validate};
pub(crate) use self::backup::{Backup, BackupCommand, ListBackups, RestoreBackup, Unfinished};
pub(crate) use self::bulk::{Bulk, Change};
pub(crate) use self::dlq::{Discard, Dlq, DlqCommand, Job, Letters, LettersCommand, ListDead, RetryAll, RetryDead, Selection, ShowDead};
pub(crate) use self::event::{
    Conversation, ConversationCommand, Event, EventCommand, Export, History, HistoryCommand, ListEvents, Publish,
};
pub(crate) use self::filters::{Filters, given, rfc3339};
pub(crate) use self::health::{Completions, Health};
pub(crate) use self::incident::{
    BundleIncident, Incident, IncidentCommand, IncidentStatus, ListIncidents, OpenIncident, ReviewIncident, Severity, UpdateIncident,
};
pub(crate) use self::provider::{Provider, ProviderCommand};
pub(crate) use self::replay::{Replay, Replays};
pub(crate) use self::run::{Answer, Cancel, ListRuns, Run, RunCommand, Show, Start, Tail};
pub(crate) use self::stack::{Down, Invoke, Logs, Part, Profile, Restart, Stack, Up, as_file};
pub(crate) use self::target::{Format, Target};

const EXIT_CODES: &str = "\
Exit codes, the same for all commands:
  0    done; healthy; the run completed (or was accepted)
  1    it failed: a phase, a run that ended failed, dead or cancelled, a refused request, something unhealthy, a part of a bulk action
  2    it could not be asked: bad arguments, nothing answered, no credentials, nobody there to say yes
  3    it still goes on: the time to wait was over
  130  interrupted; what was asked for goes on

Which deployment: --url, else --profile, else REPRISE_URL, else REPRISE_PROFILE, else http://localhost:8000.
~/.config/reprise/config.toml ($REPRISE_CONFIG):
  default = \"prod\"
  [profiles.prod]
  url = \"https://abc.execute-api.eu-west-1.amazonaws.com/prod\"   # signed with SigV4; aws_profile = \"…\", region = \"…\" if need be
  [profiles.edge]
  url = \"https://agents.example.com\"
  auth = \"api-key\"                                              # header = \"x-api-key\", prefix = \"\"
  key_env = \"AGENTS_KEY\"                                        # or key_command = [\"op\", \"read\", \"…\"]";

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
    /// Agent runs: start, list, show, follow, cancel, answer
    Run(Run),
    /// Events: tell what happened, see what was told
    Event(Event),
    /// Conversations: show, export, delete
    Conversation(Conversation),
    /// Everything that ran, for analysis elsewhere
    History(History),
    /// Dead runs: what died and why; put back or give up one, several, all
    Dlq(Dlq),
    /// Past events as new runs, with another model or agent if wanted; old and new side by side
    Replay(Box<Replay>),
    /// The replays that there were: progress, results, cancel
    Replays(Replays),
    /// Ask what the operations manual asks of a deployment: exit 0 when every answer is as expected
    Smoke(Target),
    /// Which models may be asked: see it, switch one off, send everything to another; acts within seconds, with no deploy
    Provider(Provider),
    /// Ask the probes of a deployment: exit 0 healthy, 1 not, 2 could not ask
    Health(Health),
    /// What is wrong, written down while it is wrong: clocks, timeline, updates, debug bundle, review
    Incident(Incident),
    /// The whole table as one checksummed archive, and back
    Backup(Backup),
    /// Agents as files: check, compile, show and compare what infra/agents says
    Agents(Agents),
    /// What a shell needs to complete commands
    Completions(Completions),
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
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
    fn metadata_without_an_equal_sign_is_refused() {
        assert!(Args::try_parse_from(["reprise", "run", "start", "hi", "--metadata", "x"]).is_err());
    }
}
