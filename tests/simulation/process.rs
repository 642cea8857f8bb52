//! Processes: what can be killed, frozen or cut off as a whole, each with a clock of its own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use shared::domain::clock::Clock;

use crate::faults::Fault;
use crate::scheduler::{Sim, locked};

/// A worker, a request, a sweeper: what can be killed, frozen or cut off as a whole.
#[derive(Debug)]
pub(crate) struct Process {
    /// Its name in the trace.
    pub(crate) name: String,
    /// How far its clock is ahead, in milliseconds.
    pub(crate) skew: i64,
    state: Mutex<ProcessState>,
}

#[derive(Debug, Default)]
struct ProcessState {
    is_killed: bool,
    frozen_until: i64,
    cut_off_until: i64,
    hurt: u32,
    /// How long it was frozen in all.
    frozen_ms: i64,
}

impl Process {
    /// Whether any fault has hit it: then it may be late or gone without being at fault itself.
    pub(crate) fn is_hurt(&self) -> bool {
        locked(&self.state).hurt > 0
    }

    /// Remembers that a fault has hit it.
    pub(crate) fn hurt(&self) {
        locked(&self.state).hurt += 1;
    }

    /// How long it was frozen in all, in milliseconds.
    pub(crate) fn frozen_ms(&self) -> i64 {
        locked(&self.state).frozen_ms
    }

    /// Until when it stands still.
    pub(crate) fn frozen_until(&self) -> i64 {
        locked(&self.state).frozen_until
    }

    /// Whether it has been ended.
    pub(crate) fn is_killed(&self) -> bool {
        locked(&self.state).is_killed
    }

    /// Ends it where it stands.
    pub(crate) fn kill(&self) {
        let mut state = locked(&self.state);
        state.is_killed = true;
        state.hurt += 1;
    }
}

impl Sim {
    /// A process whose clock is off: any two are up to `skew` apart.
    pub(crate) fn process(&self, name: &str, skew: Duration) -> Arc<Process> {
        let most = u64::try_from(skew.as_millis()).unwrap_or(0);
        let skew = i64::try_from(self.any(0..most + 1)).unwrap_or(0) - i64::try_from(most / 2).unwrap_or(0);
        Arc::new(Process { name: format!("{name}{}", self.number()), skew, state: Mutex::default() })
    }

    /// Where a port is called or returns: anything may happen between the call and its effect, and between the effect and the answer.
    pub(crate) async fn point(&self, process: &Arc<Process>) {
        self.count_point();
        let latency = match self.any(0..100) {
            0..60 => 0,
            60..92 => self.any(1..40),
            92..99 => self.any(40..400),
            _ => self.any(400..3_000),
        };
        if self.strikes(Fault::Kill, Some(process)) {
            process.kill();
        }
        if self.strikes(Fault::Freeze, Some(process)) {
            let duration = i64::try_from(self.one_of(&[3_000, 20_000, 70_000, 90_000, 200_000]) + self.any(0..10_000)).unwrap_or(0);
            let mut state = locked(&process.state);
            state.frozen_until = self.now_ms() + duration;
            state.frozen_ms += duration;
        }
        if self.strikes(Fault::CutOff, Some(process)) {
            locked(&process.state).cut_off_until = self.now_ms() + i64::try_from(self.any(1_000..120_000)).unwrap_or(0);
        }
        self.sleep(Duration::from_millis(latency)).await;
    }

    /// Whether `process` cannot reach anything right now.
    pub(crate) fn is_cut_off(&self, process: &Process) -> bool {
        let now = self.now_ms();
        locked(&process.state).cut_off_until > now
    }
}

/// The clock of a process: it passes as fast as all, but shows another time.
pub(crate) struct ProcessClock {
    pub(crate) sim: Sim,
    pub(crate) skew: i64,
}

#[async_trait]
impl Clock for ProcessClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.sim.now_ms() + self.skew).unwrap_or_default()
    }

    async fn sleep(&self, duration: Duration) {
        self.sim.sleep(duration).await;
    }
}
