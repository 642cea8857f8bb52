//! The answer of a run, which stands in its journal.

use super::Records;
use crate::domain::run::Run;
use crate::domain::state::RunState;
use crate::domain::step::{ModelStep, Purpose, StepBody};
use crate::engine::ports::JournalError;

/// How many steps are read at once. The answer is mostly the last one; only what was said of it may come after it.
const STEPS: u32 = 4;

/// What a completed run answered: the text of the last step that was no evaluation.
///
/// # Errors
/// When the journal cannot be read.
pub async fn answer_of(records: &dyn Records, run: &Run) -> Result<Option<String>, JournalError> {
    let mut before = if run.state == RunState::Completed { run.steps } else { 0 };
    let mut count = 1;
    while before > 0 {
        let from = before.saturating_sub(count);
        let steps = records.steps_after(&run.tenant, run.id, from, count as usize).await?;
        let mut answers = steps.into_iter().rev().filter(|step| step.index <= before).filter_map(|step| match step.body {
            StepBody::Model(ModelStep { purpose: Purpose::Act, message, .. }) => Some(message.content),
            StepBody::Model(_) | StepBody::Tool(_) | StepBody::Approval(_) => None,
        });
        if let Some(answer) = answers.next() {
            return Ok(answer);
        }
        (before, count) = (from, STEPS);
    }
    Ok(None)
}
