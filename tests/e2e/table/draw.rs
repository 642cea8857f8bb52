//! Writes at random, over records that are nearly as the stores have them: most are allowed, many are refused.

#![expect(clippy::unwrap_used, reason = "all of this is a test: a call that fails ends it")]

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use shared::domain::conversation::{Conversation, Entered};
use shared::domain::event::{AGENT_REQUEST, AgentInput, Event, EventMeta};
use shared::domain::failure::{Failure, FailureCode};
use shared::domain::id::TenantId;
use shared::domain::idempotency::{KeyOutcome, RequestKey, UsedKey};
use shared::domain::message::{Message, ToolCall};
use shared::domain::run::{Archive, Cause, Run};
use shared::domain::spend::Spend;
use shared::domain::state::{Command, RunState};
use shared::domain::step::{FinishReason, ModelStep, Step, StepBody, ToolStep, Usage};
use shared::domain::turn::{Turn, TurnEnd};
use shared::domain::waiting::{WAIT, Waiting};
use shared::engine::ports::{Answer, ConversationWrite, Guard, Mark, Write};

use super::Both;

/// Numbers from one seed.
pub(crate) struct Draw(fastrand::Rng);

/// A write with its records.
#[derive(Debug, Clone)]
pub(crate) enum Drawn {
    Run(Run, Guard),
    Progress(Run, Step),
    Step(Run, Step),
    Archive(Run, Archive),
    Input(Run, AgentInput),
    Event(Event),
    Turn(Run, Turn),
    EndTurn(Run, TurnEnd, Option<Result<String, u32>>),
    Open(Conversation),
    TakeFree(Run),
    LeaveAlone(Run, Spend),
    Put(Conversation),
    Key(UsedKey),
    Mark(Mark),
}

impl Drawn {
    /// As the port takes it.
    pub(crate) fn borrowed<'a>(&'a self, tenant: &'a TenantId) -> Write<'a> {
        let conversation = |write| Write::Conversation(tenant, write);
        match self {
            Self::Run(run, guard) => Write::Run(run, *guard),
            Self::Progress(run, step) => Write::Progress(run, step),
            Self::Step(run, step) => Write::Step(run, step),
            Self::Archive(run, archive) => Write::Archive(run, archive),
            Self::Input(run, input) => Write::Input(run, input),
            Self::Event(event) => Write::Event(tenant, event),
            Self::Turn(run, turn) => Write::Turn(run, turn),
            Self::EndTurn(run, end, answer) => {
                let answer = answer.as_ref().map(|answer| match answer {
                    Ok(text) => Answer::Text(text),
                    Err(step) => Answer::InStep(*step),
                });
                Write::EndTurn(run, *end, answer)
            }
            Self::Open(new) => conversation(ConversationWrite::Open(new)),
            Self::TakeFree(run) => conversation(ConversationWrite::TakeFree(run)),
            Self::LeaveAlone(run, spend) => conversation(ConversationWrite::LeaveAlone(run, *spend)),
            Self::Put(new) => conversation(ConversationWrite::Put(new)),
            Self::Key(key) => Write::Key(tenant, key),
            Self::Mark(mark) => Write::Mark(tenant, mark),
        }
    }

    /// The item that it writes: a transaction takes each but once.
    pub(crate) fn item(&self) -> String {
        match self {
            Self::Run(run, _) | Self::Progress(run, _) => format!("run {}", run.id),
            Self::Step(run, step) => format!("step {} {}", run.id, step.index),
            Self::Archive(run, archive) => format!("archive {} {}", run.id, archive.index),
            Self::Input(run, _) => format!("input {}", run.id),
            Self::Event(event) => format!("event {}", event.id),
            Self::Turn(run, _) | Self::EndTurn(run, ..) => format!("turn {}", run.id),
            Self::Open(conversation) | Self::Put(conversation) => format!("conversation {}", conversation.id),
            Self::TakeFree(run) | Self::LeaveAlone(run, _) => format!("conversation {}", run.conversation),
            Self::Key(key) => format!("key {}", key.digest),
            Self::Mark(mark) => format!("mark {}", mark.key),
        }
    }
}

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    pub(crate) fn below(&mut self, most: u64) -> u64 {
        self.0.u64(0..most)
    }

    pub(crate) fn place(&mut self, of: usize) -> usize {
        self.0.usize(0..of)
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Up to six writes of different items.
    pub(crate) fn list(&mut self, both: &Both) -> Vec<Drawn> {
        let mut list: Vec<Drawn> = Vec::new();
        for _ in 0..=self.below(5) {
            let write = self.write(both);
            if list.iter().all(|other| other.item() != write.item()) {
                list.push(write);
            }
        }
        list
    }

    /// A run that arrives: what is written when it is accepted, whatever its conversation is like.
    pub(crate) fn acceptance(&mut self, both: &Both) -> Vec<Drawn> {
        let Some(place) = both.runs.iter().position(|id| both.memory.get(*id).is_none()) else { return self.list(both) };
        let mut run = self.new_run(both, place);
        run.created_at = both.now;
        let stored = both.memory.tables().conversations.get(&run.conversation).cloned();
        let conversation = match stored {
            None => Drawn::Open(Conversation::new(run.conversation, run.id, both.now)),
            Some(_) if self.one_in(3) => Drawn::TakeFree(run.clone()),
            Some(mut conversation) => {
                if conversation.enter(run.id, both.now) == Entered::InLine {
                    (run.state, run.waiting) = (RunState::Waiting, Some(Waiting::Turn));
                }
                (conversation.last_run, conversation.version) = (Some(run.id), conversation.version + 1);
                Drawn::Put(conversation)
            }
        };
        let turn = Turn::new(run.id, vec![Message::user("why?")], both.now);
        vec![conversation, Drawn::Run(run.clone(), Guard::New), Drawn::Turn(run, turn)]
    }

    /// The next step of a run, with what it changes of it.
    pub(crate) fn finished_step(&mut self, both: &Both, run: Run) -> Vec<Drawn> {
        // Now and then not the next one after all.
        let index = run.steps + 1 + u32::from(self.one_in(4));
        let step = self.step(index, both.now);
        let (usage, cost_micros) =
            (Usage { input_tokens: self.below(99), output_tokens: 7, ..Usage::default() }, self.one_in(2).then(|| self.below(1_000)));
        let run = Run { usage, cost_micros, abandoned: self.one_in(3), attempts: 1, updated_at: both.now, ..run };
        vec![Drawn::Progress(run.clone(), step.clone()), Drawn::Step(run, step)]
    }

    fn write(&mut self, both: &Both) -> Drawn {
        let run = both.record(self);
        let tables = both.memory.tables();
        let steps = tables.steps.get(&run.id).map_or(0, |steps| u32::try_from(steps.len()).unwrap());
        let conversation = tables.conversations.get(&run.conversation).cloned();
        match self.below(14) {
            0..=2 => self.run(both, run),
            3 => {
                let index = run.steps + 1 + u32::from(self.one_in(6));
                let step = self.step(index, both.now);
                Drawn::Progress(run, step)
            }
            4 => {
                let index = (steps + 1).saturating_sub(u32::from(self.one_in(3))).max(1);
                let step = self.step(index, both.now);
                Drawn::Step(run, step)
            }
            5 => {
                let index = tables.archives.get(&run.id).map_or(0, Vec::len) + usize::from(!self.one_in(3));
                let archive =
                    Archive { index: u32::try_from(index).unwrap().max(1), transitions: run.transitions.clone(), failures: vec![] };
                Drawn::Archive(run, archive)
            }
            6 => Drawn::Input(run, AgentInput { prompt: "ä \"quoted\"".into(), ..AgentInput::default() }),
            7 => self.event(both),
            8 => {
                let messages =
                    vec![Message::user("why?"), Message { tool_calls: vec![call(json!({"deep": [[1.5]]}))], ..Message::assistant("") }];
                let turn = Turn::new(run.id, messages, both.now);
                Drawn::Turn(run, turn)
            }
            9 => {
                let model = |step: &&Step| Self::answer_of(step).is_some();
                let step = tables.steps.get(&run.id).and_then(|steps| steps.iter().find(model)).map(|step| step.index);
                let answers = [None, Some(Ok("because".to_owned())), step.map(Err)];
                let ends =
                    [TurnEnd::Completed, TurnEnd::Failed, TurnEnd::Dead, TurnEnd::Cancelled, TurnEnd::Interrupted, TurnEnd::RolledBack];
                Drawn::EndTurn(run, ends[self.place(ends.len())], answers[self.place(3)].clone())
            }
            10 | 11 => self.conversation(both, run, conversation),
            12 => {
                let key = RequestKey { digest: ["d1", "d2"][self.place(2)].into(), fingerprint: "f".into() };
                let outcome = if self.one_in(2) { KeyOutcome::Run(run.id) } else { KeyOutcome::Event(run.event) };
                let expires_at = both.now.as_second() + i64::try_from(self.below(10)).unwrap();
                Drawn::Key(UsedKey { expires_at, ..UsedKey::new(&key, outcome, both.now) })
            }
            _ => {
                let expires_at = both.now.as_second() + i64::try_from(self.below(10)).unwrap();
                let limit = u32::try_from(1 + self.below(3)).unwrap();
                Drawn::Mark(Mark { key: ["a", "b"][self.place(2)].into(), limit, now: both.now, expires_at })
            }
        }
    }

    /// The record after some change, on condition of what it was.
    fn run(&mut self, both: &Both, run: Run) -> Drawn {
        let cause = Cause {
            at: both.now,
            by: "w1",
            reason: ["answered", "worker_lost"][self.place(2)],
            patience: Duration::from_secs(self.below(90)),
        };
        let mut after = run.clone();
        if after.apply(Command::ALL[self.place(Command::ALL.len())], cause).is_err() {
            after.look_at(both.now);
        }
        if self.one_in(3) {
            after.note(Failure::new(FailureCode::ProviderTimeout, "slow", both.now, 1));
        }
        if self.one_in(4) {
            after.waiting = Some(Waiting::of(&call(json!({"seconds": 5})), 1, both.now).unwrap());
        }
        if after.spill().is_some() {
            after.abandoned = true;
        }
        let mut seen = run.seen();
        match self.below(14) {
            0 => seen.due_ms = None,
            1 => seen.epoch += 1,
            2 => seen.lease_until_ms += 1,
            3 => seen.lease_no += 1,
            4 => seen.steps += 1,
            _ => {}
        }
        let guard = match self.below(6) {
            0 => Guard::New,
            1 | 2 => Guard::Held { lease_no: run.lease_no + u64::from(self.one_in(5)), steps: run.steps },
            _ if both.memory.get(run.id).is_none() => Guard::New,
            _ => Guard::Seen(seen),
        };
        Drawn::Run(after, guard)
    }

    fn conversation(&mut self, both: &Both, run: Run, stored: Option<Conversation>) -> Drawn {
        let new = || Conversation::new(run.conversation, run.id, both.now);
        match (self.below(5), stored) {
            (0, _) | (1 | 2, None) => Drawn::Open(new()),
            (1, Some(_)) => Drawn::TakeFree(run),
            (2, Some(stored)) => Drawn::LeaveAlone(
                Run { id: stored.active_run.unwrap_or(run.id), ..run },
                Spend { spent_runs: 1, spent_input: 7, ..Spend::NONE },
            ),
            (_, stored) => {
                let mut after = stored.unwrap_or_else(new);
                after.version += u64::from(!self.one_in(6));
                match self.below(8) {
                    0..=3 => drop(after.enter(run.id, both.now)),
                    4 | 5 => drop(after.leave(run.id, both.now)),
                    6 => drop(after.clear(both.now)),
                    _ => drop(after.close(both.now)),
                }
                Drawn::Put(after)
            }
        }
    }

    fn event(&mut self, both: &Both) -> Drawn {
        Drawn::Event(Event {
            id: both.events[self.place(both.events.len())],
            kind: AGENT_REQUEST.into(),
            source: "test".into(),
            principal: "ana".into(),
            meta: EventMeta::default(),
            created_at: both.now,
            client_id: None,
            payload: json!({"prompt": "why?", "metadata": {"number": 1.5, "none": null, "empty": ""}}),
            run: None,
            matches: Vec::new(),
        })
    }

    /// A run that is not there yet.
    pub(crate) fn new_run(&mut self, both: &Both, place: usize) -> Run {
        let Drawn::Event(event) = self.event(both) else { unreachable!("an event was drawn") };
        let conversation = both.conversations[place % both.conversations.len()];
        let run = Run::new(both.tenant.clone(), &event, conversation, false, "assistant".into(), Duration::from_secs(60));
        Run { id: both.runs[place], event: both.events[place % both.events.len()], ..run }
    }

    /// A tool's result or a model's answer; now and then one that is larger than an item.
    pub(crate) fn step(&mut self, index: u32, at: Timestamp) -> Step {
        let text = if self.one_in(8) { "ä\"€".repeat(60_000) } else { "noon".to_owned() };
        if self.one_in(2) {
            return Self::answer(index, at, text);
        }
        let body = StepBody::Tool(ToolStep { call: call(json!({"a": {}})), output: text, is_error: false, full: None, stand_in: None });
        Step { index, started_at: at, ended_at: at, body }
    }

    /// A model's answer.
    pub(crate) fn answer(index: u32, at: Timestamp, text: String) -> Step {
        let usage = Usage { input_tokens: 10, output_tokens: 5, ..Usage::default() };
        let (provider, model, message) = ("openai".into(), "m".into(), Message::assistant(text));
        let body = StepBody::Model(ModelStep::new(provider, model, message, FinishReason::Stop, usage));
        Step { index, started_at: at, ended_at: at, body }
    }

    /// What a step answers, if it is a model's.
    pub(crate) fn answer_of(step: &Step) -> Option<String> {
        match &step.body {
            StepBody::Model(model) => model.message.content.clone(),
            StepBody::Tool(_) | StepBody::Approval(_) => None,
        }
    }
}

fn call(arguments: serde_json::Value) -> ToolCall {
    ToolCall { id: "c".into(), name: WAIT.into(), arguments }
}
