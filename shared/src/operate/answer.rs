//! Ending a wait: by a human's answer, or because the time has come. What was waited for becomes the result of the call that
//! waits, in the transaction that queues the run: it is finished like any other step.

use std::time::Duration;

use super::{CommandError, Records};
use crate::domain::clock::rfc3339_millis;
use crate::domain::id::{RunId, TenantId};
use crate::domain::message::ToolCall;
use crate::domain::run::{Cause, Run};
use crate::domain::state::Command;
use crate::domain::step::{ApprovalStep, Step, StepBody, ToolStep};
use crate::domain::waiting::{ASK_HUMAN, Waiting};
use crate::engine::ports::{Guard, Journal, JournalError, Queue};
use crate::ledger::{Change, commit};
use crate::telemetry::chain;

/// A human's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAnswer {
    /// Which question.
    pub question_id: String,
    /// What the agent is told: the answer, or why a call is not allowed.
    pub text: String,
    /// Whether a call is allowed, where that was the question.
    pub approved: Option<bool>,
}

/// Takes a human's answer and lets the run go on. The first answer counts; the same one sent again is no error.
///
/// # Errors
/// [`CommandError::NotAsked`] when the run does not wait for that question, or not any more.
pub async fn answer(
    records: &dyn Records,
    queue: &dyn Queue,
    cause: Cause<'_>,
    tenant: &TenantId,
    id: RunId,
    new: &NewAnswer,
) -> Result<Run, CommandError> {
    let run = records.run(tenant, id).await?.ok_or(CommandError::NotFound)?;
    let is_open = match &run.waiting {
        Some(Waiting::Answer { question_id, expires_at, .. } | Waiting::Approval { question_id, expires_at, .. }) => {
            *question_id == new.question_id && *expires_at > cause.at
        }
        Some(Waiting::Turn | Waiting::Time { .. }) | None => false,
    };
    if is_open {
        let result = result_of(&run, new, cause.by).ok_or(CommandError::OtherAnswer)?;
        match wake(records, queue, cause, &run, result).await {
            // Somebody else was faster.
            Err(JournalError::Lost) => {}
            other => return other.map_err(CommandError::from),
        }
    }
    if !was_given(records, tenant, id, new).await? {
        return Err(CommandError::NotAsked);
    }
    records.run(tenant, id).await?.ok_or(CommandError::NotFound)
}

/// Whether this very answer is in the journal: its sender did not hear of it.
async fn was_given(records: &dyn Records, tenant: &TenantId, id: RunId, new: &NewAnswer) -> Result<bool, JournalError> {
    let Some(before) = Waiting::step_of(&new.question_id).and_then(|step| step.checked_sub(1)) else { return Ok(false) };
    let step = records.steps_after(tenant, id, before, 1).await?.into_iter().next();
    Ok(step.is_some_and(|step| match step.body {
        StepBody::Tool(tool) if new.approved == Some(false) => tool.is_error && tool.output == not_allowed(&new.text),
        StepBody::Tool(tool) => tool.call.name == ASK_HUMAN && !tool.is_error && tool.output == new.text,
        StepBody::Approval(_) => new.approved == Some(true),
        StepBody::Model(_) => false,
    }))
}

/// Ends the wait of `run`, whose time has come, as somebody just read it.
///
/// # Errors
/// [`JournalError::Lost`] when it has moved meanwhile, or its time has not come.
pub async fn time_is_over(journal: &dyn Journal, queue: &dyn Queue, cause: Cause<'_>, run: &Run) -> Result<Run, JournalError> {
    let at = rfc3339_millis::format;
    let (output, is_error) = match &run.waiting {
        Some(Waiting::Answer { expires_at, .. }) if *expires_at <= cause.at => {
            (format!("error: nobody answered until {}", at(*expires_at)), true)
        }
        Some(Waiting::Approval { expires_at, .. }) if *expires_at <= cause.at => {
            (format!("error: nobody allowed this call until {}", at(*expires_at)), true)
        }
        Some(Waiting::Time { until, .. }) if *until <= cause.at => (format!("it is {}", at(cause.at)), false),
        _ => return Err(JournalError::Lost),
    };
    let call = waiting_call(run).ok_or(JournalError::Lost)?;
    wake(journal, queue, cause, run, StepBody::Tool(ToolStep { call, output, is_error, full: None, stand_in: None })).await
}

/// The call that the run waits for.
fn waiting_call(run: &Run) -> Option<ToolCall> {
    match &run.waiting {
        Some(Waiting::Answer { call, .. } | Waiting::Approval { call, .. } | Waiting::Time { call, .. }) => Some(call.clone()),
        Some(Waiting::Turn) | None => None,
    }
}

/// What an answer makes of the question; nothing if it does not fit.
fn result_of(run: &Run, new: &NewAnswer, by: &str) -> Option<StepBody> {
    match (&run.waiting, new.approved) {
        (Some(Waiting::Answer { call, .. }), None) => {
            Some(StepBody::Tool(ToolStep { call: call.clone(), output: new.text.clone(), is_error: false, full: None, stand_in: None }))
        }
        (Some(Waiting::Approval { call, .. }), Some(true)) => {
            Some(StepBody::Approval(ApprovalStep { call_id: call.id.clone(), tool: call.name.clone(), by: by.to_owned() }))
        }
        (Some(Waiting::Approval { call, .. }), Some(false)) => Some(StepBody::Tool(ToolStep {
            call: call.clone(),
            output: not_allowed(&new.text),
            is_error: true,
            full: None,
            stand_in: None,
        })),
        _ => None,
    }
}

fn not_allowed(why: &str) -> String {
    if why.is_empty() {
        "error: a person did not allow this call".to_owned()
    } else {
        format!("error: a person did not allow this call: {why}")
    }
}

async fn wake(journal: &dyn Journal, queue: &dyn Queue, cause: Cause<'_>, run: &Run, body: StepBody) -> Result<Run, JournalError> {
    let started_at = run.updated_at;
    let guard = Guard::Seen(run.seen());
    let mut woken = run.clone();
    woken.apply(Command::Wake, cause).map_err(|_| JournalError::Lost)?;
    woken.steps += 1;
    // A step is progress, and no worker was at it.
    (woken.attempts, woken.abandoned) = (0, false);
    let step = Step { index: woken.steps, started_at, ended_at: cause.at, body };
    let done = commit(journal, Change { run: &woken, guard, step: Some(&step), response: None, cause }).await?;
    if let Err(error) = queue.send(&done.run.task(), Duration::ZERO).await {
        tracing::warn!(run.id = %run.id, error = %chain(&error), "a run that was woken is not sent yet; the sweeper does it");
    }
    Ok(done.run)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::domain::state::RunState;
    use crate::fakes::{MemoryQueue, MemoryStore, a_run};

    fn waiting() -> Run {
        let mut run = a_run(&"acme".parse().unwrap(), Timestamp::UNIX_EPOCH);
        let call = ToolCall { id: "c".into(), name: ASK_HUMAN.into(), arguments: json!({"question": "May I?", "expires_in_seconds": 60}) };
        run.state = RunState::Waiting;
        run.waiting = Some(Waiting::of(&call, 1, Timestamp::UNIX_EPOCH).unwrap());
        run
    }

    fn cause(second: i64) -> Cause<'static> {
        Cause { at: Timestamp::from_second(second).unwrap(), by: "ana", reason: "answered", patience: Duration::from_secs(60) }
    }

    #[tokio::test]
    async fn an_answer_is_a_step_and_counts_once() {
        let (store, queue, run) = (MemoryStore::default(), MemoryQueue::default(), waiting());
        store.put(run.clone());
        let new = NewAnswer { question_id: "q1".into(), text: "yes".into(), approved: None };
        let other = NewAnswer { question_id: "q2".into(), ..new.clone() };
        let refused = answer(&store, &queue, cause(5), &run.tenant, run.id, &other).await;
        assert!(matches!(refused, Err(CommandError::NotAsked)));
        let woken = answer(&store, &queue, cause(5), &run.tenant, run.id, &new).await.unwrap();
        assert_eq!((woken.state, woken.epoch, woken.steps, woken.waited_ms), (RunState::Queued, 2, 1, 5_000));
        assert!(matches!(&store.journal_of(run.id)[0].body, StepBody::Tool(tool) if tool.output == "yes" && !tool.is_error));
        assert_eq!(queue.take().len(), 1);
        let again = answer(&store, &queue, cause(6), &run.tenant, run.id, &new).await.unwrap();
        assert_eq!((again, queue.take().len()), (woken, 0), "the sender did not hear of it");
        let late = NewAnswer { text: "no".into(), ..new };
        let refused = answer(&store, &queue, cause(6), &run.tenant, run.id, &late).await;
        assert!(matches!(refused, Err(CommandError::NotAsked)), "the question is answered");
        assert_eq!(store.journal_of(run.id).len(), 1);
    }

    #[tokio::test]
    async fn what_a_worker_that_vanished_before_the_question_left_behind_is_over_with_the_answer() {
        let (store, queue, run) = (MemoryStore::default(), MemoryQueue::default(), Run { abandoned: true, attempts: 2, ..waiting() });
        store.put(run.clone());
        let new = NewAnswer { question_id: "q1".into(), text: "yes".into(), approved: None };
        let woken = answer(&store, &queue, cause(5), &run.tenant, run.id, &new).await.unwrap();
        assert_eq!((woken.abandoned, woken.attempts), (false, 0), "the next call was not begun by anybody");
    }

    #[tokio::test]
    async fn a_question_that_nobody_answers_is_an_error_for_the_model() {
        let (store, queue, run) = (MemoryStore::default(), MemoryQueue::default(), waiting());
        store.put(run.clone());
        let new = NewAnswer { question_id: "q1".into(), text: "yes".into(), approved: None };
        assert!(matches!(answer(&store, &queue, cause(60), &run.tenant, run.id, &new).await, Err(CommandError::NotAsked)), "too late");
        assert!(matches!(time_is_over(&store, &queue, cause(59), &run).await, Err(JournalError::Lost)), "too early");
        let woken = time_is_over(&store, &queue, cause(60), &run).await.unwrap();
        assert_eq!(woken.state, RunState::Queued);
        assert!(matches!(&store.journal_of(run.id)[0].body, StepBody::Tool(tool) if tool.is_error));
    }
}
