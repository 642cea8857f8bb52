//! Waiting: poll until the condition holds; a time-out prints the last state.

use std::fmt::Display;
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant};

/// Short beside everything that is waited for, long enough not to load two cores with polls.
const PAUSE: Duration = Duration::from_millis(100);

/// Looks until there is something to see: `Ok` is the result, `Err` the state as it is.
///
/// # Panics
/// After `limit`, with the last state.
#[track_caller]
pub fn wait_for<T, S: Display>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T, S>) -> T {
    let begun = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(state) if begun.elapsed() >= limit => panic!("waited {} s for {what}; last state: {state}", limit.as_secs()),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// A word that no other test and no earlier run of the tests has used.
#[must_use]
pub fn fresh(word: &str) -> String {
    // Each `RandomState` has keys of its own.
    let number = std::collections::hash_map::RandomState::new().build_hasher().finish();
    format!("{word}-{number:016x}")
}
