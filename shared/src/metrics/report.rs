//! Telling what was measured when an invocation ends.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{Either, select};
use jiff::Timestamp;

use super::fleet::{Deltas, Fleet, PATIENCE, SHARDS};
use super::{Meter, emf};
use crate::config::Environment;
use crate::domain::clock::{Clock, between};
use crate::telemetry::chain;

/// A sandbox adds to the fleet's sums at most so often, so that a busy one does not pay for it with every request. What it counted
/// since is lost if it ends before its next turn.
const PAUSE: Duration = Duration::from_secs(10);
/// Numbers that wait to be added. More than a function has; should the table be away for long, memory is bounded.
const MOST: usize = 250;

/// Which function of which stack this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The stack's name.
    pub stack: String,
    /// The function's, without the stack's.
    pub function: String,
}

impl Instance {
    /// The one that this process is: functions are named `<stack>-<function>`.
    #[must_use]
    pub fn of(env: &Environment, function: &str) -> Self {
        let name = env.required("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default();
        let stack = name.strip_suffix(function).and_then(|rest| rest.strip_suffix('-')).unwrap_or("unknown").to_owned();
        Self { stack, function: function.to_owned() }
    }
}

/// Tells what was measured: as lines on standard output after each invocation, and as sums in the table every now and then.
pub struct Reporter {
    /// What is measured.
    pub meter: Arc<Meter>,
    of: Instance,
    fleet: Arc<dyn Fleet>,
    clock: Arc<dyn Clock>,
    shard: u8,
    memory_limit: Option<f64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What was counted and is not in the table.
    pending: BTreeMap<String, f64>,
    told_at: Option<Timestamp>,
}

impl Reporter {
    /// Of a sandbox that begins to work now.
    #[must_use]
    pub fn new(env: &Environment, function: &str, meter: Arc<Meter>, fleet: Arc<dyn Fleet>, clock: Arc<dyn Clock>) -> Self {
        let of = Instance::of(env, function);
        meter.cold_start();
        let megabytes = env.optional("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").ok().flatten().and_then(|size| size.parse::<u32>().ok());
        let memory_limit = megabytes.map(|megabytes| f64::from(megabytes) * 1024.0 * 1024.0);
        let shard = fastrand::u8(0..SHARDS);
        Self { meter, of, fleet, clock, shard, memory_limit, state: Mutex::default() }
    }

    /// A request was answered.
    pub fn request(&self, status: u16, took: Duration) {
        self.meter.request(status, took);
    }

    /// The invocation has ended: tells what it has measured.
    pub async fn report(&self) {
        if let Some((used, limit)) = resident().zip(self.memory_limit) {
            self.meter.memory(used * 100.0 / limit);
        }
        let text = self.collect();
        // Whole lines at once, so that no other line stands between. Nobody is to be told that nobody listens.
        let _ = std::io::stdout().write_all(&text);
        self.tell().await;
    }

    /// The lines for the log. What was counted waits to be added.
    fn collect(&self) -> Vec<u8> {
        let measured = self.meter.take();
        let text = emf::lines(&measured, &self.of, self.clock.now());
        let pending = &mut self.state().pending;
        let mut dropped = 0;
        for (counter, more) in measured.counters {
            let counter = counter.to_string();
            if pending.len() < MOST || pending.contains_key(&counter) {
                *pending.entry(counter).or_default() += more;
            } else {
                dropped += 1;
            }
        }
        if dropped > 0 {
            tracing::warn!(dropped, most = MOST, "more different numbers than are kept for the fleet's sums; CloudWatch has them all");
        }
        text
    }

    /// Adds what waits, if it is time to. What could not be added waits on.
    async fn tell(&self) {
        let now = self.clock.now();
        let deltas = {
            let mut state = self.state();
            if state.pending.is_empty() || state.told_at.is_some_and(|at| between(at, now) < PAUSE) {
                return;
            }
            state.told_at = Some(now);
            Deltas { counters: std::mem::take(&mut state.pending), gauges: self.gauges(now) }
        };
        let adding = self.fleet.add(&self.of.function, self.shard, &deltas);
        let problem = match select(adding, self.clock.sleep(PATIENCE)).await {
            Either::Left((Ok(()), _)) => return,
            Either::Left((Err(error), _)) => chain(&error),
            Either::Right(_) => format!("no answer within {} ms", PATIENCE.as_millis()),
        };
        tracing::warn!(error = problem, "the fleet's sums could not be added to; they are next time");
        let pending = &mut self.state().pending;
        for (counter, more) in deltas.counters {
            *pending.entry(counter).or_default() += more;
        }
    }

    fn gauges(&self, now: Timestamp) -> BTreeMap<&'static str, f64> {
        let used = resident().map(|bytes| ("memory_usage_bytes", bytes));
        let limit = self.memory_limit.map(|bytes| ("memory_limit_bytes", bytes));
        let told = ("reported_timestamp_seconds", now.as_duration().as_secs_f64());
        used.into_iter().chain(limit).chain([told]).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory of this process that is in use, where the system tells.
fn resident() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<f64>().ok().map(|kilobytes| kilobytes * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::{FixedClock, MemoryFleet};

    fn reporter(fleet: &Arc<MemoryFleet>, clock: &Arc<FixedClock>) -> Reporter {
        Reporter::new(&Environment::of(|_| None), "agent-api", Arc::default(), fleet.clone(), clock.clone())
    }

    const OK: &str = r#"requests_total{status="200"}"#;

    #[tokio::test]
    async fn the_first_invocation_is_told_at_once_and_later_ones_together() {
        let (fleet, clock) = (Arc::new(MemoryFleet::default()), Arc::new(FixedClock::at("2026-01-02T03:04:05Z")));
        let reporter = reporter(&fleet, &clock);
        for _ in 0..4 {
            reporter.meter.request(200, Duration::from_millis(7));
            reporter.report().await;
            clock.advance(Duration::from_secs(4));
        }
        let told: Vec<_> = fleet.told.lock().unwrap().iter().map(|(_, deltas)| deltas.counters[OK]).collect();
        assert_eq!(told, [1.0, 3.0]);
        assert_eq!(fleet.told.lock().unwrap()[0].1.counters["cold_starts_total"], 1.0);
    }

    #[tokio::test]
    async fn what_could_not_be_added_is_added_next_time() {
        let (fleet, clock) = (Arc::new(MemoryFleet::default()), Arc::new(FixedClock::at("2026-01-02T03:04:05Z")));
        let reporter = reporter(&fleet, &clock);
        *fleet.is_down.lock().unwrap() = true;
        reporter.meter.request(200, Duration::ZERO);
        reporter.report().await;
        *fleet.is_down.lock().unwrap() = false;
        reporter.meter.request(200, Duration::ZERO);
        reporter.report().await;
        assert!(fleet.told.lock().unwrap().is_empty(), "it is not asked again at once");
        clock.advance(PAUSE);
        reporter.report().await;
        assert_eq!(fleet.told.lock().unwrap()[0].1.counters[OK], 2.0);
    }

    #[test]
    fn a_function_knows_its_stack_by_its_name() {
        let env = Environment::of(|name| (name == "AWS_LAMBDA_FUNCTION_NAME").then(|| "my-stack-agent-api".into()));
        let of = Instance::of(&env, "agent-api");
        assert_eq!((of.stack.as_str(), of.function.as_str()), ("my-stack", "agent-api"));
    }
}
