//! The fault harness: real binaries on a real stack, workers killed and stopped, the table, the queue and the model failing at
//! seeded random points, and a judgement of what became of every run. `infra/checks/chaos.sh` (`make chaos`) brings the stack up.
//!
//! Read `plan` (what goes wrong), `work` (what goes on meanwhile), `drive` (the course of events), `judge` (what was promised).
//! Exits with 1 when a promise was broken.

mod cases;
mod causes;
mod collect;
mod drive;
mod events;
mod facts;
mod judge;
#[cfg(test)]
mod judge_tests;
mod people;
mod plan;
mod rules;
mod strike;
mod table;
mod time;
mod turns;
mod watch;
mod work;
mod workers;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use plan::{Kind, Plan};
use tests::Stack;

/// What is printed when an argument is not understood.
const USAGE: &str = "chaos --seed 1 --faults 60 --lease 10 [--kinds kill_consumer,lost_reply,…] [--report FILE] [--cases FOLDER]";

/// What was asked for.
#[derive(Debug, PartialEq)]
struct Arguments {
    seed: u64,
    faults: u32,
    lease: Duration,
    kinds: Vec<Kind>,
    report: Option<String>,
    cases: Option<String>,
}

fn main() -> ExitCode {
    let arguments = match read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            drive::say(&format!("{problem}; usage: {USAGE}"));
            return ExitCode::from(2);
        }
    };
    let stack = Stack::beside();
    let plan = Plan::draw(arguments.seed, arguments.faults, &arguments.kinds);
    drive::say(&format!("seed {}, the plan: {}", arguments.seed, drive::words(&plan.counts)));
    let order = drive::Order { seed: arguments.seed, lease: arguments.lease };
    let (facts, done) = drive::drive(&stack, &plan, &order);
    let verdict = judge::judge(&facts);
    let text = table::report(&done, &plan, &facts, &verdict);
    let _closed = writeln!(std::io::stdout(), "{text}");
    if let Some(file) = &arguments.report
        && let Err(error) = std::fs::write(file, &text)
    {
        drive::say(&format!("cannot write {file}: {error}"));
        return ExitCode::from(2);
    }
    if let Some(folder) = &arguments.cases {
        match cases::write(&stack, &facts, &verdict, folder) {
            Ok(runs) if runs.is_empty() => {}
            Ok(runs) => drive::say(&format!("what is known of {} is in {folder}", runs.join(", "))),
            Err(error) => drive::say(&format!("cannot write into {folder}: {error}")),
        }
    }
    ExitCode::from(u8::from(!verdict.violations.is_empty()))
}

fn read(mut given: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments =
        Arguments { seed: 1, faults: 60, lease: Duration::from_secs(10), kinds: Kind::all().collect(), report: None, cases: None };
    while let Some(name) = given.next() {
        let value = given.next().ok_or_else(|| format!("{name} needs a value"))?;
        let wrong = || format!("{name} {value} is not understood");
        match name.as_str() {
            "--seed" => arguments.seed = value.parse().map_err(|_| wrong())?,
            "--faults" => arguments.faults = value.parse().ok().filter(|count| (1..=20_000).contains(count)).ok_or_else(wrong)?,
            "--lease" => arguments.lease = Duration::from_secs(value.parse().map_err(|_| wrong())?),
            "--cases" => arguments.cases = Some(value),
            "--report" => arguments.report = Some(value),
            "--kinds" => {
                let kind = |word: &str| Kind::all().find(|kind| kind.word() == word).ok_or_else(|| format!("no kind is named {word}"));
                arguments.kinds = value.split(',').map(kind).collect::<Result<_, _>>()?;
            }
            _ => return Err(format!("{name} is no option")),
        }
    }
    Ok(arguments)
}

#[cfg(test)]
mod tests_of_arguments {
    use super::*;

    fn given(text: &str) -> Result<Arguments, String> {
        read(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_kind_is_chosen_by_its_word_and_an_unknown_one_is_named() {
        assert_eq!(given("--kinds lost_reply,kill_api").unwrap().kinds, [Kind::LostReply, Kind::KillApi]);
        assert_eq!(given("--kinds flood").unwrap_err(), "no kind is named flood");
        assert_eq!(given("--faults 0").unwrap_err(), "--faults 0 is not understood");
        assert_eq!(given("").unwrap().kinds.len(), Kind::all().count());
    }
}
