//! What a run can wait for, while it holds no function and no lease.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::clock::rfc3339_millis;
use super::message::ToolCall;

/// The tool that asks a human.
pub const ASK_HUMAN: &str = "ask_human";
/// The tool that waits for a time.
pub const WAIT: &str = "wait";
/// Bytes of the longest question: it stands in the run's record until it is answered.
pub const LONGEST_QUESTION: usize = 4_000;
/// How long a question stays open if the agent does not say, in seconds; and how long at most (30 days).
const DEFAULT_EXPIRY: u64 = 86_400;
const LONGEST_WAIT: u64 = 2_592_000;

/// What a run waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "snake_case")]
pub enum Waiting {
    /// Its turn in its conversation.
    Turn,
    /// A human's answer, which becomes the result of the call.
    Answer {
        /// Which question: an answer must name it.
        question_id: String,
        /// What is asked.
        question: String,
        /// Until when an answer is taken.
        #[serde(with = "rfc3339_millis")]
        expires_at: Timestamp,
        /// The call that asks.
        call: ToolCall,
    },
    /// A person's leave for a call.
    Approval {
        /// Which question: an answer must name it.
        question_id: String,
        /// What is asked.
        question: String,
        /// Until when an answer is taken.
        #[serde(with = "rfc3339_millis")]
        expires_at: Timestamp,
        /// The call that needs it. Long arguments stand in the journal alone.
        call: ToolCall,
    },
    /// A time.
    Time {
        /// Which.
        #[serde(with = "rfc3339_millis")]
        until: Timestamp,
        /// The call that waits.
        call: ToolCall,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    question: String,
    #[serde(default)]
    expires_in_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wait {
    #[serde(default)]
    seconds: Option<u64>,
    #[serde(default)]
    until: Option<Timestamp>,
}

impl Waiting {
    /// Whether a call of that tool makes its run wait.
    #[must_use]
    pub fn is_caused_by(tool: &str) -> bool {
        tool == ASK_HUMAN || tool == WAIT
    }

    /// What the run waits for after `call`, its step `step`.
    ///
    /// # Errors
    /// What is wrong with the arguments, for the model.
    pub fn of(call: &ToolCall, step: u32, now: Timestamp) -> Result<Self, String> {
        let after = |seconds: u64| super::clock::after(now, std::time::Duration::from_secs(seconds));
        let wrong = |error: serde_json::Error| format!("arguments: {error}");
        if call.name == ASK_HUMAN {
            let Ask { question, expires_in_seconds } = Ask::deserialize(&call.arguments).map_err(wrong)?;
            if question.trim().is_empty() || question.len() > LONGEST_QUESTION {
                return Err(format!("question: must have 1 to {LONGEST_QUESTION} bytes"));
            }
            let seconds = expires_in_seconds.unwrap_or(DEFAULT_EXPIRY);
            if !(1..=LONGEST_WAIT).contains(&seconds) {
                return Err(format!("expires_in_seconds: must be from 1 to {LONGEST_WAIT}"));
            }
            // The question stands in the record once: as the question, not again as an argument.
            let call = ToolCall { arguments: serde_json::json!({"expires_in_seconds": seconds}), ..call.clone() };
            return Ok(Self::Answer { question_id: format!("q{step}"), question, expires_at: after(seconds), call });
        }
        let arguments = if call.arguments.is_null() { Value::Object(serde_json::Map::new()) } else { call.arguments.clone() };
        let until = match Wait::deserialize(arguments).map_err(wrong)? {
            Wait { seconds: Some(seconds), until: None } if seconds <= LONGEST_WAIT => after(seconds),
            Wait { seconds: None, until: Some(until) } if until <= after(LONGEST_WAIT) => until,
            _ => return Err(format!("give either seconds, at most {LONGEST_WAIT}, or until, an RFC 3339 time at most 30 days ahead")),
        };
        Ok(Self::Time { until, call: call.clone() })
    }

    /// The run waits for a person's leave for `call`; the answer is its step `step`.
    #[must_use]
    pub fn approval(call: &ToolCall, step: u32, now: Timestamp) -> Self {
        let arguments = call.arguments.to_string();
        let is_short = arguments.len() <= LONGEST_QUESTION / 2;
        let shown = if is_short { format!(" with {arguments}") } else { " (its arguments are in the journal)".to_owned() };
        let question = format!("May the agent call `{}`{shown}?", call.name);
        let expires_at = super::clock::after(now, std::time::Duration::from_secs(DEFAULT_EXPIRY));
        let call = if is_short { call.clone() } else { ToolCall { arguments: Value::Null, ..call.clone() } };
        Self::Approval { question_id: format!("q{step}"), question, expires_at, call }
    }

    /// The step that holds the answer to the question with that id.
    #[must_use]
    pub fn step_of(question_id: &str) -> Option<u32> {
        question_id.strip_prefix('q')?.parse().ok()
    }

    /// When it is over without anybody's doing.
    #[must_use]
    pub const fn ends_at(&self) -> Option<Timestamp> {
        match self {
            Self::Turn => None,
            Self::Answer { expires_at: at, .. } | Self::Approval { expires_at: at, .. } | Self::Time { until: at, .. } => Some(*at),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(name: &str, arguments: Value) -> ToolCall {
        ToolCall { id: "c".into(), name: name.into(), arguments }
    }

    #[test]
    fn a_question_names_its_step_and_ends() {
        let now = Timestamp::UNIX_EPOCH;
        let waiting = Waiting::of(&call(ASK_HUMAN, json!({"question": "May I?", "expires_in_seconds": 60})), 3, now).unwrap();
        assert_eq!(waiting.ends_at().unwrap().as_second(), 60);
        assert!(matches!(waiting, Waiting::Answer { question_id, .. } if Waiting::step_of(&question_id) == Some(3)));
    }

    #[test]
    fn wrong_arguments_are_told_to_the_model() {
        let now = Timestamp::UNIX_EPOCH;
        for (name, arguments, word) in [
            (ASK_HUMAN, json!({"question": " "}), "question"),
            (ASK_HUMAN, json!({"question": "x".repeat(LONGEST_QUESTION + 1)}), "question"),
            (ASK_HUMAN, json!({"question": "x", "expires_in_seconds": 0}), "expires_in_seconds"),
            (ASK_HUMAN, json!({"quest": "x"}), "quest"),
            (WAIT, json!({}), "seconds"),
            (WAIT, json!({"seconds": 1, "until": "2026-01-01T00:00:00Z"}), "either"),
            (WAIT, json!({"seconds": 99_999_999}), "at most"),
            (WAIT, json!({"until": "2026-01-01T00:00:00Z"}), "ahead"),
        ] {
            assert!(Waiting::of(&call(name, arguments.clone()), 1, now).unwrap_err().contains(word), "{arguments}");
        }
        assert_eq!(Waiting::of(&call(WAIT, json!({"seconds": 5})), 1, now).unwrap().ends_at().unwrap().as_second(), 5);
    }
}
