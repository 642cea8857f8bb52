//! Signs of life, which nobody reads here.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use shared::domain::task::Canary;
use shared::engine::ports::JournalError;
use shared::heartbeat::{Heartbeats, Oldest, Standing};
use shared::sweep::Tally;

use crate::process::Process;
use crate::scheduler::Sim;
use crate::store::unavailable;

/// Signs of life of one process.
pub(crate) struct Signs {
    pub(crate) sim: Sim,
    pub(crate) process: Arc<Process>,
}

impl Signs {
    async fn give(&self) -> Result<(), JournalError> {
        self.sim.point(&self.process).await;
        if self.sim.is_cut_off(&self.process) { Err(unavailable()) } else { Ok(()) }
    }
}

#[async_trait]
impl Heartbeats for Signs {
    async fn swept(&self, _at: Timestamp, _tally: &Tally, _standing: Option<&Standing>) -> Result<(), JournalError> {
        self.give().await
    }

    async fn oldest(&self) -> Result<Option<Oldest>, JournalError> {
        Ok(None)
    }

    async fn arrived(&self, _canary: &Canary, _at: Timestamp) -> Result<(), JournalError> {
        self.give().await
    }
}
