//! Which models may be asked now: the deployment's chain, the shared breakers and what operators have said, as this function knows
//! them. They are read at most every two seconds, whatever the load; written only when a call has failed, and then at most once a
//! second for each model: while all is well nothing is written (ADR 0020).
//!
//! A model that only a request names has no breaker: what anybody may name must not fill what every function reads.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::pin::pin;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{Either, select};
use jiff::Timestamp;
use tokio::sync::Mutex;

use super::ports::JournalError;
use crate::domain::board::Board;
use crate::domain::breaker::{Breaker, BreakerConfig, Tally, Verdict, counts};
use crate::domain::clock::{Clock, between};
use crate::domain::definition::{Agent, Evaluation, ModelRef, Reflexion, Strategy};
use crate::domain::failure::FailureCode;
use crate::telemetry::chain;

/// How old what is known may be when a call begins: an operator's word reaches every function within it.
const FRESH: Duration = Duration::from_secs(2);
/// Failures of one model are reported together, once in so long.
const TOGETHER: Duration = Duration::from_secs(1);
/// What a call waits for the store at most: it must not become slower than without breakers.
const PATIENCE: Duration = Duration::from_millis(500);
/// When it is worth asking again where another worker was faster with the probe.
const SHORTLY: Duration = Duration::from_secs(2);

/// Where all functions keep their breakers. What it does not know is closed.
#[async_trait]
pub trait Breakers: Send + Sync {
    /// All of it; may be a second old. One call.
    async fn board(&self) -> Result<Board, JournalError>;
    /// Writes `breaker` on condition that the one before its version is there; whether it was. One call.
    async fn change(&self, breaker: &Breaker) -> Result<bool, JournalError>;
    /// Adds to the count of a window of the breaker with that version, and says how much it is now. It is forgotten some time
    /// after the longest window. May count twice what the transport repeats: a breaker may open a little early then. One call.
    async fn count(&self, model: &ModelRef, version: u64, window: i64, tally: Tally, now: Timestamp) -> Result<Tally, JournalError>;
}

/// See the module.
pub struct Routes {
    chain: Vec<ModelRef>,
    /// The models of the agents.
    named: HashSet<ModelRef>,
    configs: BTreeMap<String, BreakerConfig>,
    breakers: Arc<dyn Breakers>,
    known: Mutex<Option<(Arc<Board>, Timestamp)>>,
    counted: StdMutex<HashMap<ModelRef, Counted>>,
}

/// Calls that were not reported yet.
#[derive(Debug, Clone, Copy)]
struct Counted {
    version: u64,
    window: i64,
    tally: Tally,
    reported_at: Option<Timestamp>,
}

/// The right to make one call.
#[derive(Debug)]
pub(super) enum Permit {
    /// Of a breaker that is closed.
    Call {
        /// Its version.
        version: u64,
    },
    /// To try whether the provider is well again.
    Probe(Breaker),
    /// Of a model that has no breaker.
    Unwatched,
}

/// Why a model is not asked, and how long that holds, if it is known.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) why: String,
    pub(super) wait: Option<Duration>,
}

impl Routes {
    /// `chain` is that of agents that name no models; `configs` are the numbers of providers that have not the usual ones.
    #[must_use]
    pub fn new(chain: Vec<ModelRef>, configs: BTreeMap<String, BreakerConfig>, breakers: Arc<dyn Breakers>) -> Self {
        Self { chain, named: HashSet::new(), configs, breakers, known: Mutex::new(None), counted: StdMutex::default() }
    }

    /// Adds the models that `agents` name to those that have breakers.
    #[must_use]
    pub fn with_agents(mut self, agents: &[Agent]) -> Self {
        let evaluates = |agent: &Agent| match &agent.strategy {
            Strategy::Reflexion(Reflexion { evaluation: Evaluation::Model { model, .. }, .. }) => model.clone(),
            Strategy::Reflexion(_) | Strategy::Single | Strategy::React => None,
        };
        self.named.extend(agents.iter().flat_map(|agent| agent.models.iter().cloned().chain(evaluates(agent))));
        self
    }

    /// Whether operators have named it, here or by a pin.
    fn has_breaker(&self, model: &ModelRef, board: &Board) -> bool {
        let is_pinned = board.pin.as_ref().is_some_and(|pin| pin.to.contains(model));
        is_pinned || self.named.contains(model) || self.chain.contains(model)
    }

    /// Whether operators have named a model of that provider.
    pub(super) fn has_provider(&self, provider: &str) -> bool {
        self.chain.iter().chain(&self.named).any(|model| model.provider == provider)
    }

    /// The models of the deployment.
    #[must_use]
    pub fn chain(&self) -> &[ModelRef] {
        &self.chain
    }

    fn config(&self, model: &ModelRef) -> BreakerConfig {
        self.configs.get(&model.provider).copied().unwrap_or_default()
    }

    /// What is known. A store that does not answer stops no call: then what was known last counts.
    pub(super) async fn board(&self, clock: &dyn Clock) -> Arc<Board> {
        let mut known = self.known.lock().await;
        if let Some((board, at)) = known.as_ref()
            && between(*at, clock.now()) < FRESH
        {
            return board.clone();
        }
        let board = match in_time(clock, self.breakers.board()).await {
            Some(Ok(board)) => Arc::new(board),
            failed => {
                let why = failed.and_then(Result::err).map(|error| chain(&error));
                tracing::warn!(error = why, "what is known of the providers could not be read; the last word counts");
                known.take().map(|(board, _)| board).unwrap_or_default()
            }
        };
        *known = Some((board.clone(), clock.now()));
        board
    }

    /// Whether `model` may be asked now, by a call that has ended at `until` at the latest.
    pub(super) async fn admit(&self, model: &ModelRef, clock: &dyn Clock, until: Timestamp) -> Result<Permit, Refused> {
        let (board, now) = (self.board(clock).await, clock.now());
        if let Some(disabled) = board.disabled(model) {
            return Err(Refused { why: format!("switched off by an operator: {}", disabled.reason), wait: None });
        }
        if !self.has_breaker(model, &board) {
            return Ok(Permit::Unwatched);
        }
        let breaker = board.breaker(model, now);
        let open = |wait: Duration| Refused { why: format!("its breaker is open for {} s", wait.as_secs().max(1)), wait: Some(wait) };
        match breaker.verdict(now) {
            Verdict::Go => Ok(Permit::Call { version: breaker.version }),
            Verdict::Skip { until } => Err(open(between(now, until))),
            Verdict::Probe => {
                let probing = breaker.probing(now, until).ok_or_else(|| open(SHORTLY))?;
                if self.change(&probing, clock).await { Ok(Permit::Probe(probing)) } else { Err(open(SHORTLY)) }
            }
        }
    }

    /// Tells how a call went: well, or with that failure.
    pub(super) async fn report(&self, model: &ModelRef, permit: Permit, failure: Option<FailureCode>, clock: &dyn Clock) {
        let config = self.config(model);
        match permit {
            Permit::Unwatched => {}
            Permit::Probe(probing) => {
                let next = probing.probed(&config, failure, clock.now());
                if self.change(&next, clock).await {
                    tracing::warn!(provider = %model, breaker = ?next.state, "a probe was made");
                }
            }
            Permit::Call { version } => {
                let Some((window, tally)) = self.to_report(model, version, &config, Tally::of(failure), clock.now()) else { return };
                let sum = match in_time(clock, self.breakers.count(model, version, window, tally, clock.now())).await {
                    Some(Ok(sum)) => sum,
                    failed => {
                        let why = failed.and_then(Result::err).map(|error| chain(&error));
                        tracing::warn!(provider = %model, error = why, "failures could not be counted");
                        return;
                    }
                };
                let Some(code) = failure.filter(|code| counts(*code) && config.is_too_much(sum)) else { return };
                let breaker = self.board(clock).await.breaker(model, clock.now());
                let Some(open) = breaker.tripped(&config, code, clock.now()).filter(|_| breaker.version == version) else { return };
                if self.change(&open, clock).await {
                    tracing::error!(provider = %model, code = code.as_str(), calls = sum.calls, "breaker opened");
                }
            }
        }
    }

    /// Adds a call to those that were not reported; all of them, if they are to be reported now.
    fn to_report(&self, model: &ModelRef, version: u64, config: &BreakerConfig, call: Tally, now: Timestamp) -> Option<(i64, Tally)> {
        let window = config.window(now);
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Counted { version, window, tally: Tally::default(), reported_at: None };
        let entry = counted.entry(model.clone()).or_insert(fresh);
        if entry.version != version || (entry.window != window && entry.tally.points == 0) {
            *entry = Counted { reported_at: entry.reported_at, ..fresh };
        }
        entry.window = window;
        entry.tally = entry.tally.plus(call);
        let is_time = entry.reported_at.is_none_or(|at| between(at, now) >= TOGETHER);
        if entry.tally.points == 0 || !is_time {
            return None;
        }
        entry.reported_at = Some(now);
        Some((window, std::mem::take(&mut entry.tally)))
    }

    /// Writes a change, and knows it at once; if somebody else was first, what is known is read anew before the next call.
    async fn change(&self, breaker: &Breaker, clock: &dyn Clock) -> bool {
        let is_written = match in_time(clock, self.breakers.change(breaker)).await {
            Some(Ok(is_written)) => is_written,
            failed => {
                let why = failed.and_then(Result::err).map(|error| chain(&error));
                tracing::warn!(provider = %breaker.target, error = why, "a breaker could not be changed");
                false
            }
        };
        let mut known = self.known.lock().await;
        match known.as_mut().filter(|_| is_written) {
            Some((board, _)) => {
                Arc::make_mut(board).breakers.insert(breaker.target.clone(), breaker.clone());
            }
            None => *known = known.take().map(|(board, _)| (board, Timestamp::UNIX_EPOCH)),
        }
        is_written
    }
}

/// `None` if it takes too long.
async fn in_time<T>(clock: &dyn Clock, call: impl Future<Output = T>) -> Option<T> {
    match select(pin!(call), pin!(clock.sleep(PATIENCE))).await {
        Either::Left((result, _)) => Some(result),
        Either::Right(((), _)) => None,
    }
}
