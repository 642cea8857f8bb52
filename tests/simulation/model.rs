//! A model that follows the script of its request, and a tool whose effects are counted.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use shared::domain::failure::FailureCode;
use shared::domain::message::{Message, Role, ToolCall};
use shared::domain::step::{FinishReason, Usage};
use shared::domain::waiting::{ASK_HUMAN, WAIT};
use shared::engine::CallError;
use shared::engine::ports::{Model, ModelReply, ModelRequest, ToolSpec};
use shared::tools::{Tool, ToolContext, ToolTraits};

use crate::faults::Fault;
use crate::invariants::Invariants;
use crate::invariants::calls::{TOOL_CALL, done_for};
use crate::process::Process;
use crate::scheduler::Sim;

/// The tool of the default agent that the simulation puts its own in the place of.
pub(crate) const TOOL: &str = "clock";

/// What the model does at one point of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// Answers.
    Answers,
    /// Calls these tools.
    Calls(Vec<&'static str>),
}

/// Draws what the model does in one run.
pub(crate) fn script(sim: &Sim) -> Vec<Line> {
    let mut lines = Vec::new();
    for _ in 0..sim.any(0..4) {
        lines.push(Line::Calls(match sim.any(0..10) {
            0 => vec![ASK_HUMAN],
            1 => vec![WAIT],
            2 => vec!["nonsense"],
            3 => vec![TOOL, ASK_HUMAN, TOOL],
            4 | 5 => vec![TOOL, TOOL],
            _ => vec![TOOL],
        }));
    }
    lines.push(Line::Answers);
    lines
}

/// The model, for one process.
pub(crate) struct SimModel {
    pub(crate) sim: Sim,
    pub(crate) process: Arc<Process>,
    pub(crate) invariants: Arc<Invariants>,
    /// How long a call may take.
    pub(crate) timeout: Duration,
    /// When its caller goes, in true time: a call is cut then.
    pub(crate) until: i64,
}

impl SimModel {
    /// The answer to what the transcript asks now; its number makes every answer another one.
    fn answer(&self, messages: &[Message], number: u64) -> Message {
        let asked = messages.iter().rposition(|message| message.role == Role::User).unwrap_or(0);
        let said = messages[asked..].iter().filter(|message| message.role == Role::Assistant).count();
        let request = messages[asked].content.as_deref().and_then(|text| text.rsplit(' ').next()?.parse().ok()).unwrap_or(0);
        match self.invariants.line(request, said) {
            Line::Answers => Message::assistant(format!("answer {number}")),
            Line::Calls(names) => {
                let arguments = |name: &str| match name {
                    ASK_HUMAN => json!({"question": format!("question {number}?"), "expires_in_seconds": 30 + number % 600}),
                    WAIT => json!({"seconds": number % 300}),
                    _ => json!({"number": number}),
                };
                let call = |(n, name): (usize, &&str)| {
                    let mut arguments = arguments(name);
                    if *name == TOOL {
                        arguments["call"] = json!(n);
                    }
                    ToolCall { id: format!("call-{number}-{n}"), name: (*name).to_owned(), arguments }
                };
                Message { content: None, tool_calls: names.iter().enumerate().map(call).collect(), ..Message::assistant("") }
            }
        }
    }
}

#[async_trait]
impl Model for SimModel {
    async fn ask(&self, request: &ModelRequest<'_>) -> Result<ModelReply, CallError> {
        let left = Duration::from_millis(u64::try_from(self.until - self.sim.now_ms()).unwrap_or(0));
        self.invariants.call_begins(&self.process, &request.key, self.timeout.min(left), "model");
        self.invariants.check_history(&self.process, &request.key, request.messages);
        self.sim.point(&self.process).await;
        if self.sim.strikes(Fault::Panic, Some(&self.process)) {
            std::panic::resume_unwind(Box::new("the simulation says so"));
        }
        let most = if self.sim.strikes(Fault::ModelHangs, None) { 200_000 } else { 4_000 };
        self.sim.sleep(Duration::from_millis(self.sim.any(0..most))).await;
        if self.sim.strikes(Fault::ModelFails, None) {
            let retry_after = self.sim.chance(30).then(|| Duration::from_secs(self.sim.any(0..40)));
            return Err(CallError::retryable(FailureCode::ProviderUnavailable, "the simulation says so", retry_after));
        }
        if self.sim.strikes(Fault::ModelThrottles, None) {
            self.invariants.throttled(&request.key);
            let retry_after = self.sim.chance(50).then(|| Duration::from_secs(self.sim.any(0..100)));
            return Err(CallError::retryable(FailureCode::ProviderRateLimited, "the simulation says so", retry_after));
        }
        if self.sim.strikes(Fault::ModelRefuses, None) {
            return Err(CallError::rejected("the simulation says so"));
        }
        let number = self.sim.number();
        let is_garbled = self.sim.strikes(Fault::ModelGarbles, None);
        let message = if is_garbled { Message { content: None, ..Message::assistant("") } } else { self.answer(request.messages, number) };
        if !is_garbled {
            self.invariants.answered(&self.process, &request.key, number);
        }
        let finish_reason = if message.tool_calls.is_empty() { FinishReason::Stop } else { FinishReason::ToolCalls };
        let usage = Usage { input_tokens: 10, output_tokens: 5, ..Usage::default() };
        self.sim.note(|| format!("{}: model answers {} with {number}", self.process.name, request.key));
        // One whose price is known, or agents with a limit of cost would stop.
        Ok(ModelReply { provider: "openai".into(), model: "gpt-4.1-nano".into(), message, finish_reason, usage })
    }
}

/// A tool, for one process.
pub(crate) struct SimTool {
    pub(crate) sim: Sim,
    pub(crate) process: Arc<Process>,
    pub(crate) invariants: Arc<Invariants>,
    pub(crate) is_idempotent: bool,
    pub(crate) timeout: Duration,
}

#[async_trait]
impl Tool for SimTool {
    fn spec(&self) -> ToolSpec {
        ToolSpec { name: TOOL.into(), description: "has an effect".into(), parameters: json!({}) }
    }

    fn traits(&self) -> ToolTraits {
        let harmless = ToolTraits::harmless(self.timeout);
        ToolTraits { idempotent: self.is_idempotent, side_effects: true, ..harmless }
    }

    async fn call(&self, _arguments: &Value, context: &ToolContext<'_>) -> Result<String, String> {
        let key = context.key;
        self.invariants.call_begins(&self.process, key, self.timeout, TOOL_CALL);
        self.sim.point(&self.process).await;
        self.sim.sleep(Duration::from_millis(self.sim.any(0..2_000))).await;
        self.sim.note(|| format!("{}: the tool has its effect for {key}", self.process.name));
        self.invariants.effect(&self.process, key, self.is_idempotent);
        self.sim.point(&self.process).await;
        if self.sim.strikes(Fault::ToolHangs, None) {
            self.sim.sleep(Duration::from_millis(self.sim.any(5_000..130_000))).await;
        }
        self.sim.sleep(Duration::from_millis(self.sim.any(0..2_000))).await;
        Ok(done_for(key))
    }
}
