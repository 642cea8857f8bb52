//! Each promise, broken once: a judge that cannot say so judges nothing.

use std::collections::BTreeMap;

use crate::causes::Cause;
use crate::events::Published;
use crate::facts::{Claim, DeadLetters, Facts, Hurt, ModelCall, Run, Step, Turn};
use crate::judge::{Promise, judge};
use crate::people::Cancel;
use crate::plan::Kind;
use crate::work::Request;

const RUN: &str = "run_1";
const NEXT: &str = "run_2";

/// Two runs of one conversation, one after the other, as all is well.
fn facts() -> Facts {
    let mut facts = Facts::default();
    for (run, at) in [(RUN, 1_000), (NEXT, 2_000)] {
        let prompt = format!("echo {run}");
        let response = Some(format!("You said: {prompt}"));
        facts.runs.insert(
            run.into(),
            Run {
                id: run.into(),
                status: "completed".into(),
                conversation: "conv_1".into(),
                prompt: prompt.clone(),
                response: response.clone(),
                ended_at: Some(at + 300),
                failures: Vec::new(),
                steps: vec![
                    Step { index: 1, output: None },
                    Step { index: 2, output: Some("noon".into()) },
                    Step { index: 3, output: None },
                ],
            },
        );
        facts.requests.push(Request {
            key: format!("key of {run}"),
            prompt: prompt.clone(),
            sent_at: at - 100,
            accepted_at: Some(at - 50),
            answers: vec![(502, None), (202, Some(run.into()))],
            ..Request::default()
        });
        facts.conversations.entry("conv_1".into()).or_default().push(Turn { run: run.into(), prompt, response, interrupted: false });
        facts.writes.claims.insert(run.into(), vec![Claim { at: at - 10, stream: format!("worker of {run}") }]);
        for step in [1, 2, 3] {
            facts.writes.commits.insert((run.into(), step), at + 100 * i64::from(step));
        }
        facts.calls.extend([call(&facts, run, 1, at), call(&facts, run, 3, at + 220)]);
    }
    facts.dead_letters.push(DeadLetters { moment: "then", ..DeadLetters::default() });
    facts
}

/// A call as the engine makes it.
fn call(facts: &Facts, run: &str, step: u32, at: i64) -> ModelCall {
    let said = |role: &str, text: &str| (role.to_owned(), text.to_owned());
    let mut messages = Vec::new();
    if run == NEXT {
        messages.extend([said("user", "echo run_1"), said("assistant", "You said: echo run_1")]);
    }
    messages.push(said("user", &facts.runs[run].prompt));
    if step > 1 {
        messages.extend([said("assistant", ""), said("tool", "noon")]);
    }
    ModelCall { at, ended_at: at + 50, run: run.into(), step, fault: String::new(), status: 200, delivered: true, messages }
}

/// The promises that a change breaks, and why calls were made again.
fn after(change: impl FnOnce(&mut Facts)) -> (Vec<Promise>, BTreeMap<Cause, u32>) {
    let mut facts = facts();
    change(&mut facts);
    let verdict = judge(&facts);
    (verdict.violations.iter().map(|violation| violation.promise).collect(), verdict.repeated)
}

fn broken_by(change: impl FnOnce(&mut Facts)) -> Vec<Promise> {
    after(change).0
}

#[test]
fn when_all_is_well_no_promise_is_broken() {
    assert_eq!(after(|_| {}), (Vec::new(), BTreeMap::new()));
}

#[test]
fn a_run_that_was_accepted_and_is_gone_is_lost() {
    assert!(broken_by(|facts| drop(facts.runs.remove(NEXT))).contains(&Promise::NothingLost));
}

#[test]
fn a_run_that_was_accepted_and_cancelled_by_nobody_is_lost() {
    assert_eq!(broken_by(|facts| facts.runs.get_mut(RUN).unwrap().status = "cancelled".into()), [Promise::NothingLost]);
}

#[test]
fn a_run_may_be_cancelled_by_its_caller_and_by_a_message_that_interrupts() {
    let cancelled = |facts: &mut Facts| facts.runs.get_mut(NEXT).unwrap().status = "cancelled".into();
    let by_caller = |facts: &mut Facts| {
        cancelled(facts);
        facts.requests[1].cancel = Cancel::Done(3_000);
    };
    assert_eq!(broken_by(by_caller), []);
    let by_message = |facts: &mut Facts| {
        cancelled(facts);
        for request in &mut facts.requests {
            request.conversation = Some("conv_1".into());
        }
        facts.requests[0].strategy = Some("interrupt");
    };
    assert_eq!(broken_by(by_message), []);
}

#[test]
fn work_after_a_cancellation_is_told() {
    let done = |at| {
        move |facts: &mut Facts| {
            facts.runs.get_mut(NEXT).unwrap().status = "cancelled".into();
            facts.requests[1].cancel = Cancel::Done(at);
        }
    };
    // Its first step was written at 2100 and its last at 2300; its last call was made at 2220.
    assert_eq!(broken_by(done(1_250)), [Promise::Cancelled], "one step");
    assert_eq!(broken_by(done(-1_100)), [Promise::Cancelled; 6], "a claim, three steps, two calls");
    let goes_on = |facts: &mut Facts| facts.requests[1].cancel = Cancel::Done(9_000);
    assert_eq!(broken_by(goes_on), [Promise::Cancelled], "it completed all the same");
}

#[test]
fn a_run_that_does_not_end_is_stuck() {
    for status in ["queued", "running", "waiting", "dead"] {
        assert_eq!(broken_by(|facts| facts.runs.get_mut(RUN).unwrap().status = status.into()), [Promise::NothingStuck], "{status}");
    }
}

#[test]
fn an_answer_to_another_question_is_wrong() {
    assert_eq!(broken_by(|facts| facts.runs.get_mut(RUN).unwrap().response = Some("noon".into())), [Promise::RightAnswers]);
}

#[test]
fn a_call_for_a_step_that_is_in_the_journal_repeats_it() {
    let again = |facts: &mut Facts| facts.calls.push(call(facts, RUN, 1, 1_150));
    assert_eq!(broken_by(again), [Promise::StepsOnce]);
}

#[test]
fn a_step_that_changed_after_the_model_was_told_of_it_is_a_step_done_again() {
    let changed = |facts: &mut Facts| facts.runs.get_mut(RUN).unwrap().steps[1].output = Some("midnight".into());
    assert_eq!(broken_by(changed), [Promise::StepsOnce]);
}

#[test]
fn a_journal_with_a_gap_or_a_step_that_nobody_wrote_is_no_journal() {
    assert!(broken_by(|facts| drop(facts.runs.get_mut(RUN).unwrap().steps.remove(0))).contains(&Promise::StepsOnce));
    assert_eq!(broken_by(|facts| facts.writes.commits.clear()), [Promise::StepsOnce; 4]);
}

/// One more call for the first step, a little earlier, that is as `change` makes it.
fn repeated(change: impl FnOnce(&mut Facts, &mut ModelCall)) -> (Vec<Promise>, BTreeMap<Cause, u32>) {
    after(|facts| {
        let mut earlier = call(facts, RUN, 1, 995);
        change(facts, &mut earlier);
        facts.calls.insert(0, earlier);
    })
}

#[test]
fn a_call_that_is_repeated_has_a_cause() {
    let because = |cause: Cause| (Vec::new(), BTreeMap::from([(cause, 1)]));
    assert_eq!(repeated(|_, call| call.fault = "cut".into()), because(Cause::Cut));
    assert_eq!(repeated(|_, call| call.status = 500), because(Cause::Error));
    assert_eq!(repeated(|_, call| call.delivered = false), because(Cause::HungUp));
    let hurt = |kind, until| Hurt { kind, stream: "worker of run_1".into(), at: 996, until };
    assert_eq!(repeated(|facts, _| facts.hurts.push(hurt(Kind::KillConsumer, 996))), because(Cause::Killed));
    assert_eq!(repeated(|facts, _| facts.hurts.push(hurt(Kind::PauseApi, 9_000))), because(Cause::Stopped));
}

#[test]
fn a_call_whose_answer_arrived_is_not_repeated_for_nothing() {
    let unexplained = (vec![Promise::CallsExplained], BTreeMap::from([(Cause::Unknown, 1)]));
    assert_eq!(repeated(|_, _| {}), unexplained);
    // The death of another worker explains nothing.
    let other = Hurt { kind: Kind::KillConsumer, stream: "worker of run_2".into(), at: 996, until: 996 };
    assert_eq!(repeated(|facts, _| facts.hurts.push(other)), unexplained);
}

#[test]
fn a_turn_that_does_not_know_the_answer_before_it_is_out_of_order() {
    let forgets = |facts: &mut Facts| {
        for call in facts.calls.iter_mut().filter(|call| call.run == NEXT) {
            call.messages.drain(..2);
        }
    };
    assert_eq!(broken_by(forgets), [Promise::Turns]);
}

#[test]
fn a_turn_that_begins_before_the_one_before_it_ends_is_out_of_order() {
    let at_once = |facts: &mut Facts| facts.runs.get_mut(RUN).unwrap().ended_at = Some(2_100);
    assert!(broken_by(at_once).contains(&Promise::Turns));
}

#[test]
fn a_turn_that_overtakes_an_earlier_one_is_out_of_order() {
    assert!(broken_by(|facts| facts.conversations.get_mut("conv_1").unwrap().reverse()).contains(&Promise::Turns));
}

#[test]
fn one_key_is_one_run() {
    let two = |facts: &mut Facts| facts.requests[0].answers.push((202, Some(NEXT.into())));
    assert_eq!(broken_by(two), [Promise::OneRunPerKey]);
    // Also when no answer tells of the other run.
    let hidden = |facts: &mut Facts| facts.runs.get_mut(NEXT).unwrap().prompt = "echo run_1".into();
    assert!(broken_by(hidden).contains(&Promise::OneRunPerKey));
}

#[test]
fn the_events_about_one_ticket_are_one_run() {
    let sent = |id: &str, event: &str, ticket: &str| Published {
        id: id.into(),
        ticket: ticket.into(),
        event: Some(event.into()),
        ..Published::default()
    };
    assert_eq!(broken_by(|facts| facts.events.extend([sent("a", "evt_1", RUN), sent("a", "evt_1", RUN), sent("b", "evt_2", RUN)])), []);
    assert_eq!(broken_by(|facts| facts.events.extend([sent("a", "evt_1", RUN), sent("a", "evt_2", RUN)])), [Promise::OneRunPerKey]);
    assert_eq!(broken_by(|facts| facts.events.push(sent("a", "evt_1", "echo"))), [Promise::OneRunPerKey], "two runs are about it");
    assert_eq!(broken_by(|facts| facts.events.push(sent("a", "evt_1", "T-9"))), [Promise::NothingLost]);
    assert_eq!(broken_by(|facts| facts.events.push(Published::default())), [Promise::Accepted]);
}

#[test]
fn a_request_that_is_never_accepted_is_told() {
    assert_eq!(broken_by(|facts| facts.requests[0].accepted_at = None), [Promise::Accepted]);
}

#[test]
fn a_dead_letter_too_many_is_told() {
    assert_eq!(broken_by(|facts| facts.dead_letters[0].on_queue = 1), [Promise::DeadAgree]);
    assert_eq!(broken_by(|facts| facts.dead_letters[0].dead = 1), [Promise::DeadAgree]);
}
