//! What the sweeper does when its schedule says so: one tick, in the time that the invocation has. What a tick is, and why it may
//! run beside another: [`shared::sweep`].

use std::time::Duration;

use futures_util::future::join;
use jiff::Timestamp;
use shared::config::{ConfigError, Environment, variables};
use shared::domain::clock::after;
use shared::metrics::Reporter;
use shared::sweep::{Lookout, Sweeper, Tally, TickError};

/// A deadline in the past is no deadline: the local watcher sends such. This is the time assumed then.
const UNKNOWN_DEADLINE: Duration = Duration::from_secs(90);

/// The function's configuration.
pub struct Settings {
    /// Where the runs are.
    pub table_name: String,
    /// Where runs are sent again.
    pub task_queue_url: String,
    /// Where the messages of jobs are sent again.
    pub jobs_queue_url: String,
    /// Where the dead letters are.
    pub dlq_url: String,
    /// The same queue, as move tasks know it.
    pub dlq_arn: String,
    /// Attempts without progress before a run is dead.
    pub max_attempts: u32,
}

impl Settings {
    /// Reads all variables.
    ///
    /// # Errors
    /// Names the one that is missing or wrong.
    pub fn read(env: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            table_name: env.required(variables::TABLE_NAME)?,
            task_queue_url: env.required(variables::TASK_QUEUE_URL)?,
            jobs_queue_url: env.required(variables::JOBS_QUEUE_URL)?,
            dlq_url: env.required(variables::DLQ_URL)?,
            dlq_arn: env.required(variables::DLQ_ARN)?,
            max_attempts: env.number(variables::MAX_ATTEMPTS, 1..=100)?,
        })
    }
}

/// The schedule's target.
pub struct Schedule {
    /// What it ticks.
    pub sweeper: Sweeper,
    /// What it sees of the whole deployment.
    pub lookout: Lookout,
    /// Who is told.
    pub reporter: Reporter,
}

impl Schedule {
    /// One tick, until shortly before `deadline_ms` (milliseconds since 1970). Answers what was done, for whoever invokes it by hand.
    ///
    /// # Errors
    /// When a part of the work could not be done: the invocation then counts as an error, and an alarm counts those.
    pub async fn tick(&self, deadline_ms: u64) -> Result<Tally, TickError> {
        let now = self.sweeper.clock.now();
        let deadline = i64::try_from(deadline_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let deadline = deadline.filter(|deadline| *deadline > now).unwrap_or_else(|| after(now, UNKNOWN_DEADLINE));
        // A tick may last for a minute: what there is to see is told at once.
        let looking = async {
            self.reporter.meter.tick(&self.lookout.look().await);
            self.reporter.report().await;
        };
        let (done, ()) = join(self.sweeper.tick(deadline), looking).await;
        self.reporter.report().await;
        done
    }
}

#[cfg(test)]
mod tests;
