//! The answer of a run, which stands in its journal.

use super::Records;
use crate::domain::run::Run;
use crate::domain::state::RunState;
use crate::domain::step::{ModelStep, Purpose, StepBody};
use crate::engine::ports::JournalError;

/// What a model said last of what a run is for: the answer, or one that is cut off or refused. None while it has not ended so.
///
/// # Errors
/// When the journal cannot be read.
pub async fn answer_step(records: &dyn Records, run: &Run) -> Result<Option<ModelStep>, JournalError> {
    let Some(index) = run.answered_at else { return Ok(None) };
    let step = records.steps_after(&run.tenant, run.id, index.saturating_sub(1), 1).await?.into_iter().next();
    Ok(step.and_then(|step| match step.body {
        StepBody::Model(model) if step.index == index && model.purpose == Purpose::Act => Some(model),
        StepBody::Model(_) | StepBody::Tool(_) | StepBody::Approval(_) => None,
    }))
}

/// What a completed run answered.
///
/// # Errors
/// When the journal cannot be read.
pub async fn answer_of(records: &dyn Records, run: &Run) -> Result<Option<String>, JournalError> {
    if run.state != RunState::Completed {
        return Ok(None);
    }
    Ok(answer_step(records, run).await?.and_then(|model| model.message.content))
}
