//! The engine, its store, its queue and everybody who uses them, in one simulated world: one thread, one clock, one stream of random
//! numbers. Thousands of worlds are run, each with other faults at other places; what must always be true is checked after every write.
//!
//! A failure names its seed: `SIM_SEED=<seed> cargo test -p tests --test simulation` runs that world again and shows
//! what happened in it. `SIM_RUNS=<n>` runs more worlds, `SIM_FIRST=<seed>` others.

#![expect(clippy::print_stdout, reason = "a test tells how much it has tried, and what fails before it is known why")]

mod callers;
mod consumer;
mod faults;
mod invariants;
mod model;
mod operators;
mod platform;
mod process;
mod scheduler;
mod signs;
mod sqs;
mod store;
mod sweeper;
mod world;
mod writes;

use std::time::Instant;

use scheduler::Ended;
use world::{Report, simulate};

/// How many worlds are run where nobody says otherwise.
const RUNS: u64 = 500;

#[expect(clippy::disallowed_methods, reason = "a test has no configuration but this")]
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}: not a number: {text}")))
}

/// What a violation is about, without the names and numbers in it.
fn kind(what: &str) -> String {
    what.split(' ').filter(|word| word.chars().all(|c| c.is_ascii_lowercase())).collect::<Vec<_>>().join(" ")
}

/// Leaves out as many faults as it can so that the same seed still fails.
fn shrink(seed: u64, report: &Report) -> (Vec<u32>, Report) {
    let Ended::Violated(first) = &report.ended else { panic!("not a failure") };
    let mut off: Vec<u32> = Vec::new();
    let mut best = simulate(seed, &off, true);
    let mut size = report.struck.max(1);
    let mut tries = 0;
    while size > 0 && tries < 400 {
        let mut from = 1;
        while from <= best.struck && tries < 400 {
            let mut candidate = off.clone();
            candidate.extend((from..from + size).filter(|number| !off.contains(number)));
            if candidate.len() > off.len() {
                tries += 1;
                let shrunk = simulate(seed, &candidate, true);
                if matches!(&shrunk.ended, Ended::Violated(what) if kind(what) == kind(first)) {
                    (off, best) = (candidate, shrunk);
                }
            }
            from += size;
        }
        size /= 2;
    }
    (off, best)
}

fn fail(seed: u64, report: &Report) -> ! {
    let Ended::Violated(first) = &report.ended else { panic!("not a failure") };
    println!("SIM_SEED={seed} fails: {first}");
    let (off, shrunk) = shrink(seed, report);
    let trace = shrunk.trace.join("\n");
    let Ended::Violated(what) = &shrunk.ended else { panic!("seed {seed} fails only sometimes: {first}") };
    panic!("{trace}\n\nSIM_SEED={seed}: {first}\nwith {} of its {} faults left out: {what}", off.len(), report.struck);
}

#[test]
fn no_interleaving_breaks_an_invariant() {
    if let Some(seed) = number("SIM_SEED") {
        let report = simulate(seed, &[], true);
        if report.ended != Ended::Quiet {
            fail(seed, &report);
        }
        return;
    }
    let (first, runs) = (number("SIM_FIRST").unwrap_or(1), number("SIM_RUNS").unwrap_or(RUNS));
    let begun = Instant::now();
    let (mut points, mut faults, mut ends) = (0, std::collections::BTreeMap::new(), std::collections::BTreeMap::new());
    for seed in first..first + runs {
        let report = simulate(seed, &[], false);
        if report.ended != Ended::Quiet {
            fail(seed, &report);
        }
        points += report.points;
        report.faults.iter().for_each(|(fault, times)| *faults.entry(*fault).or_insert(0) += times);
        report.ends.iter().for_each(|state| *ends.entry(state.as_str()).or_insert(0_u32) += 1);
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{runs} worlds, {points} calls of ports, each with a place to interleave before and after it");
    println!("{:.0} worlds and {:.0} places a second", runs as f64 / seconds, points as f64 / seconds);
    println!("runs: {ends:?}\nfaults: {faults:?}");
}

#[test]
fn the_same_seed_gives_the_same_world() {
    for seed in 1..20 {
        assert_eq!(simulate(seed, &[], true).trace, simulate(seed, &[], true).trace, "seed {seed}");
    }
}
