//! Each runbook, followed top to bottom from its own text: what it is for goes wrong, every block of commands is run as it is printed,
//! and does what it must.

mod faults;
mod shell;

use std::time::Duration;

use tests::runbook::{Block, Runbook, Step};
use tests::{Stack, wait_for};

use super::pager::Pager;
use faults::{Concurrency, Fault, inject, is_well};
use shell::{Said, Shell};

/// Longer than a breaker stays open, and than an alarm needs to go on or off.
const PATIENCE: Duration = Duration::from_secs(340);

fn follow(name: &str) {
    let (setting, runbook) = (Runbook::read("README"), Runbook::read(name));
    let stack = Stack::alone();
    wait_for("a stack that is well before the drill", PATIENCE, || is_well(&stack));
    let shell = Shell::new();
    for block in setting.blocks().filter(|block| block.aws_only.is_none()) {
        must("README", block, &shell);
    }
    // What the tests before this one left dead is theirs.
    let cleared = shell.run("reprise dlq discard --all --yes --reason 'of another test'");
    assert_eq!(cleared.code, 0, "{}", cleared.text);
    let _as_before = Concurrency::of(&stack);
    let pager = Pager::of(&stack);
    let pages_of_faults = runbook.steps.iter().any(leaves_letters).then_some("dead-letters");
    pager.expect(|sign| pages_of_faults == Some(sign) || runbook.text.contains(&format!("`{sign}`")));
    let mut faults: Vec<Fault<'_>> = Vec::new();
    for step in &runbook.steps {
        match step {
            Step::Inject(words) => faults.push(inject(&stack, &shell, words)),
            Step::Heal(name) => {
                let place = faults.iter().position(|fault| fault.name.starts_with(name));
                drop(faults.remove(place.unwrap_or_else(|| panic!("{name} is not broken"))));
            }
            Step::Block(block) if block.aws_only.is_some() => {}
            Step::Block(block) => must(name, block, &shell),
        }
    }
    drop(faults);
    // Letters of runs that have ended go with the sweeper's next tick, which need not be waited for.
    wait_for("an empty dead-letter queue", PATIENCE, || {
        if stack.dead_letters.depth() == 0 {
            return Ok(());
        }
        stack.invoke("sweeper");
        std::thread::sleep(Duration::from_secs(2));
        Err(format!("{:?}", stack.dead_letters.look()))
    });
    wait_for("a stack that is well after the drill", PATIENCE, || is_well(&stack));
    pager.must_be_quiet(name);
}

/// Whether a fault is a means of the drill that pages by itself.
fn leaves_letters(step: &Step) -> bool {
    matches!(step, Step::Inject(words) if matches!(words[0].as_str(), "dead-runs" | "poison"))
}

/// Runs a block, and fails with its place and what it said.
fn must(name: &str, block: &Block, shell: &Shell) {
    let tell = |said: &Said| format!("infra/runbooks/{name}.md:{} exited with {} and said: {}", block.line, said.code, said.text.trim());
    let is_right = |said: &Said| {
        let says = block.expect.says.iter().all(|part| said.text.contains(part.as_str()));
        said.code == block.expect.exit && says && (!said.text.trim().is_empty() || is_quiet(&block.script))
    };
    if block.expect.until {
        wait_for(&format!("the block in line {} of {name}.md to do {:?}", block.line, block.expect), PATIENCE, || {
            let said = shell.run(&block.script);
            if is_right(&said) { Ok(()) } else { Err(tell(&said)) }
        });
    } else {
        let said = shell.run(&block.script);
        assert!(is_right(&said), "{} instead of {:?}", tell(&said), block.expect);
    }
}

/// Whether a block says nothing by its nature: it only sets variables and functions.
fn is_quiet(script: &str) -> bool {
    let sets = |line: &str| {
        let name = line.strip_prefix("export ").unwrap_or(line);
        let name: String = name.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        !name.is_empty() && (line.contains(&format!("{name}=")) || line.contains(&format!("{name}()")))
            || line.starts_with(' ')
            || line.starts_with('#')
    };
    script.lines().filter(|line| !line.is_empty()).all(sets)
}

#[test]
fn dead_letters_are_looked_at_explained_and_put_back() {
    follow("high-dlq-count");
}

#[test]
fn a_consumer_that_was_switched_off_works_again() {
    follow("stalled-consumer");
}

#[test]
fn an_outage_of_a_provider_is_seen_waited_out_and_made_good() {
    follow("provider-outage");
}

#[test]
fn what_makes_answers_late_is_found() {
    follow("high-latency");
}

#[test]
fn a_function_that_fails_is_found_with_its_cause() {
    follow("high-error-rate");
}

#[test]
fn a_table_that_refuses_is_given_air() {
    follow("throttled-table");
}

#[test]
fn a_message_that_is_none_of_ours_is_seen_and_taken_away() {
    follow("poison-message");
}

#[test]
fn a_conversation_that_stands_still_goes_on() {
    follow("stuck-conversation");
}

#[test]
fn a_sweeper_that_was_switched_off_ticks_again() {
    follow("sweeper-silent");
}

#[test]
fn a_run_that_nobody_works_on_is_worked_on() {
    follow("stuck-runs");
}

#[test]
fn a_bulk_action_that_stands_still_gets_on() {
    follow("bulk-actions");
}

#[test]
fn spending_is_found_and_stopped() {
    follow("cost-spike");
}

#[test]
fn a_bad_deploy_is_taken_back() {
    follow("bad-deploy");
}

#[test]
fn what_was_deleted_comes_back_from_an_archive() {
    follow("restore-from-backup");
}

#[test]
fn an_incident_is_written_down_from_its_beginning_to_its_review() {
    follow("incident-process");
}
