//! `reprise run start`: one question to an agent.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use crate::args::{Format, Start};
use crate::error::Result;
use crate::http::Http;
use crate::out::{print_json, printable, read_stdin, say};
use crate::run::view::Run;

pub(crate) fn execute(http: &Http, start: &Start, format: Format) -> Result<ExitCode> {
    let prompt = if start.prompt == "-" { read_stdin()? } else { start.prompt.clone() };
    let run = Run::from_start(&http.begin("/v1/agent", &body(start, &prompt))?);
    match format {
        Format::Json | Format::Jsonl => print_json(format, &run.body),
        Format::Table if run.ended() => {
            say!("{}\n\n{} · {}", printable(&run.answer()?), run.id, run.body["conversation_id"].as_str().unwrap_or_default())
        }
        Format::Table => say!("{} is {}; follow it with: reprise run tail {}", run.id, run.status, run.id),
    }
    Ok(run.exit_code())
}

/// Only what was given: the API has its own defaults.
fn body(start: &Start, prompt: &str) -> Value {
    let mut body = Map::from_iter([("prompt".to_owned(), json!(prompt))]);
    let texts = [("agent", &start.agent), ("conversation_id", &start.conversation)];
    body.extend(texts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value.as_ref()?)))));
    if start.background {
        body.insert("background".to_owned(), json!(true));
    }
    if !start.metadata.is_empty() {
        body.insert(
            "metadata".to_owned(),
            start.metadata.iter().map(|(key, value)| (key.clone(), json!(value))).collect::<Map<_, _>>().into(),
        );
    }
    body.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_given_is_sent() {
        let mut start = Start { prompt: "hi".into(), agent: None, conversation: None, background: false, metadata: Vec::new() };
        assert_eq!(body(&start, "hi"), json!({"prompt": "hi"}));
        start.background = true;
        start.conversation = Some("conv_1".into());
        start.metadata = vec![("k".into(), "v".into())];
        assert_eq!(body(&start, "hi"), json!({"prompt": "hi", "conversation_id": "conv_1", "background": true, "metadata": {"k": "v"}}));
    }
}
