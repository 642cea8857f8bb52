//! What callers were promised, and what must have become of it in the end.

use std::collections::{BTreeMap, BTreeSet};

use shared::domain::event::{Event, MatchOutcome};
use shared::domain::id::{ConversationId, RunId};
use shared::domain::run::{Transition, WORKER_LOST};
use shared::domain::state::RunState;
use shared::domain::step::StepBody;
use shared::domain::task::Task;
use shared::operate::Erasure;

use super::Invariants;

/// How long, once no more faults happen, a run may be due without anybody's looking, in milliseconds: two sweepers each minute,
/// clocks that differ, and a worker in between.
const LOOKED_AT_WITHIN: i64 = 180_000;

impl Invariants {
    /// When an operator puts a run back.
    pub(crate) fn put_back(&self, run: RunId) {
        *self.seen().put_back.entry(run).or_default() += 1;
    }

    /// When a dead letter is moved back.
    pub(crate) fn moved_back(&self, body: &str) {
        if let Ok(task) = Task::from_body(body) {
            self.put_back(task.run);
        }
    }

    /// When a caller is told that its run is accepted.
    pub(crate) fn accepted(&self, run: RunId, key: Option<u64>) {
        self.sim.note(|| format!("accepted: {run}, key {key:?}"));
        self.promised(run);
        self.stands_for(key, &run.to_string());
    }

    /// When a publisher is told that its event is recorded.
    pub(crate) fn published(&self, event: &Event, key: Option<u64>) {
        self.sim.note(|| format!("published: {}, key {key:?}", event.id));
        event.matches.iter().filter_map(|matched| matched.run_id).for_each(|run| self.promised(run));
        self.stands_for(key, &event.id.to_string());
    }

    fn promised(&self, run: RunId) {
        let mut seen = self.seen();
        self.check(seen.erased.contains(&run) || self.store.get(run).is_some(), || format!("{run} is accepted and not recorded"));
        seen.accepted.insert(run);
    }

    fn stands_for(&self, key: Option<u64>, what: &str) {
        let Some(key) = key else { return };
        let mut seen = self.seen();
        let known = seen.by_key.entry(key).or_insert_with(|| what.to_owned());
        self.check(known == what, || format!("key {key} stands for {known} and for {what}"));
    }

    /// When a human is told that the answer is taken.
    pub(crate) fn answer_taken(&self, run: RunId, text: &str) {
        let is_there = self.store.journal_of(run).iter().any(|step| matches!(&step.body, StepBody::Tool(tool) if tool.output == text));
        self.check(is_there || self.seen().erased.contains(&run), || format!("an answer to {run} is taken and not recorded: {text}"));
    }

    /// When an operator is told that a run is cancelled.
    pub(crate) fn cancelled(&self, run: RunId) {
        let state = self.store.get(run).map(|run| run.state);
        self.check(state.is_none_or(|state| state == RunState::Cancelled), || format!("{run} was cancelled and is {state:?}"));
    }

    /// When a conversation is deleted for good.
    pub(crate) fn deleted(&self, id: ConversationId) {
        self.store.with_tables(|tables| {
            let left = tables.runs.values().filter(|run| run.conversation == id).map(|run| run.id).collect::<Vec<_>>();
            self.check(left.is_empty(), || format!("{id} is deleted, and {left:?} are left"));
            let turns = tables.turns.keys().filter(|(conversation, _)| *conversation == id).count();
            self.check(turns == 0, || format!("{id} is deleted, and {turns} turns are left"));
        });
    }

    /// Before a run or conversation is removed for good.
    pub(crate) fn erasing(&self, what: Erasure) {
        if let Erasure::Run(run) = what {
            self.seen().erased.insert(run);
        }
    }

    /// What is still to happen, once no more faults do; `None` when all is settled.
    pub(crate) fn unsettled(&self, dead_letters: &[String], tasks: &[String]) -> Option<String> {
        self.store.with_tables(|tables| {
            if let Some(run) = tables.runs.values().find(|run| !run.state.has_ended()) {
                return Some(format!("{} is still {:?}", run.id, run.state));
            }
            if !tasks.is_empty() {
                return Some(format!("messages are left: {tasks:?}"));
            }
            for run in tables.runs.values() {
                let letters = dead_letters.iter().filter(|body| Task::from_body(body).is_ok_and(|task| task.run == run.id)).count();
                let expected = usize::from(run.state == RunState::Dead);
                if letters != expected {
                    return Some(format!("{} is {:?} and has {letters} dead letters", run.id, run.state));
                }
            }
            None
        })
    }

    /// The last word: nothing that was accepted is lost.
    pub(crate) fn at_the_end(&self, keyed: &BTreeSet<u64>) {
        let seen = self.seen();
        self.store.with_tables(|tables| {
            for run in &seen.accepted {
                self.check(tables.runs.contains_key(run) || seen.erased.contains(run), || format!("{run} was accepted and is lost"));
            }
            self.check_events(tables.events.values());
            let mut by_request: BTreeMap<u64, usize> = BTreeMap::new();
            for event in tables.runs.values().filter(|run| run.trigger.is_none()).filter_map(|run| tables.events.get(&run.event)) {
                let request = event.agent_input().ok().and_then(|input| input.prompt.rsplit(' ').next()?.parse().ok()).unwrap_or(0);
                *by_request.entry(request).or_default() += 1;
            }
            for request in keyed {
                let runs = by_request.get(request).copied().unwrap_or(0);
                self.check(runs <= 1, || format!("request {request} had a key and started {runs} runs"));
            }
        });
    }

    /// Where no fault has struck, nobody is lost or waited for in vain, and no question is asked twice but one that was cut because its
    /// caller had to go.
    pub(crate) fn by_the_book(&self) {
        let seen = self.seen();
        for (run, shadow) in &seen.runs {
            let reasons: Vec<&str> = shadow.trail.iter().map(|transition| transition.reason.as_str()).collect();
            let is_plain = !reasons.iter().any(|reason| [WORKER_LOST, "not_taken_up"].contains(reason));
            self.check(is_plain, || format!("nothing was wrong with {run}, and yet: {reasons:?}"));
            let cuts = reasons.iter().filter(|reason| **reason == "out_of_time").count();
            let again = seen.asked.iter().filter(|((of, _), times)| of == run && **times > 1).count();
            self.check(again <= cuts, || format!("nothing was wrong with {run}, and {again} of its questions were asked again"));
        }
    }

    /// An event with an id of its own is recorded once; a ticket is looked at once.
    fn check_events<'a>(&self, events: impl Iterator<Item = &'a Event>) {
        let (mut ids, mut tickets) = (BTreeSet::new(), BTreeSet::new());
        for event in events {
            let is_new = event.client_id.as_ref().is_none_or(|id| ids.insert(id));
            self.check(is_new, || format!("event {:?} is recorded twice", event.client_id));
            for matched in event.matches.iter().filter(|matched| matched.trigger == "triage-ticket") {
                let ticket = event.payload["ticket"]["id"].to_string();
                let is_first = matched.outcome != MatchOutcome::Started || tickets.insert(ticket.clone());
                self.check(is_first, || format!("ticket {ticket} is looked at twice"));
            }
        }
    }

    /// Whether somebody has looked at every run that was due, now that no more faults happen.
    pub(crate) fn check_attended(&self) {
        let now = self.sim.now_ms();
        self.store.with_tables(|tables| {
            for run in tables.runs.values() {
                let late = run.due_ms.map_or(0, |due| now - due);
                self.check(late < LOOKED_AT_WITHIN, || format!("{} is {:?}, and nobody has looked at it for {late} ms", run.id, run.state));
            }
        });
    }

    /// The dead runs, with how often they came back so far.
    pub(crate) fn dead(&self) -> Vec<(RunId, usize)> {
        let seen = self.seen();
        let dead = seen.runs.iter().filter(|(id, shadow)| shadow.run.state == RunState::Dead && self.store.get(**id).is_some());
        dead.map(|(id, shadow)| (*id, returns(&shadow.trail))).collect()
    }

    /// After all dead letters were moved back and no fault has happened: each of these runs has heard of it.
    pub(crate) fn check_woken(&self, dead: &[(RunId, usize)]) {
        let seen = self.seen();
        for (run, before) in dead {
            let now = seen.runs.get(run).map_or(0, |shadow| returns(&shadow.trail));
            self.check(now > *before, || format!("the dead letter of {run} was moved back, and it is as dead as before"));
        }
    }

    /// How the runs ended, for the summary.
    pub(crate) fn ends(&self) -> Vec<RunState> {
        self.store.with_tables(|tables| tables.runs.values().map(|run| run.state).collect())
    }
}

fn returns(trail: &[Transition]) -> usize {
    trail.windows(2).filter(|pair| pair[0].to == RunState::Dead).count()
}
