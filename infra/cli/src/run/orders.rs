//! `reprise run cancel` and `reprise run answer`: what a person says to a run.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use crate::args::{Answer, Cancel, Format, given};
use crate::error::{Error, FAILED, Result};
use crate::http::{Http, Method, segment};
use crate::out::{self, read_stdin, say};
use crate::run::view::Run;
use crate::screen::text;

/// Exit code 0 when all were told so, 1 when one was not: the others are told all the same.
pub(super) fn cancel(http: &Http, cancel: &Cancel, format: Format) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for id in &cancel.ids {
        match http.order(Method::POST, &format!("/v1/runs/{}/cancel", segment(id)), &Value::Object(Map::new())) {
            Ok(run) => out::show(format, &run, |run| format!("{} is {}", text(&run["run_id"]), text(&run["status"]))),
            Err(error) if cancel.ids.len() > 1 && error.code() == FAILED => {
                let _told = error.in_phase(id).report();
                code = ExitCode::from(FAILED);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(code)
}

pub(super) fn answer(http: &Http, answer: &Answer, format: Format) -> Result<ExitCode> {
    let run = Run::fetch(http, &answer.id)?;
    let waiting = &run.body["waiting"];
    let is_approval = waiting["for"] == "approval";
    let Some(question) = answer.question.clone().or_else(|| waiting["question_id"].as_str().map(str::to_owned)) else {
        return Err(Error::new(format!("{} is {} and waits for nobody", answer.id, run.status)));
    };
    if answer.question.is_none() && is_approval != (answer.approve || answer.reject) {
        let error =
            Error::unreachable(if is_approval { "it wants leave to make a call, not an answer" } else { "it wants an answer, not leave" });
        return Err(error.because(run.waiting().unwrap_or_default()).with_hint(if is_approval {
            "say --approve or --reject"
        } else {
            "write the answer after the id"
        }));
    }
    let said = match answer.answer.as_deref() {
        Some("-") => Some(read_stdin()?),
        said => said.map(str::to_owned),
    };
    let approved = (answer.approve || answer.reject).then_some(json!(answer.approve));
    let body = given([("question_id", Some(json!(question))), ("approved", approved), ("answer", said.map(|said| json!(said)))]);
    let run = http.order(Method::POST, &format!("/v1/runs/{}/answer", segment(&answer.id)), &body.into())?;
    match format {
        Format::Table => say!("{0} is {1}; follow it with: reprise run tail {0}", text(&run["run_id"]), text(&run["status"])),
        Format::Json | Format::Jsonl => out::print_json(format, &run),
    }
    Ok(ExitCode::SUCCESS)
}
