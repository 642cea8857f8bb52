//! The one table that says it all, in Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::facts::Facts;
use crate::judge::{Promise, Verdict};
use crate::people::ANSWER;
use crate::plan::{Kind, Plan};

/// How often one promise's breaking is told in full.
const SHOWN: usize = 8;

/// What the harness did, for the head of the table.
#[derive(Debug)]
pub(crate) struct Done {
    /// As the developer gave them.
    pub(crate) seed: u64,
    /// Faults as they were carried out.
    pub(crate) injected: BTreeMap<Kind, u32>,
    /// How long things failed, and how long it took until all was quiet.
    pub(crate) failing: Duration,
    pub(crate) calming: Duration,
}

/// The report; its last line is the verdict.
pub(crate) fn report(done: &Done, plan: &Plan, facts: &Facts, verdict: &Verdict) -> String {
    let mut text = String::new();
    let mut row = |name: &str, number: String, wanted: &str| {
        let _infallible = writeln!(text, "| {name} | {number} | {wanted} |");
    };
    row("what", "number".into(), "must be");
    row("---", "---:".into(), "---:");
    let accepted: std::collections::BTreeSet<&str> = facts.requests.iter().flat_map(|request| request.runs()).collect();
    row("**runs accepted from callers**", accepted.len().to_string(), "");
    let completed = facts.runs.values().filter(|run| run.status == "completed").count();
    row("runs completed", completed.to_string(), "");
    row("of these dead in between, and retried", facts.retried.len().to_string(), "");
    let of_events = facts.runs.values().filter(|run| facts.events.iter().any(|event| run.prompt.contains(&event.ticket))).count();
    row("runs started by events", of_events.to_string(), "");
    let cancelled = facts.runs.values().filter(|run| run.status == "cancelled").count();
    row("runs cancelled, by their caller or a message that interrupts", cancelled.to_string(), "");
    let asked = facts.runs.values().filter(|run| run.steps.iter().any(|step| step.output.as_deref() == Some(ANSWER))).count();
    row("questions answered by a person", asked.to_string(), "");
    let in_turns: usize = facts.conversations.values().map(Vec::len).filter(|turns| *turns > 1).sum();
    row("turns in conversations of more than one", in_turns.to_string(), "");
    row("steps in journals", facts.runs.values().map(|run| run.steps.len()).sum::<usize>().to_string(), "");
    row("model calls", facts.calls.len().to_string(), "");
    let wanted: u32 = plan.counts.values().sum();
    row("**faults injected**", done.injected.values().sum::<u32>().to_string(), &wanted.to_string());
    for (kind, count) in &done.injected {
        row(kind.name(), count.to_string(), &plan.counts.get(kind).copied().unwrap_or(0).to_string());
    }
    row("**model calls beyond one per step**", verdict.repeated.values().sum::<u32>().to_string(), "");
    for (cause, count) in &verdict.repeated {
        row(cause.name(), count.to_string(), "");
    }
    for promise in Promise::ALL {
        let broken = verdict.violations.iter().filter(|violation| violation.promise == promise).count();
        row(&format!("**{}**", promise.broken()), broken.to_string(), "0");
    }
    let (failing, calming) = (done.failing.as_secs(), done.calming.as_secs());
    let _infallible = writeln!(text, "\nSeed {}; things failed for {failing} s, and all was quiet {calming} s after that.", done.seed);
    for promise in Promise::ALL {
        let broken: Vec<_> = verdict.violations.iter().filter(|violation| violation.promise == promise).collect();
        for violation in broken.iter().take(SHOWN) {
            let _infallible = writeln!(text, "- {}: `{}` {}", promise.broken(), violation.subject, violation.detail);
        }
        if broken.len() > SHOWN {
            let _infallible = writeln!(text, "- {}: … and {} more", promise.broken(), broken.len() - SHOWN);
        }
    }
    text
}
