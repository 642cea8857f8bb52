//! What a request's metadata says to the engine: `tools` is the list of tools that the run may call, `tool_calls` are made before
//! the model is asked. All else in it is the caller's own and is given back unread.

use serde_json::{Map, Value, json};
use shared::domain::agent::Agent;
use shared::domain::event::AgentInput;
use shared::domain::message::ToolCall;
use shared::domain::overrides::{Overrides, PresetCall};
use shared::domain::step::{Step, StepBody};
use shared::domain::transcript::PRESET;
use shared::http::Problem;
use shared::tools::Toolbox;

/// Characters of a result as metadata shows it; the whole is in its step.
const LONGEST_OUTPUT: usize = 2_000;
/// Calls that one request may ask for.
const MOST_CALLS: usize = 20;

/// Takes over what `metadata` says.
///
/// # Errors
/// 400 naming the entry that does not fit.
pub(crate) fn steer(metadata: &Map<String, Value>, overrides: &mut Overrides) -> Result<(), Problem> {
    if let Some(tools) = metadata.get("tools") {
        let invalid = || Problem::invalid("metadata.tools", "must be a list of the names of tools");
        let names = tools.as_array().ok_or_else(invalid)?.iter().map(|name| name.as_str().map(str::to_owned).ok_or_else(invalid));
        overrides.tools = Some(names.collect::<Result<_, _>>()?);
    }
    if let Some(calls) = metadata.get("tool_calls") {
        let calls = calls.as_array().ok_or_else(|| Problem::invalid("metadata.tool_calls", "must be a list of calls"))?;
        if calls.len() > MOST_CALLS {
            return Err(Problem::invalid("metadata.tool_calls", format!("must not be more than {MOST_CALLS}")));
        }
        overrides.preset_calls = calls.iter().enumerate().map(|(place, call)| preset(place, call)).collect::<Result<_, _>>()?;
    }
    Ok(())
}

/// The caller's metadata with `tool_results`: what came of the calls that it asked for.
pub(crate) fn with_results(input: &AgentInput, agent: Option<&Agent>, tools: &Toolbox, steps: &[Step]) -> Map<String, Value> {
    let mut metadata = input.metadata.clone();
    if input.overrides.preset_calls.is_empty() {
        return metadata;
    }
    let agent = agent.map(|agent| agent.for_run(&input.overrides));
    // In the order in which they were asked for, not in which they were done.
    let number = |call: &ToolCall| call.id.strip_prefix(PRESET).and_then(|number| number.parse::<u32>().ok());
    let mut results: Vec<_> = steps
        .iter()
        .filter_map(|step| match &step.body {
            StepBody::Tool(tool) => Some((number(&tool.call)?, tool)),
            StepBody::Model(_) | StepBody::Approval(_) => None,
        })
        .collect();
    results.sort_unstable_by_key(|(number, _)| *number);
    let results = results.into_iter().map(|(_, tool)| {
        let (name, output) = (&tool.call.name, tool.output.chars().take(LONGEST_OUTPUT).collect::<String>());
        if !tool.is_error {
            json!({"name": name, "status": "ok", "output": output})
        } else if tools.traits(name).is_none() {
            json!({"name": name, "status": "missing"})
        } else if agent.as_ref().is_some_and(|agent| agent.tool(name).is_none()) {
            json!({"name": name, "status": "skipped", "reason": "not-allowed"})
        } else {
            json!({"name": name, "status": "error", "error": output})
        }
    });
    metadata.insert("tool_results".to_owned(), results.collect());
    metadata
}

/// A name, or an object with `name` and `args`.
fn preset(place: usize, call: &Value) -> Result<PresetCall, Problem> {
    let at = format!("metadata.tool_calls[{place}]");
    let call = match call {
        Value::String(name) => return Ok(PresetCall { name: name.clone(), args: Value::Object(Map::new()) }),
        Value::Object(call) => call,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            return Err(Problem::invalid(&at, "must be the name of a tool, or an object with `name` and `args`"));
        }
    };
    let Some(name) = call.get("name").and_then(Value::as_str) else {
        return Err(Problem::invalid(&format!("{at}.name"), "must be the name of a tool"));
    };
    if let Some(unknown) = call.keys().find(|field| !["name", "args"].contains(&field.as_str())) {
        let shown: String = unknown.chars().filter(|c| !c.is_control()).take(64).collect();
        return Err(Problem::invalid(&format!("{at}.{shown}"), "a call has `name` and `args` only"));
    }
    let args = call.get("args").cloned().unwrap_or_else(|| Value::Object(Map::new()));
    Ok(PresetCall { name: name.to_owned(), args })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn steered(metadata: Value) -> Result<Overrides, Option<String>> {
        let (Value::Object(metadata), mut overrides) = (metadata, Overrides::default()) else { panic!("no object") };
        steer(&metadata, &mut overrides).map(|()| overrides).map_err(|problem| problem.field().map(str::to_owned))
    }

    #[test]
    fn tools_and_calls_are_taken_over_and_all_else_is_the_callers() {
        let overrides =
            steered(json!({"tools": ["clock"], "tool_calls": ["clock", {"name": "wait", "args": {"seconds": 1}}], "x": [1]})).unwrap();
        assert_eq!(overrides.tools, Some(vec!["clock".to_owned()]));
        let calls = [("clock", json!({})), ("wait", json!({"seconds": 1}))];
        assert_eq!(overrides.preset_calls, calls.map(|(name, args)| PresetCall { name: name.into(), args }));
        assert_eq!(steered(json!({"plan": "p"})).unwrap(), Overrides::default());
        assert_eq!(steered(json!({"tools": []})).unwrap().tools, Some(vec![]), "none at all");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (metadata, field) in [
            (json!({"tools": "clock"}), "metadata.tools"),
            (json!({"tools": [7]}), "metadata.tools"),
            (json!({"tool_calls": "clock"}), "metadata.tool_calls"),
            (json!({"tool_calls": vec!["clock"; 21]}), "metadata.tool_calls"),
            (json!({"tool_calls": ["clock", 7]}), "metadata.tool_calls[1]"),
            (json!({"tool_calls": [{"args": {}}]}), "metadata.tool_calls[0].name"),
            (json!({"tool_calls": [{"name": "clock", "arguments": {}}]}), "metadata.tool_calls[0].arguments"),
        ] {
            assert_eq!(steered(metadata.clone()), Err(Some(field.to_owned())), "{metadata}");
        }
    }
}
