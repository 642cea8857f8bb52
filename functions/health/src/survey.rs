//! One look at everything that a deep probe tells of. The table is asked by every probe, since it is where truth is; the queues and the
//! providers are asked once in a while by one of them, see `asking`.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shared::config::{ConfigError, Environment, variables};
use shared::domain::board::Board;
use shared::domain::clock::{Clock, between};
use shared::domain::definition::ModelRef;
use shared::heartbeat::{Depth, Marks, Seen};

use crate::asking::Look;
use crate::checks::{Check, Checks, Configured, Reach, limited};
use crate::providers;

/// What the configuration says of when something counts as degraded, or dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// More pending messages than these.
    pub backlog: u64,
    /// A run that has waited longer for a worker.
    pub backlog_age: Duration,
    /// More dead letters than these.
    pub dead_letters: u64,
    /// Signs of life that are older are none.
    pub heartbeat: Duration,
    /// How long a worker's lease holds after it was taken or renewed.
    pub lease: Duration,
    /// How long probes tell what one of them found of the queues and the providers; zero: each asks for itself.
    pub cache: Duration,
}

impl Thresholds {
    /// What template.yaml has; used while the configuration cannot be read, which a probe then says.
    pub const DEFAULT: Self = Self {
        backlog: 10_000,
        backlog_age: Duration::from_secs(300),
        dead_letters: 100,
        heartbeat: Duration::from_secs(120),
        lease: Duration::from_secs(75),
        cache: Duration::from_secs(3),
    };

    pub(crate) fn read(env: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            backlog: env.number(variables::BACKLOG_THRESHOLD, 1..=1_000_000_000)?.into(),
            backlog_age: env.seconds(variables::BACKLOG_AGE_SECONDS, 1..=1_209_600)?,
            dead_letters: env.number(variables::DEAD_LETTER_THRESHOLD, 1..=1_000_000_000)?.into(),
            heartbeat: env.seconds(variables::HEARTBEAT_TIMEOUT_SECONDS, 1..=86_400)?,
            lease: env.seconds(variables::LEASE_SECONDS, 10..=900)?,
            cache: env.seconds(variables::PROBE_CACHE_SECONDS, 0..=60)?,
        })
    }
}

/// What was found.
pub(crate) struct Survey {
    pub(crate) environment: Check<Configured>,
    /// The default chain of models.
    pub(crate) models: Check<Vec<ModelRef>>,
    pub(crate) table: Timed<Marks>,
    /// What is known of the providers; `None` if the table does not answer.
    pub(crate) board: Option<Board>,
    pub(crate) tasks: Timed<Depth>,
    pub(crate) dead_letters: Timed<Depth>,
    /// Bulk actions: what they wait for is no reason to send no work here.
    pub(crate) jobs: Timed<Depth>,
    /// Whether each provider's address takes connections.
    pub(crate) providers: Vec<(String, Timed<Reach>)>,
    /// When the queues and the providers were asked: now, or a moment ago by another probe.
    pub(crate) asked_at: Timestamp,
    /// When it was all there.
    pub(crate) at: Timestamp,
    /// What all of it took this probe.
    pub(crate) took: Duration,
}

/// What a check found, and what it took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Looks at everything at once.
    pub(crate) async fn take(checks: &dyn Checks, clock: &dyn Clock) -> Self {
        // No calls: they are done before anything waits.
        let (environment, models) = (checks.environment(), checks.models());
        let period = environment.as_ref().map_or(Thresholds::DEFAULT, |configured| configured.thresholds).cache;
        let agents = environment.as_ref().map(|configured| configured.models.as_slice()).unwrap_or_default();
        let look = Look { checks, clock, chain: models.as_deref().unwrap_or_default(), agents, period, begun: clock.now() };
        let (table, asked) = look.take().await;
        let (found, board) = match table.found {
            Ok(Seen { marks, board, .. }) => (Ok(marks), Some(board)),
            Err(problem) => (Err(problem), None),
        };
        let (at, took) = (clock.now(), between(look.begun, clock.now()));
        Self {
            environment,
            table: Timed { found, took: table.took },
            board,
            tasks: asked.tasks,
            dead_letters: asked.dead_letters,
            jobs: asked.jobs,
            providers: asked.providers,
            asked_at: asked.at,
            at,
            took,
            models,
        }
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
            ("llm", providers::problem(self)),
            ("environment", self.environment.as_ref().err().cloned()),
            ("dependencies", self.table.found.as_ref().err().cloned()),
            ("queue", self.queue_problem().cloned()),
        ];
        named.into_iter().filter_map(|(name, problem)| Some(format!("{name}: {}", problem?))).collect()
    }

    /// How old what is told of the queues and the providers is, in seconds, if another probe found it.
    pub(crate) fn age(&self) -> Option<u64> {
        let is_own = between(self.asked_at, self.at) <= self.took;
        (!is_own).then(|| between(self.asked_at, self.at).as_secs())
    }

    pub(crate) fn thresholds(&self) -> Thresholds {
        self.environment.as_ref().map_or(Thresholds::DEFAULT, |configured| configured.thresholds)
    }
}

/// A check, what it took, and an end to it after `limit`.
pub(crate) async fn timed<T>(check: impl Future<Output = Check<T>>, limit: Duration, clock: &dyn Clock) -> Timed<T> {
    let begun = clock.now();
    let found = limited(check, limit, clock).await;
    Timed { found, took: between(begun, clock.now()) }
}
