//! The sums of the whole fleet: each sandbox adds what it has counted, and whoever is asked for all reads them in one go.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use crate::engine::ports::JournalError;

/// Over how many records the numbers of a function are spread. A sandbox adds to one of them at most every ten seconds.
pub const SHARDS: u8 = 4;
/// The longest that adding may take. It is over before anybody waits for it.
pub const PATIENCE: Duration = Duration::from_millis(300);

/// What a sandbox has to add.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Deltas {
    /// More of the counters, by their text, see [`super::catalogue::Counter`].
    pub counters: BTreeMap<String, f64>,
    /// What the gauges are now.
    pub gauges: BTreeMap<&'static str, f64>,
}

/// What was added to one record so far: counters and gauges by their text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sums {
    /// Whose.
    pub function: String,
    /// The numbers.
    pub numbers: BTreeMap<String, f64>,
}

/// Where the sums are.
#[async_trait]
pub trait Fleet: Send + Sync {
    /// Adds to the sums of a function. One call, not repeated, within [`PATIENCE`]. One whose answer is lost may have had its effect.
    async fn add(&self, function: &str, shard: u8, deltas: &Deltas) -> Result<(), JournalError>;
    /// All sums.
    async fn sums(&self) -> Result<Vec<Sums>, JournalError>;
}
