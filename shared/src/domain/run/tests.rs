use proptest::prelude::*;

use super::*;
use crate::fakes::a_run;

fn cause(second: i64) -> Cause<'static> {
    Cause { at: Timestamp::from_second(second).unwrap(), by: "worker", reason: "why", patience: Duration::from_secs(75) }
}

fn run() -> Run {
    a_run(&"acme".parse().unwrap(), Timestamp::UNIX_EPOCH)
}

#[test]
fn a_command_that_does_not_apply_changes_nothing() {
    for state in RunState::ALL {
        for command in Command::ALL {
            let before = Run { state, ..run() };
            let mut after = before.clone();
            match state.after(command) {
                None => {
                    assert_eq!(after.apply(command, cause(1)), Err(state));
                    assert_eq!(after, before);
                }
                Some(next) => {
                    after.apply(command, cause(1)).unwrap();
                    assert_eq!((after.state, after.transitions.len()), (next, 2), "{state:?} {command:?}");
                }
            }
        }
    }
}

proptest! {
    /// What holds after any sequence of commands: who has ended is due no more, who has not is; the epoch counts the enqueues; the
    /// trail has every transition, in order, each allowed by the table.
    #[test]
    fn a_record_is_whole_after_any_commands(script in prop::collection::vec(0..Command::ALL.len(), 0..60)) {
        let (mut run, mut enqueues, mut trail) = (run(), 1, vec![]);
        let mut states = vec![run.state];
        for (second, index) in script.into_iter().enumerate() {
            let command = Command::ALL[index];
            let (before, lease_no) = (run.clone(), run.lease_no);
            if run.apply(command, cause(i64::try_from(second).unwrap())).is_ok() {
                if command == Command::Claim {
                    run.lease_to("me".into(), Timestamp::MAX, None);
                }
                enqueues += u64::from(command.is_enqueue());
                states.push(run.state);
                trail.extend(run.spill());
            } else {
                prop_assert_eq!(&run, &before);
            }
            prop_assert_eq!(run.epoch, enqueues);
            prop_assert_eq!(run.due_ms.is_none(), run.state.has_ended());
            prop_assert_eq!(run.ended_at.is_some(), run.state.has_ended());
            prop_assert_eq!(run.lease_owner.is_some(), run.state == RunState::Running);
            prop_assert!(run.lease_no >= lease_no && run.lease_no <= lease_no + 1);
            prop_assert!(run.transitions.len() <= KEPT);
        }
        let all: Vec<RunState> =
            trail.iter().flat_map(|archive| &archive.transitions).chain(&run.transitions).map(|transition| transition.to).collect();
        prop_assert_eq!(all, states);
    }
}

#[test]
fn a_record_stays_small_and_loses_nothing() {
    let (mut run, mut archived) = (run(), 0);
    for attempt in 0..50 {
        run.note(Failure::new(FailureCode::ProviderUnavailable, "x".repeat(300), run.created_at, attempt));
        if let Some(archive) = run.spill() {
            assert_eq!(archive.index, run.archives);
            archived += archive.failures.len();
        }
        assert!(run.failures.len() <= KEPT);
    }
    assert_eq!(archived + run.failures.len(), 50);
    assert_eq!(run.failures.last().unwrap().attempt, 49, "the youngest stay");
}

#[test]
fn only_whoever_was_told_that_a_call_may_have_happened_lets_it_be_made_again() {
    for (reason, expected) in [(FailureCode::UncertainToolCall.as_str(), false), (WORKER_LOST, true)] {
        for command in [Command::Retry, Command::LineUp] {
            let mut run = Run { state: RunState::Running, abandoned: true, ..run() };
            run.apply(Command::Die, Cause { reason, ..cause(1) }).unwrap();
            run.apply(command, cause(2)).unwrap();
            assert_eq!(run.abandoned, expected, "{reason} {command:?}");
        }
    }
}

#[test]
fn waiting_is_no_working_time() {
    let mut run = Run { state: RunState::Running, ..run() };
    run.apply(Command::Wait, cause(10)).unwrap();
    run.apply(Command::Wake, cause(70)).unwrap();
    assert_eq!(run.working_time(Timestamp::from_second(100).unwrap()), Duration::from_secs(40));
}

#[test]
fn nor_is_the_time_until_an_operator_retries_a_dead_run() {
    for (command, expected) in [(Command::Retry, 30), (Command::LineUp, 20)] {
        let mut run = Run { state: RunState::Running, ..run() };
        run.apply(Command::Die, cause(10)).unwrap();
        run.apply(command, cause(100_010)).unwrap();
        if command == Command::LineUp {
            run.apply(Command::Wake, cause(100_020)).unwrap();
        }
        let worked = run.working_time(Timestamp::from_second(100_030).unwrap());
        assert_eq!(worked, Duration::from_secs(expected), "{command:?}");
    }
}

#[test]
fn renewals_are_those_of_the_lease_that_is_held() {
    let mut run = run();
    run.apply(Command::Claim, cause(1)).unwrap();
    for (taken, until) in [(1, 60), (2, 600)] {
        run.lease_to("me".into(), Timestamp::from_second(until).unwrap(), None);
        assert_eq!((run.lease_no, run.renewals), (taken, 0), "it may take one that has lapsed");
        for renewed in 1..=2 {
            run.renew_until(Timestamp::from_second(until + i64::from(renewed)).unwrap());
            assert_eq!((run.renewals, run.lease_end().as_second()), (renewed, until + i64::from(renewed)));
        }
    }
    run.apply(Command::HandOver, cause(2)).unwrap();
    assert_eq!((run.renewals, run.lease_until_ms), (0, 0));
}
