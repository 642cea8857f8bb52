//! A run and its replay side by side.

use jiff::Timestamp;

use crate::domain::failure::Failure;
use crate::domain::id::{EventId, RunId};
use crate::domain::run::Run;
use crate::domain::state::RunState;
use crate::engine::ports::JournalError;
use crate::operate::{Records, answer_of};

/// What became of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// The run.
    pub run: RunId,
    /// Its agent.
    pub agent: String,
    /// Where it is.
    pub status: RunState,
    /// What it answered, if it did.
    pub answer: Option<String>,
    /// What went wrong, if it did.
    pub error: Option<Failure>,
    /// How many steps it took.
    pub steps: u32,
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Millionths of a US dollar; none if a price is not known.
    pub cost_micros: Option<u64>,
    /// From its acceptance to its end in milliseconds, waits left out; none while it has not ended.
    pub duration_ms: Option<u64>,
}

/// How the new run differs from the old one: new less old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// Whether both answered the same, but for spaces around it; none until both have ended.
    pub same_answer: Option<bool>,
    /// Whether they are in different states.
    pub status_changed: bool,
    /// Steps.
    pub steps: i64,
    /// Tokens read.
    pub input_tokens: i64,
    /// Tokens written.
    pub output_tokens: i64,
    /// Millionths of a US dollar, where both are known.
    pub cost_micros: Option<i64>,
    /// Milliseconds, once both have ended.
    pub duration_ms: Option<i64>,
}

/// Both of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// What both answer.
    pub event: EventId,
    /// The trigger that started both; none for a request to an agent.
    pub trigger: Option<String>,
    /// The run of then; none if there was none, or if it was deleted.
    pub old: Option<Side>,
    /// The run of the replay.
    pub new: Side,
    /// New less old, if there is an old one.
    pub difference: Option<Difference>,
}

/// Puts a replay beside the run that it repeats.
///
/// # Errors
/// When the store cannot be reached.
pub async fn compare(records: &dyn Records, old: Option<&Run>, new: &Run) -> Result<Comparison, JournalError> {
    let new_side = Side::of(records, new).await?;
    let old_side = match old {
        Some(old) => Some(Side::of(records, old).await?),
        None => None,
    };
    let difference = old_side.as_ref().map(|old| Difference::between(old, &new_side));
    Ok(Comparison { event: new.event, trigger: new.trigger.clone(), old: old_side, new: new_side, difference })
}

impl Side {
    async fn of(records: &dyn Records, run: &Run) -> Result<Self, JournalError> {
        Ok(Self {
            run: run.id,
            agent: run.agent.clone(),
            status: run.state,
            answer: answer_of(records, run).await?,
            error: run.error().cloned(),
            steps: run.steps,
            input_tokens: run.usage.input_tokens,
            output_tokens: run.usage.output_tokens,
            cost_micros: run.cost_micros,
            duration_ms: run.ended_at.map(|ended_at| duration_of(run, ended_at)),
        })
    }
}

fn duration_of(run: &Run, ended_at: Timestamp) -> u64 {
    u64::try_from(run.working_time(ended_at).as_millis()).unwrap_or(u64::MAX)
}

impl Difference {
    /// New less old.
    #[must_use]
    pub fn between(old: &Side, new: &Side) -> Self {
        let have_ended = old.status.has_ended() && new.status.has_ended();
        let text = |side: &Side| side.answer.as_deref().map(|answer| answer.trim().to_owned());
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let less = |new: u64, old: u64| signed(new).saturating_sub(signed(old));
        let both = |new: Option<u64>, old: Option<u64>| new.zip(old).map(|(new, old)| less(new, old));
        Self {
            same_answer: have_ended.then(|| text(old).is_some() && text(old) == text(new)),
            status_changed: old.status != new.status,
            steps: i64::from(new.steps) - i64::from(old.steps),
            input_tokens: less(new.input_tokens, old.input_tokens),
            output_tokens: less(new.output_tokens, old.output_tokens),
            cost_micros: both(new.cost_micros, old.cost_micros),
            duration_ms: both(new.duration_ms, old.duration_ms),
        }
    }
}
