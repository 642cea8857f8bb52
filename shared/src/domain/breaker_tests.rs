use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn breaker() -> Breaker {
    Breaker::closed("a::m".parse().unwrap(), at(0))
}

fn config() -> BreakerConfig {
    BreakerConfig { failures: 3, percent: 50, window_seconds: 10, open_seconds: 10, longest_open_seconds: 60, probes: 2 }
}

const DOWN: FailureCode = FailureCode::ProviderUnavailable;

#[test]
fn it_opens_by_number_and_share_of_failures() {
    let tally = |calls, points| Tally { calls, points };
    for (found, is_too_much) in [
        (tally(2, 4), false), // two failures are not three
        (tally(3, 6), true),  // three of three
        (tally(6, 6), true),  // half of them
        (tally(7, 6), false), // less than half
        (tally(5, 5), false), // five refusals for want of room weigh two and a half
        (tally(6, 12), true),
    ] {
        assert_eq!(config().is_too_much(found), is_too_much, "{found:?}");
    }
}

#[test]
fn what_is_wrong_with_a_request_does_not_tell_against_the_provider() {
    assert_eq!(Tally::of(Some(FailureCode::ProviderRejected)), Tally { calls: 1, points: 0 });
    assert_eq!(Tally::of(Some(FailureCode::AnswerCutOff)).points, 0);
    assert_eq!(Tally::of(Some(FailureCode::InvalidAnswer)).points, 0, "a request may ask for an empty one");
    assert_eq!(Tally::of(Some(FailureCode::ProviderRateLimited)).points * 2, Tally::of(Some(DOWN)).points);
    assert_eq!(Tally::of(None).plus(Tally::of(Some(DOWN))).calls, 2);
}

#[test]
fn an_open_breaker_lets_nothing_through_and_then_one_probe() {
    let open = breaker().tripped(&config(), DOWN, at(0)).unwrap();
    assert_eq!(open.verdict(at(9)), Verdict::Skip { until: at(10) });
    assert_eq!(open.probing(at(9), at(20)), None);
    let probing = open.probing(at(10), at(20)).unwrap();
    assert_eq!(probing.verdict(at(11)), Verdict::Skip { until: at(20) }, "one at a time");
    assert_eq!(probing.verdict(at(20)), Verdict::Probe, "the worker of the probe died");
}

#[test]
fn probes_in_a_row_close_it() {
    let probing = breaker().tripped(&config(), DOWN, at(0)).unwrap().probing(at(10), at(20)).unwrap();
    let half = probing.probed(&config(), None, at(11));
    assert_eq!(half.verdict(at(11)), Verdict::Probe, "the next one at once");
    let closed = half.probing(at(11), at(21)).unwrap().probed(&config(), None, at(12));
    assert_eq!((closed.state, closed.opened, closed.times), (State::Closed, 1, 0));
    assert_eq!(closed.verdict(at(12)), Verdict::Go);
}

#[test]
fn a_probe_in_vain_opens_it_for_twice_as_long_up_to_a_limit() {
    let mut now = at(0);
    let mut breaker = breaker().tripped(&config(), DOWN, now).unwrap();
    for expected in [10, 20, 40, 60, 60] {
        assert_eq!(breaker.wait(now), Duration::from_secs(expected));
        now = after(now, breaker.wait(now));
        breaker = breaker.probing(now, at(100_000)).unwrap().probed(&config(), Some(DOWN), now);
    }
    assert_eq!(breaker.opened, 1, "it was never closed in between");
}

#[test]
fn a_probe_whose_request_was_wrong_has_reached_the_provider() {
    let probing = breaker().tripped(&config(), DOWN, at(0)).unwrap().probing(at(10), at(20)).unwrap();
    let half = probing.probed(&config(), Some(FailureCode::ProviderRejected), at(11));
    assert_eq!(half.verdict(at(11)), Verdict::Probe);
}

#[test]
fn a_model_is_in_trouble_while_calls_are_kept_away_and_for_five_minutes_after_that() {
    let open = breaker().tripped(&config(), DOWN, at(0)).unwrap();
    let half = open.probing(at(10), at(20)).unwrap();
    for (breaker, now, is_in_trouble) in
        [(&breaker(), 0, false), (&open, 9, true), (&open, 309, true), (&open, 310, false), (&half, 11, true), (&half, 320, false)]
    {
        assert_eq!(breaker.is_in_trouble(at(now)), is_in_trouble, "{breaker:?} at {now}");
    }
}

#[test]
fn it_opens_once_however_many_see_that_it_must() {
    let open = breaker().tripped(&config(), DOWN, at(0)).unwrap();
    assert_eq!(open.tripped(&config(), DOWN, at(1)), None);
    assert_eq!(open.version, 1);
}

#[test]
fn every_change_raises_the_version() {
    let mut breaker = breaker().tripped(&config(), DOWN, at(0)).unwrap();
    for n in 2..20_u64 {
        let now = at(i64::try_from(n).unwrap() * 1_000);
        let before = breaker.version;
        let probing = breaker.probing(now, after(now, Duration::from_secs(5))).unwrap();
        breaker = probing.probed(&config(), Some(DOWN), now);
        assert_eq!((probing.version, breaker.version), (before + 1, before + 2));
    }
}

#[test]
fn a_breaker_is_the_same_after_a_journey_through_a_record() {
    let open = breaker().tripped(&config(), DOWN, at(0)).unwrap();
    for breaker in [breaker(), open.clone(), open.probing(at(10), at(20)).unwrap()] {
        let json = serde_json::to_string(&breaker).unwrap();
        assert_eq!(serde_json::from_str::<Breaker>(&json).unwrap(), breaker, "{json}");
    }
}

#[test]
fn wrong_numbers_are_named() {
    assert_eq!(BreakerConfig::default().problem(), None);
    assert_eq!(BreakerConfig { failures: 0, ..config() }.problem().unwrap().0, "failures");
    assert_eq!(BreakerConfig { longest_open_seconds: 1, ..config() }.problem().unwrap().0, "longest_open_seconds");
}
