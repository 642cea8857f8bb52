//! One look at everything that a deep probe tells of: all checks side by side, each with its own time limit.

use std::time::Duration;

use futures_util::future::{join, join4};
use jiff::Timestamp;
use shared::config::{ConfigError, Environment, variables};
use shared::domain::clock::{Clock, between};
use shared::heartbeat::{Depth, Marks};

use crate::checks::{Check, Checks, Configured, limited};

/// From when on something counts as degraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// More pending messages than these.
    pub backlog: u64,
    /// More dead letters than these.
    pub dead_letters: u64,
}

impl Thresholds {
    /// What template.yaml has; used while the configuration cannot be read, which a probe then says.
    pub(crate) const DEFAULT: Self = Self { backlog: 10_000, dead_letters: 100 };

    pub(crate) fn read(env: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            backlog: env.number(variables::BACKLOG_THRESHOLD, 1..=1_000_000_000)?.into(),
            dead_letters: env.number(variables::DEAD_LETTER_THRESHOLD, 1..=1_000_000_000)?.into(),
        })
    }
}

/// What was found.
pub(crate) struct Survey {
    pub(crate) environment: Check<Configured>,
    pub(crate) llm: Timed<()>,
    pub(crate) table: Timed<Marks>,
    pub(crate) tasks: Timed<Depth>,
    pub(crate) dead_letters: Timed<Depth>,
    /// When it was all there.
    pub(crate) at: Timestamp,
}

/// What a check found, and what it took.
pub(crate) struct Timed<T> {
    pub(crate) found: Check<T>,
    pub(crate) took: Duration,
}

impl<T> Timed<T> {
    pub(crate) fn millis(&self) -> u64 {
        u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Survey {
    /// Asks everything at once.
    pub(crate) async fn take(checks: &dyn Checks, clock: &dyn Clock) -> Self {
        let asked = join4(
            timed(checks.llm(), clock),
            timed(checks.table(), clock),
            timed(checks.tasks(), clock),
            timed(checks.dead_letters(), clock),
        );
        // No call: it goes first while the others wait.
        let (environment, (llm, table, tasks, dead_letters)) = join(async { checks.environment() }, asked).await;
        Self { environment, llm, table, tasks, dead_letters, at: clock.now() }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.problems().is_empty()
    }

    /// What is wrong with the queues, if something is.
    pub(crate) fn queue_problem(&self) -> Option<&String> {
        self.tasks.found.as_ref().err().or(self.dead_letters.found.as_ref().err())
    }

    /// What is wrong, by the name of the check in the monitoring manual.
    pub(crate) fn problems(&self) -> Vec<String> {
        let named = [
            ("llm", self.llm.found.as_ref().err()),
            ("environment", self.environment.as_ref().err()),
            ("dependencies", self.table.found.as_ref().err()),
            ("queue", self.queue_problem()),
        ];
        named.into_iter().filter_map(|(name, problem)| Some(format!("{name}: {}", problem?))).collect()
    }

    /// What the slowest check took: all are asked at once.
    pub(crate) fn longest(&self) -> Duration {
        self.llm.took.max(self.table.took).max(self.tasks.took).max(self.dead_letters.took)
    }

    pub(crate) fn thresholds(&self) -> Thresholds {
        self.environment.as_ref().map_or(Thresholds::DEFAULT, |configured| configured.thresholds)
    }
}

async fn timed<T>(check: impl Future<Output = Check<T>>, clock: &dyn Clock) -> Timed<T> {
    let begun = clock.now();
    let found = limited(check, clock).await;
    Timed { found, took: between(begun, clock.now()) }
}
