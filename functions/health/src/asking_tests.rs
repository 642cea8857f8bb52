//! Who asks the queues and the providers, and how long it takes when something hangs.

use futures_util::future::join_all;
use shared::domain::clock::after;
use shared::fakes::TokioClock;

use super::*;

/// Remembers for three seconds, as the template has it.
fn remembering(checks: Scripted) -> Arc<Scripted> {
    Arc::new(Scripted { cache: Duration::from_secs(3), ..checks })
}

fn asked(checks: &Scripted) -> usize {
    checks.asked_tasks.load(Ordering::Relaxed)
}

fn age(response: &Response<Body>) -> Option<&str> {
    response.headers().get("age").and_then(|age| age.to_str().ok())
}

#[tokio::test]
async fn what_one_probe_found_is_told_by_all_of_a_period_and_says_when_it_was_found() {
    let (checks, clock) = (remembering(Scripted::default()), Arc::new(FixedClock::at(NOW)));
    let first = ask_at(checks.clone(), clock.clone(), "/api/production/ready").await;
    assert_eq!((asked(&checks), age(&first)), (1, None));
    clock.advance(Duration::from_secs(2));
    for route in DEEP {
        let response = ask_at(checks.clone(), clock.clone(), route).await;
        assert_eq!((response.status().as_u16(), asked(&checks)), (200, 1), "{route}");
        assert!(route == "/metrics" || age(&response) == Some("2"), "{route}");
    }
    let response = ask_at(checks.clone(), clock.clone(), "/api/production/ready").await;
    let Body::Text(text) = response.body() else { panic!("no text") };
    let body: Value = serde_json::from_str(text).unwrap();
    assert_eq!(body["queueHealth"]["checkedAt"], "2026-01-02T03:04:05.000Z");
    assert_eq!(body["timestamp"], "2026-01-02T03:04:07.000Z");
    clock.advance(Duration::from_millis(1_001));
    let later = ask_at(checks.clone(), clock, "/ready").await;
    assert_eq!((asked(&checks), age(&later)), (2, None));
}

#[tokio::test]
async fn a_failure_is_remembered_as_well_and_a_table_that_is_away_is_never_hidden() {
    let (broken, clock) = (remembering(Scripted::broken("queue")), Arc::new(FixedClock::at(NOW)));
    for _ in 0..2 {
        assert_eq!(ask_at(broken.clone(), clock.clone(), "/ready").await.status(), 503);
    }
    assert_eq!(asked(&broken), 1);
    let away = remembering(Scripted::broken("dependencies"));
    *away.found.lock().unwrap() = Some(Found { at: ago(0), text: "{}".into() });
    for n in 1..=2 {
        assert_eq!(ask_at(away.clone(), clock.clone(), "/ready").await.status(), 503);
        assert_eq!(asked(&away), n, "each probe asks for itself");
    }
}

#[tokio::test]
async fn what_was_found_of_other_providers_or_in_other_words_or_at_another_time_is_not_told() {
    let (checks, clock) = (remembering(Scripted::default()), Arc::new(FixedClock::at(NOW)));
    assert_eq!(ask_at(checks.clone(), clock.clone(), "/ready").await.status(), 200);
    let found = checks.found.lock().unwrap().clone().unwrap();
    for (n, other) in [
        Found { text: found.text.replace(r#"["a","#, r#"["c","#), ..found.clone() },
        Found { text: "{}".into(), ..found.clone() },
        Found { at: after(found.at, Duration::from_secs(60)), ..found },
    ]
    .into_iter()
    .enumerate()
    {
        *checks.found.lock().unwrap() = Some(other.clone());
        *checks.claimed_at.lock().unwrap() = None;
        assert_eq!(ask_at(checks.clone(), clock.clone(), "/ready").await.status(), 200);
        assert_eq!(asked(&checks), n + 2, "{other:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_many_probes_at_once_one_asks() {
    let checks = remembering(Scripted::default());
    let clock = Arc::new(TokioClock::from(ago(0)));
    for round in 1..=3 {
        let all = join_all((0..50).map(|_| ask_at(checks.clone(), clock.clone(), "/api/production/ready"))).await;
        assert!(all.iter().all(|response| response.status() == 200));
        assert_eq!(asked(&checks), round);
        clock.sleep(Duration::from_secs(60)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_one_that_asks_dies_the_others_ask() {
    let checks = remembering(Scripted::default());
    let clock = Arc::new(TokioClock::from(ago(0)));
    *checks.claimed_at.lock().unwrap() = Some(ago(0));
    let response = ask_at(checks.clone(), clock.clone(), "/ready").await;
    assert_eq!((response.status().as_u16(), asked(&checks)), (200, 1));
    assert!(between(ago(0), clock.now()) < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn whatever_hangs_the_answer_is_there_in_time() {
    for name in ["llm", "dependencies", "queue", "dead", "jobs", "due"] {
        for cache in [Duration::ZERO, Duration::from_secs(3)] {
            for route in DEEP {
                let checks = Arc::new(Scripted { hanging: Some(name), cache, ..Scripted::default() });
                let clock = Arc::new(TokioClock::from(ago(0)));
                let response = ask_at(checks, clock.clone(), route).await;
                let took = between(ago(0), clock.now());
                assert!(took <= Duration::from_millis(1_500), "{route} over {name}: {took:?}");
                let is_told = match name {
                    "jobs" => false,
                    "due" => route == "/api/production/queue/heartbeat",
                    "llm" => !["/metrics", "/api/production/queue/heartbeat"].contains(&route),
                    _ => true,
                };
                assert_eq!(response.status(), if is_told { 503 } else { 200 }, "{route} over {name}");
            }
        }
    }
}
