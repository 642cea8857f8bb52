//! What must be true of records: of a run after each change, of a conversation after each change of one of its runs.

use shared::domain::failure::FailureCode;
use shared::domain::id::{ConversationId, RunId};
use shared::domain::run::{KEPT, Run, Transition, WORKER_LOST};
use shared::domain::state::{Command, RunState};
use shared::domain::step::Step;
use shared::domain::turn::TurnEnd;
use shared::domain::waiting::Waiting;
use shared::fakes::Tables;

use super::{Invariants, Shadow};

/// Reasons of transitions that are no failures: they give the attempt back.
const GIVEN_BACK: [&str; 5] = ["out_of_time", "question", "time", "provider_rate_limited", "no_provider"];

impl Invariants {
    pub(super) fn check_run(&self, tables: &Tables, id: RunId) {
        let Some(run) = tables.runs.get(&id) else { return };
        let archives = tables.archives.get(&id).map_or(&[][..], Vec::as_slice);
        let steps = tables.steps.get(&id).map_or(&[][..], Vec::as_slice);
        let trail: Vec<Transition> = archives.iter().flat_map(|archive| &archive.transitions).chain(&run.transitions).cloned().collect();
        let failures = archives.iter().map(|archive| archive.failures.len()).sum::<usize>() + run.failures.len();
        let mut seen = self.seen();
        let before = seen.runs.get(&id);
        self.check_record(run);
        self.check_trail(run, before, &trail);
        self.check_attempts(run, before);
        self.check_steps(run, before, steps);
        self.check(archives.iter().map(|archive| archive.index).eq(1..=run.archives), || format!("{id}: an archive is missing"));
        self.check(before.is_none_or(|before| before.failures <= failures), || format!("{id}: a failure was forgotten"));
        let is_kept = tables.conversations.values().any(|c| c.id == run.conversation && !c.is_being_deleted);
        if let (true, Some(end), Some(turn)) = (is_kept, TurnEnd::of(run), tables.turns.get(&(run.conversation, id))) {
            self.check(turn.ended == Some(end), || format!("{id} has ended, its turn says {:?}", turn.ended));
            let has_answer = turn.response.is_some() || turn.response_step.is_some();
            self.check((end == TurnEnd::Completed) == has_answer, || format!("{id} ended {end:?}, its turn has an answer: {has_answer}"));
        }
        let is_taken = before.is_some_and(|before| before.run.state == RunState::Running)
            && run.transitions.last().is_some_and(|last| last.reason == WORKER_LOST && last.by == "sweeper");
        if is_taken {
            self.check_is_lost(&seen, id);
        }
        let revived = trail.windows(2).filter(|pair| pair[0].to == RunState::Dead).count();
        let put_back = seen.put_back.get(&id).copied().unwrap_or(0);
        self.check(revived <= put_back as usize, || {
            format!("{id} came back from the dead {revived} times, and was put back {put_back} times")
        });
        let since = before.filter(|before| before.run.state == run.state).map_or_else(|| self.sim.now_ms(), |before| before.since);
        let was_in_line = before.is_some_and(|before| before.run.is_in_line());
        let line = seen.lines.entry(run.conversation).or_default();
        if run.is_in_line() && !was_in_line {
            line.push(id);
        } else if was_in_line && !run.is_in_line() {
            let is_first = line.first() == Some(&id);
            self.check(is_first || run.state == RunState::Cancelled, || format!("{id} goes on before those that came before it"));
            line.retain(|other| *other != id);
        }
        seen.runs.insert(id, Shadow { run: run.clone(), trail, steps: steps.to_vec(), failures, since });
    }

    fn check_record(&self, run: &Run) {
        let id = run.id;
        let is_running = run.state == RunState::Running;
        self.check(run.due_ms.is_some() != run.state.has_ended(), || format!("{id} is {:?} and due {:?}", run.state, run.due_ms));
        self.check(run.ended_at.is_some() == run.state.has_ended(), || format!("{id} is {:?}, ended {:?}", run.state, run.ended_at));
        self.check(is_running == run.lease_owner.is_some(), || format!("{id} is {:?}, its lease is {:?}'s", run.state, run.lease_owner));
        self.check(is_running == (run.lease_until_ms > 0), || format!("{id} is {:?}, leased until {}", run.state, run.lease_until_ms));
        self.check((run.state == RunState::Waiting) == run.waiting.is_some(), || {
            format!("{id} is {:?}, waits {:?}", run.state, run.waiting)
        });
        // More than one above is a worker that vanished before it could say so.
        self.check(run.attempts <= 2 * self.limits.max_attempts + 2, || format!("{id} has {} attempts", run.attempts));
        // Claims are added without looking; everything else makes room.
        let room = KEPT + self.limits.max_attempts as usize + 4;
        self.check(run.transitions.len() <= room, || format!("the record of {id} keeps {} transitions", run.transitions.len()));
        if let Some(end) = run.waiting.as_ref().and_then(Waiting::ends_at) {
            self.check(run.due_ms.is_some_and(|due| due <= end.as_millisecond()), || {
                format!("{id} waits until {end}, due {:?}", run.due_ms)
            });
        }
    }

    fn check_trail(&self, run: &Run, before: Option<&Shadow>, trail: &[Transition]) {
        let id = run.id;
        let known = before.map_or(&[][..], |before| &before.trail);
        self.check(trail.starts_with(known), || format!("the audit trail of {id} is not what it was and more: {known:?} is now {trail:?}"));
        for pair in trail.windows(2).skip(known.len().saturating_sub(1)) {
            let is_allowed = Command::ALL.iter().any(|command| pair[0].to.after(*command) == Some(pair[1].to));
            self.check(is_allowed, || format!("{id} went from {:?} to {:?}", pair[0].to, pair[1].to));
        }
        self.check(trail.last().is_some_and(|last| last.to == run.state), || {
            format!("{id} is {:?}, its audit trail says {trail:?}", run.state)
        });
        let Some(before) = before.map(|before| &before.run) else { return };
        let has_moved = (before.state, before.epoch, before.lease_no) != (run.state, run.epoch, run.lease_no);
        self.check(has_moved == (trail.len() > known.len()), || format!("{id} has moved: {has_moved}; its audit trail is {trail:?}"));
        self.check(run.epoch >= before.epoch && run.lease_no >= before.lease_no, || format!("{id} went back in time"));
        let is_final = matches!(before.state, RunState::Completed | RunState::Failed | RunState::Cancelled);
        self.check(!is_final || before.state == run.state, || format!("{id} was {:?} and is {:?}", before.state, run.state));
    }

    /// Only failures burn attempts, and only used up attempts kill.
    fn check_attempts(&self, run: &Run, before: Option<&Shadow>) {
        let (Some(before), Some(last)) = (before.map(|before| &before.run), run.transitions.last()) else { return };
        if run.state == RunState::Running && run.steps > before.steps {
            self.check(run.attempts == 1, || format!("{} has made progress, and is in attempt {}", run.id, run.attempts));
        }
        if before.state != RunState::Running || run.state == RunState::Running {
            return;
        }
        if GIVEN_BACK.contains(&last.reason.as_str()) {
            let expected = before.attempts.saturating_sub(1);
            self.check(run.attempts == expected, || format!("{} ({}) burns an attempt: {}", run.id, last.reason, run.attempts));
        }
        let is_uncertain = last.reason == FailureCode::UncertainToolCall.as_str();
        let may_die = is_uncertain || run.attempts >= self.limits.max_attempts;
        self.check(run.state != RunState::Dead || may_die, || format!("{} dies of {} in attempt {}", run.id, last.reason, run.attempts));
    }

    fn check_steps(&self, run: &Run, before: Option<&Shadow>, steps: &[Step]) {
        let id = run.id;
        let known = before.map_or(&[][..], |before| &before.steps);
        self.check(steps.starts_with(known), || format!("a finished step of {id} was changed"));
        self.check(steps.iter().map(|step| step.index).eq(1..=run.steps), || {
            format!("{id} counts {} steps, its journal {}", run.steps, steps.len())
        });
    }

    pub(super) fn check_conversation(&self, tables: &Tables, id: ConversationId) {
        let Some(conversation) = tables.conversations.get(&id) else { return };
        let runs = || tables.runs.values().filter(|run| run.conversation == id && !run.state.has_ended());
        let active: Vec<RunId> = runs().filter(|run| !run.is_in_line()).map(|run| run.id).collect();
        let in_line = runs().filter(|run| run.is_in_line()).count();
        self.check(active.len() <= 1, || format!("at the same time it is the turn of {active:?} in {id}"));
        self.check(active.first() == conversation.active_run.as_ref(), || {
            format!("it is the turn of {active:?} in {id}, which says {:?}; {in_line} wait", conversation.active_run)
        });
        self.check(in_line == 0 || !active.is_empty(), || format!("{in_line} wait in {id}, and it is nobody's turn"));
        let really: Vec<RunId> =
            conversation.line.iter().filter(|run| tables.runs.get(run).is_some_and(Run::is_in_line)).copied().collect();
        let seen = self.seen();
        let arrived = seen.lines.get(&id).cloned().unwrap_or_default();
        self.check(really == arrived, || format!("the line of {id} is {really:?}, and they came as {arrived:?}"));
    }
}
