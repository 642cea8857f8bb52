//! Asks the API what it has to say when all is quiet.

use std::collections::BTreeMap;

use serde_json::Value;
use tests::Stack;
use tests::client::{list, number, text};

use crate::facts::{DeadLetters, Run, Step, Turn};
use crate::time::millis;

/// Every run there is, accepted or not.
pub(crate) fn runs(stack: &Stack) -> BTreeMap<String, Run> {
    let shown = pages(stack, "/v1/runs", "runs");
    shown.iter().map(|run| text(run, "run_id")).map(|id| (id.clone(), run(stack, &id))).collect()
}

/// The runs in a state.
pub(crate) fn in_state(stack: &Stack, status: &str) -> Vec<Value> {
    pages(stack, &format!("/v1/runs?status={status}"), "runs")
}

/// The turns of each conversation that these runs are in.
pub(crate) fn conversations(stack: &Stack, runs: &BTreeMap<String, Run>) -> BTreeMap<String, Vec<Turn>> {
    let ids: std::collections::BTreeSet<&String> = runs.values().map(|run| &run.conversation).collect();
    let turn = |shown: &Value| Turn {
        run: text(shown, "run_id"),
        prompt: list(shown, "messages").last().map(|message| text(message, "content")).unwrap_or_default(),
        response: shown["response"].as_str().map(str::to_owned),
        interrupted: shown["status"] == "interrupted",
    };
    let turns = |id: &str| pages(stack, &format!("/v1/conversations/{id}"), "turns").iter().map(turn).collect();
    ids.into_iter().map(|id| (id.clone(), turns(id))).collect()
}

/// What queue, records and API say about the dead.
pub(crate) fn dead_letters(stack: &Stack, moment: &'static str) -> DeadLetters {
    let shown = stack.api.get("/v1/dlq?limit=1").must(200);
    DeadLetters {
        moment,
        on_queue: stack.dead_letters.depth(),
        dead: in_state(stack, "dead").len() as u64,
        counted: number(&shown, "count"),
        listed: pages(stack, "/v1/dlq", "entries").len() as u64,
    }
}

/// The ids of the dead.
pub(crate) fn dead(stack: &Stack) -> Vec<String> {
    pages(stack, "/v1/dlq", "entries").iter().map(|entry| text(entry, "run_id")).collect()
}

fn run(stack: &Stack, id: &str) -> Run {
    let shown = stack.run(id);
    let steps = pages(stack, &format!("/v1/runs/{id}/steps"), "steps");
    let step = |step: &Value| Step {
        index: u32::try_from(number(step, "index")).unwrap_or(u32::MAX),
        output: step["output"].as_str().map(str::to_owned),
    };
    Run {
        id: id.to_owned(),
        status: text(&shown, "status"),
        conversation: text(&shown, "conversation_id"),
        prompt: text(&shown, "prompt"),
        response: shown["response"].as_str().map(str::to_owned),
        ended_at: shown["ended_at"].as_str().and_then(millis),
        failures: list(&shown, "failures").iter().map(|failure| text(failure, "code")).collect(),
        steps: steps.iter().map(step).collect(),
    }
}

fn pages(stack: &Stack, path: &str, name: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let mark = if path.contains('?') { '&' } else { '?' };
        let page = stack.api.get(&format!("{path}{mark}limit=100{cursor}")).must(200);
        all.extend(list(&page, name).iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}
