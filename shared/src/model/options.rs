//! How a request's options are said to each protocol, and what is done where one cannot be said. Nothing is left out in silence:
//! it is refused with its name, so that the engine asks the next model of the chain, or it has the substitute of this table.
//!
//! | option | where it cannot be said | there |
//! |---|---|---|
//! | `seed` | Anthropic, Bedrock, OpenAI's Responses | left out: nowhere is it more than a wish |
//! | `stop` | OpenAI's Responses | refused |
//! | `tool_choice` required or a name | Bedrock | refused |
//! | `tool_choice` none | Bedrock | no tools are offered; refused if the messages have calls |
//! | one call at a time | Bedrock and others | refused if there are tools |
//! | any JSON object | all but OpenAI's | as an output schema in words |
//! | output schema that a strict one would differ from | Anthropic | said in the instructions, as below |
//! | the same | OpenAI's | sent as it is, not strict |
//! | output schema | Bedrock and others | said in the instructions; the engine checks the answer all the same |
//! | a tool named `web_search` | Anthropic, OpenAI's Responses | has another name there, and its own in the answer |
//! | effort, after a tool's result | Anthropic, Bedrock | left out: it would want thoughts back that are not kept |

use genai::adapter::AdapterKind;
use genai::chat::{
    ChatOptions, ChatResponseFormat, JsonSchemaDialect, JsonSpec, ReasoningEffort, ToolChoice as Choice, sanitize_json_schema,
};
use serde_json::{Map, Value, json};

use super::aside::Aside;
use crate::domain::definition::{Effort, OutputSchema};
use crate::domain::message::Role;
use crate::domain::overrides::ToolChoice;
use crate::engine::CallError;
use crate::engine::ports::ModelRequest;

/// What a protocol can be told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Abilities {
    seed: bool,
    stop: bool,
    tool_choice: bool,
    one_call: OneCall,
    schema: Dialect,
    /// Whether a tool named `web_search` is not taken for the provider's own, which nobody asked for.
    keeps_names: bool,
    /// Whether it wants its thoughts back with a tool's result.
    wants_thoughts: bool,
    /// Whether the results of several calls stand in one message.
    pub(super) joins_results: bool,
    /// Whether tokens that its cache has read or written are not among the tokens read.
    pub(super) counts_cache_apart: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OneCall {
    OpenAi,
    Anthropic,
    Unknown,
}

/// How an output schema is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    OpenAi,
    Responses,
    Anthropic,
    Words,
}

/// What of it is said where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// The provider holds its model to the schema.
    Strictly,
    /// The model is shown the schema.
    Loosely,
    /// The answer is some JSON object.
    ToJson,
    /// In the instructions.
    InWords,
}

impl Held {
    /// The provider crate makes each schema a strict one, and what is optional there is not: none is sent so that would be another.
    fn by(dialect: Dialect, schema: &Value) -> Self {
        let is_any = *schema == OutputSchema::any_object().schema;
        let is_object = schema["type"] == "object";
        match dialect {
            Dialect::OpenAi | Dialect::Responses if is_any => Self::ToJson,
            Dialect::OpenAi | Dialect::Responses if is_object && is_strict(schema, JsonSchemaDialect::OpenAiStrict) => Self::Strictly,
            Dialect::OpenAi | Dialect::Responses if is_object => Self::Loosely,
            Dialect::Anthropic if is_object && is_strict(schema, JsonSchemaDialect::AnthropicStructured) => Self::Strictly,
            Dialect::OpenAi | Dialect::Responses | Dialect::Anthropic | Dialect::Words => Self::InWords,
        }
    }
}

fn is_strict(schema: &Value, dialect: JsonSchemaDialect) -> bool {
    in_order(schema) == in_order(&sanitize_json_schema(schema, dialect)) && is_closed(schema)
}

/// With the names of what is required in order: it has no meaning.
fn in_order(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(fields.iter().map(|(name, value)| (name.clone(), required_in_order(name, value))).collect()),
        Value::Array(values) => values.iter().map(in_order).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn required_in_order(name: &str, value: &Value) -> Value {
    match value.as_array().filter(|_| name == "required") {
        Some(names) => {
            let mut names = names.clone();
            names.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            Value::Array(names)
        }
        None => in_order(value),
    }
}

/// Whether no object of it takes members that it does not name.
fn is_closed(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.iter().all(|(name, value)| match name.as_str() {
            "additionalProperties" => *value == Value::Bool(false),
            "patternProperties" => false,
            _ => is_closed(value),
        }),
        Value::Array(values) => values.iter().all(is_closed),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

impl Abilities {
    pub(super) const fn of(kind: AdapterKind) -> Self {
        let openai = Self {
            seed: true,
            stop: true,
            tool_choice: true,
            one_call: OneCall::OpenAi,
            schema: Dialect::OpenAi,
            keeps_names: true,
            wants_thoughts: false,
            joins_results: false,
            counts_cache_apart: false,
        };
        match kind {
            AdapterKind::OpenAI | AdapterKind::OpenRouter | AdapterKind::Groq | AdapterKind::Xai => openai,
            AdapterKind::OpenAIResp => Self { seed: false, stop: false, schema: Dialect::Responses, keeps_names: false, ..openai },
            AdapterKind::Anthropic => Self {
                seed: false,
                one_call: OneCall::Anthropic,
                schema: Dialect::Anthropic,
                keeps_names: false,
                wants_thoughts: true,
                joins_results: true,
                ..openai
            },
            AdapterKind::BedrockSigv4 | AdapterKind::BedrockApi => Self {
                seed: false,
                tool_choice: false,
                one_call: OneCall::Unknown,
                schema: Dialect::Words,
                wants_thoughts: true,
                joins_results: true,
                counts_cache_apart: true,
                ..openai
            },
            _ => Self { one_call: OneCall::Unknown, schema: Dialect::Words, keeps_names: false, ..openai },
        }
    }
}

/// A request in the words of its protocol, beside messages and tools.
pub(super) struct Said {
    pub(super) options: ChatOptions,
    /// Whether tools are offered.
    pub(super) tools: bool,
    /// What the model is told besides its instructions.
    pub(super) instruction: Option<String>,
    pub(super) names: Names,
}

/// The one name that the provider crate makes something else of.
const SEARCH: &str = "web_search";

/// What tools are called on the wire.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    /// The name of ours that is [`SEARCH`].
    search: Option<String>,
}

impl Names {
    fn of(request: &ModelRequest<'_>, can: Abilities) -> Self {
        if can.keeps_names {
            return Self::default();
        }
        let is_taken = |name: &str| request.tools.iter().any(|tool| tool.name == name);
        let mut search = format!("{SEARCH}_tool");
        while is_taken(&search) {
            search.push('_');
        }
        Self { search: Some(search) }
    }

    /// What our tool is called there.
    pub(super) fn there<'a>(&'a self, name: &'a str) -> &'a str {
        self.search.as_deref().filter(|_| name == SEARCH).unwrap_or(name)
    }

    /// Which of our tools that is.
    pub(super) fn here(&self, name: String) -> String {
        if self.search.as_ref() == Some(&name) { SEARCH.to_owned() } else { name }
    }
}

/// Says it, or refuses.
pub(super) fn say(kind: AdapterKind, request: &ModelRequest<'_>, aside: Aside) -> Result<Said, CallError> {
    let can = Abilities::of(kind);
    let refuse = |what: &str| Err(CallError::rejected(format!("{} cannot be told {what}", kind.as_lower_str())));
    let names = Names::of(request, can);
    let has_tools = !request.tools.is_empty();
    let sampling = &request.sampling;
    let mut options = ChatOptions::default()
        .with_capture_content(true)
        .with_capture_tool_calls(true)
        .with_capture_usage(true)
        .with_raw_frame_sink(aside)
        .with_extra_headers([("idempotency-key", request.key.as_str())]);
    options.temperature = sampling.temperature;
    options.top_p = sampling.top_p;
    options.max_tokens = sampling.max_output_tokens;
    options.seed = sampling.seed.filter(|_| can.seed);
    if !sampling.stop.is_empty() && !can.stop {
        return refuse("texts that end the answer (`stop`)");
    }
    options.stop_sequences.clone_from(&sampling.stop);

    let after_tool = request.messages.last().is_some_and(|message| message.role == Role::Tool);
    options.reasoning_effort = request.effort.filter(|_| !(can.wants_thoughts && after_tool)).map(effort);

    let mut tools = has_tools;
    match request.tool_choice.as_ref().filter(|_| has_tools) {
        None => {}
        Some(choice) if can.tool_choice => options.tool_choice = Some(said_choice(choice, &names)),
        Some(ToolChoice::Auto) => {}
        Some(ToolChoice::None) if request.messages.iter().all(|message| message.tool_calls.is_empty()) => tools = false,
        Some(ToolChoice::None) => return refuse("to call no tool once it has called one (`tool_choice`)"),
        Some(ToolChoice::Required | ToolChoice::Tool(_)) => return refuse("that it must call a tool (`tool_choice`)"),
    }
    let mut body = Map::new();
    if request.parallel_tool_calls == Some(false) && tools {
        match can.one_call {
            OneCall::OpenAi => _ = body.insert("parallel_tool_calls".to_owned(), Value::Bool(false)),
            OneCall::Anthropic => _ = body.insert("tool_choice".to_owned(), anthropic_choice(request.tool_choice.as_ref(), &names)),
            OneCall::Unknown => return refuse("to ask for one tool call at a time (`parallel_tool_calls`)"),
        }
    }

    let mut instruction = None;
    if let Some(output) = request.output {
        match Held::by(can.schema, &output.schema) {
            Held::Strictly => options = options.with_response_format(JsonSpec::new(output.name.as_str(), output.schema.clone())),
            Held::Loosely => body.extend([loosely(can.schema, output)]),
            // It is refused unless the messages speak of JSON.
            Held::ToJson => {
                options = options.with_response_format(ChatResponseFormat::JsonMode);
                instruction = Some(in_words(output));
            }
            Held::InWords => instruction = Some(in_words(output)),
        }
    }
    options.extra_body = (!body.is_empty()).then_some(Value::Object(body));
    Ok(Said { options, tools, instruction, names })
}

/// The member of the body that says it, for it is not among what the provider crate can say.
fn loosely(dialect: Dialect, output: &OutputSchema) -> (String, Value) {
    let (name, schema) = (&output.name, &output.schema);
    if dialect == Dialect::Responses {
        return ("text".to_owned(), json!({"format": {"type": "json_schema", "name": name, "schema": schema, "strict": false}}));
    }
    ("response_format".to_owned(), json!({"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": false}}))
}

fn in_words(output: &OutputSchema) -> String {
    format!("Answer with nothing but one JSON value that satisfies this JSON Schema, without a code fence: {}", output.schema)
}

const fn effort(effort: Effort) -> ReasoningEffort {
    match effort {
        Effort::None => ReasoningEffort::Zero,
        Effort::Minimal => ReasoningEffort::Minimal,
        Effort::Low => ReasoningEffort::Low,
        Effort::Medium => ReasoningEffort::Medium,
        Effort::High => ReasoningEffort::High,
        Effort::XHigh => ReasoningEffort::XHigh,
    }
}

fn said_choice(choice: &ToolChoice, names: &Names) -> Choice {
    match choice {
        ToolChoice::Auto => Choice::Auto,
        ToolChoice::None => Choice::None,
        ToolChoice::Required => Choice::Required,
        ToolChoice::Tool(name) => Choice::tool(names.there(name)),
    }
}

/// Anthropic says it within the choice of tools.
fn anthropic_choice(choice: Option<&ToolChoice>, names: &Names) -> serde_json::Value {
    match choice {
        None | Some(ToolChoice::Auto) => json!({"type": "auto", "disable_parallel_tool_use": true}),
        Some(ToolChoice::None) => json!({"type": "none"}),
        Some(ToolChoice::Required) => json!({"type": "any", "disable_parallel_tool_use": true}),
        Some(ToolChoice::Tool(name)) => json!({"type": "tool", "name": names.there(name), "disable_parallel_tool_use": true}),
    }
}
