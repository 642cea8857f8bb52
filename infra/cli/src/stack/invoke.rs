//! `reprise stack invoke`: a deployed function and an event fixture, without the gateway or the queue in between.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;

use crate::args::{Invoke, as_file};
use crate::error::{Error, FAILED, Result};
use crate::out::say;
use crate::stack::FUNCTIONS;
use crate::stack::emulator::Emulator;
use crate::stack::layout::Layout;
use crate::stack::settings::Settings;

/// What parts the prelude of a streamed answer from its body.
const PRELUDE_END: &str = "\0\0\0\0\0\0\0\0";

/// Exit code 1 when the function itself failed (its response is printed all the same).
pub(crate) fn execute(layout: &Layout, invoke: &Invoke) -> Result<ExitCode> {
    if !FUNCTIONS.contains(&invoke.function.as_str()) {
        return Err(Error::unreachable(format!("there is no function `{}`", invoke.function))
            .with_hint(format!("choose one of {}", FUNCTIONS.join(", "))));
    }
    let fixtures = fixtures(layout, &invoke.function)?;
    if invoke.event.as_deref() == Some("list") {
        fixtures.iter().for_each(|fixture| say!("{}", name(fixture)));
        return Ok(ExitCode::SUCCESS);
    }
    let file = choose(&fixtures, invoke.event.as_deref()).ok_or_else(|| {
        let names: Vec<String> = fixtures.iter().map(|fixture| name(fixture)).collect();
        Error::unreachable(format!("there is no event `{}`", invoke.event.as_deref().unwrap_or_default()))
            .with_hint(format!("give a file, or one of {}", names.join(", ")))
    })?;
    let event = std::fs::read(&file).map_err(|error| Error::unreachable(format!("cannot read {}", file.display())).because(error))?;
    let response = Emulator::new(&Settings::required(layout)?)?.invoke(&layout.function_name(&invoke.function), &event)?;
    let value = answer(&response);
    say!("{} ← {}", invoke.function, layout.short(&file).display());
    if value.is_null() {
        say!("{response}")
    } else {
        say!("{value:#}")
    }
    Ok(ExitCode::from(if value["errorType"].is_string() { FAILED } else { 0 }))
}

/// What a function answered as JSON, or null. What it streams begins with a prelude: status and headers, then eight zeros.
fn answer(response: &str) -> Value {
    let value: Value = serde_json::from_str(response).unwrap_or(Value::Null);
    let streamed = value.as_str().unwrap_or(response).split_once(PRELUDE_END);
    let prelude = streamed.and_then(|(prelude, body)| Some((serde_json::from_str::<Value>(prelude).ok()?, body)));
    match prelude {
        Some((mut answer, body)) if answer.is_object() => {
            answer["body"] = body.into();
            answer
        }
        Some(_) | None => value,
    }
}

/// The event fixtures of a function, by name.
fn fixtures(layout: &Layout, function: &str) -> Result<Vec<PathBuf>> {
    let folder = layout.root.join("tests/fixtures/events").join(function);
    let entries = std::fs::read_dir(&folder).map_err(|error| Error::new(format!("cannot list {}", folder.display())).because(error))?;
    let mut files: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect();
    files.sort_by_key(|file| name(file));
    Ok(files)
}

/// A file, a fixture by its name, or the first fixture.
fn choose(fixtures: &[PathBuf], event: Option<&str>) -> Option<PathBuf> {
    match event.filter(|event| !event.is_empty()) {
        Some(event) => as_file(event).or_else(|| fixtures.iter().find(|fixture| name(fixture) == event).cloned()),
        None => fixtures.first().cloned(),
    }
}

fn name(fixture: &Path) -> String {
    fixture.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_streamed_answer_is_shown_as_one_that_is_not() {
        let streamed = format!(r#"{{"statusCode":200,"headers":{{}}}}{PRELUDE_END}data: 1"#);
        for response in [streamed.clone(), Value::from(streamed).to_string()] {
            assert_eq!(answer(&response), serde_json::json!({"statusCode": 200, "headers": {}, "body": "data: 1"}));
        }
        assert_eq!(answer(r#"{"statusCode":404}"#), serde_json::json!({"statusCode": 404}));
        assert_eq!((answer(r#""a text""#), answer("no JSON")), ("a text".into(), Value::Null));
    }

    #[test]
    fn an_event_is_chosen_by_name_or_is_the_first() {
        let fixtures = [PathBuf::from("/e/health.json"), PathBuf::from("/e/ready.json")];
        assert_eq!(choose(&fixtures, None), Some(fixtures[0].clone()));
        assert_eq!(choose(&fixtures, Some("")), Some(fixtures[0].clone()));
        assert_eq!(choose(&fixtures, Some("ready")), Some(fixtures[1].clone()));
        assert_eq!(choose(&fixtures, Some("nope")), None);
    }
}
