//! The store in memory: journal and records over the same maps, with the conditions of the real one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::civil::Date;

use super::{locked, unavailable};
use crate::domain::conversation::Conversation;
use crate::domain::delta::{Delta, Try};
use crate::domain::event::{AgentInput, Event};
use crate::domain::id::{ConversationId, EventId, RunId, TenantId};
use crate::domain::idempotency::UsedKey;
use crate::domain::message::Message;
use crate::domain::run::{Archive, Run};
use crate::domain::spend::Spend;
use crate::domain::state::RunState;
use crate::domain::step::{Step, StepBody};
use crate::domain::task::Task;
use crate::domain::turn::Turn;
use crate::engine::ports::{
    Answer, Claim, ConversationWrite, Found, Guard, Journal, JournalError, Lease, Look, Refusal, Write, WriteError,
};
use crate::operate::{Erasure, Range, Records};

/// Everything that a table would hold.
#[derive(Debug, Default, Clone)]
pub struct Tables {
    /// Runs.
    pub runs: BTreeMap<RunId, Run>,
    /// Their journals.
    pub steps: HashMap<RunId, Vec<Step>>,
    /// What was said of their steps before these were finished, by step, try and place.
    pub deltas: HashMap<RunId, BTreeMap<(u32, Try, u32), Delta>>,
    /// Their archives.
    pub archives: HashMap<RunId, Vec<Archive>>,
    /// Their own inputs.
    pub inputs: HashMap<(RunId, u32), AgentInput>,
    /// Events.
    pub events: HashMap<EventId, Event>,
    /// Conversations.
    pub conversations: HashMap<ConversationId, Conversation>,
    /// Their turns.
    pub turns: BTreeMap<(ConversationId, RunId), Turn>,
    /// Used keys, each below its tenant.
    pub keys: HashMap<(TenantId, String), UsedKey>,
    /// Marks of triggers, each below its tenant: how often, and until when.
    pub marks: HashMap<(TenantId, String), (u32, i64)>,
    /// What each tenant has spent on each day, by shard.
    pub spend: HashMap<(TenantId, Date, u8), Spend>,
    /// Whose conversations and events are; those that a test has put belong to everybody.
    owners: HashMap<String, TenantId>,
}

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: Mutex<Tables>,
    writes: Mutex<usize>,
    is_down: Mutex<bool>,
}

impl MemoryStore {
    /// Puts a run as it is.
    pub fn put(&self, run: Run) {
        locked(&self.tables).runs.insert(run.id, run);
    }

    /// Puts a step as it is.
    pub fn put_step(&self, run: RunId, step: Step) {
        locked(&self.tables).steps.entry(run).or_default().push(step);
    }

    /// Puts an event as it is.
    pub fn put_event(&self, event: Event) {
        locked(&self.tables).events.insert(event.id, event);
    }

    /// The run as it is.
    #[must_use]
    pub fn get(&self, id: RunId) -> Option<Run> {
        locked(&self.tables).runs.get(&id).cloned()
    }

    /// Everything as it is.
    #[must_use]
    pub fn tables(&self) -> Tables {
        locked(&self.tables).clone()
    }

    /// Looks at everything as it is.
    pub fn with_tables<T>(&self, look: impl FnOnce(&Tables) -> T) -> T {
        look(&locked(&self.tables))
    }

    /// Runs stored so far.
    #[must_use]
    pub fn len(&self) -> usize {
        locked(&self.tables).runs.len()
    }

    /// Whether nothing is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writing calls so far.
    #[must_use]
    pub fn writes(&self) -> usize {
        *locked(&self.writes)
    }

    /// Refuses everything while `true`.
    pub fn set_down(&self, is_down: bool) {
        *locked(&self.is_down) = is_down;
    }

    /// All steps of a run.
    #[must_use]
    pub fn journal_of(&self, id: RunId) -> Vec<Step> {
        locked(&self.tables).steps.get(&id).cloned().unwrap_or_default()
    }

    pub(super) fn check(&self) -> Result<(), JournalError> {
        if *locked(&self.is_down) { Err(unavailable()) } else { Ok(()) }
    }
}

impl Tables {
    fn is_held(&self, id: RunId, lease_no: u64) -> bool {
        self.runs.get(&id).is_some_and(|run| run.state == RunState::Running && run.lease_no == lease_no)
    }

    /// Whether the write may be done, and what is there if not.
    fn allows(&self, write: &Write<'_>) -> Result<(), Found> {
        let yes = |allowed: bool| if allowed { Ok(()) } else { Err(Found::Nothing) };
        match write {
            Write::Run(run, Guard::New) => yes(!self.runs.contains_key(&run.id)),
            Write::Run(run, Guard::Held { lease_no, steps }) => {
                yes(self.is_held(run.id, *lease_no) && self.runs.get(&run.id).is_some_and(|stored| stored.steps == *steps))
            }
            Write::Run(run, Guard::Seen(seen)) => yes(self.runs.get(&run.id).is_some_and(|stored| stored.seen() == *seen)),
            Write::Progress(run, step) => {
                yes(self.is_held(run.id, run.lease_no) && self.runs.get(&run.id).is_some_and(|stored| stored.steps + 1 == step.index))
            }
            Write::Step(run, step) => {
                yes(self.steps.get(&run.id).is_none_or(|steps| steps.iter().all(|stored| stored.index != step.index)))
            }
            Write::Archive(run, archive) => {
                yes(self.archives.get(&run.id).is_none_or(|all| all.iter().all(|stored| stored.index != archive.index)))
            }
            Write::Input(run, _) => yes(!self.inputs.contains_key(&(run.id, run.redriven.input_no))),
            Write::Event(_, event) => yes(!self.events.contains_key(&event.id)),
            Write::Turn(run, turn) => yes(!self.turns.contains_key(&(run.conversation, turn.run_id))),
            Write::Ask(run, ..) | Write::EndTurn(run, ..) => yes(self.turns.contains_key(&(run.conversation, run.id))),
            Write::Conversation(tenant, write) => self.allows_conversation(tenant, *write),
            Write::Key(tenant, key) => {
                match self.keys.get(&((*tenant).clone(), key.digest.clone())).filter(|used| !used.has_expired(key.created_at)) {
                    None => Ok(()),
                    Some(used) => Err(Found::Key(used.clone())),
                }
            }
            Write::Spend(..) => Ok(()),
            Write::Mark(tenant, mark) => {
                let marked =
                    self.marks.get(&((*tenant).clone(), mark.key.clone())).filter(|(_, expires_at)| *expires_at > mark.now.as_second());
                yes(marked.is_none_or(|(count, _)| *count < mark.limit))
            }
        }
    }

    pub(super) fn is_of(&self, tenant: &TenantId, id: impl ToString) -> bool {
        self.owners.get(&id.to_string()).is_none_or(|owner| owner == tenant)
    }

    fn apply(&mut self, write: &Write<'_>) {
        match write {
            Write::Run(run, _) => {
                self.runs.insert(run.id, (*run).clone());
            }
            Write::Progress(run, step) => {
                if let Some(stored) = self.runs.get_mut(&run.id) {
                    stored.steps = step.index;
                    stored.usage = run.usage;
                    stored.cost_micros = run.cost_micros;
                    stored.attempts = run.attempts;
                    stored.abandoned = run.abandoned;
                    stored.updated_at = run.updated_at;
                }
            }
            Write::Step(run, step) => self.steps.entry(run.id).or_default().push((*step).clone()),
            Write::Archive(run, archive) => self.archives.entry(run.id).or_default().push((*archive).clone()),
            Write::Input(run, input) => {
                self.inputs.insert((run.id, run.redriven.input_no), (*input).clone());
            }
            Write::Event(tenant, event) => {
                self.owners.insert(event.id.to_string(), (*tenant).clone());
                self.events.insert(event.id, (*event).clone());
            }
            Write::Turn(run, turn) => {
                self.turns.insert((run.conversation, turn.run_id), (*turn).clone());
            }
            Write::Ask(run, messages) => {
                if let Some(turn) = self.turns.get_mut(&(run.conversation, run.id)) {
                    turn.messages = messages.to_vec();
                }
            }
            Write::EndTurn(run, end, answer) => {
                if let Some(turn) = self.turns.get_mut(&(run.conversation, run.id)) {
                    turn.ended = Some(*end);
                    match answer {
                        Some(Answer::Text(text)) => turn.response = Some((*text).to_owned()),
                        Some(Answer::InStep(step)) => turn.response_step = Some(*step),
                        None => {}
                    }
                }
            }
            Write::Conversation(tenant, write) => {
                if let ConversationWrite::Open(new) = write {
                    self.owners.insert(new.id.to_string(), (*tenant).clone());
                }
                self.apply_conversation(*write);
            }
            Write::Key(tenant, key) => {
                self.keys.insert(((*tenant).clone(), key.digest.clone()), (*key).clone());
            }
            Write::Spend(tenant, spent) => {
                *self.spend.entry(((*tenant).clone(), spent.day, spent.shard)).or_default() += spent.spend;
            }
            Write::Mark(tenant, mark) => {
                let marked = self.marks.entry(((*tenant).clone(), mark.key.clone())).or_insert((0, mark.expires_at));
                if marked.1 <= mark.now.as_second() {
                    *marked = (0, mark.expires_at);
                }
                marked.0 += 1;
            }
        }
    }

    /// What a turn was answered, wherever that stands.
    fn answer(&self, turn: &Turn) -> Result<Option<String>, JournalError> {
        let (None, Some(index)) = (&turn.response, turn.response_step) else { return Ok(turn.response.clone()) };
        let step = self.steps.get(&turn.run_id).and_then(|steps| steps.iter().find(|step| step.index == index));
        match step.map(|step| &step.body) {
            Some(StepBody::Model(model)) => model.message.content.clone().map(Some).ok_or(JournalError::NotFound),
            Some(StepBody::Tool(_) | StepBody::Approval(_)) | None => Err(JournalError::NotFound),
        }
    }
}

#[async_trait]
impl Journal for MemoryStore {
    async fn write(&self, writes: &[Write<'_>]) -> Result<(), WriteError> {
        *locked(&self.writes) += 1;
        if *locked(&self.is_down) {
            return Err(WriteError::Unavailable("switched off by the test".into()));
        }
        let mut tables = locked(&self.tables);
        for (index, write) in writes.iter().enumerate() {
            tables.allows(write).map_err(|found| WriteError::Refused { index, found })?;
        }
        for write in writes {
            tables.apply(write);
        }
        Ok(())
    }

    async fn claim(&self, task: &Task, lease: &Lease) -> Result<Claim, JournalError> {
        *locked(&self.writes) += 1;
        self.check()?;
        let mut tables = locked(&self.tables);
        let Some(run) = tables.runs.get(&task.run).filter(|run| run.tenant == task.tenant).cloned() else {
            return Ok(Claim::Refused(Refusal::Missing));
        };
        if let Some(taken) = lease.taken_before(&run, task) {
            return Ok(Claim::Taken(Box::new(taken)));
        }
        if let Some(refusal) = Refusal::of(&run, task, lease) {
            return Ok(Claim::Refused(refusal));
        }
        let taken = lease.take(run);
        // The real one's update writes these and no others.
        let Some(old) = tables.runs.get_mut(&task.run) else { return Ok(Claim::Refused(Refusal::Missing)) };
        let (abandoned, failures, first_failed_at) = (old.abandoned, old.failures.clone(), old.first_failed_at);
        *old = Run { abandoned, failures, first_failed_at, ..taken.clone() };
        Ok(Claim::Taken(Box::new(taken)))
    }

    async fn renew(&self, run: &Run, until: Timestamp) -> Result<(), JournalError> {
        *locked(&self.writes) += 1;
        self.check()?;
        let mut tables = locked(&self.tables);
        let until_ms = until.as_millisecond();
        if !tables.is_held(run.id, run.lease_no) || tables.runs.get(&run.id).is_none_or(|stored| stored.lease_until_ms > until_ms) {
            return Err(JournalError::Lost);
        }
        tables.runs.get_mut(&run.id).ok_or(JournalError::Lost)?.renew_until(until);
        Ok(())
    }

    async fn look(&self, run: &Run) -> Result<Look, JournalError> {
        self.check()?;
        let tables = locked(&self.tables);
        let watched_until_ms = tables.runs.get(&run.id).and_then(|stored| stored.watched_until_ms);
        Ok(Look { is_held: tables.is_held(run.id, run.lease_no), watched_until_ms })
    }

    async fn tell(&self, run: &Run, delta: &Delta) -> Result<(), JournalError> {
        self.check()?;
        let key = (delta.step, delta.attempt, delta.seq);
        locked(&self.tables).deltas.entry(run.id).or_default().insert(key, delta.clone());
        Ok(())
    }

    async fn run(&self, tenant: &TenantId, id: RunId) -> Result<Option<Run>, JournalError> {
        self.check()?;
        Ok(self.get(id).filter(|run| run.tenant == *tenant))
    }

    async fn input(&self, run: &Run) -> Result<AgentInput, JournalError> {
        self.check()?;
        let tables = locked(&self.tables);
        if run.has_own_input() {
            return tables.inputs.get(&(run.id, run.redriven.input_no)).cloned().ok_or(JournalError::NotFound);
        }
        let event = tables.events.get(&run.event).ok_or(JournalError::NotFound)?;
        event.agent_input().map_err(|error| JournalError::Unavailable(Box::new(error)))
    }

    async fn steps(&self, run: &Run) -> Result<Vec<Step>, JournalError> {
        self.check()?;
        let steps = self.journal_of(run.id);
        if steps.len() < run.steps as usize { Err(unavailable()) } else { Ok(steps) }
    }

    async fn history(&self, run: &Run) -> Result<Vec<Message>, JournalError> {
        self.check()?;
        let tables = locked(&self.tables);
        let turns = tables.turns.iter().filter(|((conversation, id), _)| *conversation == run.conversation && *id < run.id);
        let mut messages = Vec::new();
        for (_, turn) in turns {
            messages.extend(Turn { response: tables.answer(turn)?, ..turn.clone() }.into_history());
        }
        Ok(messages)
    }

    async fn conversation(&self, tenant: &TenantId, id: ConversationId) -> Result<Option<Conversation>, JournalError> {
        self.check()?;
        let tables = locked(&self.tables);
        Ok(tables.conversations.get(&id).filter(|_| tables.is_of(tenant, id)).cloned())
    }

    async fn event(&self, tenant: &TenantId, id: EventId) -> Result<Option<Event>, JournalError> {
        self.check()?;
        let tables = locked(&self.tables);
        Ok(tables.events.get(&id).filter(|_| tables.is_of(tenant, id)).cloned())
    }
}

#[async_trait]
impl Records for MemoryStore {
    async fn steps_after(&self, _tenant: &TenantId, run: RunId, after: u32, limit: usize) -> Result<Vec<Step>, JournalError> {
        self.check()?;
        Ok(self.journal_of(run).into_iter().filter(|step| step.index > after).take(limit).collect())
    }

    async fn deltas(
        &self,
        _tenant: &TenantId,
        run: RunId,
        step: u32,
        from: Option<(Try, u32)>,
        limit: usize,
    ) -> Result<Vec<Delta>, JournalError> {
        self.check()?;
        let from = from.map_or((step, Try { lease_no: 0, number: 0 }, 0), |(attempt, seq)| (step, attempt, seq));
        let tables = locked(&self.tables);
        let all = tables.deltas.get(&run).into_iter().flat_map(|all| all.range(from..));
        Ok(all.take_while(|((of, ..), _)| *of == step).map(|(_, delta)| delta.clone()).take(limit).collect())
    }

    async fn watch(&self, tenant: &TenantId, run: RunId, until: Timestamp) -> Result<(), JournalError> {
        self.check()?;
        if let Some(stored) = locked(&self.tables).runs.get_mut(&run).filter(|run| run.tenant == *tenant) {
            stored.watched_until_ms = Some(until.as_millisecond());
        }
        Ok(())
    }

    async fn archives(&self, run: &Run) -> Result<Vec<Archive>, JournalError> {
        self.check()?;
        Ok(locked(&self.tables).archives.get(&run.id).cloned().unwrap_or_default())
    }

    async fn ids(&self, tenant: &TenantId, state: Option<RunState>, range: Range, limit: usize) -> Result<Vec<RunId>, JournalError> {
        self.check()?;
        let fits = |run: &&Run| {
            run.tenant == *tenant
                && state.is_none_or(|state| run.state == state)
                && range.before.is_none_or(|before| run.id < before)
                && range.after.is_none_or(|after| run.id > after)
        };
        Ok(locked(&self.tables).runs.values().rev().filter(fits).map(|run| run.id).take(limit).collect())
    }

    async fn runs(&self, tenant: &TenantId, ids: &[RunId]) -> Result<Vec<Run>, JournalError> {
        self.check()?;
        let mut runs: Vec<Run> = ids.iter().filter_map(|id| self.get(*id)).filter(|run| run.tenant == *tenant).collect();
        runs.sort_unstable_by_key(|run| std::cmp::Reverse(run.id));
        Ok(runs)
    }

    async fn count(&self, tenant: &TenantId, state: RunState) -> Result<u64, JournalError> {
        self.check()?;
        Ok(locked(&self.tables).runs.values().filter(|run| run.tenant == *tenant && run.state == state).count() as u64)
    }

    async fn spend(&self, tenant: &TenantId, day: Date) -> Result<Spend, JournalError> {
        self.check()?;
        Ok(locked(&self.tables).spend.iter().filter(|((by, on, _), _)| by == tenant && *on == day).map(|(_, spend)| *spend).sum())
    }

    async fn turns(&self, tenant: &TenantId, id: ConversationId, after: Option<RunId>, limit: usize) -> Result<Vec<Turn>, JournalError> {
        self.check()?;
        let tables = locked(&self.tables);
        let turns =
            tables.turns.iter().filter(|((of, run), _)| *of == id && tables.is_of(tenant, id) && after.is_none_or(|after| *run > after));
        Ok(turns.map(|(_, turn)| turn.clone()).take(limit).collect())
    }

    async fn erase(&self, _tenant: &TenantId, what: Erasure) -> Result<(), JournalError> {
        self.check()?;
        let mut tables = locked(&self.tables);
        match what {
            Erasure::Run(run) => {
                if let Some(record) = tables.runs.remove(&run) {
                    // An event of triggers is no part of a conversation: its other runs stand on it. Nor is that of a replay.
                    if record.trigger.is_none() && record.replay.is_none() {
                        tables.events.remove(&record.event);
                    }
                    tables.turns.remove(&(record.conversation, run));
                }
                tables.steps.remove(&run);
                tables.deltas.remove(&run);
                tables.archives.remove(&run);
                tables.inputs.retain(|(of, _), _| *of != run);
            }
            Erasure::Conversation(conversation) => {
                tables.turns.retain(|(of, _), _| *of != conversation);
                tables.conversations.remove(&conversation);
            }
        }
        Ok(())
    }
}
