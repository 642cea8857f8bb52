//! What happens in a run, as its readers are told.

use serde::Serialize;
use serde_json::json;
use shared::domain::run::Run;
use shared::domain::step::{Step, StepBody};
use shared::http::sse;
use shared::stream::{RunEvent, Told};

use super::run::{WaitingView, in_dollars};
use crate::start::why_no_answer;

/// One event as text.
pub(crate) fn written(told: &Told) -> String {
    let (name, data) = match &told.event {
        RunEvent::Run(run) => ("run", json!({"run_id": run.id, "conversation_id": run.conversation, "status": run.state})),
        RunEvent::Delta { step, text } => ("delta", json!({"step": step, "text": text})),
        RunEvent::Reset { step } => ("reset", json!({"step": step})),
        RunEvent::Step(step) => ("step", step_view(step)),
        RunEvent::Waiting(run) => ("waiting", json!({"run_id": run.id, "waiting": run.waiting.as_ref().map(WaitingView::of)})),
        RunEvent::Done { run, response } => ("done", ended(run, &json!({"response": response}))),
        RunEvent::Failed(run) => {
            let (code, detail) = why_no_answer(run);
            ("error", ended(run, &json!({"code": code, "detail": detail})))
        }
        RunEvent::Cancelled(run) => ("cancelled", ended(run, &json!({}))),
    };
    sse::event(told.id.as_ref().map(|id| id as _), name, &data)
}

/// A finished step. Its text was told, so it is not here again; what a tool was told and has said is in the journal.
fn step_view(step: &Step) -> serde_json::Value {
    match &step.body {
        StepBody::Model(model) => json!({
            "index": step.index, "kind": "model", "purpose": model.purpose, "provider": model.provider, "model": model.model,
            "finish_reason": model.finish_reason, "usage": model.usage,
            "tool_calls": model.message.tool_calls.iter().map(|call| json!({"id": call.id, "name": call.name})).collect::<Vec<_>>(),
        }),
        StepBody::Tool(tool) => {
            json!({"index": step.index, "kind": "tool", "tool": tool.call.name, "call_id": tool.call.id, "is_error": tool.is_error})
        }
        StepBody::Approval(approval) => {
            json!({"index": step.index, "kind": "approval", "tool": approval.tool, "call_id": approval.call_id})
        }
    }
}

/// The end of a run, with what is told of this kind of end.
fn ended(run: &Run, of_this_kind: &impl Serialize) -> serde_json::Value {
    let mut view = json!({
        "run_id": run.id, "status": run.state, "usage": run.usage, "cost_usd": run.cost_micros.map(in_dollars),
    });
    if let (Some(view), Ok(serde_json::Value::Object(more))) = (view.as_object_mut(), serde_json::to_value(of_this_kind)) {
        view.extend(more);
    }
    view
}
