//! Every parameter of chat completions by name: taken, taken only at the value that changes nothing, or refused. None is ignored.

use serde_json::{Map, Value};
use shared::http::Problem;

use super::bad_request;

/// What becomes of a parameter.
enum Rule {
    /// It is read.
    Taken,
    /// It is let pass at the value that means the same as leaving it out, and refused at any other.
    Only(fn(&Value) -> bool, &'static str),
    /// It is refused, with what to do instead.
    Never(&'static str),
}

/// The parameters of the contract, and ours: `conversation_id` and `multitask_strategy`.
fn rule(name: &str) -> Option<Rule> {
    Some(match name {
        "conversation_id"
        | "max_completion_tokens"
        | "max_tokens"
        | "messages"
        | "metadata"
        | "model"
        | "multitask_strategy"
        | "parallel_tool_calls"
        | "reasoning_effort"
        | "response_format"
        | "safety_identifier"
        | "seed"
        | "stop"
        | "store"
        | "stream"
        | "stream_options"
        | "temperature"
        | "tool_choice"
        | "tools"
        | "top_p"
        | "user" => Rule::Taken,
        "n" => Rule::Only(|value| value.as_u64() == Some(1), "a run has one answer; only 1 is supported"),
        "frequency_penalty" | "presence_penalty" => Rule::Only(is_zero, "only 0 is supported"),
        "top_logprobs" => Rule::Only(is_zero, "log probabilities are not supported"),
        "logprobs" => Rule::Only(|value| value == false, "log probabilities are not supported"),
        "logit_bias" => Rule::Only(|value| value.as_object().is_some_and(Map::is_empty), "only an empty one is supported"),
        "modalities" => Rule::Only(|value| *value == serde_json::json!(["text"]), "only [\"text\"] is supported"),
        "service_tier" => Rule::Only(|value| value == "auto" || value == "default", "only `auto` and `default` are supported"),
        "verbosity" => Rule::Only(|value| value == "medium", "only `medium` is supported"),
        "functions" => Rule::Never("use `tools`"),
        "function_call" => Rule::Never("use `tool_choice`"),
        "web_search_options" => Rule::Never("give the agent a tool that searches, and name it in metadata.tools"),
        "audio" | "moderation" | "prediction" | "prompt_cache_key" | "prompt_cache_options" | "prompt_cache_retention" => {
            Rule::Never("leave it out")
        }
        _ => return None,
    })
}

fn is_zero(value: &Value) -> bool {
    value.as_f64() == Some(0.0)
}

/// What is left to read: parameters that are taken, without those that are null, which is the same as not given.
pub(super) fn taken(body: Map<String, Value>) -> Result<Map<String, Value>, Problem> {
    let mut left = Map::new();
    for (name, value) in body {
        match rule(&name) {
            None => {
                let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
                return Err(bad_request("unknown_parameter", format!("`{shown}` is no parameter of chat completions")).about(&shown));
            }
            Some(_) if value.is_null() => {}
            Some(Rule::Taken) => {
                left.insert(name, value);
            }
            Some(Rule::Only(is_default, _)) if is_default(&value) => {}
            Some(Rule::Only(_, hint) | Rule::Never(hint)) => {
                return Err(bad_request("unsupported_parameter", format!("`{name}` is not supported: {hint}")).about(&name));
            }
        }
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> Result<Vec<String>, (u16, Option<String>)> {
        let Value::Object(body) = body else { panic!("no object") };
        taken(body).map(|left| left.into_iter().map(|(name, _)| name).collect()).map_err(|it| (it.status(), it.field().map(str::to_owned)))
    }

    #[test]
    fn what_changes_nothing_passes_and_is_not_read() {
        let harmless = json!({
            "n": 1, "frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}, "logprobs": false, "top_logprobs": 0,
            "modalities": ["text"], "service_tier": "auto", "verbosity": "medium", "audio": null, "functions": null, "tools": null,
            "model": "assistant"
        });
        assert_eq!(read(harmless), Ok(vec!["model".to_owned()]));
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        for (name, value) in [
            ("n", json!(2)),
            ("n", json!("1")),
            ("frequency_penalty", json!(0.5)),
            ("presence_penalty", json!(-1)),
            ("logit_bias", json!({"50256": -100})),
            ("logprobs", json!(true)),
            ("top_logprobs", json!(3)),
            ("modalities", json!(["text", "audio"])),
            ("service_tier", json!("flex")),
            ("verbosity", json!("low")),
            ("audio", json!({})),
            ("functions", json!([])),
            ("function_call", json!("auto")),
            ("prediction", json!({})),
            ("moderation", json!({})),
            ("prompt_cache_key", json!("k")),
            ("web_search_options", json!({})),
            ("temprature", json!(1)),
        ] {
            assert_eq!(read(json!({ name: value })), Err((400, Some(name.to_owned()))), "{name}");
        }
    }
}
