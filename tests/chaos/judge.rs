//! Judges what is known: each promise is a function from the facts to what broke it. Nothing here looks at the system.

use std::collections::{BTreeMap, BTreeSet};

use crate::causes::{Cause, cause};
use crate::facts::{Facts, ModelCall, Run};
use crate::people::Cancel;
use crate::work::Request;

/// How the offline model begins to answer what it does not know: the ticket of an event, for one.
const UNKNOWN: &str = "This answer comes from the offline demo model";
/// What two times may differ by that were taken at two ends of a busy machine, in milliseconds.
const SKEW: i64 = 1_000;
/// By then a worker has heard that its run was cancelled.
const HEARD: i64 = 2_000;

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Which one: a row of the table.
    pub(crate) promise: Promise,
    /// Where to begin to look: a run, a conversation or a key.
    pub(crate) subject: String,
    /// What is wrong.
    pub(crate) detail: String,
}

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Promise {
    /// A 2xx answer means that the run is on record, and comes to its own end.
    NothingLost,
    /// Every run ends.
    NothingStuck,
    /// A run that is cancelled stays so, and nobody works on it any more.
    Cancelled,
    /// What was answered is what the model said.
    RightAnswers,
    /// A step in the journal is never done again, nor changed.
    StepsOnce,
    /// A model call is made twice only if its answer was never received.
    CallsExplained,
    /// The runs of a conversation take turns in order of arrival and see each other's answers.
    Turns,
    /// One Idempotency-Key, one run.
    OneRunPerKey,
    /// Callers are refused only as promised.
    Accepted,
    /// Queue, records and API agree about the dead.
    DeadAgree,
}

impl Promise {
    /// All, in the order of the table.
    pub(crate) const ALL: [Self; 10] = [
        Self::NothingLost,
        Self::NothingStuck,
        Self::Cancelled,
        Self::RightAnswers,
        Self::StepsOnce,
        Self::CallsExplained,
        Self::Turns,
        Self::OneRunPerKey,
        Self::Accepted,
        Self::DeadAgree,
    ];

    /// What is counted when it is broken.
    pub(crate) const fn broken(self) -> &'static str {
        match self {
            Self::NothingLost => "runs lost",
            Self::NothingStuck => "runs stuck",
            Self::Cancelled => "work after a cancellation",
            Self::RightAnswers => "wrong answers",
            Self::StepsOnce => "finished steps repeated",
            Self::CallsExplained => "model calls repeated without a cause",
            Self::Turns => "conversation order violations",
            Self::OneRunPerKey => "keys or events with more than one run",
            Self::Accepted => "requests refused for no good reason",
            Self::DeadAgree => "disagreements about the dead",
        }
    }
}

/// What came out.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Broken promises.
    pub(crate) violations: Vec<Violation>,
    /// Model calls beyond one per step, by their cause.
    pub(crate) repeated: BTreeMap<Cause, u32>,
}

impl Verdict {
    fn broken(&mut self, promise: Promise, subject: &str, detail: impl Into<String>) {
        self.violations.push(Violation { promise, subject: subject.to_owned(), detail: detail.into() });
    }
}

/// Judges everything.
pub(crate) fn judge(facts: &Facts) -> Verdict {
    let mut verdict = Verdict::default();
    requests(facts, &mut verdict);
    events(facts, &mut verdict);
    runs(facts, &mut verdict);
    calls(facts, &mut verdict);
    crate::turns::judge(facts, &mut |subject, detail| verdict.broken(Promise::Turns, subject, detail));
    dead(facts, &mut verdict);
    verdict
}

fn requests(facts: &Facts, verdict: &mut Verdict) {
    let mut of_prompt: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for run in facts.runs.values() {
        of_prompt.entry(&run.prompt).or_default().push(&run.id);
    }
    let mut of_key: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for request in &facts.requests {
        let runs = request.runs();
        of_key.entry(&request.key).or_default().extend(&runs);
        for run in runs {
            match facts.runs.get(run).map(|run| run.status.as_str()) {
                None => verdict.broken(Promise::NothingLost, run, "accepted, but there is no record"),
                Some("failed") => verdict.broken(Promise::NothingLost, run, "accepted, and failed for no good reason"),
                Some("cancelled") if !may_be_cancelled(facts, request) => {
                    verdict.broken(Promise::NothingLost, run, "accepted, and cancelled by nobody");
                }
                Some(_) => {}
            }
            if let Cancel::Done(at) = request.cancel {
                cancelled(facts, run, at, verdict);
            }
        }
        if request.accepted_at.is_none() {
            let statuses: Vec<u16> = request.answers.iter().map(|(status, _)| *status).collect();
            verdict.broken(Promise::Accepted, &request.key, format!("answered {statuses:?}, at last: {}", request.refusal));
        }
        let started = of_prompt.get(request.prompt.as_str()).map_or(0, Vec::len);
        if started > 1 {
            verdict.broken(
                Promise::OneRunPerKey,
                &request.key,
                format!("started {started} runs: {:?}", of_prompt[request.prompt.as_str()]),
            );
            of_prompt.remove(request.prompt.as_str());
        }
    }
    for (key, mut runs) in of_key {
        runs.sort_unstable();
        runs.dedup();
        if runs.len() > 1 {
            verdict.broken(Promise::OneRunPerKey, key, format!("was answered with {runs:?}"));
        }
    }
}

/// One event is one event, however often it is sent; and of all events about one ticket comes one run.
fn events(facts: &Facts, verdict: &mut Verdict) {
    let mut ids: BTreeMap<&str, &str> = BTreeMap::new();
    for event in &facts.events {
        let Some(recorded) = &event.event else {
            verdict.broken(Promise::Accepted, &event.id, format!("the event was never accepted, at last: {}", event.refusal));
            continue;
        };
        if *ids.entry(&event.id).or_insert(recorded) != recorded {
            verdict.broken(Promise::OneRunPerKey, &event.id, format!("one event is {} and {recorded}", ids[event.id.as_str()]));
        }
        for run in event.runs.iter().filter(|run| !facts.runs.contains_key(*run)) {
            verdict.broken(Promise::NothingLost, run, "started by an event, but there is no record");
        }
    }
    let accepted = facts.events.iter().filter(|event| event.event.is_some());
    for ticket in accepted.map(|event| event.ticket.as_str()).collect::<BTreeSet<_>>() {
        let runs: Vec<&str> = facts.runs.values().filter(|run| run.prompt.contains(ticket)).map(|run| run.id.as_str()).collect();
        match runs.len() {
            1 => {}
            0 => verdict.broken(Promise::NothingLost, ticket, "no run came of its events"),
            _ => verdict.broken(Promise::OneRunPerKey, ticket, format!("the runs {runs:?} came of its events")),
        }
    }
}

/// Its caller took it back, or another message of its conversation took its place.
fn may_be_cancelled(facts: &Facts, request: &Request) -> bool {
    let ends_others = |other: &&Request| other.strategy.is_some() && other.conversation == request.conversation;
    request.cancel != Cancel::No || facts.requests.iter().filter(ends_others).any(|other| other.prompt != request.prompt)
}

/// Nothing is written for a run after its cancellation was confirmed, and no call is begun once its worker must have heard of it.
fn cancelled(facts: &Facts, run: &str, at: i64, verdict: &mut Verdict) {
    if let Some(found) = facts.runs.get(run).filter(|found| found.status != "cancelled") {
        verdict.broken(Promise::Cancelled, run, format!("it was confirmed, and the run is {}", found.status));
    }
    let claims = facts.writes.claims.get(run).into_iter().flatten().map(|claim| ("claimed", claim.at));
    let commits = facts.writes.commits.iter().filter(|((of, _), _)| of == run).map(|(_, at)| ("written a step for", *at));
    let calls = facts.calls.iter().filter(|call| call.run == run).map(|call| ("asked for", call.at - HEARD));
    for (what, when) in claims.chain(commits).chain(calls) {
        if when > at + SKEW {
            verdict.broken(Promise::Cancelled, run, format!("{what} {} ms after the cancellation was confirmed", when - at));
        }
    }
}

fn runs(facts: &Facts, verdict: &mut Verdict) {
    for run in facts.runs.values() {
        match run.status.as_str() {
            "completed" => {
                // What the offline model says to an echo, and to everything that it does not know.
                let wanted = if run.prompt.starts_with("echo") { format!("You said: {}", run.prompt) } else { UNKNOWN.to_owned() };
                if !run.response.as_deref().is_some_and(|response| response.starts_with(&wanted)) {
                    verdict.broken(Promise::RightAnswers, &run.id, format!("answered {:?} to {:?}", run.response, run.prompt));
                }
            }
            "cancelled" | "failed" => {}
            status => {
                let failures = run.failures.join(", ");
                verdict.broken(Promise::NothingStuck, &run.id, format!("still {status}, after the failures [{failures}]"));
            }
        }
        let places: Vec<u32> = run.steps.iter().map(|step| step.index).collect();
        if !places.iter().copied().eq(1..=u32::try_from(places.len()).unwrap_or(u32::MAX)) {
            verdict.broken(Promise::StepsOnce, &run.id, format!("the journal has the steps {places:?}"));
        }
    }
}

fn calls(facts: &Facts, verdict: &mut Verdict) {
    let mut of_step: BTreeMap<(&str, u32), Vec<&ModelCall>> = BTreeMap::new();
    for call in &facts.calls {
        of_step.entry((&call.run, call.step)).or_default().push(call);
    }
    for ((run, step), calls) in of_step {
        let committed = facts.writes.commits.get(&(run.to_owned(), step)).copied();
        let (before, after): (Vec<&ModelCall>, Vec<&ModelCall>) =
            calls.into_iter().partition(|call| committed.is_none_or(|committed| call.at <= committed));
        for call in after {
            // Between its check of the lease and its call a worker may be stopped for any time: nothing can prevent that.
            if facts.hurts.iter().any(|hurt| hurt.until > hurt.at && (0..1_500).contains(&(call.at - hurt.until))) {
                *verdict.repeated.entry(Cause::WokeUpLate).or_default() += 1;
                continue;
            }
            let late = call.at - committed.unwrap_or(call.at);
            verdict.broken(Promise::StepsOnce, run, format!("step {step} was asked for {late} ms after it was in the journal"));
        }
        for pair in before.windows(2) {
            let cause = cause(facts, pair[0], pair[1]);
            if cause == Cause::Unknown {
                let (call, next) = (pair[0], pair[1]);
                let detail = format!("step {step}: answered at {}, asked for again {} ms later", call.ended_at, next.at - call.ended_at);
                verdict.broken(Promise::CallsExplained, run, detail);
            }
            *verdict.repeated.entry(cause).or_default() += 1;
        }
        if let Some(record) = facts.runs.get(run) {
            for call in before {
                saw_the_journal(record, call, verdict);
            }
            if committed.is_none() && record.steps.iter().any(|found| found.index == step) {
                verdict.broken(Promise::StepsOnce, run, format!("step {step} is in the journal, but nobody was seen to write it"));
            }
        }
    }
}

/// What the tools said, as the model was told it, is what the journal has: no step was changed behind its back.
fn saw_the_journal(run: &Run, call: &ModelCall, verdict: &mut Verdict) {
    let turn = call.messages.iter().rposition(|(role, _)| role == "user").unwrap_or(0);
    let told: Vec<&str> = call.messages[turn..].iter().filter(|(role, _)| role == "tool").map(|(_, text)| text.as_str()).collect();
    let steps = run.steps.iter().filter(|step| step.index < call.step);
    let journal: Vec<&str> = steps.filter_map(|step| step.output.as_deref()).collect();
    if told != journal {
        verdict.broken(Promise::StepsOnce, &run.id, format!("step {} was asked for with {told:?}, the journal has {journal:?}", call.step));
    }
}

fn dead(facts: &Facts, verdict: &mut Verdict) {
    for seen in &facts.dead_letters {
        if [seen.on_queue, seen.counted, seen.listed] != [seen.dead; 3] {
            verdict.broken(Promise::DeadAgree, seen.moment, format!("{seen:?}"));
        }
    }
}
