//! The operations lines of five agent systems' manuals, one by one: the line as it is printed there, ours beside it, and what must come
//! of it. Needs a stack of its own, because lines stop it and start it: `infra/checks/manuals.sh` brings one up.
//!
//! `line` is what a row is; each other file is a manual.

#[cfg(test)]
mod automation;
#[cfg(test)]
mod fleet;
#[cfg(test)]
mod line;
#[cfg(test)]
mod platform;
#[cfg(test)]
mod reflex;
#[cfg(test)]
mod reflexion;

#[cfg(test)]
use line::{Line, World, run};

/// The manuals in the order in which their lines are run: those that stop the stack come last.
#[cfg(test)]
fn manuals() -> [(&'static str, Vec<Line>); 5] {
    [
        ("Automation: Production Monitoring Runbook", automation::lines()),
        ("Reflex: Operations", reflex::lines()),
        ("Reflexion: Incident Response Runbook", reflexion::lines()),
        ("AgenticFleet: Operations Runbook", fleet::lines()),
        ("Agent platform: Operations", platform::lines()),
    ]
}

#[test]
fn every_line_of_the_five_manuals_does_here_what_it_is_there_for() {
    let world = World::new();
    let mut failed = Vec::new();
    for (manual, lines) in manuals() {
        for line in lines {
            if let Err(problem) = run(&line, &world) {
                failed.push(format!("{manual}\n  there: {}\n  here:  {}\n  {problem}", line.there, line.here(&world)));
            }
        }
    }
    assert!(failed.is_empty(), "{} lines failed:\n\n{}", failed.len(), failed.join("\n\n"));
}

/// The lines of a manual, as far as they are commands: what was read off it, kept apart from what is made of it here.
#[test]
fn no_line_of_a_manual_is_left_out() {
    let printed = include_str!("lines.txt");
    let mut wanted: Vec<&str> = printed.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")).collect();
    let mut there: Vec<String> =
        manuals().into_iter().flat_map(|(_, lines)| lines).map(|line| line.there.lines().collect::<Vec<_>>().join(" ⏎ ")).collect();
    wanted.sort_unstable();
    wanted.dedup();
    there.sort_unstable();
    there.dedup();
    assert_eq!(there, wanted, "left: rows, right: lines.txt");
}
