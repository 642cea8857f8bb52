//! Who asks the queues and the providers. Probes come from many places at once (load balancers, dashboards, people), each to another
//! sandbox; the queues and the providers need not be asked by all of them. One probe of a period asks and leaves in the table what it found;
//! the others tell that, and when it was found.
//!
//! Every probe reads the table for itself, and what was left is read with the same call: a table that is away is never hidden, and
//! then each probe asks for itself. All of it ends after [`LIMIT`], whatever hangs.

use std::time::Duration;

use futures_util::future::{Either, join, join_all, join4, select};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shared::domain::board::Board;
use shared::domain::clock::{Clock, between};
use shared::domain::definition::ModelRef;
use shared::heartbeat::{Depth, Found, Seen};

use crate::checks::{Check, Checks, Reach};
use crate::providers;
use crate::survey::{Timed, timed};

/// What all checks of one probe may take together, so that its answer is there within 2 s.
pub(crate) const LIMIT: Duration = Duration::from_millis(1500);
/// How long the table may take to say what others have found, before the rest is asked beside it.
const HEAD_START: Duration = Duration::from_millis(300);
/// How long a probe waits for the one that asks. It takes milliseconds while all is well.
const PATIENCE: Duration = Duration::from_millis(400);
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
/// What writing down may take: nobody needs it more than the answer.
const WRITING: Duration = Duration::from_millis(200);

/// What was found of the queues and the providers, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asked {
    #[serde(skip)]
    pub(crate) at: Timestamp,
    pub(crate) tasks: Timed<Depth>,
    pub(crate) dead_letters: Timed<Depth>,
    pub(crate) jobs: Timed<Depth>,
    pub(crate) providers: Vec<(String, Timed<Reach>)>,
}

/// One probe's look.
pub(crate) struct Look<'a> {
    pub(crate) checks: &'a dyn Checks,
    pub(crate) clock: &'a dyn Clock,
    /// The default chain of models.
    pub(crate) chain: &'a [ModelRef],
    /// The models that agents name for themselves.
    pub(crate) agents: &'a [ModelRef],
    /// How long what was found is told.
    pub(crate) period: Duration,
    pub(crate) begun: Timestamp,
}

impl Look<'_> {
    pub(crate) async fn take(&self) -> (Timed<Seen>, Asked) {
        let table = std::pin::pin!(timed(self.checks.table(), LIMIT, self.clock));
        match select(table, self.clock.sleep(HEAD_START)).await {
            Either::Left((table, _)) => {
                let asked = self.asked(&table.found).await;
                (table, asked)
            }
            Either::Right((_, table)) => join(table, self.ask(None)).await,
        }
    }

    /// What another probe has found, or this one finds.
    async fn asked(&self, table: &Check<Seen>) -> Asked {
        let Ok(seen) = table else { return self.ask(None).await };
        if self.period.is_zero() {
            return self.ask(Some(&seen.board)).await;
        }
        if let Some(asked) = self.found(seen, 1) {
            return asked;
        }
        let before = self.clock.now().checked_sub(jiff::SignedDuration::try_from(self.period).unwrap_or_default());
        let claim = self.checks.claim(self.clock.now(), before.unwrap_or_default());
        if timed(claim, WRITING, self.clock).await.found == Ok(false)
            && let Some(asked) = self.wait_for_another(seen).await
        {
            return asked;
        }
        let asked = self.ask(Some(&seen.board)).await;
        if let Ok(text) = serde_json::to_string(&asked) {
            // Without it the next probe asks for itself.
            let _kept = timed(self.checks.keep(&Found { at: asked.at, text }), WRITING, self.clock).await;
        }
        asked
    }

    /// What the probe finds that asks at this moment; until then what was found a period ago will do.
    async fn wait_for_another(&self, seen: &Seen) -> Option<Asked> {
        if let Some(asked) = self.found(seen, 2) {
            return Some(asked);
        }
        while between(self.begun, self.clock.now()) < PATIENCE {
            self.clock.sleep(BETWEEN_LOOKS).await;
            let seen = timed(self.checks.table(), PATIENCE, self.clock).await.found.ok()?;
            if let Some(asked) = self.found(&seen, 1) {
                return Some(asked);
            }
        }
        None
    }

    /// What was found, if it is no older than so many periods and about these providers.
    fn found(&self, seen: &Seen, periods: u32) -> Option<Asked> {
        let found = seen.found.as_ref()?;
        let now = self.clock.now();
        // Clocks of two sandboxes may differ; one that is far ahead must not make its word last.
        if between(found.at, now).max(between(now, found.at)) > self.period * periods {
            return None;
        }
        let asked = Asked { at: found.at, ..serde_json::from_str(&found.text).ok()? };
        let names = self.names(Some(&seen.board));
        asked.providers.iter().map(|(name, _)| name).eq(names.iter()).then_some(asked)
    }

    /// Asks all of them at once.
    async fn ask(&self, board: Option<&Board>) -> Asked {
        let limit = LIMIT.saturating_sub(between(self.begun, self.clock.now()));
        let names = self.names(board);
        let providers = join_all(names.iter().map(|name| timed(self.checks.provider(name), limit, self.clock)));
        let tasks = timed(self.checks.tasks(), limit, self.clock);
        let dead_letters = timed(self.checks.dead_letters(), limit, self.clock);
        let jobs = timed(self.checks.jobs(), limit, self.clock);
        let (tasks, dead_letters, jobs, connections) = join4(tasks, dead_letters, jobs, providers).await;
        Asked { at: self.clock.now(), tasks, dead_letters, jobs, providers: names.into_iter().zip(connections).collect() }
    }

    fn names(&self, board: Option<&Board>) -> Vec<String> {
        providers::names(&providers::models(self.chain, self.agents, board))
    }
}
