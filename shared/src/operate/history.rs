//! What has become of runs, told whole: question, answer, how good it was, and how long it took where. Failures are in it too.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Records, RunFilter, list};
use crate::domain::clock::between;
use crate::domain::event::AgentInput;
use crate::domain::id::{RunId, TenantId};
use crate::domain::run::{Run, Transition};
use crate::domain::state::RunState;
use crate::domain::step::{ModelStep, Purpose, Step, StepBody, Verdict};
use crate::engine::ports::JournalError;

/// What stands beside the records of runs, for many of them at once.
#[async_trait]
pub trait Contents: Send + Sync {
    /// The contents of each of these runs of `tenant`, in their order. Strongly consistent.
    async fn contents(&self, tenant: &TenantId, runs: &[Run]) -> Result<Vec<Content>, JournalError>;
}

/// What stands beside the record of one run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Content {
    /// What it was asked; none if its conversation is being deleted.
    pub input: Option<AgentInput>,
    /// The steps from the answer on, two at most.
    pub answer: Vec<Step>,
}

/// One run, told whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    /// Its record.
    pub run: Run,
    /// What it was asked.
    pub input: Option<AgentInput>,
    /// What the model said last, if it has ended with that.
    pub answer: Option<ModelStep>,
    /// How good that was, if somebody has said so.
    pub verdict: Option<Verdict>,
    /// Where its time went.
    pub timings: Timings,
}

/// How long a run was in each state, up to now or its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Until a worker had it.
    pub queued: Duration,
    /// With a worker.
    pub working: Duration,
    /// For its turn, a person, a time.
    pub waiting: Duration,
    /// Until an operator put it back.
    pub dead: Duration,
}

impl Timings {
    /// From all transitions of a run, oldest first.
    #[must_use]
    pub fn of(transitions: &[Transition], now: Timestamp) -> Self {
        let mut timings = Self::default();
        let ends = transitions.iter().skip(1).map(|next| next.at).chain([now]);
        for (transition, end) in transitions.iter().zip(ends) {
            let spent = between(transition.at, end);
            match transition.to {
                RunState::Queued => timings.queued += spent,
                RunState::Running => timings.working += spent,
                RunState::Waiting => timings.waiting += spent,
                RunState::Dead => timings.dead += spent,
                RunState::Completed | RunState::Failed | RunState::Cancelled => {}
            }
        }
        timings
    }
}

/// A part of the history.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// The newest first.
    pub executions: Vec<Execution>,
    /// Where the next page begins.
    pub next: Option<RunId>,
}

/// Tells of runs, newest first, those that have not ended included.
///
/// # Errors
/// When the store cannot be reached.
pub async fn history(
    (records, contents): (&dyn Records, &dyn Contents),
    tenant: &TenantId,
    filter: &RunFilter,
    cursor: Option<RunId>,
    limit: usize,
    now: Timestamp,
) -> Result<History, JournalError> {
    let page = list(records, tenant, filter, cursor, limit).await?;
    let found = contents.contents(tenant, &page.runs).await?;
    let mut executions = Vec::with_capacity(page.runs.len());
    for (run, content) in page.runs.into_iter().zip(found) {
        let mut transitions = Vec::new();
        // Few runs have had so many changes that their record does not hold them.
        if run.archives > 0 {
            let archives = records.archives(&run).await?;
            transitions
                .extend(archives.into_iter().filter(|archive| archive.index <= run.archives).flat_map(|archive| archive.transitions));
        }
        transitions.extend_from_slice(&run.transitions);
        let timings = Timings::of(&transitions, now);
        let (answer, verdict) = judged(content.answer, run.answered_at);
        executions.push(Execution { run, input: content.input, answer, verdict, timings });
    }
    Ok(History { executions, next: page.next })
}

/// The answer with its verdict, which stands with it or in the step behind it.
fn judged(steps: Vec<Step>, answered_at: Option<u32>) -> (Option<ModelStep>, Option<Verdict>) {
    let (mut answer, mut verdict) = (None, None);
    for step in steps {
        let StepBody::Model(model) = step.body else { continue };
        match model.purpose {
            Purpose::Act if Some(step.index) == answered_at => {
                verdict.clone_from(&model.verdict);
                answer = Some(model);
            }
            Purpose::Evaluate => verdict = model.verdict.or(verdict),
            Purpose::Act | Purpose::Reflect => {}
        }
    }
    (answer, verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transition(at: i64, to: RunState) -> Transition {
        let at = Timestamp::from_second(at).unwrap();
        let run = crate::fakes::a_run(&"acme".parse().unwrap(), at);
        Transition { to, ..run.transitions[0].clone() }
    }

    #[test]
    fn the_time_of_a_run_is_that_of_its_states_and_ends_with_it() {
        let seconds = Duration::from_secs;
        let mut trail = vec![
            transition(100, RunState::Queued),
            transition(101, RunState::Running),
            transition(104, RunState::Waiting),
            transition(204, RunState::Queued),
            transition(205, RunState::Running),
        ];
        let now = Timestamp::from_second(1_000).unwrap();
        let going_on = Timings::of(&trail, now);
        assert_eq!(going_on, Timings { queued: seconds(2), working: seconds(3 + 795), waiting: seconds(100), dead: seconds(0) });
        trail.push(transition(210, RunState::Dead));
        trail.push(transition(310, RunState::Queued));
        trail.push(transition(311, RunState::Cancelled));
        assert_eq!(
            Timings::of(&trail, now),
            Timings { queued: seconds(3), working: seconds(8), waiting: seconds(100), dead: seconds(100) }
        );
    }
}
