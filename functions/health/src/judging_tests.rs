//! What the signs of life, the backlog and the providers come to.

use shared::domain::board::{Disabled, Pin};
use shared::domain::breaker::{Breaker, BreakerConfig};
use shared::domain::failure::FailureCode;
use shared::domain::id::RunId;
use shared::heartbeat::{DepthAt, Oldest};

use super::*;

/// What `/health/detailed` says of a part.
fn part<'a>(body: &'a Value, name: &str) -> (&'a str, String) {
    let parts = body["indicators"].as_array().unwrap();
    let part = parts.iter().find(|part| part["name"] == name).unwrap_or_else(|| panic!("no {name} in {body:#}"));
    (part["status"].as_str().unwrap(), part["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_backlog_that_grows_while_nothing_drains_is_a_warning_however_small_and_one_job_is_none() {
    let depth = |waiting| Depth { waiting, ..Depth::default() };
    let checks = |now: u64, ticks: &[u64]| {
        let depths = ticks.iter().map(|waiting| DepthAt { at: ago(60), depth: depth(*waiting) }).collect();
        Scripted { tasks: depth(now), marks: Marks { depths, ..Scripted::default().marks }, ..Scripted::default() }
    };
    for (now, ticks, code) in [(40, &[0, 10, 20][..], 503), (1, &[0, 0, 0], 200), (19, &[0, 10, 20], 200), (40, &[10, 20], 200)] {
        let (status, body) = get(checks(now, ticks), "/api/production/queue/heartbeat").await;
        assert_eq!((status, &body["status"]["status"]), (code, &json!(if code == 200 { "pass" } else { "warn" })), "{body}");
        let (status, body) = get(checks(now, ticks), "/health/detailed").await;
        assert_eq!((status, part(&body, "event_queue").0), (200, if code == 200 { "healthy" } else { "degraded" }));
        assert_eq!(get(checks(now, ticks), "/api/production/ready").await.0, 200, "it is ready to take more");
    }
    let (_, body) = get(checks(40, &[0, 10, 20]), "/api/production/queue/heartbeat").await;
    assert_eq!(body["status"]["details"], json!({"totalWaiting": 40, "lastTicks": [0, 10, 20], "oldestQueuedSeconds": null}));
}

#[tokio::test]
async fn a_run_that_has_waited_for_too_long_is_a_warning_however_short_the_queue_is() {
    let waiting = |age| {
        let oldest = Oldest { tenant: "acme".parse().unwrap(), run: RunId::new(ago(age)), since: ago(age) };
        Scripted { marks: Marks { oldest: Some(oldest), ..Scripted::default().marks }, ..Scripted::default() }
    };
    for (age, code, word, state) in [(300, 200, "pass", "healthy"), (301, 503, "warn", "degraded")] {
        let (status, body) = get(waiting(age), "/api/production/queue/heartbeat").await;
        assert_eq!((status, &body["status"]["status"]), (code, &json!(word)), "{body}");
        let (status, body) = get(waiting(age), "/health/detailed").await;
        assert_eq!((status, part(&body, "event_queue").0), (200, state), "{body}");
        assert_eq!(get(waiting(age), "/api/production/ready").await.0, 200, "it is ready to take more");
    }
    let (_, body) = get(waiting(301), "/api/production/queue/heartbeat").await;
    assert_eq!(body["status"]["message"], "A run has waited in the queue for 301 s.");
    assert_eq!(body["status"]["details"], json!({"totalWaiting": 0, "lastTicks": [], "oldestQueuedSeconds": 301}));
    assert!(!body.to_string().contains("acme"), "whose it is, is nobody else's business");
}

/// A board on which the breakers of these models opened for ten seconds so many seconds ago.
fn open(models: &[&str], since: i64) -> Board {
    let breaker = |name: &&str| {
        let config = BreakerConfig { open_seconds: 10, ..BreakerConfig::default() };
        let at = ago(since);
        let breaker = Breaker::closed(model(name), at).tripped(&config, FailureCode::ProviderUnavailable, at).unwrap();
        (model(name), breaker)
    };
    Board { breakers: models.iter().map(breaker).collect(), ..Board::default() }
}

#[tokio::test]
async fn one_provider_that_is_down_degrades_and_no_provider_at_all_is_unhealthy() {
    let off = |name: &str| Disabled { name: name.into(), reason: "secret reason".into(), by: "ana".into(), at: ago(9) };
    let pin = Pin { to: vec![model("a::m")], reason: "r".into(), by: "b".into(), at: ago(9) };
    let disabled = |names: &[&str]| Board { disabled: names.iter().map(|name| off(name)).collect(), ..Board::default() };
    for (told, checks, code, states, words) in [
        ("a breaker is open", Scripted { board: open(&["a::m"], 0), ..Scripted::default() }, 200, ["degraded", "healthy"], "is open until"),
        ("both are", Scripted { board: open(&["a::m", "b::n"], 0), ..Scripted::default() }, 503, ["unhealthy"; 2], "provider_unavailable"),
        (
            "both were",
            Scripted { board: open(&["a::m", "b::n"], 20), ..Scripted::default() },
            200,
            ["degraded"; 2],
            "the next call tries it",
        ),
        ("both were long ago", Scripted { board: open(&["a::m", "b::n"], 400), ..Scripted::default() }, 200, ["healthy"; 2], ""),
        ("one refuses", Scripted { refusing: &["a"], ..Scripted::default() }, 200, ["degraded", "healthy"], "takes no connections"),
        ("both refuse", Scripted { refusing: &["a", "b"], ..Scripted::default() }, 503, ["unhealthy"; 2], "takes no connections"),
        (
            "an operator",
            Scripted { board: disabled(&["a"]), ..Scripted::default() },
            200,
            ["degraded", "healthy"],
            "switched off by an operator",
        ),
        (
            "of both",
            Scripted { board: disabled(&["a", "b::n"]), ..Scripted::default() },
            503,
            ["unhealthy"; 2],
            "switched off by an operator",
        ),
        (
            "the pinned one refuses",
            Scripted { refusing: &["a"], board: Board { pin: Some(pin), ..Board::default() }, ..Scripted::default() },
            503,
            ["unhealthy", "healthy"],
            "takes no connections",
        ),
    ] {
        let checks = Arc::new(checks);
        let (status, text) = ask(checks.clone(), "/health/detailed").await;
        let body: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, ["provider:a", "provider:b"].map(|name| part(&body, name).0)), (code, states), "{told}: {body:#}");
        assert!(part(&body, "provider:a").1.contains(words) && !text.contains("secret"), "{told}: {body:#}");
        for route in ["/ready", "/readyz", "/api/production/ready", "/api/production/health"] {
            assert_eq!(ask(checks.clone(), route).await.0, code, "{told}: {route}");
        }
        assert_eq!(ask(checks, "/api/production/queue/heartbeat").await.0, 200, "{told}: workers live all the same");
    }
}

#[tokio::test]
async fn a_provider_that_nobody_asks_says_so_and_its_breaker_decides() {
    let public = |board| Scripted { public: &["a", "b"], board, ..Scripted::default() };
    let (_, body) = get(public(Board::default()), "/health/detailed").await;
    let known = json!({"name": "provider:a", "status": "healthy", "message": "not asked: known from calls only", "latency_ms": null});
    assert_eq!((&body["status"], &body["indicators"][3]), (&json!("healthy"), &known));
    let (_, body) = get(public(Board::default()), "/api/production/health").await;
    assert_eq!(body["checks"]["llm"], json!({"status": "pass", "message": "not asked: known from calls only"}));
    let (_, body) = get(public(Board::default()), "/readyz").await;
    assert_eq!(body["checks"]["llm"], json!({"status": "ok"}), "nobody was waited for");
    let (_, body) = get(Scripted { public: &["a"], ..Scripted::default() }, "/api/production/health").await;
    assert_eq!(body["checks"]["llm"]["message"], "a model can be asked", "the other one was asked");
    let (status, body) = get(public(open(&["a::m", "b::n"], 0)), "/health/detailed").await;
    assert_eq!((status, part(&body, "provider:a").0), (503, "unhealthy"));
    assert!(part(&body, "provider:a").1.contains("is open until"), "{body:#}");
}

#[tokio::test]
async fn a_provider_that_only_an_agent_names_is_looked_at_and_degrades_and_readiness_does_not_wait_for_it() {
    let agents = &["c::own", "a::m"];
    let (_, body) = get(Scripted { agents, ..Scripted::default() }, "/health/detailed").await;
    assert_eq!((&body["status"], part(&body, "provider:c").0), (&json!("healthy"), "healthy"));
    assert_eq!(body["indicators"].as_array().map(Vec::len), Some(8), "each provider once");
    for checks in [
        Scripted { agents, refusing: &["c"], ..Scripted::default() },
        Scripted { agents, board: open(&["c::own"], 0), ..Scripted::default() },
    ] {
        let checks = Arc::new(checks);
        let (status, text) = ask(checks.clone(), "/health/detailed").await;
        let body: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, part(&body, "provider:c").0, part(&body, "provider:a").0), (200, "degraded", "healthy"), "{body:#}");
        assert_eq!(ask(checks, "/api/production/ready").await.0, 200);
    }
}

#[tokio::test]
async fn the_parts_that_give_signs_of_life_are_told_apart() {
    let arrived = |at| Some(Arrival { sent_at: ago(at + 1), at: ago(at) });
    let marks = |swept, arrived| Marks { swept_at: Some(ago(swept)), arrived, ..Marks::default() };
    for (marks, worker, sweeper, code) in [
        (marks(10, arrived(9)), "healthy", "healthy", 200),
        (marks(10, arrived(121)), "unhealthy", "healthy", 503),
        (marks(10, None), "unhealthy", "healthy", 503),
        (marks(121, arrived(121)), "degraded", "unhealthy", 503),
        (Marks::default(), "degraded", "unhealthy", 503),
        (marks(10, Some(Arrival { sent_at: ago(50), at: ago(10) })), "degraded", "healthy", 200),
    ] {
        let (status, body) = get(Scripted { marks: marks.clone(), ..Scripted::default() }, "/health/detailed").await;
        assert_eq!((status, part(&body, "worker").0, part(&body, "sweeper").0), (code, worker, sweeper), "{marks:?}");
        let (status, _) = get(Scripted { marks: marks.clone(), ..Scripted::default() }, "/api/production/health").await;
        assert_eq!(status, code, "{marks:?}");
    }
}
