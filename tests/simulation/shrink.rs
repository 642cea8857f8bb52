//! What a failure needs: as many of its faults as possible are left out, and what is left is told.

use crate::scheduler::Ended;
use crate::world::simulate;

/// How many worlds may be run to find out.
const TRIES: u32 = 200;

/// Runs the world of a seed, and if it breaks an invariant tells how, with as few faults as it takes.
///
/// # Panics
/// Then.
pub(crate) fn explain(seed: u64) {
    let whole = simulate(seed, &[], true);
    let Ended::Violated(first) = whole.ended else { return };
    let (mut off, mut least) = (Vec::new(), simulate(seed, &[], true));
    let (mut size, mut tries) = (whole.struck.max(1), 0);
    while size > 0 {
        let mut from = 1;
        // Also such numbers as were given to no fault at first: with others left out there are other ones.
        while from <= least.struck && tries < TRIES {
            let mut fewer: Vec<u32> = off.clone();
            fewer.extend((from..from + size).filter(|number| !off.contains(number)));
            from += size;
            if fewer.len() == off.len() {
                continue;
            }
            tries += 1;
            let report = simulate(seed, &fewer, true);
            if matches!(&report.ended, Ended::Violated(what) if kind(what) == kind(&first)) {
                (off, least) = (fewer, report);
            }
        }
        size /= 2;
    }
    let Ended::Violated(what) = &least.ended else { unreachable!("only what fails is kept") };
    let struck = least.faults.iter().map(|(_, times)| times).sum::<u32>();
    panic!("{}\n\nSIM_SEED={seed}: {first}\nwith {struck} faults instead of {}: {what}", least.trace.join("\n"), whole.struck);
}

/// What a violation is about, without the names and numbers in it.
fn kind(what: &str) -> String {
    what.split(' ').filter(|word| word.chars().all(|c| c.is_ascii_lowercase())).collect::<Vec<_>>().join(" ")
}
