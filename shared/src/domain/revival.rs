//! What operators do to dead runs, and what a replay is: kept in the run's record, so that whoever works on it next obeys it.

use serde::{Deserialize, Serialize};

use super::definition::ModelRef;
use super::event::AgentInput;
use super::id::{JobId, RunId};
use super::run::{Cause, Run};
use super::state::{Command, RunState};

/// What operators have changed of a run since it died first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redriven {
    /// How often it was put back, by whatever way: one by one, in bulk, or by the queue's own redrive.
    pub count: u32,
    /// The bulk action that put it back last; absent if something else did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<JobId>,
    /// Where the journal begins that counts; at its beginning unless the run was started over.
    #[serde(default, skip_serializing_if = "Start::is_first")]
    pub start: Start,
    /// Which input counts: 0 is the one that it was accepted with, `n` the `n`th that an operator wrote.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub input_no: u32,
    /// The model to ask, and no other, whatever agent and request want.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelRef>,
}

/// What a run had done when it was started over. That stays in the journal and on the bill, but counts for no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Steps.
    pub steps: u32,
    /// Tokens, read and written.
    pub tokens: u64,
    /// Millionths of a US dollar.
    pub cost_micros: u64,
}

impl Start {
    fn is_first(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
pub(super) const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Redriven {
    /// Whether nothing was ever done.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What a run is a replay of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// The bulk action that started it.
    pub job: JobId,
    /// The run that it repeats; absent if its trigger started none then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<RunId>,
    /// Whether calls that change something outside, or wait for a person, are answered from the journal of that run instead of being
    /// made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withholds: bool,
}

/// How a dead run is put back.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Revival {
    /// What the operator gave as the reason.
    pub note: Option<String>,
    /// The bulk action that does it.
    pub job: Option<JobId>,
    /// Whether it begins anew, instead of at the step that failed.
    pub from_start: bool,
    /// The model to ask from now on.
    pub model: Option<ModelRef>,
    /// The agent that takes it over: it begins anew.
    pub agent: Option<String>,
    /// What it is asked instead: it begins anew.
    pub input: Option<AgentInput>,
}

impl Revival {
    /// Whether the run begins anew: what it has done so far was done by another agent, or for another question.
    #[must_use]
    pub const fn is_from_start(&self) -> bool {
        self.from_start || self.agent.is_some() || self.input.is_some()
    }
}

impl Run {
    /// Puts it back: [`Run::apply`] with all that an operator wants changed.
    ///
    /// # Errors
    /// The state, when `command` does not apply to it.
    pub fn revive(&mut self, command: Command, cause: Cause<'_>, revival: &Revival) -> Result<(), RunState> {
        self.apply(command, cause)?;
        if let Some(transition) = self.transitions.last_mut() {
            transition.note.clone_from(&revival.note);
        }
        self.redriven.by = revival.job;
        self.redriven.model = revival.model.clone().or_else(|| self.redriven.model.take());
        if revival.is_from_start() {
            self.redriven.start = Start {
                steps: self.steps,
                tokens: self.usage.input_tokens.saturating_add(self.usage.output_tokens),
                cost_micros: self.cost_micros.unwrap_or(0),
            };
            self.answered_at = None;
            self.abandoned = false;
            // Its working time begins anew as well.
            self.waited_ms = cause.at.as_millisecond().saturating_sub(self.created_at.as_millisecond());
        }
        if let Some(agent) = revival.agent.as_ref().filter(|agent| **agent != self.agent) {
            let before = std::mem::replace(&mut self.agent, agent.clone());
            if let Some(transition) = self.transitions.last_mut() {
                let note = transition.note.take().map_or_else(String::new, |note| format!("{note}; "));
                transition.note = Some(format!("{note}its agent was `{before}`"));
            }
        }
        self.redriven.input_no += u32::from(revival.input.is_some());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::domain::step::Usage;
    use crate::fakes::a_run;

    fn dead() -> Run {
        let usage = Usage { input_tokens: 10, output_tokens: 2, ..Usage::default() };
        let run = a_run(&"acme".parse().unwrap(), Timestamp::UNIX_EPOCH);
        Run { state: RunState::Dead, steps: 3, usage, cost_micros: Some(7), abandoned: true, ..run }
    }

    fn cause(second: i64) -> Cause<'static> {
        Cause { at: Timestamp::from_second(second).unwrap(), by: "ana", reason: "retried", patience: Duration::ZERO }
    }

    #[test]
    fn a_run_that_goes_on_where_it_failed_keeps_what_it_has() {
        let (mut run, job) = (dead(), JobId::new(Timestamp::UNIX_EPOCH));
        let revival = Revival { note: Some("fixed".into()), job: Some(job), ..Revival::default() };
        run.revive(Command::Retry, cause(60), &revival).unwrap();
        assert_eq!(run.redriven, Redriven { count: 1, by: Some(job), ..Redriven::default() });
        assert_eq!(run.transitions.last().unwrap().note.as_deref(), Some("fixed"));
        run.state = RunState::Dead;
        run.apply(Command::Retry, cause(61)).unwrap();
        assert_eq!(run.redriven, Redriven { count: 2, ..Redriven::default() }, "the queue's own redrive counts as well");
    }

    #[test]
    fn a_run_that_begins_anew_has_its_whole_limits_again() {
        for revival in [
            Revival { from_start: true, ..Revival::default() },
            Revival { agent: Some("triage".into()), ..Revival::default() },
            Revival { input: Some(AgentInput::default()), ..Revival::default() },
        ] {
            let mut run = dead();
            run.revive(Command::Retry, cause(60), &revival).unwrap();
            assert_eq!(run.redriven.start, Start { steps: 3, tokens: 12, cost_micros: 7 });
            assert_eq!((run.steps, run.abandoned), (3, false), "the journal stays");
            assert_eq!(run.working_time(Timestamp::from_second(61).unwrap()), Duration::from_secs(1));
            assert_eq!(run.redriven.input_no, u32::from(revival.input.is_some()));
            assert_eq!(run.agent == "triage", revival.agent.is_some());
            let note = run.transitions.last().unwrap().note.clone();
            assert_eq!(note, revival.agent.map(|_| "its agent was `assistant`".to_owned()), "so that it can be put back right");
        }
    }

    #[test]
    fn a_chosen_model_stays_until_another_is_chosen() {
        let model: ModelRef = "openai::gpt-4o-mini".parse().unwrap();
        let mut run = dead();
        run.revive(Command::Retry, cause(60), &Revival { model: Some(model.clone()), ..Revival::default() }).unwrap();
        run.state = RunState::Dead;
        run.revive(Command::Retry, cause(61), &Revival::default()).unwrap();
        assert_eq!(run.redriven.model, Some(model));
    }
}
