//! The store in memory: journal and records over the same maps, with the conditions of the real one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{locked, unavailable};
use crate::domain::event::Event;
use crate::domain::id::{ConversationId, EventId, RunId, TenantId};
use crate::domain::message::Message;
use crate::domain::run::Run;
use crate::domain::state::{Command, RunState};
use crate::domain::step::Step;
use crate::domain::task::Task;
use crate::domain::turn::{Conversation, Turn};
use crate::engine::ports::{AcceptError, Acceptance, Claim, Claimed, Ending, Journal, JournalError, Lease, Refusal};
use crate::operate::{Range, Records, Requeued};

#[derive(Debug, Default)]
struct Tables {
    runs: BTreeMap<RunId, Run>,
    events: HashMap<EventId, Event>,
    steps: HashMap<RunId, Vec<Step>>,
    conversations: HashMap<(TenantId, ConversationId), (Conversation, Vec<Turn>)>,
    writes: usize,
    is_down: bool,
}

/// Everything that a table would hold.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Tables>);

impl MemoryStore {
    /// Puts a run as it is.
    pub fn put(&self, run: Run) {
        locked(&self.0).runs.insert(run.id, run);
    }

    /// Puts an event as it is.
    pub fn put_event(&self, event: Event) {
        locked(&self.0).events.insert(event.id, event);
    }

    /// The run as it is.
    #[must_use]
    pub fn get(&self, id: RunId) -> Option<Run> {
        locked(&self.0).runs.get(&id).cloned()
    }

    /// Runs stored so far.
    #[must_use]
    pub fn len(&self) -> usize {
        locked(&self.0).runs.len()
    }

    /// Whether nothing is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes done so far.
    #[must_use]
    pub fn writes(&self) -> usize {
        locked(&self.0).writes
    }

    /// Refuses everything while `true`.
    pub fn set_down(&self, is_down: bool) {
        locked(&self.0).is_down = is_down;
    }

    /// All steps of a run.
    #[must_use]
    pub fn journal_of(&self, id: RunId) -> Vec<Step> {
        locked(&self.0).steps.get(&id).cloned().unwrap_or_default()
    }
}

impl Tables {
    fn check(&self) -> Result<(), JournalError> {
        if self.is_down { Err(unavailable()) } else { Ok(()) }
    }

    /// The stored run, if `run`'s lease still counts.
    fn held(&mut self, run: &Run) -> Result<&mut Run, JournalError> {
        self.check()?;
        self.writes += 1;
        let stored = self.runs.get_mut(&run.id).ok_or(JournalError::Lost)?;
        let is_held = stored.state == RunState::Running && stored.lease_no == run.lease_no;
        if is_held { Ok(stored) } else { Err(JournalError::Lost) }
    }

    fn add_step(&mut self, run: RunId, step: &Step) -> Result<(), JournalError> {
        let steps = self.steps.entry(run).or_default();
        if steps.len() + 1 != step.index as usize {
            return Err(JournalError::Lost);
        }
        steps.push(step.clone());
        Ok(())
    }

    fn free_conversation(&mut self, run: &Run, response: Option<&str>) {
        let Some((conversation, turns)) = self.conversations.get_mut(&(run.tenant.clone(), run.conversation)) else { return };
        if conversation.active_run == Some(run.id) {
            conversation.active_run = None;
        }
        if let (Some(response), Some(turn)) = (response, turns.iter_mut().find(|turn| turn.run_id == run.id)) {
            turn.response = Some(response.to_owned());
        }
    }

    /// Whether the conversation was free, or already this run's.
    fn take_conversation(&mut self, run: &Run) -> bool {
        match self.conversations.get_mut(&(run.tenant.clone(), run.conversation)) {
            Some((conversation, _)) if conversation.active_run.is_some_and(|id| id != run.id) => false,
            Some((conversation, _)) => {
                conversation.active_run = Some(run.id);
                true
            }
            None => true,
        }
    }
}

#[async_trait]
impl Journal for MemoryStore {
    async fn accept(&self, acceptance: &Acceptance) -> Result<(), AcceptError> {
        let Acceptance { event, run } = acceptance;
        let mut tables = locked(&self.0);
        tables.check()?;
        let key = (run.tenant.clone(), run.conversation);
        let is_known = tables.conversations.contains_key(&key);
        if run.has_history && !is_known {
            return Err(AcceptError::NoConversation);
        }
        let now = run.created_at;
        let entry = tables.conversations.entry(key).or_insert_with(|| {
            (Conversation { id: run.conversation, active_run: None, last_run: None, created_at: now, updated_at: now }, Vec::new())
        });
        if entry.0.active_run.is_some() {
            return Err(AcceptError::ConversationBusy);
        }
        if let Some(last) = entry.0.last_run.filter(|last| *last >= run.id) {
            return Err(AcceptError::OutOfOrder { last });
        }
        entry.0.active_run = Some(run.id);
        entry.0.last_run = Some(run.id);
        entry.1.push(Turn { run_id: run.id, messages: event.input.as_messages(), response: None, created_at: now });
        tables.writes += 1;
        tables.events.insert(event.id, event.clone());
        tables.runs.insert(run.id, run.clone());
        Ok(())
    }

    async fn claim(&self, task: &Task, lease: &Lease) -> Result<Claim, JournalError> {
        let mut tables = locked(&self.0);
        tables.check()?;
        tables.writes += 1;
        let Some(run) = tables.runs.get(&task.run).filter(|run| run.tenant == task.tenant).cloned() else {
            return Ok(Claim::Refused(Refusal::Missing));
        };
        if let Some(refusal) = Refusal::of(&run, task, lease) {
            return Ok(Claim::Refused(refusal));
        }
        if run.state == RunState::Dead && !tables.take_conversation(&run) {
            return Ok(Claim::Refused(Refusal::ConversationBusy));
        }
        let claimed = Claimed::from(run, lease);
        tables.runs.insert(task.run, claimed.run.clone());
        Ok(Claim::Taken(Box::new(claimed)))
    }

    async fn event(&self, _tenant: &TenantId, id: EventId) -> Result<Event, JournalError> {
        locked(&self.0).check()?;
        locked(&self.0).events.get(&id).cloned().ok_or(JournalError::NotFound)
    }

    async fn steps(&self, run: &Run) -> Result<Vec<Step>, JournalError> {
        locked(&self.0).check()?;
        Ok(self.journal_of(run.id))
    }

    async fn history(&self, run: &Run) -> Result<Vec<Message>, JournalError> {
        let tables = locked(&self.0);
        tables.check()?;
        let turns = tables.conversations.get(&(run.tenant.clone(), run.conversation)).map(|(_, turns)| turns.clone());
        Ok(turns.unwrap_or_default().into_iter().filter(|turn| turn.run_id < run.id).flat_map(Turn::into_history).collect())
    }

    async fn append(&self, run: &Run, step: &Step) -> Result<(), JournalError> {
        let mut tables = locked(&self.0);
        tables.held(run)?;
        tables.add_step(run.id, step)?;
        let stored = tables.runs.get_mut(&run.id).ok_or(JournalError::Lost)?;
        stored.steps = step.index;
        stored.usage = run.usage;
        stored.updated_at = run.updated_at;
        Ok(())
    }

    async fn end(&self, run: &Run, ending: Ending<'_>) -> Result<(), JournalError> {
        let mut tables = locked(&self.0);
        tables.held(run)?;
        if let Some(step) = ending.step {
            tables.add_step(run.id, step)?;
        }
        tables.runs.insert(run.id, run.clone());
        tables.free_conversation(run, ending.response);
        Ok(())
    }

    async fn release(&self, run: &Run) -> Result<(), JournalError> {
        *locked(&self.0).held(run)? = run.clone();
        Ok(())
    }

    async fn reissue(&self, task: &Task, current: u64) -> Result<Option<u64>, JournalError> {
        let mut tables = locked(&self.0);
        tables.check()?;
        let run = tables.runs.get_mut(&task.run).filter(|run| run.state == RunState::Queued && run.epoch == current);
        Ok(run.map(|run| {
            run.epoch += 1;
            run.epoch
        }))
    }

    async fn renew(&self, run: &Run, until: Timestamp) -> Result<(), JournalError> {
        locked(&self.0).held(run)?.lease_until_ms = until.as_millisecond();
        Ok(())
    }
}

#[async_trait]
impl Records for MemoryStore {
    async fn run(&self, tenant: &TenantId, id: RunId) -> Result<Option<Run>, JournalError> {
        locked(&self.0).check()?;
        Ok(self.get(id).filter(|run| run.tenant == *tenant))
    }

    async fn event(&self, _tenant: &TenantId, id: EventId) -> Result<Option<Event>, JournalError> {
        locked(&self.0).check()?;
        Ok(locked(&self.0).events.get(&id).cloned())
    }

    async fn steps(&self, _tenant: &TenantId, run: RunId, after: u32, limit: usize) -> Result<Vec<Step>, JournalError> {
        locked(&self.0).check()?;
        Ok(self.journal_of(run).into_iter().filter(|step| step.index > after).take(limit).collect())
    }

    async fn ids(&self, tenant: &TenantId, state: Option<RunState>, range: Range, limit: usize) -> Result<Vec<RunId>, JournalError> {
        let tables = locked(&self.0);
        tables.check()?;
        let fits = |run: &&Run| {
            run.tenant == *tenant
                && state.is_none_or(|state| run.state == state)
                && range.before.is_none_or(|before| run.id < before)
                && range.after.is_none_or(|after| run.id > after)
        };
        Ok(tables.runs.values().rev().filter(fits).map(|run| run.id).take(limit).collect())
    }

    async fn runs(&self, tenant: &TenantId, ids: &[RunId]) -> Result<Vec<Run>, JournalError> {
        locked(&self.0).check()?;
        Ok(ids.iter().filter_map(|id| self.get(*id)).filter(|run| run.tenant == *tenant).collect())
    }

    async fn count(&self, tenant: &TenantId, state: RunState) -> Result<u64, JournalError> {
        locked(&self.0).check()?;
        Ok(locked(&self.0).runs.values().filter(|run| run.tenant == *tenant && run.state == state).count() as u64)
    }

    async fn conversation(
        &self,
        tenant: &TenantId,
        id: ConversationId,
        after: Option<RunId>,
        limit: usize,
    ) -> Result<Option<(Conversation, Vec<Turn>)>, JournalError> {
        locked(&self.0).check()?;
        let found = locked(&self.0).conversations.get(&(tenant.clone(), id)).cloned();
        Ok(found.map(|(conversation, turns)| {
            (conversation, turns.into_iter().filter(|turn| after.is_none_or(|after| turn.run_id > after)).take(limit).collect())
        }))
    }

    async fn cancel(&self, run: &Run) -> Result<(), JournalError> {
        let mut tables = locked(&self.0);
        tables.check()?;
        tables.writes += 1;
        let stored = tables.runs.get_mut(&run.id).ok_or(JournalError::Lost)?;
        let state = stored.state.after(Command::Cancel).ok_or(JournalError::Lost)?;
        *stored = Run { state, ..run.clone() };
        stored.drop_lease();
        tables.free_conversation(run, None);
        Ok(())
    }

    async fn requeue(&self, run: &Run) -> Result<Requeued, JournalError> {
        let mut tables = locked(&self.0);
        tables.check()?;
        if tables.runs.get(&run.id).is_none_or(|stored| stored.state.after(Command::Retry).is_none() || stored.epoch + 1 != run.epoch) {
            return Err(JournalError::Lost);
        }
        if !tables.take_conversation(run) {
            return Ok(Requeued::ConversationBusy);
        }
        tables.writes += 1;
        tables.runs.insert(run.id, run.clone());
        Ok(Requeued::Yes)
    }
}
