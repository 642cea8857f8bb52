//! The engine, its store, its queue and everybody who uses them, in one simulated world: one thread, one clock, one stream of random
//! numbers. Thousands of worlds are run, each with other faults at other places; what must always be true is checked after every write.
//!
//! A failure names its seed: `SIM_SEED=<seed> cargo test -p tests --test simulation` runs that world again and shows what happened in
//! it, with as few faults as it needs. `SIM_RUNS=<n>` runs more worlds, `SIM_FIRST=<seed>` others; `make simulation` is the fast way.
//!
//! `world` is where to begin: what there is and who is about. `faults` is what goes wrong, `invariants` what is checked, `scheduler`
//! how one seed decides everything (ADR 0013).

#![expect(clippy::print_stdout, reason = "a test tells how much it has tried, and what fails before it is known why")]

mod callers;
mod consumer;
mod faults;
mod invariants;
mod jobs;
mod model;
mod operators;
mod platform;
mod process;
mod scheduler;
mod shrink;
mod signs;
mod sqs;
mod store;
mod sweeper;
mod world;
mod writes;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use faults::Fault;
use scheduler::{Ended, locked};
use world::{Report, simulate};

/// How many worlds are run where nobody says otherwise.
const RUNS: u64 = 500;

#[expect(clippy::disallowed_methods, reason = "a test has no configuration but this")]
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}: not a number: {text}")))
}

/// What many worlds came to.
#[derive(Default)]
struct Summary {
    worlds: u64,
    places: u64,
    faults: BTreeMap<Fault, u32>,
    ends: BTreeMap<&'static str, u32>,
    /// The first world that broke an invariant.
    failed: Option<(u64, String)>,
}

impl Summary {
    fn add(&mut self, seed: u64, report: Report) {
        self.worlds += 1;
        self.places += report.points;
        report.faults.iter().for_each(|(fault, times)| *self.faults.entry(*fault).or_insert(0) += times);
        report.ends.iter().for_each(|state| *self.ends.entry(state.as_str()).or_insert(0) += 1);
        if let Ended::Violated(what) = report.ended {
            self.failed.get_or_insert((seed, what));
        }
    }
}

/// Runs the worlds of these seeds, on all cores; each world on one. Stops at the first that breaks an invariant.
fn run_all(seeds: std::ops::Range<u64>) -> Summary {
    let (next, summary) = (AtomicU64::new(seeds.start), Mutex::new(Summary::default()));
    let run = || {
        while locked(&summary).failed.is_none() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            let report = simulate(seed, &[], false);
            locked(&summary).add(seed, report);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(run);
        }
    });
    summary.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn no_interleaving_breaks_an_invariant() {
    if let Some(seed) = number("SIM_SEED") {
        shrink::explain(seed);
        return;
    }
    let (first, runs) = (number("SIM_FIRST").unwrap_or(1), number("SIM_RUNS").unwrap_or(RUNS));
    let begun = Instant::now();
    let summary = run_all(first..first + runs);
    if let Some((seed, what)) = summary.failed {
        println!("SIM_SEED={seed} fails: {what}");
        shrink::explain(seed);
        panic!("seed {seed} fails only sometimes: {what}");
    }
    let (seconds, worlds, places) = (begun.elapsed().as_secs_f64(), summary.worlds as f64, summary.places as f64);
    println!("{} worlds with {} places to interleave: before and after each call of a port", summary.worlds, summary.places);
    println!("{:.0} worlds and {:.0} places a second", worlds / seconds, places / seconds);
    println!("runs: {:?}\nfaults: {:?}", summary.ends, summary.faults);
}

#[test]
fn the_same_seed_gives_the_same_world() {
    for seed in 1..20 {
        assert_eq!(simulate(seed, &[], true).trace, simulate(seed, &[], true).trace, "seed {seed}");
    }
}
