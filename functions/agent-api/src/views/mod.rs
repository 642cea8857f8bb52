//! What the agent API answers. Field names are the contract: see `openapi.json`.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use shared::domain::clock::rfc3339_millis;
use shared::domain::event::{AgentInput, Event};
use shared::domain::failure::Failure;
use shared::domain::id::{ConversationId, RunId};
use shared::domain::message::Message;
use shared::domain::run::Run;
use shared::domain::state::RunState;
use shared::domain::step::{Step, StepBody, Usage};
use shared::domain::turn::{Conversation, Turn};
use shared::intake::Accepted;
use shared::operate::Page;

/// The answer to `POST /v1/agent`.
#[derive(Debug, Serialize)]
pub(crate) struct AgentView {
    run_id: RunId,
    conversation_id: ConversationId,
    status: RunState,
    response: Option<String>,
    error: Option<Failure>,
    #[serde(with = "rfc3339_millis")]
    created_at: Timestamp,
    messages: Vec<Message>,
    steps: Vec<Step>,
    usage: Usage,
    metadata: Map<String, Value>,
}

impl AgentView {
    /// A run that has only been accepted.
    pub(crate) fn queued(accepted: &Accepted, input: &AgentInput) -> Self {
        Self {
            run_id: accepted.run,
            conversation_id: accepted.conversation,
            status: RunState::Queued,
            response: None,
            error: None,
            created_at: accepted.created_at,
            messages: input.as_messages(),
            steps: Vec::new(),
            usage: Usage::default(),
            metadata: input.metadata.clone(),
        }
    }

    /// A run that goes on without its caller.
    pub(crate) fn of(run: &Run, input: &AgentInput) -> Self {
        Self {
            run_id: run.id,
            conversation_id: run.conversation,
            status: run.state,
            response: None,
            error: run.error().cloned(),
            created_at: run.created_at,
            messages: input.as_messages(),
            steps: Vec::new(),
            usage: run.usage,
            metadata: input.metadata.clone(),
        }
    }

    /// A run with its answer.
    pub(crate) fn completed(run: &Run, input: &AgentInput, response: &str, steps: Vec<Step>) -> Self {
        let mut view = Self::of(run, input);
        view.messages.push(Message::assistant(response));
        view.response = Some(response.to_owned());
        view.steps = steps;
        view
    }
}

/// A run, in `GET /v1/runs/{id}` and in lists.
#[derive(Debug, Serialize)]
pub(crate) struct RunView {
    run_id: RunId,
    conversation_id: ConversationId,
    agent: String,
    status: RunState,
    error: Option<Failure>,
    attempts: u32,
    steps: u32,
    usage: Usage,
    #[serde(with = "rfc3339_millis")]
    created_at: Timestamp,
    #[serde(with = "rfc3339_millis")]
    updated_at: Timestamp,
    #[serde(with = "rfc3339_millis::option")]
    ended_at: Option<Timestamp>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    content: Option<Content>,
}

/// What a list leaves out.
#[derive(Debug, Serialize)]
struct Content {
    prompt: Option<String>,
    response: Option<String>,
    metadata: Map<String, Value>,
    failures: Vec<Failure>,
}

impl RunView {
    /// As it stands in lists.
    pub(crate) fn summary(run: &Run) -> Self {
        Self {
            run_id: run.id,
            conversation_id: run.conversation,
            agent: run.agent.clone(),
            status: run.state,
            error: run.error().cloned(),
            attempts: run.attempts,
            steps: run.steps,
            usage: run.usage,
            created_at: run.created_at,
            updated_at: run.updated_at,
            ended_at: run.ended_at,
            content: None,
        }
    }

    /// With its question, its answer and its failures.
    pub(crate) fn full(run: &Run, event: Option<&Event>, last: Option<&Step>) -> Self {
        let response = last.and_then(|step| match &step.body {
            StepBody::Model(model) => model.message.content.clone(),
            StepBody::Tool(_) => None,
        });
        let content = Content {
            prompt: event.map(|event| event.input.prompt.clone()),
            response,
            metadata: event.map(|event| event.input.metadata.clone()).unwrap_or_default(),
            failures: run.failures.clone(),
        };
        Self { content: Some(content), ..Self::summary(run) }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct RunPage {
    runs: Vec<RunView>,
    next_cursor: Option<RunId>,
}

impl RunPage {
    pub(crate) fn of(page: &Page) -> Self {
        Self { runs: page.runs.iter().map(RunView::summary).collect(), next_cursor: page.next }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct StepPage {
    steps: Vec<Step>,
    next_cursor: Option<String>,
}

impl StepPage {
    pub(crate) fn of(steps: Vec<Step>, run: &Run) -> Self {
        let next_cursor = steps.last().filter(|step| step.index < run.steps).map(|step| step.index.to_string());
        Self { steps, next_cursor }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct ConversationView {
    conversation_id: ConversationId,
    active_run: Option<RunId>,
    #[serde(with = "rfc3339_millis")]
    created_at: Timestamp,
    #[serde(with = "rfc3339_millis")]
    updated_at: Timestamp,
    turns: Vec<TurnView>,
    next_cursor: Option<RunId>,
}

#[derive(Debug, Serialize)]
struct TurnView {
    run_id: RunId,
    #[serde(with = "rfc3339_millis")]
    created_at: Timestamp,
    messages: Vec<Message>,
    response: Option<String>,
}

impl ConversationView {
    pub(crate) fn of(conversation: Conversation, turns: Vec<Turn>) -> Self {
        let next_cursor = turns.last().map(|turn| turn.run_id).filter(|run| Some(*run) < conversation.last_run);
        let turns = turns.into_iter();
        Self {
            conversation_id: conversation.id,
            active_run: conversation.active_run,
            created_at: conversation.created_at,
            updated_at: conversation.updated_at,
            turns: turns
                .map(|t| TurnView { run_id: t.run_id, created_at: t.created_at, messages: t.messages, response: t.response })
                .collect(),
            next_cursor,
        }
    }
}
