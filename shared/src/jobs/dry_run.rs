//! What a job would do, without doing it.

use std::collections::{BTreeSet, HashMap};

use futures_util::future::try_join_all;
use jiff::Timestamp;
use serde::Serialize;

use super::selection::{DeadItem, DeadOrder};
use crate::domain::board::Board;
use crate::domain::breaker::Verdict;
use crate::domain::definition::ModelRef;
use crate::domain::id::{RunId, TenantId};
use crate::domain::job::Item;
use crate::domain::run::Run;
use crate::domain::state::RunState;
use crate::engine::ports::JournalError;
use crate::operate::{DeadIndex, LOOP_GUARD, Records, Retry};

/// Runs that a dry run looks at, at most.
pub const LOOKED_AT: usize = 1_000;
/// Runs read at once.
const PAGE: usize = 100;
/// How often. A filter that fits few of many leaves pages short: somebody waits for the answer, and the gateway for 29 s.
const ROUNDS: usize = 10;

/// What would happen.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Trial {
    /// How many runs the order is about.
    pub count: u64,
    /// Whether all of them were looked at.
    pub complete: bool,
    /// What would be done.
    pub would: Vec<Would>,
    /// What would not, and why.
    pub refused: Vec<Refused>,
    /// What makes it likely that they die again.
    pub warnings: Vec<String>,
}

/// What would be done to one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Would {
    /// Which.
    pub run_id: RunId,
    /// `retry` or `discard`.
    pub action: &'static str,
    /// Where it would go on: `failed_step` or `start`; none when it is given up.
    pub from: Option<&'static str>,
    /// The step that it would begin with.
    pub step: Option<u32>,
    /// Its agent then.
    pub agent: String,
}

/// Why nothing would be done to one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Refused {
    /// Which.
    pub run_id: RunId,
    /// A word.
    pub code: &'static str,
    /// A sentence.
    pub detail: String,
}

/// What an order would do now. `retry`: how it would put a run back; none when it gives them up.
///
/// # Errors
/// When the store cannot be reached.
pub async fn dry_run(
    order: &DeadOrder,
    retry: Option<&Retry>,
    (index, records): (&dyn DeadIndex, &dyn Records),
    board: &Board,
    now: Timestamp,
) -> Result<Trial, JournalError> {
    let mut trial = Trial { count: order.count(index, records, now).await?, ..Trial::default() };
    let (mut cursor, mut models): (Option<String>, BTreeSet<ModelRef>) = (None, BTreeSet::new());
    for _ in 0..ROUNDS {
        let (items, next) = order.next(index, records, now, cursor.as_deref(), PAGE).await?;
        let runs = runs_of(&items, records).await?;
        for item in &items {
            let Ok(id) = item.key.parse::<RunId>() else { continue };
            let run = runs.get(&id);
            trial.look_at(id, run, retry);
            let failed = run.and_then(|run| run.failures.last()?.provider.as_deref()?.parse().ok());
            models.extend(order.model.clone().or(failed));
        }
        cursor = next;
        if cursor.is_none() || trial.would.len() + trial.refused.len() >= LOOKED_AT {
            break;
        }
    }
    trial.complete = cursor.is_none();
    if retry.is_some() {
        trial.warnings = models.iter().filter_map(|model| warning(board, model, now)).collect();
    }
    Ok(trial)
}

/// Their records, as many at once as belong to one tenant.
async fn runs_of(items: &[Item], records: &dyn Records) -> Result<HashMap<RunId, Run>, JournalError> {
    let mut of: HashMap<TenantId, Vec<RunId>> = HashMap::new();
    for item in items {
        if let (Ok(id), Ok(dead)) = (item.key.parse(), serde_json::from_value::<DeadItem>(item.data.clone())) {
            of.entry(dead.tenant).or_default().push(id);
        }
    }
    let reads = of.iter().map(|(tenant, ids)| records.runs(tenant, ids));
    Ok(try_join_all(reads).await?.into_iter().flatten().map(|run| (run.id, run)).collect())
}

impl Trial {
    fn look_at(&mut self, id: RunId, run: Option<&Run>, retry: Option<&Retry>) {
        let mut refused = |code, detail: String| self.refused.push(Refused { run_id: id, code, detail });
        let Some(run) = run else { return refused("not_found", "there is no such run".into()) };
        if run.state != RunState::Dead {
            return refused("not_dead", format!("the run is {}", run.state.as_str()));
        }
        if retry.is_some_and(|retry| retry.allows(run).is_err()) {
            return refused("loop_guard", format!("it was put back {LOOP_GUARD} times or more and died each time; force puts it back"));
        }
        let from_start = retry.map(|retry| retry.revival.is_from_start());
        let agent = retry.and_then(|retry| retry.revival.agent.clone()).unwrap_or_else(|| run.agent.clone());
        self.would.push(Would {
            run_id: id,
            action: if retry.is_some() { "retry" } else { "discard" },
            from: from_start.map(|from_start| if from_start { "start" } else { "failed_step" }),
            // A run that begins anew goes on in its journal.
            step: retry.map(|_| run.steps + 1),
            agent,
        });
    }
}

/// Why a model will most likely fail again.
fn warning(board: &Board, model: &ModelRef, now: Timestamp) -> Option<String> {
    if let Some(disabled) = board.disabled(model) {
        return Some(format!("{} is switched off by {}: {}", disabled.name, disabled.by, disabled.reason));
    }
    match board.breaker(model, now).verdict(now) {
        Verdict::Skip { until } => Some(format!("the breaker of {model} is open until {until:.0}")),
        Verdict::Go | Verdict::Probe => None,
    }
}
