//! Runs, told whole. The names in camel case and `phase_…` are those that readers of `execution_history.jsonl` know.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use shared::domain::clock::rfc3339_millis;
use shared::domain::definition::Bundle;
use shared::domain::failure::Failure;
use shared::domain::id::{ConversationId, EventId, RunId};
use shared::domain::state::RunState;
use shared::domain::step::{Usage, Verdict};
use shared::operate::{Execution, History, Timings};

use super::definitions::strategy_word;
use super::run::in_dollars;
use super::{LARGEST_PAGE, fitting};

/// A page of the history.
#[derive(Debug, Serialize)]
pub(crate) struct HistoryPage {
    executions: Vec<ExecutionView>,
    next_cursor: Option<RunId>,
}

/// One run.
#[derive(Debug, Serialize)]
struct ExecutionView {
    #[serde(rename = "workflowId")]
    workflow_id: RunId,
    run_id: RunId,
    conversation_id: ConversationId,
    event_id: EventId,
    task: Option<String>,
    #[serde(with = "rfc3339_millis")]
    start_time: Timestamp,
    #[serde(with = "rfc3339_millis::option")]
    end_time: Option<Timestamp>,
    mode: Option<&'static str>,
    status: RunState,
    result: Option<String>,
    error: Option<Failure>,
    metadata: Map<String, Value>,
    routing: RoutingView,
    quality: Option<QualityView>,
    execution_summary: SummaryView,
    phase_timings: PhasesView<f64>,
    phase_status: PhasesView<&'static str>,
    usage: Usage,
    cost_usd: Option<f64>,
    steps: u32,
}

/// Who did it.
#[derive(Debug, Serialize)]
struct RoutingView {
    agent: String,
    agent_version: Option<u32>,
    assigned_to: [String; 1],
    trigger: Option<String>,
    model: Option<String>,
}

/// How good the answer was, from 0 to 1.
#[derive(Debug, Serialize)]
struct QualityView {
    score: f64,
    success: bool,
    missing: Vec<String>,
    improvements: Vec<String>,
}

#[derive(Debug, Serialize)]
struct SummaryView {
    duration_seconds: Option<f64>,
    steps: u32,
    attempts: u32,
    failures: usize,
}

#[derive(Debug, Serialize)]
struct PhasesView<T> {
    queued: T,
    working: T,
    waiting: T,
    dead: T,
}

impl HistoryPage {
    /// As many as fit into one answer; the first one always does.
    pub(crate) fn of(history: History, bundle: &Bundle) -> Self {
        let all = history.executions.len();
        let mut views: Vec<_> = history.executions.into_iter().map(|execution| ExecutionView::of(execution, bundle)).collect();
        let others = views.split_off(views.len().min(1));
        let room = LARGEST_PAGE.saturating_sub(serde_json::to_vec(&views).map_or(0, |json| json.len()));
        views.extend(fitting(others, room));
        let next_cursor = if views.len() < all { views.last().map(|view| view.run_id) } else { history.next };
        Self { executions: views, next_cursor }
    }
}

impl ExecutionView {
    fn of(execution: Execution, bundle: &Bundle) -> Self {
        let Execution { run, input, answer, verdict, timings } = execution;
        let (task, metadata) = input.map(|input| (input.prompt, input.metadata)).unzip();
        let (model, said) = answer.map(|step| (format!("{}::{}", step.provider, step.model), step.message.content)).unzip();
        let duration = run.ended_at.map(|end| shared::domain::clock::between(run.created_at, end));
        Self {
            workflow_id: run.id,
            run_id: run.id,
            conversation_id: run.conversation,
            event_id: run.event,
            task,
            start_time: run.created_at,
            end_time: run.ended_at,
            mode: bundle.agent(&run.agent).map(|agent| strategy_word(&agent.strategy)),
            status: run.state,
            result: said.flatten().filter(|_| run.state == RunState::Completed),
            error: run.error().cloned(),
            metadata: metadata.unwrap_or_default(),
            quality: verdict.map(QualityView::of),
            execution_summary: SummaryView {
                duration_seconds: duration.map(in_seconds),
                steps: run.steps,
                attempts: run.attempts,
                failures: run.failures.len(),
            },
            phase_timings: PhasesView::seconds(timings),
            phase_status: PhasesView::status(timings, run.state),
            usage: run.usage,
            cost_usd: run.cost_micros.map(in_dollars),
            steps: run.steps,
            routing: RoutingView {
                agent_version: run.agent_version(),
                assigned_to: [run.agent.clone()],
                agent: run.agent,
                trigger: run.trigger,
                model,
            },
        }
    }
}

impl QualityView {
    fn of(verdict: Verdict) -> Self {
        Self { score: verdict.score, success: verdict.success, missing: verdict.issues, improvements: verdict.improvements }
    }
}

impl PhasesView<f64> {
    fn seconds(timings: Timings) -> Self {
        let Timings { queued, working, waiting, dead } = timings;
        Self { queued: in_seconds(queued), working: in_seconds(working), waiting: in_seconds(waiting), dead: in_seconds(dead) }
    }
}

impl PhasesView<&'static str> {
    fn status(timings: Timings, state: RunState) -> Self {
        let status = |at: RunState, spent: Duration| match spent {
            _ if state == at => "running",
            Duration::ZERO => "skipped",
            _ => "completed",
        };
        let working = match state {
            RunState::Failed | RunState::Dead => "failed",
            RunState::Cancelled => "cancelled",
            RunState::Queued | RunState::Running | RunState::Waiting | RunState::Completed => status(RunState::Running, timings.working),
        };
        Self {
            queued: status(RunState::Queued, timings.queued),
            working,
            waiting: status(RunState::Waiting, timings.waiting),
            dead: status(RunState::Dead, timings.dead),
        }
    }
}

/// Seconds with milliseconds, as people read them.
#[expect(clippy::cast_precision_loss, reason = "exact for hundreds of thousands of years")]
fn in_seconds(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1e3
}
