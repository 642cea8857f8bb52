//! Events: each is recorded with what its triggers made of it, and with the runs that they start, in one transaction. So an event
//! that is sent again finds all of it, and a run that fails is retried alone.

use serde_json::{Map, Value, json};

use super::{Intake, IntakeError};
use crate::domain::clock::after;
use crate::domain::conversation::Conversation;
use crate::domain::event::{AgentInput, Event, EventMeta, Match, MatchOutcome};
use crate::domain::id::{ConversationId, EventId};
use crate::domain::idempotency::{KeyOutcome, RequestKey, UsedKey};
use crate::domain::principal::Principal;
use crate::domain::run::Run;
use crate::domain::trace::RunTrace;
use crate::domain::trigger::Trigger;
use crate::domain::turn::Turn;
use crate::engine::ports::{ConversationWrite, Found, Guard, JournalError, Mark, Write, WriteError};
use crate::telemetry::span;

/// What somebody publishes, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// What kind of thing happened.
    pub kind: String,
    /// Where.
    pub source: String,
    /// What it says.
    pub payload: Value,
    /// The sender's own id for it.
    pub client_id: Option<String>,
    /// How it relates to others.
    pub meta: EventMeta,
    /// What makes it the same event as another: the sender's id, the request's key, or both.
    pub keys: Vec<RequestKey>,
}

/// An event that was recorded, now or before.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// It.
    pub event: Event,
    /// Whether it had been recorded before.
    pub is_replay: bool,
}

/// A match with all that its run consists of, if it starts one.
struct Planned<'t> {
    trigger: &'t Trigger,
    marks: Vec<(Mark, MatchOutcome)>,
    outcome: MatchOutcome,
    run: Run,
    conversation: Conversation,
    input: AgentInput,
    turn: Turn,
}

impl Intake {
    /// Records an event and starts a run for each trigger that it fires. An event that fires none is recorded too.
    ///
    /// # Errors
    /// See [`IntakeError`].
    pub async fn publish(&self, principal: &Principal, new: NewEvent) -> Result<Published, IntakeError> {
        self.publish_to(&self.engine.bundle.triggers, principal, new).await
    }

    pub(super) async fn publish_to(&self, triggers: &[Trigger], principal: &Principal, new: NewEvent) -> Result<Published, IntakeError> {
        let now = self.engine.clock.now();
        let fired = Trigger::matching_in(triggers, &new.kind, &new.source, &new.payload);
        let mut event = Event {
            id: EventId::new(now),
            kind: new.kind,
            source: new.source,
            principal: principal.name.clone(),
            meta: new.meta,
            created_at: now,
            client_id: new.client_id,
            payload: new.payload,
            run: None,
            matches: Vec::new(),
        };
        let keys: Vec<UsedKey> = new.keys.iter().map(|key| UsedKey::new(key, KeyOutcome::Event(event.id), now)).collect();
        let mut planned: Vec<Planned<'_>> = fired.into_iter().map(|trigger| self.planned(principal, &event, trigger)).collect();
        // Each round ends, or gives one match up.
        for _ in 0..=planned.len() {
            event.matches = planned.iter().map(Planned::as_match).collect();
            match self.write_event(principal, &event, &keys, &planned).await {
                Ok(()) => {
                    for started in planned.iter().filter(|planned| planned.outcome == MatchOutcome::Started) {
                        self.engine.send_ready(Some(started.run.task())).await;
                    }
                    tracing::info!(event.id = %event.id, runs = planned.len(), "event recorded");
                    return Ok(Published { event, is_replay: false });
                }
                Err((WriteError::Refused { found: Found::Key(used), .. }, _)) => {
                    return self.known_event(principal, &new.keys, &used).await;
                }
                Err((WriteError::Refused { .. }, Some((place, outcome)))) => planned[place].outcome = outcome,
                Err((error, _)) => return Err(JournalError::from(error).into()),
            }
        }
        Err(JournalError::Unavailable("the marks of the triggers moved too often".into()).into())
    }

    fn planned<'t>(&self, principal: &Principal, event: &Event, trigger: &'t Trigger) -> Planned<'t> {
        let now = event.created_at;
        let second = now.as_second();
        let mut marks = Vec::new();
        if let (Some(dedupe), Some(key)) = (&trigger.dedupe, trigger.dedupe_key(&event.payload)) {
            let expires_at = second.saturating_add_unsigned(dedupe.window_seconds);
            let mark = Mark { key: format!("seen#{}#{key}", trigger.name), limit: 1, now, expires_at };
            marks.push((mark, MatchOutcome::Duplicate));
        }
        if let Some(rate) = &trigger.rate {
            let window = i64::try_from(rate.window_seconds.max(1)).unwrap_or(i64::MAX);
            let begins = second - second.rem_euclid(window);
            let mark =
                Mark { key: format!("rate#{}#{begins}", trigger.name), limit: rate.limit, now, expires_at: begins.saturating_add(window) };
            marks.push((mark, MatchOutcome::RateLimited));
        }
        let input = input_of(trigger, event);
        let conversation = ConversationId::new(now);
        let mut run = Run::new(principal.tenant.clone(), event, conversation, false, trigger.agent.clone(), self.engine.limits.lease);
        run.trace = span::place().map(RunTrace::accepted);
        run.governed_by(&self.engine.bundle);
        run.trigger = Some(trigger.name.clone());
        run.look_at(after(now, self.engine.limits.lease));
        Planned {
            trigger,
            marks,
            outcome: MatchOutcome::Started,
            conversation: Conversation::new(conversation, run.id, now),
            turn: Turn::new(run.id, input.as_messages(), now),
            run,
            input,
        }
    }

    /// Writes all of it; on a refusal, says which match it is that must not start a run, and why.
    async fn write_event(
        &self,
        principal: &Principal,
        event: &Event,
        keys: &[UsedKey],
        planned: &[Planned<'_>],
    ) -> Result<(), (WriteError, Option<(usize, MatchOutcome)>)> {
        let tenant = &principal.tenant;
        let mut writes: Vec<Write<'_>> = keys.iter().map(|key| Write::Key(tenant, key)).collect();
        writes.push(Write::Event(tenant, event));
        let mut blame = Vec::new();
        for (place, planned) in planned.iter().enumerate().filter(|(_, planned)| planned.outcome == MatchOutcome::Started) {
            for (mark, outcome) in &planned.marks {
                blame.push((writes.len(), place, *outcome));
                writes.push(Write::Mark(tenant, mark));
            }
            writes.extend([
                Write::Conversation(tenant, ConversationWrite::Open(&planned.conversation)),
                Write::Run(&planned.run, Guard::New),
                Write::Input(&planned.run, &planned.input),
                Write::Turn(&planned.run, &planned.turn),
            ]);
        }
        self.engine.journal.write(&writes).await.map_err(|error| {
            let blamed = match &error {
                WriteError::Refused { index, .. } => {
                    blame.iter().find(|(at, ..)| at == index).map(|(_, place, outcome)| (*place, *outcome))
                }
                WriteError::Unavailable(_) => None,
            };
            (error, blamed)
        })
    }

    async fn known_event(&self, principal: &Principal, keys: &[RequestKey], used: &UsedKey) -> Result<Published, IntakeError> {
        let is_same = keys.iter().any(|key| key.digest == used.digest && key.fingerprint == used.fingerprint);
        let KeyOutcome::Event(id) = used.outcome else { return Err(IntakeError::KeyReused) };
        if !is_same {
            return Err(IntakeError::KeyReused);
        }
        let event = self.records.event(&principal.tenant, id).await?.ok_or(JournalError::NotFound)?;
        Ok(Published { event, is_replay: true })
    }
}

impl Planned<'_> {
    fn as_match(&self) -> Match {
        let run_id = (self.outcome == MatchOutcome::Started).then_some(self.run.id);
        Match { trigger: self.trigger.name.clone(), agent: self.trigger.agent.clone(), outcome: self.outcome, run_id }
    }
}

/// What a trigger asks its agent when an event fires it.
#[must_use]
pub fn input_of(trigger: &Trigger, event: &Event) -> AgentInput {
    let mut metadata = Map::new();
    metadata.insert("event_id".into(), json!(event.id));
    metadata.insert("trigger".into(), json!(trigger.name));
    let prompt = trigger.prompt_for(&event.kind, &event.source, &event.payload);
    AgentInput { prompt, metadata, ..AgentInput::default() }
}
