//! Reads the emulator's request log and the witness while things happen, before they forget.

use std::sync::Mutex;
use std::sync::PoisonError;

use serde_json::Value;
use tests::Stack;
use tests::client::{list, number, text};

use crate::facts::{Claim, ModelCall, Writes};
use crate::workers::stream_in;

/// Characters of a run's id.
const RUN: usize = 30;

/// What was seen so far.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    stack: &'a Stack,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    log_position: u64,
    call_position: u64,
    writes: Writes,
    calls: Vec<ModelCall>,
}

impl<'a> Watch<'a> {
    /// From now on.
    pub(crate) fn begin(stack: &'a Stack) -> Self {
        let call_position = number(&stack.model.get("/reprise/calls?since=9007199254740991").must(200), "next");
        Self { stack, seen: Mutex::new(Seen { log_position: stack.log_position(), call_position, ..Seen::default() }) }
    }

    /// Reads what is new.
    ///
    /// # Panics
    /// When either of them has forgotten something: then nothing can be judged.
    pub(crate) fn read(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let page = self.stack.emulator.get(&format!("/__reprise/requests?since={}", seen.log_position)).must(200);
        assert_eq!(number(&page, "dropped"), 0, "the request log has forgotten calls");
        seen.log_position = number(&page, "next");
        for entry in list(&page, "requests") {
            note(&mut seen.writes, entry);
        }
        let page = self.stack.model.get(&format!("/reprise/calls?since={}", seen.call_position)).must(200);
        assert_eq!(number(&page, "dropped"), 0, "the witness has forgotten calls");
        seen.call_position = number(&page, "next");
        seen.calls.extend(list(&page, "calls").iter().filter_map(call_of));
    }

    /// All of it, in order.
    pub(crate) fn end(self) -> (Writes, Vec<ModelCall>) {
        let Seen { mut writes, mut calls, .. } = self.seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        for claims in writes.claims.values_mut() {
            claims.sort_by_key(|claim| claim.at);
        }
        calls.sort_by_key(|call| call.at);
        (writes, calls)
    }
}

fn note(writes: &mut Writes, entry: &Value) {
    let operation = text(entry, "operation");
    if !["PutItem", "UpdateItem", "TransactWriteItems"].contains(&operation.as_str()) {
        return;
    }
    let (body, fault) = (text(entry, "body"), text(entry, "fault"));
    let Some(run) = run_in(&body) else { return };
    let begun = i64::try_from(number(entry, "at")).unwrap_or(0);
    let took = entry["duration_ms"].as_f64().unwrap_or(0.0);
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds of one call")]
    let done = begun + took.ceil() as i64;
    if !fault.is_empty() {
        writes.failed.entry(run.to_owned()).or_default().push(done);
    }
    let is_done = fault == "lost_reply/200" || (number(entry, "status") == 200 && !fault.starts_with("lost_reply"));
    if !is_done {
        return;
    }
    if let Some(stream) = stream_in(&body) {
        writes.claims.entry(run.to_owned()).or_default().push(Claim { at: done, stream: stream.to_owned() });
    }
    if let Some(step) = step_in(&body) {
        let first = writes.commits.entry((run.to_owned(), step)).or_insert(done);
        *first = done.min(*first);
    }
}

fn call_of(call: &Value) -> Option<ModelCall> {
    let key = call["key"].as_str()?;
    let (run, step) = key.split_once(':')?;
    let messages = list(call, "messages").iter().map(|message| (text(message, "role"), text(message, "content")));
    Some(ModelCall {
        at: call["at"].as_i64()?,
        ended_at: call["ended_at"].as_i64()?,
        run: run.to_owned(),
        // A call after a useless answer has a mark behind its number.
        step: step.trim_end_matches('\'').parse().ok()?,
        fault: text(call, "fault"),
        status: number(call, "status"),
        delivered: call["delivered"] == "whole",
        messages: messages.collect(),
    })
}

/// The run whose record a write is about: the key `<tenant>#run#<run>`.
fn run_in(body: &str) -> Option<&str> {
    let begin = body.find("#run#run_")? + "#run#".len();
    body.get(begin..begin + RUN)
}

/// The step that a write puts into the journal: the sort key `step#000001`.
fn step_in(body: &str) -> Option<u32> {
    let begin = body.find("\"step#")? + "\"step#".len();
    body.get(begin..begin + 6)?.parse().ok()
}

#[cfg(test)]
mod tests_of_reading {
    use serde_json::json;

    use super::*;

    const RUN_ID: &str = "run_01JABCDEFGHJKMNPQRSTVWXYZ0";
    const STREAM: &str = "2f1b3c4d-0000-4abc-8def-0123456789ab";

    fn entry(operation: &str, status: u64, fault: &str, body: &str) -> Value {
        json!({"operation": operation, "status": status, "fault": fault, "at": 1000, "duration_ms": 4.2, "body": body})
    }

    fn seen(entries: &[Value]) -> Writes {
        let mut writes = Writes::default();
        for each in entries {
            note(&mut writes, each);
        }
        writes
    }

    #[test]
    fn a_claim_and_a_step_are_told_from_what_was_written() {
        let claim = format!(r#"{{"Key":{{"pk":{{"S":"local#run#{RUN_ID}"}}}},":me":{{"S":"queue-consumer/{STREAM}/abc.0/1"}}}}"#);
        let step = format!(r#"[{{"pk":{{"S":"local#run#{RUN_ID}"}},"sk":{{"S":"step#000003"}}}}]"#);
        let writes = seen(&[entry("UpdateItem", 200, "", &claim), entry("TransactWriteItems", 200, "", &step)]);
        assert_eq!(writes.claims[RUN_ID], [Claim { at: 1005, stream: STREAM.into() }]);
        assert_eq!(writes.commits[&(RUN_ID.to_owned(), 3)], 1005);
        assert_eq!((writes.owner(RUN_ID, 1004), writes.owner(RUN_ID, 1005)), (None, Some(STREAM)));
    }

    #[test]
    fn a_write_counts_if_it_was_done_and_not_if_it_was_answered() {
        let step = format!(r#"{{"S":"local#run#{RUN_ID}"}} {{"S":"step#000001"}}"#);
        for (status, fault, is_done) in [(200, "", true), (500, "lost_reply/200", true), (200, "lost_reply/400", false), (400, "", false)] {
            let writes = seen(&[entry("TransactWriteItems", status, fault, &step)]);
            assert_eq!(writes.commits.len(), usize::from(is_done), "{status} {fault}");
            assert_eq!(writes.failed.len(), usize::from(!fault.is_empty()), "{status} {fault}");
        }
    }

    #[test]
    fn a_call_is_read_with_its_run_and_step() {
        let call = json!({"at": 5, "ended_at": 9, "key": format!("{RUN_ID}:3''"), "fault": "cut", "status": 200, "delivered": "part",
            "messages": [{"role": "user", "content": "why?"}]});
        let call = call_of(&call).unwrap();
        assert_eq!((call.run.as_str(), call.step, call.delivered), (RUN_ID, 3, false));
        assert_eq!(call.messages, [("user".to_owned(), "why?".to_owned())]);
    }
}
