//! The messages of a run, rebuilt from its input and its journal, and what comes next.

use super::agent::Agent;
use super::event::AgentInput;
use super::message::{Message, ToolCall};
use super::step::{Step, StepBody};

/// What a model would be shown now, and what is still to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcript {
    messages: Vec<Message>,
    pending: Vec<ToolCall>,
    answer: Option<String>,
    steps: u32,
    /// The last tool call, and how often it was made in a row.
    last_call: Option<(ToolCall, u32)>,
}

/// The call that was not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Ask the model.
    Model,
    /// Call a tool.
    Tool(ToolCall),
    /// Nothing: the last step was the answer.
    Ended(String),
}

impl Transcript {
    /// A run that has done nothing yet. `input.messages` take the place of `history`.
    #[must_use]
    pub fn open(agent: &Agent, history: Vec<Message>, input: &AgentInput) -> Self {
        let mut messages = vec![Message::system(&agent.instructions)];
        messages.extend(input.messages.clone().unwrap_or(history));
        messages.push(Message::user(&input.prompt));
        Self { messages, pending: Vec::new(), answer: None, steps: 0, last_call: None }
    }

    /// Takes in the next step of the journal.
    pub fn record(&mut self, step: &Step) {
        self.steps = step.index;
        match &step.body {
            StepBody::Model(model) => {
                self.pending.clone_from(&model.message.tool_calls);
                if self.pending.is_empty() {
                    self.answer.clone_from(&model.message.content);
                }
                self.messages.push(model.message.clone());
            }
            StepBody::Tool(tool) => {
                // One at a time: some providers give two calls of one answer the same id.
                if let Some(place) = self.pending.iter().position(|call| call.id == tool.call.id) {
                    self.pending.remove(place);
                }
                self.last_call = Some((tool.call.clone(), self.repeats_of(&tool.call) + 1));
                self.messages.push(Message::tool(&tool.call, &tool.output));
            }
            StepBody::Approval(_) => {}
        }
    }

    /// What to do now: tools in the order that the model asked for them, then the model again.
    #[must_use]
    pub fn next(&self) -> Next {
        match (self.pending.first(), &self.answer) {
            (Some(call), _) => Next::Tool(call.clone()),
            (None, Some(answer)) => Next::Ended(answer.clone()),
            (None, None) => Next::Model,
        }
    }

    /// How often this call was made in a row just now: the same tool with the same arguments.
    #[must_use]
    pub fn repeats_of(&self, call: &ToolCall) -> u32 {
        match &self.last_call {
            Some((last, times)) if last.name == call.name && last.arguments == call.arguments => *times,
            _ => 0,
        }
    }

    /// What the model is shown.
    #[must_use]
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Steps taken so far.
    #[must_use]
    pub const fn steps(&self) -> u32 {
        self.steps
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::super::definition::Bundle;
    use super::super::step::{FinishReason, ModelStep, ToolStep, Usage};
    use super::*;

    fn call(id: &str) -> ToolCall {
        ToolCall { id: id.into(), name: "clock".into(), arguments: json!({}) }
    }

    fn step(index: u32, body: StepBody) -> Step {
        Step { index, started_at: Timestamp::UNIX_EPOCH, ended_at: Timestamp::UNIX_EPOCH, body }
    }

    fn model(index: u32, message: Message) -> Step {
        let finish_reason = if message.tool_calls.is_empty() { FinishReason::Stop } else { FinishReason::ToolCalls };
        step(index, StepBody::Model(ModelStep::new("p".into(), "m".into(), message, finish_reason, Usage::default())))
    }

    fn tool(index: u32, id: &str) -> Step {
        step(index, StepBody::Tool(ToolStep { call: call(id), output: "noon".into(), is_error: false }))
    }

    fn open() -> Transcript {
        Transcript::open(
            Bundle::embedded().agent("assistant").unwrap(),
            vec![],
            &AgentInput { prompt: "when?".into(), ..AgentInput::default() },
        )
    }

    #[test]
    fn a_run_resumes_at_the_call_that_was_not_finished() {
        let mut transcript = open();
        assert_eq!(transcript.next(), Next::Model);
        transcript.record(&model(1, Message { content: None, tool_calls: vec![call("a"), call("b")], ..Message::assistant("") }));
        assert_eq!(transcript.next(), Next::Tool(call("a")));
        transcript.record(&tool(2, "a"));
        assert_eq!(transcript.next(), Next::Tool(call("b")));
        transcript.record(&tool(3, "b"));
        assert_eq!(transcript.next(), Next::Model);
        transcript.record(&model(4, Message::assistant("noon")));
        assert_eq!(transcript.next(), Next::Ended("noon".into()));
        assert_eq!(transcript.messages().len(), 6);
        assert_eq!(transcript.steps(), 4);
    }

    #[test]
    fn two_calls_with_one_id_are_two_calls() {
        let mut transcript = open();
        transcript.record(&model(1, Message { tool_calls: vec![call(""), call("")], ..Message::assistant("") }));
        transcript.record(&tool(2, ""));
        assert_eq!(transcript.next(), Next::Tool(call("")));
        transcript.record(&tool(3, ""));
        assert_eq!(transcript.next(), Next::Model);
    }

    #[test]
    fn messages_of_the_request_take_the_place_of_the_history() {
        let bundle = Bundle::embedded();
        let agent = bundle.agent("assistant").unwrap();
        let history = vec![Message::user("old"), Message::assistant("older")];
        let mut input = AgentInput { prompt: "now".into(), ..AgentInput::default() };
        assert_eq!(Transcript::open(agent, history.clone(), &input).messages().len(), 4);
        input.messages = Some(vec![Message::user("mine")]);
        let shown: Vec<_> = Transcript::open(agent, history, &input).messages()[1..].to_vec();
        assert_eq!(shown, [Message::user("mine"), Message::user("now")]);
    }
}
