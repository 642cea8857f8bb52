//! The answer to `POST /v1/agent`.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use shared::domain::clock::rfc3339_millis;
use shared::domain::event::AgentInput;
use shared::domain::failure::Failure;
use shared::domain::id::{ConversationId, RunId};
use shared::domain::message::Message;
use shared::domain::run::Run;
use shared::domain::state::RunState;
use shared::domain::step::{Step, Usage};
use shared::intake::Accepted;

use super::run::WaitingView;

/// A run as its caller sees it.
#[derive(Debug, Serialize)]
pub(crate) struct AgentView {
    run_id: RunId,
    conversation_id: ConversationId,
    status: RunState,
    waiting: Option<WaitingView>,
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
    pub(crate) fn accepted(accepted: &Accepted, input: &AgentInput) -> Self {
        Self {
            run_id: accepted.run,
            conversation_id: accepted.conversation,
            status: accepted.state,
            // There is nothing else that a run could wait for at once.
            waiting: (accepted.state == RunState::Waiting).then_some(WaitingView::Turn),
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
            waiting: run.waiting.as_ref().map(WaitingView::of),
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
    pub(crate) fn completed(run: &Run, input: &AgentInput, metadata: Map<String, Value>, response: String, steps: Vec<Step>) -> Self {
        let mut view = Self { metadata, ..Self::of(run, input) };
        view.messages.push(Message::assistant(&response));
        view.response = Some(response);
        view.steps = steps;
        view
    }
}
