//! Runs and their journals.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use shared::domain::clock::rfc3339_millis;
use shared::domain::event::AgentInput;
use shared::domain::failure::Failure;
use shared::domain::id::{ConversationId, EventId, JobId, RunId};
use shared::domain::run::{Archive, Run, Transition};
use shared::domain::state::RunState;
use shared::domain::step::{Step, StepBody, Usage};
use shared::domain::waiting::Waiting;
use shared::operate::Page;

use super::{LARGEST_PAGE, fitting};

/// A run, in `GET /v1/runs/{id}` and in lists.
#[derive(Debug, Serialize)]
pub(crate) struct RunView {
    run_id: RunId,
    conversation_id: ConversationId,
    event_id: EventId,
    trigger: Option<String>,
    /// The run that it repeats.
    replay_of: Option<RunId>,
    /// The replay that started it.
    replay: Option<JobId>,
    agent: String,
    status: RunState,
    error: Option<Failure>,
    attempts: u32,
    steps: u32,
    usage: Usage,
    cost_usd: Option<f64>,
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
    agent_version: Option<u32>,
    bundles: Vec<String>,
    trace_id: Option<String>,
    waiting: Option<WaitingView>,
    lease: Option<LeaseView>,
    failures: Vec<Failure>,
    transitions: Vec<Transition>,
}

/// What a run waits for; the call that made it wait is in the journal.
#[derive(Debug, Serialize)]
#[serde(tag = "for", rename_all = "snake_case")]
pub(crate) enum WaitingView {
    /// Its turn.
    Turn,
    /// A human.
    Answer {
        question_id: String,
        question: String,
        #[serde(with = "rfc3339_millis")]
        expires_at: Timestamp,
    },
    /// A person's leave for a tool call.
    Approval {
        question_id: String,
        question: String,
        tool: String,
        arguments: Value,
        #[serde(with = "rfc3339_millis")]
        expires_at: Timestamp,
    },
    /// A time.
    Time {
        #[serde(with = "rfc3339_millis")]
        until: Timestamp,
    },
}

/// Who works on a run.
#[derive(Debug, Serialize)]
struct LeaseView {
    owner: String,
    #[serde(with = "rfc3339_millis")]
    until: Timestamp,
}

impl WaitingView {
    pub(super) fn of(waiting: &Waiting) -> Self {
        match waiting {
            Waiting::Turn => Self::Turn,
            Waiting::Answer { question_id, question, expires_at, .. } => {
                Self::Answer { question_id: question_id.clone(), question: question.clone(), expires_at: *expires_at }
            }
            Waiting::Approval { question_id, question, expires_at, call } => Self::Approval {
                question_id: question_id.clone(),
                question: question.clone(),
                tool: call.name.clone(),
                arguments: call.arguments.clone(),
                expires_at: *expires_at,
            },
            Waiting::Time { until, .. } => Self::Time { until: *until },
        }
    }
}

impl RunView {
    /// As it stands in lists.
    pub(crate) fn summary(run: &Run) -> Self {
        Self {
            run_id: run.id,
            conversation_id: run.conversation,
            event_id: run.event,
            trigger: run.trigger.clone(),
            replay_of: run.replay.as_ref().and_then(|replay| replay.of),
            replay: run.replay.as_ref().map(|replay| replay.job),
            agent: run.agent.clone(),
            status: run.state,
            error: run.error().cloned(),
            attempts: run.attempts,
            steps: run.steps,
            usage: run.usage,
            cost_usd: run.cost_micros.map(in_dollars),
            created_at: run.created_at,
            updated_at: run.updated_at,
            ended_at: run.ended_at,
            content: None,
        }
    }

    /// With its question, its answer, and all that ever happened to it.
    pub(crate) fn full(run: &Run, archives: Vec<Archive>, input: Option<AgentInput>, response: Option<String>) -> Self {
        let (mut transitions, mut failures) = (Vec::new(), Vec::new());
        for archive in archives {
            transitions.extend(archive.transitions);
            failures.extend(archive.failures);
        }
        transitions.extend_from_slice(&run.transitions);
        failures.extend_from_slice(&run.failures);
        let (prompt, metadata) = input.map(|input| (input.prompt, input.metadata)).unzip();
        let content = Content {
            prompt,
            response,
            metadata: metadata.unwrap_or_default(),
            agent_version: run.agent_version(),
            bundles: run.bundles().map(str::to_owned).collect(),
            trace_id: run.trace.and_then(|trace| trace.parent).map(|parent| parent.trace_id()),
            waiting: run.waiting.as_ref().map(WaitingView::of),
            lease: run.lease_owner.clone().map(|owner| LeaseView { owner, until: run.lease_end() }),
            failures,
            transitions,
        };
        Self { content: Some(content), ..Self::summary(run) }
    }
}

/// Millionths of a dollar as dollars. Money is counted in whole numbers; this is for reading.
#[expect(clippy::cast_precision_loss, reason = "exact below nine thousand million dollars")]
pub(super) fn in_dollars(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// A page of runs.
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

/// The whole result of a tool call.
#[derive(Debug, Serialize)]
pub(crate) struct ResultView {
    run_id: RunId,
    index: u32,
    result: String,
    is_error: bool,
}

impl ResultView {
    /// Of a step that is one.
    pub(crate) fn of(run: &Run, step: Step) -> Option<Self> {
        match step.body {
            StepBody::Tool(tool) => {
                let result = tool.full.unwrap_or(tool.output);
                Some(Self { run_id: run.id, index: step.index, result, is_error: tool.is_error })
            }
            StepBody::Model(_) | StepBody::Approval(_) => None,
        }
    }
}

/// A page of a journal.
#[derive(Debug, Serialize)]
pub(crate) struct StepPage {
    steps: Vec<Step>,
    next_cursor: Option<String>,
}

impl StepPage {
    pub(crate) fn of(steps: Vec<Step>, run: &Run) -> Self {
        let mut steps: Vec<_> = steps.into_iter().map(Step::in_brief).collect();
        // One step always fits: see `LARGEST_STEP`.
        let others = steps.split_off(steps.len().min(1));
        let room = LARGEST_PAGE.saturating_sub(steps.iter().map(Step::size).sum());
        steps.extend(fitting(others, room));
        let next_cursor = steps.last().filter(|step| step.index < run.steps).map(|step| step.index.to_string());
        Self { steps, next_cursor }
    }
}
