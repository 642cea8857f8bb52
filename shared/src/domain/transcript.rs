//! The messages of a run, rebuilt from its input and its journal, and what comes next. Everything that was decided stands in the
//! steps, so that a run which goes on under other definitions does not judge its own past anew.

use super::agent::Agent;
use super::definition::{Reflexion, Strategy};
use super::event::AgentInput;
use super::failure::FailureCode;
use super::message::{Message, ToolCall};
use super::step::{FinishReason, ModelStep, Purpose, Step, StepBody, Verdict};

/// What a model would be shown now, and what is still to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Transcript {
    messages: Vec<Message>,
    /// What the run is for, as its last user said it.
    task: String,
    strategy: Strategy,
    /// How often an answer may be mended.
    repairs: u32,
    /// The names of the caller's own tools.
    client_tools: Vec<String>,
    /// Calls of our tools that are not made yet.
    pending: Vec<ToolCall>,
    /// Calls that the caller has to make.
    client_calls: Vec<ToolCall>,
    /// All calls of the answer that `pending` is from, and its step.
    asked: (u32, Vec<ToolCall>),
    /// The numbers of the calls that a person has allowed.
    approved: Vec<u32>,
    /// The step of the latest answer, whatever was said of it since.
    answered_at: u32,
    next: Option<Then>,
    steps: u32,
    /// Steps of an earlier start: they stand in the journal and say nothing here.
    before: u32,
    /// Answers that had to be mended, in a row.
    mended: u32,
    /// Answers that were evaluated, or are about to be.
    iterations: u32,
    /// The answer that is evaluated, with what was said of it.
    draft: (String, Option<Verdict>),
    /// The last tool call, and how often it was made in a row.
    last_call: Option<(ToolCall, u32)>,
    /// The calls that were made, in order.
    called: Vec<ToolCall>,
}

/// What comes once no call is pending.
#[derive(Debug, Clone, PartialEq)]
enum Then {
    Model(Purpose),
    Ended(String),
    Failed(FailureCode, String),
}

/// The call that was not finished.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Ask the model.
    Model(Purpose),
    /// Call a tool: this one, and perhaps others of [`Transcript::pending`] beside it.
    Tool(ToolCall),
    /// Nothing: the last step was the answer. It is empty if the model wants the caller's own tools called.
    Ended(String),
    /// Nothing: what the model answered is no answer, and asking again would not help.
    Failed(FailureCode, String),
}

/// How the ids of calls begin that the request asked for, and not the model.
pub const PRESET: &str = "preset-";

impl Transcript {
    /// A run that has done nothing yet. `input.messages` take the place of `history`; `agent` is as this run has it, see
    /// [`Agent::for_run`].
    #[must_use]
    pub fn open(agent: &Agent, history: Vec<Message>, input: &AgentInput) -> Self {
        Self::open_behind(0, agent, history, input)
    }

    /// The same, for a run that was started over when it had done `before` steps.
    #[must_use]
    pub fn open_behind(before: u32, agent: &Agent, history: Vec<Message>, input: &AgentInput) -> Self {
        let mut messages = vec![Message::system(&agent.instructions)];
        for example in &agent.examples {
            messages.extend([Message::user(&example.input), Message::assistant(&example.output)]);
        }
        messages.extend(input.messages.clone().unwrap_or(history));
        if !input.prompt.is_empty() {
            messages.push(Message::user(&input.prompt));
        }
        let task = messages.iter().rev().find(|message| message.role == super::message::Role::User);
        let task = task.and_then(|message| message.content.clone()).unwrap_or_default();
        let presets = input.overrides.preset_calls.iter().enumerate();
        let presets: Vec<ToolCall> = presets
            .map(|(i, call)| ToolCall { id: format!("{PRESET}{}", i + 1), name: call.name.clone(), arguments: call.args.clone() })
            .collect();
        if !presets.is_empty() {
            // As if the model had asked for them: providers take results of calls only.
            messages.push(Message { content: None, tool_calls: presets.clone(), ..Message::assistant("") });
        }
        Self {
            messages,
            task,
            strategy: agent.strategy.clone(),
            repairs: agent.output.as_ref().map_or(0, |output| output.repairs),
            client_tools: input.overrides.client_tools.iter().map(|tool| tool.name.clone()).collect(),
            pending: presets.clone(),
            client_calls: Vec::new(),
            asked: (before, presets),
            approved: Vec::new(),
            answered_at: 0,
            next: None,
            steps: before,
            before,
            mended: 0,
            iterations: 0,
            draft: (String::new(), None),
            last_call: None,
            called: Vec::new(),
        }
    }

    /// Takes in the next step of the journal.
    pub fn record(&mut self, step: &Step) {
        if step.index <= self.before {
            return;
        }
        self.steps = step.index;
        match &step.body {
            StepBody::Model(model) => {
                self.next = Some(match model.purpose {
                    Purpose::Act => self.acted(step.index, model),
                    Purpose::Evaluate => self.judged(model.verdict.clone().unwrap_or_else(unread)),
                    Purpose::Reflect => self.reflected(model.message.content.as_deref().unwrap_or_default()),
                });
            }
            StepBody::Tool(tool) => {
                // One at a time: some providers give two calls of one answer the same id.
                if let Some(place) = self.pending.iter().position(|call| call.id == tool.call.id) {
                    self.pending.remove(place);
                }
                self.last_call = Some((tool.call.clone(), self.repeats_of(&tool.call) + 1));
                self.called.push(tool.call.clone());
                self.messages.push(Message::tool(&tool.call, &tool.output));
            }
            StepBody::Approval(approval) => {
                let call = self.pending.iter().find(|call| call.id == approval.call_id);
                self.approved.extend(call.map(|call| self.number_of(call)));
            }
        }
    }

    fn acted(&mut self, index: u32, model: &ModelStep) -> Then {
        self.answered_at = index;
        self.messages.push(model.message.clone());
        match model.finish_reason {
            FinishReason::Length => {
                return Then::Failed(FailureCode::AnswerCutOff, "the model ran into its limit of tokens before it had said all".into());
            }
            FinishReason::ContentFilter => {
                return Then::Failed(FailureCode::AnswerRefused, "the model or its provider refused to answer".into());
            }
            FinishReason::Stop | FinishReason::ToolCalls => {}
        }
        let text = model.message.content.clone().unwrap_or_default();
        if !model.message.tool_calls.is_empty() {
            let calls = model.message.tool_calls.clone();
            (self.client_calls, self.pending) = calls.iter().cloned().partition(|call| self.client_tools.contains(&call.name));
            self.asked = (index, calls);
            return if self.client_calls.is_empty() { Then::Model(Purpose::Act) } else { Then::Ended(text) };
        }
        if let Some(problem) = &model.problem {
            self.mended += 1;
            if self.mended > self.repairs {
                return Then::Failed(FailureCode::InvalidOutput, format!("the answer does not satisfy its schema: {problem}"));
            }
            let again = format!(
                "Your answer does not satisfy the JSON Schema that it must satisfy: {problem}. Answer again, with nothing but the whole JSON."
            );
            self.messages.push(Message::user(again));
            return Then::Model(Purpose::Act);
        }
        self.mended = 0;
        self.iterations += 1;
        self.draft = (text, None);
        match (&self.strategy, &model.verdict) {
            (Strategy::Reflexion(_), Some(verdict)) => self.judged(verdict.clone()),
            (Strategy::Reflexion(_), None) => Then::Model(Purpose::Evaluate),
            (Strategy::Single | Strategy::React, _) => Then::Ended(self.draft.0.clone()),
        }
    }

    fn judged(&mut self, verdict: Verdict) -> Then {
        let may_try_again = matches!(&self.strategy, Strategy::Reflexion(how) if self.iterations < how.max_iterations);
        let is_good = verdict.success;
        self.draft.1 = Some(verdict);
        if is_good || !may_try_again { Then::Ended(self.draft.0.clone()) } else { Then::Model(Purpose::Reflect) }
    }

    fn reflected(&mut self, reflection: &str) -> Then {
        let again =
            format!("Your answer was not good enough. What to do better:\n{reflection}\n\nNow give the whole answer again, better.");
        self.messages.push(Message::user(again));
        Then::Model(Purpose::Act)
    }

    /// What to do now: tools as the model asked for them, then the model again.
    #[must_use]
    pub fn next(&self) -> Next {
        match (self.pending.first(), &self.next) {
            (_, Some(Then::Failed(code, message))) => Next::Failed(*code, message.clone()),
            (Some(call), _) => Next::Tool(call.clone()),
            (None, Some(Then::Ended(answer))) => Next::Ended(answer.clone()),
            (None, Some(Then::Model(purpose))) => Next::Model(*purpose),
            (None, None) => Next::Model(Purpose::Act),
        }
    }

    /// The calls of our tools that are not finished, in the order that the model asked for them.
    #[must_use]
    pub fn pending(&self) -> &[ToolCall] {
        &self.pending
    }

    /// The number that names a pending call for ever, whichever of them is finished first: that of the step that it would be if they
    /// were made one after the other.
    #[must_use]
    pub fn number_of(&self, call: &ToolCall) -> u32 {
        let (step, calls) = &self.asked;
        let has_its_id = |other: &&ToolCall| other.id == call.id;
        // Of two calls with one id, those that are finished were the first.
        let done = calls.iter().filter(has_its_id).count().saturating_sub(self.pending.iter().filter(has_its_id).count());
        let place = calls.iter().enumerate().filter(|(_, asked)| asked.id == call.id).map(|(place, _)| place).nth(done);
        step + 1 + u32::try_from(place.unwrap_or(0)).unwrap_or(0)
    }

    /// Whether a person has allowed this call.
    #[must_use]
    pub fn is_approved(&self, call: &ToolCall) -> bool {
        self.approved.contains(&self.number_of(call))
    }

    /// How often this call was made in a row just now: the same tool with the same arguments.
    #[must_use]
    pub fn repeats_of(&self, call: &ToolCall) -> u32 {
        match &self.last_call {
            Some((last, times)) if last.name == call.name && last.arguments == call.arguments => *times,
            _ => 0,
        }
    }

    /// How often this tool was called.
    #[must_use]
    pub fn calls_of(&self, tool: &str) -> u32 {
        u32::try_from(self.called.iter().filter(|called| called.name == tool).count()).unwrap_or(u32::MAX)
    }

    /// How often this very call was made: the same tool with the same arguments.
    #[must_use]
    pub fn times_made(&self, call: &ToolCall) -> usize {
        self.called.iter().filter(|called| called.name == call.name && called.arguments == call.arguments).count()
    }

    /// What a model is shown that acts.
    #[must_use]
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// The step of the latest answer; evaluations of it may have come since.
    #[must_use]
    pub const fn answered_at(&self) -> u32 {
        self.answered_at
    }

    /// What the run is for.
    #[must_use]
    pub fn task(&self) -> &str {
        &self.task
    }

    /// The latest answer, and what was said of it.
    #[must_use]
    pub const fn draft(&self) -> (&str, Option<&Verdict>) {
        (self.draft.0.as_str(), self.draft.1.as_ref())
    }

    /// How many answers were evaluated.
    #[must_use]
    pub const fn iterations(&self) -> u32 {
        self.iterations
    }

    /// How its answers are evaluated, if they are.
    #[must_use]
    pub const fn reflexion(&self) -> Option<&Reflexion> {
        match &self.strategy {
            Strategy::Reflexion(how) => Some(how),
            Strategy::Single | Strategy::React => None,
        }
    }

    /// Steps taken so far.
    #[must_use]
    pub const fn steps(&self) -> u32 {
        self.steps
    }

    /// How many of them count for its limit: those since it was started.
    #[must_use]
    pub const fn steps_since_start(&self) -> u32 {
        self.steps - self.before
    }
}

/// What is taken for the verdict where none was recorded.
fn unread() -> Verdict {
    Verdict { score: 0.0, success: false, issues: vec!["the evaluation could not be read".into()], improvements: Vec::new() }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::super::definition::Bundle;
    use super::super::step::{ToolStep, Usage};
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
        step(index, StepBody::Tool(ToolStep { call: call(id), output: "noon".into(), is_error: false, full: None, stand_in: None }))
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
        assert_eq!(transcript.next(), Next::Model(Purpose::Act));
        transcript.record(&model(1, Message { content: None, tool_calls: vec![call("a"), call("b")], ..Message::assistant("") }));
        assert_eq!(transcript.next(), Next::Tool(call("a")));
        transcript.record(&tool(2, "a"));
        assert_eq!(transcript.next(), Next::Tool(call("b")));
        transcript.record(&tool(3, "b"));
        assert_eq!(transcript.next(), Next::Model(Purpose::Act));
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
        assert_eq!(transcript.next(), Next::Model(Purpose::Act));
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
