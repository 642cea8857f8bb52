//! Breakers in memory: the same promises as the table's.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::Timestamp;

use super::{locked, unavailable};
use crate::domain::board::{Board, Disabled, Pin};
use crate::domain::breaker::{Breaker, BreakerConfig, Tally};
use crate::domain::definition::ModelRef;
use crate::engine::ports::JournalError;
use crate::engine::{Breakers, Routes};
use crate::operate::Switches;

/// Breakers, and what operators say, in memory.
#[derive(Debug, Default)]
pub struct MemoryBreakers {
    /// What is there.
    pub board: Mutex<Board>,
    /// Failures by model, version and window.
    pub counts: Mutex<HashMap<(ModelRef, u64, i64), Tally>>,
    /// Calls so far: reads, changes, counts.
    pub calls: Mutex<[usize; 3]>,
    /// Refuses everything while true.
    pub is_down: Mutex<bool>,
}

impl MemoryBreakers {
    fn called(&self, which: usize) -> Result<(), JournalError> {
        locked(&self.calls)[which] += 1;
        if *locked(&self.is_down) { Err(unavailable()) } else { Ok(()) }
    }
}

#[async_trait]
impl Breakers for MemoryBreakers {
    async fn board(&self) -> Result<Board, JournalError> {
        self.called(0)?;
        Ok(locked(&self.board).clone())
    }

    async fn change(&self, breaker: &Breaker) -> Result<bool, JournalError> {
        self.called(1)?;
        let mut board = locked(&self.board);
        let is_next = board.breakers.get(&breaker.target).map_or(0, |found| found.version) + 1 == breaker.version;
        if is_next {
            board.breakers.insert(breaker.target.clone(), breaker.clone());
        }
        Ok(is_next)
    }

    async fn count(&self, model: &ModelRef, version: u64, window: i64, tally: Tally, _: Timestamp) -> Result<Tally, JournalError> {
        self.called(2)?;
        let mut counts = locked(&self.counts);
        let sum = counts.entry((model.clone(), version, window)).or_default();
        *sum = sum.plus(tally);
        Ok(*sum)
    }
}

#[async_trait]
impl Switches for MemoryBreakers {
    async fn board_now(&self) -> Result<Board, JournalError> {
        self.called(0)?;
        Ok(locked(&self.board).clone())
    }

    async fn disable(&self, disabled: &Disabled) -> Result<(), JournalError> {
        self.called(1)?;
        let mut board = locked(&self.board);
        board.disabled.retain(|known| known.name != disabled.name);
        board.disabled.push(disabled.clone());
        Ok(())
    }

    async fn enable(&self, name: &str) -> Result<(), JournalError> {
        self.called(1)?;
        locked(&self.board).disabled.retain(|known| known.name != name);
        Ok(())
    }

    async fn pin(&self, pin: Option<&Pin>) -> Result<(), JournalError> {
        self.called(1)?;
        locked(&self.board).pin = pin.cloned();
        Ok(())
    }
}

/// The routes of a deployment with one model, whose breaker never opens.
#[must_use]
pub fn routes() -> Routes {
    routes_over(Arc::default())
}

/// As [`routes`], with these breakers.
#[must_use]
pub fn routes_over(breakers: Arc<MemoryBreakers>) -> Routes {
    let model = ModelRef { provider: "script".into(), model: "m".into() };
    let never = BreakerConfig { failures: 10_000, ..BreakerConfig::default() };
    let configs = BTreeMap::from([(model.provider.clone(), never)]);
    Routes::new(vec![model], configs, breakers)
}
