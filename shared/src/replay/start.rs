//! One run of a replay. Its id follows from the job and from what it is about, so whoever starts it again finds it.

use std::time::Duration;

use super::{Candidate, ReplayOrder, Replayer};
use crate::domain::clock::after;
use crate::domain::conversation::Conversation;
use crate::domain::definition::Trigger;
use crate::domain::event::{AgentInput, Event};
use crate::domain::id::{ConversationId, RunId};
use crate::domain::job::Job;
use crate::domain::revival::Replay;
use crate::domain::run::Run;
use crate::domain::state::RunState;
use crate::domain::trace::RunTrace;
use crate::domain::turn::Turn;
use crate::engine::ports::{ConversationWrite, Guard, JournalError, Write, WriteError};
use crate::intake::input_of;
use crate::telemetry::chain;

/// How long a run may wait for a worker before the sweeper looks after its message.
const PATIENCE: Duration = Duration::from_secs(60);
/// The reason of the first transition of such a run.
const REPLAYED: &str = "replayed";
/// Bytes as JSON of all that is said to an agent: its run's input and its turn are one item (400 KB) each.
const LONGEST_INPUT: usize = 350_000;

/// A run that was started, now or before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The run.
    pub run: RunId,
    /// Whether it had been started before.
    pub before: bool,
}

/// Why a run is not started.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The event was deleted.
    #[error("the event is gone")]
    NoEvent,
    /// The run that it repeats was deleted.
    #[error("the run of then is gone")]
    NoRun,
    /// The trigger is not there any more, or is about something else.
    #[error("the trigger does not fit any more")]
    NoTrigger,
    /// The agent is not there any more.
    #[error("the agent `{0}` is not defined any more")]
    NoAgent(String),
    /// What it would be asked is too long for one item.
    #[error("what was said before it is too long to begin a conversation with")]
    TooLong,
    /// The store cannot be reached.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Replayer {
    /// Starts one run of a job; `name` is what tells it from the others. What was started before is found.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn start(&self, job: &Job, order: &ReplayOrder, name: &str, candidate: &Candidate) -> Result<Started, Refused> {
        let tenant = &job.tenant;
        let id = RunId::derived(job.created_at, &format!("{}/{name}", job.id));
        if let Some(run) = self.records.run(tenant, id).await? {
            self.send(&run).await;
            return Ok(Started { run: id, before: true });
        }
        let event = self.records.event(tenant, candidate.event).await?.ok_or(Refused::NoEvent)?;
        let then = match candidate.of {
            Some(then) => self.records.run(tenant, then).await?,
            None => None,
        };
        let input = self.input(candidate, &event, then.as_ref()).await?;
        if serde_json::to_vec(&input).map_or(usize::MAX, |json| json.len()) > LONGEST_INPUT {
            return Err(Refused::TooLong);
        }
        let agent = order.agent.as_ref().unwrap_or(&candidate.agent);
        if self.bundle.agent(agent).is_none() {
            return Err(Refused::NoAgent(agent.clone()));
        }
        let now = self.clock.now();
        let conversation = ConversationId::derived(job.created_at, &format!("{}/{name}", job.id));
        // It answers the event of then, but is asked for now, by whoever asked for the replay.
        let as_now = Event { created_at: now, principal: job.created_by.clone(), payload: serde_json::Value::Null, ..event };
        let mut run = Run::new(tenant.clone(), &as_now, conversation, false, agent.clone(), PATIENCE);
        run.id = id;
        run.governed_by(&self.bundle);
        run.trigger.clone_from(&candidate.trigger);
        run.replay = Some(Replay { job: job.id, of: candidate.of, withholds: !order.with_side_effects });
        run.trace = then.as_ref().and_then(|then| RunTrace::told_of(then.trace.as_ref()?));
        run.redriven.model.clone_from(&order.model);
        run.look_at(after(now, PATIENCE));
        if let Some(accepted) = run.transitions.first_mut() {
            REPLAYED.clone_into(&mut accepted.reason);
            accepted.note.clone_from(&job.reason);
        }
        self.write(&run, &input).await.map(|before| Started { run: id, before })
    }

    /// What it is asked: as its trigger asks now, or what the run of then was asked, with all that had been said before it.
    async fn input(&self, candidate: &Candidate, event: &Event, then: Option<&Run>) -> Result<AgentInput, Refused> {
        if let Some(name) = candidate.trigger.as_ref().filter(|_| !candidate.same_input) {
            let fits = |trigger: &&Trigger| trigger.name == *name && trigger.matches(&event.kind, &event.source, &event.payload);
            let trigger = self.bundle.triggers.iter().find(fits).ok_or(Refused::NoTrigger)?;
            return Ok(input_of(trigger, event));
        }
        let then = then.ok_or(Refused::NoRun)?;
        let gone = |error| if matches!(error, JournalError::NotFound) { Refused::NoRun } else { Refused::Journal(error) };
        let mut input = self.records.input(then).await.map_err(gone)?;
        if then.has_history && input.messages.is_none() {
            let said = self.records.history(then).await.map_err(gone)?;
            input.messages = (!said.is_empty()).then_some(said);
        }
        Ok(input)
    }

    /// Writes and sends it. Whether it was there before.
    async fn write(&self, run: &Run, input: &AgentInput) -> Result<bool, Refused> {
        let opened = Conversation::new(run.conversation, run.id, run.created_at);
        let turn = Turn::new(run.id, input.as_messages(), run.created_at);
        let writes = [
            Write::Run(run, Guard::New),
            Write::Conversation(&run.tenant, ConversationWrite::Open(&opened)),
            Write::Input(run, input),
            Write::Turn(run, &turn),
        ];
        let before = match self.records.write(&writes).await {
            Ok(()) => false,
            // A worker that was taken for dead was not.
            Err(WriteError::Refused { .. }) => true,
            Err(error) => return Err(JournalError::from(error).into()),
        };
        self.send(run).await;
        tracing::info!(run.id = %run.id, before, "run of a replay started");
        Ok(before)
    }

    /// Sends its message, once more if need be: that one more comes does no harm. One that cannot be sent the sweeper sends.
    async fn send(&self, run: &Run) {
        if run.state != RunState::Queued {
            return;
        }
        if let Err(error) = self.queue.send(&run.task(), Duration::ZERO).await {
            tracing::warn!(run.id = %run.id, error = %chain(&error), "a run of a replay is not sent yet; the sweeper does it");
        }
    }
}
