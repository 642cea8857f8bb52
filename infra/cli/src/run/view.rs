//! A run as the API shows it, and how it reads on a screen.

use std::process::ExitCode;

use serde_json::Value;

use crate::error::{Error, FAILED, Result};
use crate::http::{Http, segment};
use crate::out::printable;

/// Where a run is in its life. A state that this build does not know is shown as it is and counts as going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    GoingOn,
    Completed,
    NotCompleted,
}

/// One run.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) id: String,
    pub(crate) status: String,
    /// Everything the API said.
    pub(crate) body: Value,
}

impl Run {
    /// Out of the answer to `POST /v1/agent` or `GET /v1/runs/{id}`: both name these fields alike.
    pub(crate) fn from_start(body: &Value) -> Self {
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        Self { id: text("run_id"), status: text("status"), body: body.clone() }
    }

    pub(crate) fn fetch(http: &Http, id: &str) -> Result<Self> {
        Ok(Self::from_start(&http.fetch(&format!("/v1/runs/{}", segment(id)))?))
    }

    fn outcome(&self) -> Outcome {
        match self.status.as_str() {
            "completed" => Outcome::Completed,
            "failed" | "dead" | "cancelled" => Outcome::NotCompleted,
            _ => Outcome::GoingOn,
        }
    }

    pub(crate) fn ended(&self) -> bool {
        self.outcome() != Outcome::GoingOn
    }

    /// 0 unless the run ended without completing.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(if self.outcome() == Outcome::NotCompleted { FAILED } else { 0 })
    }

    /// The answer of a completed run; an empty one is an error, for nothing was answered.
    pub(crate) fn answer(&self) -> Result<String> {
        match (self.outcome(), self.body["response"].as_str().map(str::trim)) {
            (Outcome::Completed, Some(answer)) if !answer.is_empty() => Ok(answer.to_owned()),
            (Outcome::Completed, _) => Err(Error::new(format!("the run {} completed without an answer", self.id))),
            (Outcome::GoingOn | Outcome::NotCompleted, _) => Err(self.as_error()),
        }
    }

    /// A run that did not complete, as an error.
    pub(crate) fn as_error(&self) -> Error {
        let error = Error::new(format!("the run {} is {}", self.id, self.status));
        match self.failure() {
            Some(failure) => error.because(failure),
            None => error,
        }
    }

    /// `code: message` of the error of the run.
    fn failure(&self) -> Option<String> {
        let error = &self.body["error"];
        error["code"].as_str().map(|code| format!("{code}: {}", error["message"].as_str().unwrap_or_default()))
    }

    /// What it waits for, and how to give it that.
    pub(crate) fn waiting(&self) -> Option<String> {
        let waiting = &self.body["waiting"];
        let text = |name: &str| waiting[name].as_str().unwrap_or_default();
        match waiting["for"].as_str()? {
            "turn" => Some("its turn in the conversation".to_owned()),
            "time" => Some(text("until").to_owned()),
            "answer" => Some(format!(
                "an answer until {}, to {}: {}\nreprise run answer {} \"…\"",
                text("expires_at"),
                text("question_id"),
                text("question"),
                self.id
            )),
            "approval" => Some(format!(
                "leave until {}, to call {}({}): {}\nreprise run answer {} --approve, or --reject \"why\"",
                text("expires_at"),
                text("tool"),
                if waiting["arguments"].is_null() { "…".to_owned() } else { waiting["arguments"].to_string() },
                text("question"),
                self.id
            )),
            other => Some(other.to_owned()),
        }
    }

    /// All that happened to it, one to a line.
    fn transitions(&self) -> Option<String> {
        self.body["transitions"].as_array().map(|all| all.iter().map(transition).collect::<Vec<_>>().join("\n"))
    }

    /// The fields that are there, one to a line.
    pub(crate) fn render(&self) -> String {
        let body = &self.body;
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        let tokens = body["usage"]["input_tokens"]
            .as_u64()
            .map(|input| format!("{input} in, {} out", body["usage"]["output_tokens"].as_u64().unwrap_or_default()));
        let steps = body["steps"].as_u64().or_else(|| body["steps"].as_array().map(|steps| steps.len() as u64));
        let metadata = body["metadata"].as_object().filter(|metadata| !metadata.is_empty()).map(|_| body["metadata"].to_string());
        let fields = [
            ("run", Some(self.id.clone())),
            ("status", Some(self.status.clone())),
            ("agent", text("agent")),
            ("conversation", text("conversation_id")),
            ("trigger", text("trigger")),
            ("waits for", self.waiting()),
            ("attempts", body["attempts"].as_u64().map(|count| count.to_string())),
            ("steps", steps.map(|count| count.to_string())),
            ("tokens", tokens),
            ("cost", body["cost_usd"].as_f64().map(|dollars| format!("{dollars} US$"))),
            ("created", text("created_at")),
            ("ended", text("ended_at")),
            ("metadata", metadata),
            ("error", self.failure()),
            ("answer", text("response")),
            ("transitions", self.transitions()),
        ];
        let lines = fields
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name:<13} {}", printable(&value?).trim_end().replace('\n', "\n              "))));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// What happened to a run, when, by whom, and what a person said of it.
pub(crate) fn transition(transition: &Value) -> String {
    let text = |name: &str| transition[name].as_str().unwrap_or_default();
    let note = transition["note"].as_str().map(|note| format!(" ({note})")).unwrap_or_default();
    format!("{}  {:<9}  {}, by {}{note}", text("at"), text("to"), text("reason"), text("by"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_that_ended_badly_says_why_and_exits_with_1() {
        let run =
            Run::from_start(&json!({"run_id": "run_1", "status": "dead", "error": {"code": "model_unavailable", "message": "no answer"}}));
        assert_eq!(run.as_error().render(), "error: the run run_1 is dead\n  | model_unavailable: no answer\n");
        assert!(run.ended() && run.render().contains("error         model_unavailable: no answer"));
        assert_eq!(format!("{:?}", run.exit_code()), format!("{:?}", ExitCode::from(1)));
    }

    #[test]
    fn a_run_that_waits_says_for_what_and_how_it_came_to_that() {
        let run = Run::from_start(&json!({
            "run_id": "run_1", "status": "waiting", "cost_usd": 0.25,
            "waiting": {"for": "answer", "question_id": "q2", "question": "May I?", "expires_at": "2026-01-02T03:04:05.000Z"},
            "transitions": [
                {"at": "2026-01-01T03:04:05.000Z", "to": "queued", "by": "ana", "reason": "accepted", "note": "as agreed"},
                {"at": "2026-01-01T03:04:06.000Z", "to": "running", "by": "w/1", "reason": "claimed"},
            ],
        }));
        assert_eq!(
            run.render(),
            "run           run_1\nstatus        waiting\n\
             waits for     an answer until 2026-01-02T03:04:05.000Z, to q2: May I?\n\
             \x20             reprise run answer run_1 \"…\"\n\
             cost          0.25 US$\n\
             transitions   2026-01-01T03:04:05.000Z  queued     accepted, by ana (as agreed)\n\
             \x20             2026-01-01T03:04:06.000Z  running    claimed, by w/1"
        );
        assert!(!run.ended());
    }

    #[test]
    fn an_empty_answer_is_no_answer() {
        assert!(Run::from_start(&json!({"run_id": "run_1", "status": "completed", "response": " "})).answer().is_err());
        assert_eq!(Run::from_start(&json!({"run_id": "run_1", "status": "completed", "response": "hi\n"})).answer().unwrap(), "hi");
    }

    #[test]
    fn every_state_that_is_not_terminal_goes_on() {
        for status in ["queued", "running", "waiting", "something_new"] {
            assert!(!Run::from_start(&json!({"run_id": "r", "status": status})).ended());
        }
    }
}
