//! The fleet's sums in memory.

use std::sync::Mutex;

use async_trait::async_trait;

use super::{locked, unavailable};
use crate::engine::ports::JournalError;
use crate::heartbeat::Marks;
use crate::metrics::fleet::{Deltas, Fleet, Sums};
use crate::sweep::Signs;

/// What was added, one after the other; and no signs of life.
#[derive(Debug, Default)]
pub struct MemoryFleet {
    /// By which function.
    pub told: Mutex<Vec<(String, Deltas)>>,
    /// Whether it answers.
    pub is_down: Mutex<bool>,
}

#[async_trait]
impl Fleet for MemoryFleet {
    async fn add(&self, function: &str, _shard: u8, deltas: &Deltas) -> Result<(), JournalError> {
        if *locked(&self.is_down) {
            return Err(unavailable());
        }
        locked(&self.told).push((function.to_owned(), deltas.clone()));
        Ok(())
    }

    async fn sums(&self) -> Result<Vec<Sums>, JournalError> {
        let of = |(function, deltas): &(String, Deltas)| Sums { function: function.clone(), numbers: deltas.counters.clone() };
        Ok(locked(&self.told).iter().map(of).collect())
    }
}

#[async_trait]
impl Signs for MemoryFleet {
    async fn marks(&self) -> Result<Marks, JournalError> {
        Ok(Marks::default())
    }
}
