//! The body of `POST /v1/chat/completions`, and the request to an agent that it stands for.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use shared::domain::conversation::WhenBusy;
use shared::domain::definition::{Effort, ModelRef, OutputSchema, Sampling};
use shared::domain::event::AgentInput;
use shared::domain::idempotency::RequestKey;
use shared::domain::message::{Message, Role};
use shared::domain::overrides::Overrides;
use shared::domain::schema;
use shared::http::{Object, Problem, Word, json_body};
use shared::intake::AgentRequest;

use super::messages::{self, MessageBody};
use super::tools::{self, ToolBody};
use super::{bad_request, parameters};
use crate::metadata;
use crate::requests::{self, conversation_id};

/// Bytes as JSON of the schema of an answer; with messages, tools and metadata it is one DynamoDB item (400 KB).
const LONGEST_SCHEMA: usize = 30_000;
/// How often the model may mend an answer that does not fit its schema.
const REPAIRS: u32 = 2;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    model: String,
    messages: Vec<Object<MessageBody>>,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    stream_options: Option<Object<StreamOptions>>,
    #[serde(default)]
    temperature: Option<f64>,
    #[serde(default)]
    top_p: Option<f64>,
    #[serde(default)]
    max_tokens: Option<u32>,
    #[serde(default)]
    max_completion_tokens: Option<u32>,
    #[serde(default)]
    stop: Option<Value>,
    #[serde(default)]
    seed: Option<u64>,
    #[serde(default)]
    reasoning_effort: Option<String>,
    #[serde(default)]
    tools: Vec<Object<ToolBody>>,
    #[serde(default)]
    tool_choice: Option<Value>,
    #[serde(default)]
    parallel_tool_calls: Option<bool>,
    #[serde(default)]
    response_format: Option<Object<Format>>,
    #[serde(default)]
    metadata: Map<String, Value>,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    safety_identifier: Option<String>,
    // Every run is kept until its conversation is deleted, whatever this says.
    #[serde(default, rename = "store")]
    _store: bool,
    #[serde(default)]
    conversation_id: Option<String>,
    #[serde(default)]
    multitask_strategy: Word<WhenBusy>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
    #[serde(default)]
    include_obfuscation: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Format {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    json_schema: Option<Object<Schema>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Schema {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    schema: Option<Value>,
    // An answer is held to its schema either way.
    #[serde(default, rename = "strict")]
    _strict: Option<bool>,
}

/// How an answer is streamed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Streaming {
    /// Whether the stream ends with the usage.
    pub(super) include_usage: bool,
}

/// A request, read and checked.
#[derive(Debug)]
pub(crate) struct Chat {
    /// What the caller calls the model.
    pub(super) model: String,
    /// How the answer is streamed, if it is.
    pub(super) stream: Option<Streaming>,
    /// What the agent is asked.
    pub(super) request: AgentRequest,
}

impl Chat {
    /// Reads a body.
    ///
    /// # Errors
    /// 400 naming the parameter that does not fit or cannot be done; 413 naming the one that is too long.
    pub(super) fn read(body: &[u8], key: Option<RequestKey>, aliases: &BTreeMap<String, String>) -> Result<Self, Problem> {
        let given: Map<String, Value> = json_body(body)?;
        let taken = serde_json::to_vec(&parameters::taken(given)?).map_err(|error| Problem::internal(&error))?;
        let body: Body = json_body(&taken)?;
        let stream = body.streaming()?;
        let (agent, target) = split(aliases.get(&body.model).unwrap_or(&body.model))?;
        let mut overrides = Overrides { model: target, effort: body.effort()?, sampling: body.sampling()?, ..Overrides::default() };
        overrides.output = body.response_format.map(|Object(format)| format.read()).transpose()?.flatten();
        overrides.client_tools = tools::read(body.tools)?;
        overrides.tool_choice = body.tool_choice.as_ref().map(|choice| tools::choice(choice, &overrides.client_tools)).transpose()?;
        overrides.parallel_tool_calls = body.parallel_tool_calls;
        let mut metadata = body.metadata;
        // Where a client cannot add a field of ours to the body, it can to the metadata.
        let named = metadata.remove("conversation_id").map(|id| id.as_str().unwrap_or_default().to_owned());
        let conversation = body.conversation_id.or(named).as_deref().map(conversation_id).transpose()?;
        for (name, value) in [("user", body.user), ("safety_identifier", body.safety_identifier)] {
            if let Some(value) = value {
                metadata.entry(name).or_insert(Value::String(value));
            }
        }
        requests::check_metadata(&metadata)?;
        metadata::steer(&metadata, &mut overrides)?;
        let (prompt, messages) = question(messages::read(body.messages)?, conversation.is_some())?;
        let input = AgentInput { prompt, messages, metadata, overrides };
        let request = AgentRequest { agent: Some(agent), conversation, input, when_busy: body.multitask_strategy.0, key };
        Ok(Self { model: body.model, stream, request })
    }
}

/// The agent that a model's name stands for, and the model that it is to ask, where one is named: `agent` or `agent/provider::model`.
pub(super) fn split(name: &str) -> Result<(String, Option<ModelRef>), Problem> {
    match name.split_once('/') {
        None => Ok((name.to_owned(), None)),
        Some((agent, model)) => {
            let model = model.parse().map_err(|error| Problem::invalid("model", format!("behind the agent: {error}")))?;
            Ok((agent.to_owned(), Some(model)))
        }
    }
}

/// The last message as the question, if a user said it, and those before it.
fn question(mut messages: Vec<Message>, goes_on: bool) -> Result<(String, Option<Vec<Message>>), Problem> {
    if !messages.iter().any(|message| message.role == Role::User) {
        return Err(Problem::invalid("messages", "No user message found."));
    }
    requests::check_messages(&messages)?;
    let at = |place: usize| format!("messages[{place}].content");
    for (place, message) in messages.iter().enumerate() {
        if message.role == Role::User && message.content.as_ref().is_some_and(|text| text.trim().is_empty()) {
            return Err(Problem::invalid(&at(place), "must not be empty"));
        }
    }
    let prompt = match messages.pop_if(|last| last.role == Role::User && last.name.is_none()) {
        Some(last) => last.content.unwrap_or_default(),
        None => String::new(),
    };
    // One message alone goes on with what the conversation holds; more of them take its place.
    let messages = if messages.is_empty() && (goes_on || !prompt.is_empty()) { None } else { Some(messages) };
    requests::check_prompt(&prompt, &at(messages.as_ref().map_or(0, Vec::len)))?;
    Ok((prompt, messages))
}

impl Body {
    fn streaming(&self) -> Result<Option<Streaming>, Problem> {
        let stream = self.stream.then_some(Streaming { include_usage: false });
        let Some(Object(options)) = &self.stream_options else { return Ok(stream) };
        if !self.stream {
            return Err(Problem::invalid("stream_options", "is for `stream: true` only"));
        }
        if options.include_obfuscation == Some(true) {
            let field = "stream_options.include_obfuscation";
            return Err(bad_request("unsupported_parameter", format!("{field}: obfuscation is not supported")).about(field));
        }
        Ok(stream.map(|_| Streaming { include_usage: options.include_usage.unwrap_or(false) }))
    }

    fn sampling(&self) -> Result<Sampling, Problem> {
        let within = |name: &str, value: Option<f64>, most: f64| match value {
            Some(value) if !(0.0..=most).contains(&value) => Err(Problem::invalid(name, format!("must be a number from 0 to {most}"))),
            value => Ok(value),
        };
        let name = if self.max_completion_tokens.is_some() { "max_completion_tokens" } else { "max_tokens" };
        let max_output_tokens = self.max_completion_tokens.or(self.max_tokens);
        if max_output_tokens == Some(0) {
            return Err(Problem::invalid(name, "must be 1 or more"));
        }
        if self.max_completion_tokens.is_some() && self.max_tokens.is_some_and(|most| Some(most) != self.max_completion_tokens) {
            return Err(Problem::invalid("max_tokens", "says something else than max_completion_tokens; send one of them"));
        }
        Ok(Sampling {
            temperature: within("temperature", self.temperature, 2.0)?,
            top_p: within("top_p", self.top_p, 1.0)?,
            max_output_tokens,
            stop: self.stop.as_ref().map_or(Ok(Vec::new()), stop)?,
            seed: self.seed,
        })
    }

    fn effort(&self) -> Result<Option<Effort>, Problem> {
        let Some(word) = &self.reasoning_effort else { return Ok(None) };
        Ok(Some(match word.as_str() {
            "none" => Effort::None,
            "minimal" => Effort::Minimal,
            "low" => Effort::Low,
            "medium" => Effort::Medium,
            "high" => Effort::High,
            "xhigh" | "max" => Effort::XHigh,
            _ => return Err(Problem::invalid("reasoning_effort", "must be none, minimal, low, medium, high, xhigh or max")),
        }))
    }
}

fn stop(value: &Value) -> Result<Vec<String>, Problem> {
    let invalid = || Problem::invalid("stop", "must be a text or a list of one to four, none of them empty");
    let texts = match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(texts) if texts.len() <= 4 => {
            texts.iter().map(|text| text.as_str().map(str::to_owned).ok_or_else(invalid)).collect::<Result<_, _>>()?
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) | Value::Array(_) => return Err(invalid()),
    };
    if texts.iter().any(String::is_empty) { Err(invalid()) } else { Ok(texts) }
}

impl Format {
    fn read(self) -> Result<Option<OutputSchema>, Problem> {
        match (self.kind.as_str(), self.json_schema) {
            ("text", None) => Ok(None),
            ("json_object", None) => Ok(Some(OutputSchema { repairs: REPAIRS, ..OutputSchema::any_object() })),
            ("json_schema", Some(Object(schema))) => schema.read().map(Some),
            ("json_schema", None) => Err(Problem::invalid("response_format.json_schema", "must not be absent")),
            ("text" | "json_object", Some(_)) => Err(Problem::invalid("response_format.json_schema", "is for `json_schema` only")),
            _ => Err(Problem::invalid("response_format.type", "must be text, json_object or json_schema")),
        }
    }
}

impl Schema {
    fn read(self) -> Result<OutputSchema, Problem> {
        let at = "response_format.json_schema";
        if !tools::is_name(&self.name) {
            return Err(Problem::invalid(&format!("{at}.name"), "must be 1 to 64 letters, digits, `_` or `-`"));
        }
        let mut schema = self.schema.ok_or_else(|| Problem::invalid(&format!("{at}.schema"), "must not be absent"))?;
        let Some(fields) = schema.as_object_mut() else {
            return Err(Problem::invalid(&format!("{at}.schema"), "must be a JSON Schema, an object"));
        };
        if let Some(description) = self.description {
            fields.entry("description").or_insert(Value::String(description));
        }
        let at = format!("{at}.schema");
        tools::check_schema(&schema, &at, LONGEST_SCHEMA)?;
        schema::compile(&schema).map_err(|problem| Problem::invalid(&at, problem))?;
        Ok(OutputSchema { name: self.name, schema, repairs: REPAIRS })
    }
}
