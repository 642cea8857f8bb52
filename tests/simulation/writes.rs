//! Writes that outlive their caller: a request that was given up may still arrive.

use std::collections::BTreeSet;

use shared::domain::conversation::Conversation;
use shared::domain::event::{AgentInput, Event};
use shared::domain::id::{ConversationId, RunId, TenantId};
use shared::domain::idempotency::UsedKey;
use shared::domain::message::Message;
use shared::domain::run::{Archive, Run};
use shared::domain::spend::{Spend, Spent};
use shared::domain::step::Step;
use shared::domain::turn::{Turn, TurnEnd};
use shared::engine::ports::{Answer, ConversationWrite, Guard, Mark, Write};

/// A [`Write`] that owns what it writes.
pub(crate) enum OwnedWrite {
    Run(Box<Run>, Guard),
    Progress(Box<Run>, Step),
    Step(Box<Run>, Step),
    Archive(Box<Run>, Archive),
    Input(Box<Run>, AgentInput),
    Event(TenantId, Box<Event>),
    Turn(Box<Run>, Turn),
    Ask(Box<Run>, Vec<Message>),
    EndTurn(Box<Run>, TurnEnd, Option<OwnedAnswer>),
    Open(TenantId, Conversation),
    TakeFree(TenantId, Box<Run>),
    LeaveAlone(TenantId, Box<Run>, Spend),
    Spend(TenantId, Spent),
    Put(TenantId, Conversation),
    Key(TenantId, UsedKey),
    Mark(TenantId, Mark),
}

pub(crate) enum OwnedAnswer {
    Text(String),
    InStep(u32),
}

impl OwnedWrite {
    pub(crate) fn of(write: &Write<'_>) -> Self {
        let boxed = |run: &Run| Box::new(run.clone());
        match write {
            Write::Run(run, guard) => Self::Run(boxed(run), *guard),
            Write::Progress(run, step) => Self::Progress(boxed(run), (*step).clone()),
            Write::Step(run, step) => Self::Step(boxed(run), (*step).clone()),
            Write::Archive(run, archive) => Self::Archive(boxed(run), (*archive).clone()),
            Write::Input(run, input) => Self::Input(boxed(run), (*input).clone()),
            Write::Event(tenant, event) => Self::Event((*tenant).clone(), Box::new((*event).clone())),
            Write::Turn(run, turn) => Self::Turn(boxed(run), (*turn).clone()),
            Write::Ask(run, messages) => Self::Ask(boxed(run), messages.to_vec()),
            Write::EndTurn(run, end, answer) => Self::EndTurn(
                boxed(run),
                *end,
                answer.map(|answer| match answer {
                    Answer::Text(text) => OwnedAnswer::Text(text.to_owned()),
                    Answer::InStep(step) => OwnedAnswer::InStep(step),
                }),
            ),
            Write::Conversation(tenant, ConversationWrite::Open(new)) => Self::Open((*tenant).clone(), (*new).clone()),
            Write::Conversation(tenant, ConversationWrite::TakeFree(run)) => Self::TakeFree((*tenant).clone(), boxed(run)),
            Write::Conversation(tenant, ConversationWrite::LeaveAlone(run, spend)) => {
                Self::LeaveAlone((*tenant).clone(), boxed(run), *spend)
            }
            Write::Spend(tenant, spent) => Self::Spend((*tenant).clone(), *spent),
            Write::Conversation(tenant, ConversationWrite::Put(new)) => Self::Put((*tenant).clone(), (*new).clone()),
            Write::Key(tenant, key) => Self::Key((*tenant).clone(), (*key).clone()),
            Write::Mark(tenant, mark) => Self::Mark((*tenant).clone(), (*mark).clone()),
        }
    }

    pub(crate) fn as_write(&self) -> Write<'_> {
        match self {
            Self::Run(run, guard) => Write::Run(run, *guard),
            Self::Progress(run, step) => Write::Progress(run, step),
            Self::Step(run, step) => Write::Step(run, step),
            Self::Archive(run, archive) => Write::Archive(run, archive),
            Self::Input(run, input) => Write::Input(run, input),
            Self::Event(tenant, event) => Write::Event(tenant, event),
            Self::Turn(run, turn) => Write::Turn(run, turn),
            Self::Ask(run, messages) => Write::Ask(run, messages),
            Self::EndTurn(run, end, answer) => Write::EndTurn(
                run,
                *end,
                answer.as_ref().map(|answer| match answer {
                    OwnedAnswer::Text(text) => Answer::Text(text),
                    OwnedAnswer::InStep(step) => Answer::InStep(*step),
                }),
            ),
            Self::Open(tenant, new) => Write::Conversation(tenant, ConversationWrite::Open(new)),
            Self::TakeFree(tenant, run) => Write::Conversation(tenant, ConversationWrite::TakeFree(run)),
            Self::LeaveAlone(tenant, run, spend) => Write::Conversation(tenant, ConversationWrite::LeaveAlone(run, *spend)),
            Self::Spend(tenant, spent) => Write::Spend(tenant, *spent),
            Self::Put(tenant, new) => Write::Conversation(tenant, ConversationWrite::Put(new)),
            Self::Key(tenant, key) => Write::Key(tenant, key),
            Self::Mark(tenant, mark) => Write::Mark(tenant, mark),
        }
    }
}

/// The runs and conversations that these writes change.
pub(crate) fn touched(writes: &[Write<'_>]) -> (Vec<RunId>, Vec<ConversationId>) {
    let (mut runs, mut conversations) = (Vec::new(), Vec::new());
    for write in writes {
        match write {
            Write::Run(run, _) | Write::Progress(run, _) => {
                runs.push(run.id);
                conversations.push(run.conversation);
            }
            Write::Conversation(_, ConversationWrite::Open(c) | ConversationWrite::Put(c)) => conversations.push(c.id),
            Write::Conversation(_, ConversationWrite::TakeFree(run) | ConversationWrite::LeaveAlone(run, _)) => {
                conversations.push(run.conversation);
            }
            Write::Step(..)
            | Write::Archive(..)
            | Write::Input(..)
            | Write::Event(..)
            | Write::Turn(..)
            | Write::Ask(..)
            | Write::EndTurn(..)
            | Write::Key(..)
            | Write::Spend(..)
            | Write::Mark(..) => {}
        }
    }
    conversations.sort_unstable();
    conversations.dedup();
    (runs, conversations)
}

/// Whether a transaction of the real store takes these: each item once, a hundred at most.
pub(crate) fn fit_into_one_transaction(writes: &[Write<'_>]) -> bool {
    let item = |write: &Write<'_>| match write {
        Write::Run(run, _) | Write::Progress(run, _) => format!("run {}", run.id),
        Write::Step(run, step) => format!("step {} {}", run.id, step.index),
        Write::Archive(run, archive) => format!("archive {} {}", run.id, archive.index),
        Write::Input(run, _) => format!("input {}", run.id),
        Write::Event(_, event) => format!("event {}", event.id),
        Write::Turn(run, turn) => format!("turn {} {}", run.conversation, turn.run_id),
        Write::Ask(run, _) | Write::EndTurn(run, ..) => format!("turn {} {}", run.conversation, run.id),
        Write::Conversation(_, ConversationWrite::Open(c) | ConversationWrite::Put(c)) => format!("conversation {}", c.id),
        Write::Conversation(_, ConversationWrite::TakeFree(run) | ConversationWrite::LeaveAlone(run, _)) => {
            format!("conversation {}", run.conversation)
        }
        Write::Key(_, key) => format!("key {}", key.digest),
        Write::Spend(_, spent) => format!("spend {} {}", spent.day, spent.shard),
        Write::Mark(_, mark) => format!("mark {}", mark.key),
    };
    let items: BTreeSet<String> = writes.iter().map(item).collect();
    items.len() == writes.len() && writes.len() <= 100
}

/// A word per write, for the trace.
pub(crate) fn words(writes: &[Write<'_>]) -> String {
    let word = |write: &Write<'_>| match write {
        Write::Run(run, guard) => {
            let guard = match guard {
                Guard::New => "new".to_owned(),
                Guard::Held { lease_no, steps } => format!("held by lease {lease_no} after {steps} steps"),
                Guard::Seen(seen) => format!("seen {} e{} l{} s{}", seen.state.as_str(), seen.epoch, seen.lease_no, seen.steps),
            };
            let reason = run.transitions.last().map_or("", |transition| transition.reason.as_str());
            format!("run {} {} e{} a{} ({reason}) if {guard}", run.id, run.state.as_str(), run.epoch, run.attempts)
        }
        Write::Progress(run, step) => format!("progress {} step {} lease {}", run.id, step.index, run.lease_no),
        Write::Step(_, step) => format!("step {}", step.index),
        Write::Archive(_, archive) => format!("archive {}", archive.index),
        Write::Input(..) => "input".into(),
        Write::Event(..) => "event".into(),
        Write::Turn(..) => "turn".into(),
        Write::Ask(..) => "ask".into(),
        Write::EndTurn(_, end, _) => format!("turn {end:?}"),
        Write::Conversation(_, ConversationWrite::Open(_)) => "open".into(),
        Write::Conversation(_, ConversationWrite::TakeFree(_)) => "take free".into(),
        Write::Conversation(_, ConversationWrite::LeaveAlone(..)) => "leave alone".into(),
        Write::Conversation(_, ConversationWrite::Put(c)) => {
            format!("conversation v{} active {} line {}", c.version, c.active_run.map_or("-".into(), |run| run.to_string()), c.line.len())
        }
        Write::Key(..) => "key".into(),
        Write::Spend(..) => "spend".into(),
        Write::Mark(..) => "mark".into(),
    };
    writes.iter().map(word).collect::<Vec<_>>().join(" + ")
}
