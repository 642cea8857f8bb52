//! What happens in a run, as the chunks of a chat completion.
//!
//! A client adds the texts of all chunks, so nothing that was sent can be taken back. Where an answer may yet be rejected (it has to fit
//! a schema, or is evaluated), its text is held back until it stands. Where a provider breaks off in the middle and is asked anew, the
//! new text goes on behind the old one if it begins like it; if not, the stream ends with an error that names the run.

use lambda_http::http::StatusCode;
use serde_json::{Value, json};
use shared::domain::definition::{Agent, Strategy};
use shared::domain::run::Run;
use shared::domain::step::{FinishReason, ModelStep, Purpose, StepBody};
use shared::http::Problem;
use shared::stream::RunEvent;

use super::answer::{UsageView, completion_id};
use super::failures;
use super::messages::CallBody;

/// What a stream of chunks is opened with.
#[derive(Debug, Clone)]
pub(super) struct Heading {
    /// What the caller calls the model.
    pub(super) model: String,
    /// Whether the usage is told at the end.
    pub(super) include_usage: bool,
    /// Whether the text is held back until it stands.
    pub(super) holds_back: bool,
    /// The request, as errors name it.
    pub(super) request_id: String,
}

/// Whether an answer of `agent` may be rejected after it was given.
pub(super) fn may_be_rejected(agent: &Agent) -> bool {
    agent.output.is_some() || matches!(agent.strategy, Strategy::Reflexion(_))
}

/// The stream of one completion, as far as it has come.
#[derive(Debug)]
pub(super) struct Chunks {
    heading: Heading,
    run: Run,
    /// What was sent of the text of the step that is told now.
    sent: String,
    /// How much of that the try has said again which is told now.
    said_again: usize,
    /// Whether a text of an earlier step was sent.
    has_spoken: bool,
    /// The last answer of the model.
    last: Option<ModelStep>,
    is_over: bool,
}

impl Chunks {
    /// The completion that `run` is.
    pub(super) fn new(heading: Heading, run: Run) -> Self {
        Self { heading, run, sent: String::new(), said_again: 0, has_spoken: false, last: None, is_over: false }
    }

    /// The first chunk.
    pub(super) fn opening(&self) -> String {
        let mut chunk = self.chunk(&json!({"role": "assistant", "content": "", "refusal": null}), None);
        chunk["run_id"] = json!(self.run.id);
        chunk["conversation_id"] = json!(self.run.conversation);
        data(&chunk)
    }

    /// Whether nothing comes any more.
    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// What a client is told of an event.
    pub(super) fn told(&mut self, event: RunEvent) -> String {
        match event {
            RunEvent::Run(run) => {
                self.run = *run;
                String::new()
            }
            RunEvent::Delta { text, .. } if !self.heading.holds_back => self.text(&text),
            RunEvent::Delta { .. } => String::new(),
            RunEvent::Reset { .. } => {
                self.said_again = 0;
                String::new()
            }
            RunEvent::Step(step) => match step.body {
                StepBody::Model(model) if model.purpose == Purpose::Act => self.finished(model),
                StepBody::Model(_) | StepBody::Tool(_) | StepBody::Approval(_) => String::new(),
            },
            RunEvent::Waiting(run) => {
                self.run = *run;
                match failures::question(&self.run) {
                    Some(problem) => self.fail(problem),
                    None => String::new(),
                }
            }
            RunEvent::Done { run, .. } | RunEvent::Failed(run) | RunEvent::Cancelled(run) => {
                self.run = *run;
                match failures::check(&self.run) {
                    Ok(()) => self.end(),
                    Err(problem) => self.fail(problem),
                }
            }
        }
    }

    /// What a client is told when this function's time is over before the run's.
    pub(super) fn cut(&mut self) -> String {
        let problem = failures::goes_on(&self.run);
        self.fail(problem)
    }

    fn text(&mut self, mut text: &str) -> String {
        if self.said_again < self.sent.len() {
            let known = &self.sent[self.said_again..];
            let common = known.len().min(text.len());
            if !known.as_bytes().starts_with(&text.as_bytes()[..common]) {
                return self.restarted();
            }
            self.said_again += common;
            text = text.get(common..).unwrap_or_default();
        }
        if text.is_empty() {
            return String::new();
        }
        // What an agent says between its tool calls stands in a paragraph of its own.
        let gap = if self.has_spoken && self.sent.is_empty() { "\n\n" } else { "" };
        self.sent.push_str(text);
        self.said_again = self.sent.len();
        data(&self.chunk(&json!({"content": format!("{gap}{text}")}), None))
    }

    /// A step of the model is finished, and all its text was told.
    fn finished(&mut self, model: ModelStep) -> String {
        // The text that counts may end before what was sent.
        let said = if self.said_again < self.sent.len() { self.restarted() } else { String::new() };
        self.has_spoken |= !self.sent.is_empty();
        self.sent.clear();
        self.said_again = 0;
        self.last = Some(model);
        said
    }

    fn restarted(&mut self) -> String {
        let detail = "The provider broke off and answered anew, with another text; what was sent cannot be taken back. The run goes on.";
        self.fail(Problem::new(StatusCode::BAD_GATEWAY, "answer_restarted", detail))
    }

    fn end(&mut self) -> String {
        self.is_over = true;
        let last = self.last.take();
        let mut chunks = String::new();
        if let Some(model) = &last {
            let held = model.message.content.as_deref().filter(|text| self.heading.holds_back && !text.is_empty());
            if let Some(text) = held {
                chunks.push_str(&data(&self.chunk(&json!({ "content": text }), None)));
            }
            for (index, call) in model.message.tool_calls.iter().enumerate() {
                let mut call = json!(CallBody::of(call));
                call["index"] = json!(index);
                chunks.push_str(&data(&self.chunk(&json!({"tool_calls": [call]}), None)));
            }
        }
        let reason = last.map_or(FinishReason::Stop, |model| model.finish_reason);
        chunks.push_str(&data(&self.chunk(&json!({}), Some(reason))));
        if self.heading.include_usage {
            let mut chunk = self.chunk(&json!({}), None);
            chunk["choices"] = json!([]);
            chunk["usage"] = json!(UsageView::from(self.run.usage));
            chunks.push_str(&data(&chunk));
        }
        chunks + "data: [DONE]\n\n"
    }

    fn fail(&mut self, problem: Problem) -> String {
        self.is_over = true;
        data(&problem.of_run(self.run.id).openai(&self.heading.request_id))
    }

    fn chunk(&self, delta: &Value, finish_reason: Option<FinishReason>) -> Value {
        let mut chunk = json!({
            "id": completion_id(self.run.id),
            "object": "chat.completion.chunk",
            "created": self.run.created_at.as_second(),
            "model": self.heading.model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": null}],
        });
        if self.heading.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }
}

/// One event without a name.
fn data(value: &Value) -> String {
    format!("data: {value}\n\n")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use shared::domain::failure::{Failure, FailureCode};
    use shared::domain::message::{Message, ToolCall};
    use shared::domain::state::RunState;
    use shared::domain::step::{Step, Usage};
    use shared::fakes::a_run;

    use super::*;

    fn chunks(holds_back: bool) -> Chunks {
        let heading = Heading { model: "assistant".into(), include_usage: true, holds_back, request_id: "req".into() };
        Chunks::new(heading, a_run(&"acme".parse().unwrap(), Timestamp::UNIX_EPOCH))
    }

    fn delta(text: &str) -> RunEvent {
        RunEvent::Delta { step: 1, text: text.into() }
    }

    fn step(message: Message) -> RunEvent {
        let reason = if message.tool_calls.is_empty() { FinishReason::Stop } else { FinishReason::ToolCalls };
        let model = ModelStep::new("p".into(), "m".into(), message, reason, Usage::default());
        let now = Timestamp::UNIX_EPOCH;
        RunEvent::Step(Box::new(Step { index: 1, started_at: now, ended_at: now, body: StepBody::Model(model) }))
    }

    fn ended(chunks: &Chunks, state: RunState) -> Box<Run> {
        Box::new(Run { state, ..chunks.run.clone() })
    }

    fn done(chunks: &Chunks) -> RunEvent {
        RunEvent::Done { run: ended(chunks, RunState::Completed), response: String::new() }
    }

    /// The texts of the chunks, joined, and the last finish reason or error's code.
    fn heard(text: &str) -> (String, String) {
        let (mut content, mut end) = (String::new(), String::new());
        for event in text.split("\n\n").filter(|event| !event.is_empty() && *event != "data: [DONE]") {
            let chunk: Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
            content.push_str(chunk.pointer("/choices/0/delta/content").and_then(Value::as_str).unwrap_or_default());
            let words = ["/choices/0/finish_reason", "/error/code"].map(|at| chunk.pointer(at).and_then(Value::as_str));
            end.push_str(words.into_iter().flatten().next().unwrap_or_default());
        }
        (content, end)
    }

    fn told(chunks: &mut Chunks, events: impl IntoIterator<Item = RunEvent>) -> (String, String) {
        let mut all = chunks.opening();
        for event in events {
            all.push_str(&chunks.told(event));
        }
        heard(&all)
    }

    #[test]
    fn texts_are_told_as_they_come_and_the_end_with_its_reason() {
        let mut chunks = chunks(false);
        let end = done(&chunks);
        assert_eq!(told(&mut chunks, [delta("no"), delta("on"), step(Message::assistant("noon")), end]), ("noon".into(), "stop".into()));
        assert!(chunks.is_over());
    }

    #[test]
    fn what_is_said_between_tool_calls_stands_in_a_paragraph_of_its_own() {
        let mut chunks = chunks(false);
        let call = ToolCall { id: "a".into(), name: "clock".into(), arguments: json!({}) };
        let looks = step(Message { tool_calls: vec![call], ..Message::assistant("I look.") });
        let end = done(&chunks);
        let heard =
            told(&mut chunks, [delta("I look."), looks, delta("It is "), delta("noon."), step(Message::assistant("It is noon.")), end]);
        assert_eq!(heard, ("I look.\n\nIt is noon.".into(), "stop".into()));
    }

    #[test]
    fn the_callers_tool_calls_are_told_whole() {
        let mut chunks = chunks(false);
        let call = |id: &str| ToolCall { id: id.into(), name: "weather".into(), arguments: json!({"city": "Rome"}) };
        let wants = step(Message { content: None, tool_calls: vec![call("a"), call("b")], ..Message::assistant("") });
        assert_eq!(chunks.told(wants), "");
        let end = done(&chunks);
        let text = chunks.told(end);
        for (index, id) in ["a", "b"].into_iter().enumerate() {
            let chunk: Value = serde_json::from_str(text.split("\n\n").nth(index).unwrap().strip_prefix("data: ").unwrap()).unwrap();
            let function = json!({"name": "weather", "arguments": "{\"city\":\"Rome\"}"});
            let call = json!({"index": index, "id": id, "type": "function", "function": function});
            assert_eq!(chunk["choices"][0]["delta"]["tool_calls"], json!([call]));
        }
        assert_eq!(heard(&text).1, "tool_calls");
        assert!(text.ends_with("data: [DONE]\n\n"));
    }

    #[test]
    fn a_text_that_is_said_anew_goes_on_where_it_is_the_same_and_fails_where_it_is_not() {
        let reset = || RunEvent::Reset { step: 1 };
        for (again, rest, expected) in [
            ("once upon", " a time", ("once upon a time", "stop")),
            ("once", " upon a time", ("once upon a time", "stop")),
            ("twice", " upon", ("once upon", "answer_restarted")),
            ("once", "", ("once upon", "answer_restarted")),
        ] {
            let mut chunks = chunks(false);
            let end = done(&chunks);
            let events = [delta("once"), delta(" upon"), reset(), delta(again), delta(rest), step(Message::assistant("")), end];
            let mut all = String::new();
            for event in events {
                if !chunks.is_over() {
                    all.push_str(&chunks.told(event));
                }
            }
            assert_eq!(heard(&all), (expected.0.to_owned(), expected.1.to_owned()), "{again}{rest}");
        }
    }

    #[test]
    fn a_text_that_may_be_rejected_is_told_when_it_stands() {
        let mut chunks = chunks(true);
        let end = done(&chunks);
        let draft = [delta("no JSON"), step(Message::assistant("no JSON")), delta("{}"), step(Message::assistant("{}"))];
        assert_eq!(told(&mut chunks, draft.into_iter().chain([end])), ("{}".into(), "stop".into()));
    }

    #[test]
    fn a_run_that_fails_or_outlasts_us_ends_the_stream_with_an_error_that_names_it() {
        for (state, code) in [(RunState::Failed, "provider_rejected"), (RunState::Cancelled, "cancelled")] {
            let mut chunks = chunks(false);
            let mut run = ended(&chunks, state);
            run.note(Failure::new(FailureCode::ProviderRejected, "no", Timestamp::UNIX_EPOCH, 1));
            let event = if state == RunState::Failed { RunEvent::Failed(run) } else { RunEvent::Cancelled(run) };
            let text = chunks.told(event);
            assert_eq!(heard(&text).1, code);
            assert!(text.contains(&chunks.run.id.to_string()) && chunks.is_over());
        }
        let mut chunks = chunks(false);
        let text = chunks.cut();
        assert_eq!(heard(&text).1, "run_not_finished");
        assert!(text.contains(&chunks.run.id.to_string()) && chunks.is_over());
    }

    #[test]
    fn the_usage_is_told_where_it_was_asked_for() {
        let mut with = chunks(false);
        let end = done(&with);
        let text = with.told(end);
        assert!(text.contains(r#""usage":{"#) && text.contains(r#""choices":[]"#), "{text}");
        let mut without = chunks(false);
        without.heading.include_usage = false;
        let end = done(&without);
        assert!(!without.told(end).contains("usage"));
    }
}
