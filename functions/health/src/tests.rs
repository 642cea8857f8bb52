//! The probes over scripted dependencies.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lambda_http::aws_lambda_events::apigw::ApiGatewayProxyRequestContext;
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, Response};
use serde_json::Value;
use shared::domain::board::Board;
use shared::domain::definition::ModelRef;
use shared::domain::run::{Cause, Run};
use shared::domain::state::{Command, RunState};
use shared::fakes::{FixedClock, a_run};
use shared::heartbeat::{Arrival, Depth, Found, Marks, Seen};
use shared::http::respond;
use shared::metrics::fleet::Sums;

use super::*;

#[path = "asking_tests.rs"]
mod asking;
#[path = "judging_tests.rs"]
mod judging;

const NOW: &str = "2026-01-02T03:04:05Z";
/// Every route that asks dependencies.
const DEEP: [&str; 7] = [
    "/ready",
    "/readyz",
    "/health/detailed",
    "/metrics",
    "/api/production/ready",
    "/api/production/health",
    "/api/production/queue/heartbeat",
];

/// Seconds before [`NOW`].
fn ago(seconds: i64) -> Timestamp {
    NOW.parse::<Timestamp>().unwrap() - jiff::SignedDuration::from_secs(seconds)
}

struct Scripted {
    broken: Option<&'static str>,
    hanging: Option<&'static str>,
    marks: Marks,
    /// Providers whose addresses take no connections.
    refusing: &'static [&'static str],
    /// Providers without addresses of their own.
    public: &'static [&'static str],
    /// Models that agents name for themselves.
    agents: &'static [&'static str],
    board: Board,
    tasks: Depth,
    dead_letters: Depth,
    due: Vec<Run>,
    /// How long what was found is told; most tests want every probe to ask.
    cache: Duration,
    found: Mutex<Option<Found>>,
    claimed_at: Mutex<Option<Timestamp>>,
    asked: AtomicUsize,
    asked_tasks: AtomicUsize,
    asked_before: Mutex<Option<Timestamp>>,
}

impl Default for Scripted {
    /// All is well, and nothing is to be done.
    fn default() -> Self {
        Self {
            broken: None,
            hanging: None,
            marks: Marks { swept_at: Some(ago(30)), arrived: Some(Arrival { sent_at: ago(30), at: ago(29) }), ..Marks::default() },
            refusing: &[],
            public: &[],
            agents: &[],
            board: Board::default(),
            tasks: Depth::default(),
            dead_letters: Depth::default(),
            due: Vec::new(),
            cache: Duration::ZERO,
            found: Mutex::default(),
            claimed_at: Mutex::default(),
            asked: AtomicUsize::new(0),
            asked_tasks: AtomicUsize::new(0),
            asked_before: Mutex::default(),
        }
    }
}

impl Scripted {
    fn broken(name: &'static str) -> Self {
        Self { broken: Some(name), ..Self::default() }
    }

    async fn check<T>(&self, name: &'static str, found: T) -> Check<T> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.hanging == Some(name) {
            std::future::pending::<()>().await;
        }
        if self.broken == Some(name) { Err("broken".into()) } else { Ok(found) }
    }
}

#[async_trait]
impl Checks for Scripted {
    fn environment(&self) -> Check<Configured> {
        let thresholds = Thresholds { backlog: 1_000, dead_letters: 10, cache: self.cache, ..Thresholds::DEFAULT };
        let models = self.agents.iter().map(|name| model(name)).collect();
        if self.broken == Some("environment") { Err("broken".into()) } else { Ok(Configured { agents: 2, models, thresholds }) }
    }
    fn models(&self) -> Check<Vec<ModelRef>> {
        Ok(["a::m", "b::n"].map(model).into())
    }
    async fn provider(&self, name: &str) -> Check<Reach> {
        let () = self.check("llm", ()).await?;
        match self.refusing.contains(&name) {
            true => Err("it takes no connections".into()),
            false if self.public.contains(&name) => Ok(Reach::NotAsked),
            false => Ok(Reach::Open),
        }
    }
    async fn table(&self) -> Check<Seen> {
        let found = self.found.lock().unwrap().clone();
        self.check("dependencies", Seen { marks: self.marks.clone(), board: self.board.clone(), found }).await
    }
    async fn claim(&self, now: Timestamp, before: Timestamp) -> Check<bool> {
        let mut claimed_at = self.claimed_at.lock().unwrap();
        let is_ours = claimed_at.is_none_or(|at| at <= before);
        if is_ours {
            *claimed_at = Some(now);
        }
        Ok(is_ours)
    }
    async fn keep(&self, found: &Found) -> Check {
        *self.found.lock().unwrap() = Some(found.clone());
        Ok(())
    }
    async fn tasks(&self) -> Check<Depth> {
        self.asked_tasks.fetch_add(1, Ordering::Relaxed);
        self.check("queue", self.tasks).await
    }
    async fn dead_letters(&self) -> Check<Depth> {
        self.check("dead", self.dead_letters).await
    }
    async fn jobs(&self) -> Check<Depth> {
        self.check("jobs", Depth { waiting: 7, ..Depth::default() }).await
    }
    async fn due(&self, late: Timestamp, _sees: &Sees<'_>) -> Check<Vec<Run>> {
        *self.asked_before.lock().unwrap() = Some(late);
        self.check("due", self.due.clone()).await
    }
    async fn sums(&self) -> Check<Vec<Sums>> {
        self.check("sums", Vec::new()).await
    }
}

fn model(name: &str) -> ModelRef {
    name.parse().unwrap()
}

async fn ask(checks: Arc<Scripted>, route: &str) -> (u16, String) {
    let response = ask_at(checks, Arc::new(FixedClock::at(NOW)), route).await;
    let Body::Text(text) = response.body() else { panic!("no text") };
    (response.status().as_u16(), text.clone())
}

async fn ask_at(checks: Arc<Scripted>, clock: Arc<dyn Clock>, route: &str) -> Response<Body> {
    let env = Environment::of(|name| (name == "API_AUTH").then(|| "none".to_owned()));
    let api = HealthApi::with(checks, clock, env);
    let mut context = ApiGatewayProxyRequestContext::default();
    context.resource_path = Some(route.to_owned());
    let mut request = Request::new(Body::Empty);
    request.extensions_mut().insert(RequestContext::ApiGatewayV1(context));
    respond(&api, request).await
}

async fn get(checks: Scripted, route: &str) -> (u16, Value) {
    let (status, text) = ask(Arc::new(checks), route).await;
    (status, serde_json::from_str(&text).unwrap())
}

#[tokio::test]
async fn liveness_is_a_constant_and_asks_nothing() {
    let checks = Arc::new(Scripted::broken("queue"));
    for (route, body) in [
        ("/health", json!({"status": "healthy"})),
        ("/healthz", json!({"status": "ok", "environment": "unknown", "detail": null})),
        ("/live", json!({"alive": true, "timestamp": "2026-01-02T03:04:05.000Z", "uptime": 0})),
    ] {
        let (status, text) = ask(checks.clone(), route).await;
        assert_eq!((status, serde_json::from_str::<Value>(&text).unwrap()), (200, body));
    }
    assert_eq!(checks.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn every_probe_of_a_system_that_is_well_says_200() {
    for route in DEEP {
        assert_eq!(ask(Arc::default(), route).await.0, 200, "{route}");
    }
}

#[tokio::test]
async fn no_probe_says_200_over_a_dependency_that_does_not_answer() {
    for route in DEEP {
        for name in ["dependencies", "queue", "dead", "environment"] {
            // The heartbeat is about workers, not about configuration.
            let is_told = (route, name) != ("/api/production/queue/heartbeat", "environment");
            let (status, text) = ask(Arc::new(Scripted::broken(name)), route).await;
            assert_eq!(status, if is_told { 503 } else { 200 }, "{route} over {name}: {text}");
        }
    }
}

#[tokio::test]
async fn ready_is_200_only_if_every_check_is_true() {
    let (status, body) = get(Scripted::default(), "/api/production/ready").await;
    assert_eq!((status, &body["ready"], &body["queueHealth"]["status"]), (200, &Value::Bool(true), &Value::from("pass")));
    assert_eq!(body["checks"]["queueDetails"], body["queueHealth"], "both editions of the manual find it");
    for name in ["llm", "environment", "dependencies", "queue"] {
        let (status, body) = get(Scripted::broken(name), "/api/production/ready").await;
        assert_eq!((status, &body["ready"], &body["checks"][name]), (503, &Value::Bool(false), &Value::Bool(false)), "{name}");
        assert!(body["problems"][0].as_str().unwrap().starts_with(name));
        assert_eq!(get(Scripted::broken(name), "/ready").await.1["status"], "not_ready");
        assert_eq!(get(Scripted::broken(name), "/readyz").await.1["status"], "not_ready");
    }
    assert_eq!(get(Scripted::default(), "/ready").await.1, json!({"status": "ready", "database": "connected", "workflow": true}));
    let (_, short) = get(Scripted::broken("dependencies"), "/readyz").await;
    assert_eq!(
        (&short["checks"]["database"], &short["checks"]["agents"]["count"]),
        (&json!({"status": "error", "error": "broken"}), &json!(2))
    );
}

#[tokio::test]
async fn a_hanging_dependency_is_a_failed_check_and_not_a_hanging_probe() {
    for name in ["llm", "dependencies", "queue"] {
        let (status, body) = get(Scripted { hanging: Some(name), ..Scripted::default() }, "/api/production/ready").await;
        assert_eq!((status, &body["checks"][name]), (503, &Value::Bool(false)), "{name}");
    }
    let (status, body) = get(Scripted { hanging: Some("due"), ..Scripted::default() }, "/api/production/queue/heartbeat").await;
    assert_eq!((status, &body["status"]["status"]), (503, &json!("fail")));
}

#[tokio::test]
async fn indicators_are_degraded_above_their_thresholds_and_that_is_no_error() {
    let (_, well) = get(Scripted::default(), "/health/detailed").await;
    assert_eq!(
        well,
        json!({"status": "healthy", "checked_at": "2026-01-02T03:04:05.000Z", "took_ms": 0, "indicators": [
            {"name": "database", "status": "healthy", "message": null, "latency_ms": 0},
            {"name": "event_queue", "status": "healthy", "message": "0 pending", "latency_ms": 0},
            {"name": "dlq", "status": "healthy", "message": "0 in DLQ", "latency_ms": 0},
            {"name": "provider:a", "status": "healthy", "message": null, "latency_ms": 0},
            {"name": "provider:b", "status": "healthy", "message": null, "latency_ms": 0},
            {"name": "worker", "status": "healthy", "message": "took a canary 29 s ago, which had waited 1000 ms", "latency_ms": null},
            {"name": "sweeper", "status": "healthy", "message": "last seen 30 s ago", "latency_ms": null},
        ]})
    );
    let depth = |waiting| Depth { waiting, ..Depth::default() };
    for (tasks, dead, status, messages) in [
        (1_000, 10, "healthy", ["1000 pending", "10 in DLQ"]),
        (1_001, 10, "degraded", ["1001 pending events", "10 in DLQ"]),
        (1_000, 11, "degraded", ["1000 pending", "11 events in DLQ"]),
    ] {
        let checks = || Scripted { tasks: depth(tasks), dead_letters: depth(dead), ..Scripted::default() };
        let (code, body) = get(checks(), "/health/detailed").await;
        assert_eq!((code, body["status"].as_str().unwrap()), (200, status));
        assert_eq!([1, 2].map(|i| body["indicators"][i]["message"].as_str().unwrap()), messages);
        let (code, body) = get(checks(), "/api/production/health").await;
        assert_eq!((code, body["status"].as_str().unwrap(), &body["metrics"]["totalWorkflows"]), (200, status, &json!(2)));
    }
}

#[tokio::test]
async fn an_idle_queue_and_a_busy_one_are_alive_and_one_that_nobody_serves_is_not() {
    let arrived = |sent, at| Some(Arrival { sent_at: ago(sent), at: ago(at) });
    let tasks = Depth { waiting: 3, in_flight: 2, delayed: 1 };
    for (told, verdict, words, checks) in [
        ("idle", "pass", "drained", Scripted::default()),
        ("some messages wait", "pass", "4 messages", Scripted { tasks, ..Scripted::default() }),
        ("a backlog", "warn", "1002", Scripted { tasks: Depth { waiting: 1_001, ..tasks }, ..Scripted::default() }),
        ("no canary yet", "fail", "yet", Scripted { marks: Marks { swept_at: Some(ago(1)), ..Marks::default() }, ..Scripted::default() }),
        ("a fresh stack", "fail", "No sweeper", Scripted { marks: Marks::default(), ..Scripted::default() }),
        (
            "workers are gone",
            "fail",
            "No worker has taken a canary off the queue for 121 s",
            Scripted { marks: Marks { swept_at: Some(ago(10)), arrived: arrived(122, 121), ..Marks::default() }, ..Scripted::default() },
        ),
        (
            "the sweeper is gone",
            "fail",
            "The sweeper has been silent for 300 s",
            Scripted { marks: Marks { swept_at: Some(ago(300)), arrived: arrived(300, 299), ..Marks::default() }, ..Scripted::default() },
        ),
        (
            "a late canary",
            "warn",
            "waited 31 s",
            Scripted { marks: Marks { swept_at: Some(ago(1)), arrived: arrived(41, 10), ..Marks::default() }, ..Scripted::default() },
        ),
    ] {
        let (status, body) = get(checks, "/api/production/queue/heartbeat").await;
        assert_eq!((status, &body["status"]["status"]), (if verdict == "pass" { 200 } else { 503 }, &json!(verdict)), "{told}: {body}");
        assert!(body["status"]["message"].as_str().unwrap().contains(words), "{told}: {}", body["status"]);
    }
    let (_, body) = get(Scripted { tasks, ..Scripted::default() }, "/api/production/queue/heartbeat").await;
    let depths = &body["queueDepths"]["tasks"];
    assert_eq!([&depths["waiting"], &depths["active"], &depths["delayed"], &depths["total"]], [&json!(3), &json!(2), &json!(1), &json!(6)]);
    assert_eq!(body["queueDepths"]["jobs"]["waiting"], 7);
    let (status, body) = get(Scripted::broken("jobs"), "/api/production/queue/heartbeat").await;
    assert_eq!((status, &body["queueDepths"]["jobs"]), (200, &Value::Null), "runs are worked on all the same");
    let worker = &body["worker"];
    assert_eq!((&worker["latestHeartbeatAgeMs"], &worker["latestCanaryLatencyMs"]), (&json!(29_000), &json!(1_000)));
}

#[tokio::test]
async fn a_lease_that_nobody_renews_is_a_warning_that_names_it() {
    let tenant = "acme".parse().unwrap();
    let run = Run { state: RunState::Running, lease_owner: Some("w7".into()), ..a_run(&tenant, ago(600)) };
    let queued = Run { state: RunState::Queued, ..a_run(&tenant, ago(600)) };
    let checks = Arc::new(Scripted { due: vec![run.clone(), queued], ..Scripted::default() });
    let (status, text) = ask(checks.clone(), "/api/production/queue/heartbeat").await;
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &body["status"]["details"]), (503, &json!({"overdue": 2, "staleLeases": 1, "oldestQueuedSeconds": 600})));
    assert_eq!(body["leases"].as_array().map(Vec::len), Some(1));
    assert_eq!((&body["leases"][0]["executionId"], &body["leases"][0]["workerId"]), (&json!(run.id), &json!("w7")));
    let before = checks.asked_before.lock().unwrap().unwrap();
    assert_eq!(between(before, NOW.parse().unwrap()), Duration::from_secs(70), "what the sweeper may still find is not overdue");
}

#[tokio::test]
async fn leases_that_are_held_are_named_the_oldest_first_and_are_no_warning() {
    let tenant = "acme".parse().unwrap();
    let taken = |by: &str, at: i64, until: i64, renewals: u32| {
        let mut run = a_run(&tenant, ago(at));
        run.apply(Command::Claim, Cause { at: ago(at), by, reason: "taken up", patience: Duration::from_secs(75) }).unwrap();
        run.lease_to(by.into(), ago(at - 75), None);
        (0..renewals).for_each(|_| run.renew_until(ago(-until)));
        Run { due_ms: Some(ago(-until).as_millisecond()), ..run }
    };
    let queued = a_run(&tenant, ago(10));
    let due = vec![taken("w1", 20, 55, 0), queued, taken("w2", 300, 60, 9)];
    let (status, body) = get(Scripted { due: due.clone(), ..Scripted::default() }, "/api/production/queue/heartbeat").await;
    assert_eq!((status, &body["status"]["status"]), (200, &json!("pass")), "{body}");
    let lease = |run: &Run, worker: &str, locked: &str, expires: &str, heard: &str, renewals: u32| {
        json!({
            "executionId": run.id, "organizationId": "acme", "workerId": worker, "renewCount": renewals,
            "lockedAt": locked, "lockExpiresAt": expires, "lastHeartbeatAt": heard,
        })
    };
    let old = lease(&due[2], "w2", "2026-01-02T02:59:05.000Z", "2026-01-02T03:05:05.000Z", "2026-01-02T03:03:50.000Z", 9);
    let young = lease(&due[0], "w1", "2026-01-02T03:03:45.000Z", "2026-01-02T03:05:00.000Z", "2026-01-02T03:03:45.000Z", 0);
    assert_eq!(body["leases"], json!([old, young]));
    let stale = Run { due_ms: Some(ago(71).as_millisecond()), ..due[0].clone() };
    let due = vec![stale, due[2].clone()];
    let (status, body) = get(Scripted { due, ..Scripted::default() }, "/api/production/queue/heartbeat").await;
    assert_eq!((status, &body["status"]["details"]["staleLeases"]), (503, &json!(1)), "only what nobody looks after counts");
    assert_eq!(body["leases"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn metrics_are_the_numbers_that_all_functions_share() {
    let tasks = Depth { waiting: 3, in_flight: 2, delayed: 1 };
    let (status, text) = ask(Arc::new(Scripted { tasks, ..Scripted::default() }), "/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "# TYPE reprise_queue_messages gauge",
        r#"reprise_queue_messages{queue="tasks",state="waiting"} 3"#,
        r#"reprise_queue_messages{queue="dead_letters",state="waiting"} 0"#,
        r#"reprise_heartbeat_age_seconds{of="worker"} 29"#,
        "reprise_canary_latency_seconds 1",
        "reprise_agents 2",
        r#"reprise_heartbeat_status{status="pass"} 1"#,
        r#"reprise_heartbeat_status{status="warn"} 0"#,
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }
    for line in text.lines() {
        let is_comment = line.starts_with("# HELP reprise_") || line.starts_with("# TYPE reprise_");
        let value = line.rsplit_once(' ').and_then(|(name, value)| name.starts_with("reprise_").then(|| value.parse::<f64>().ok())?);
        assert!(is_comment || value.is_some(), "{line} is not in Prometheus's format");
    }
}

#[tokio::test]
async fn metrics_say_what_the_heartbeat_says() {
    let stuck = Scripted { due: vec![a_run(&"acme".parse().unwrap(), ago(600))], ..Scripted::default() };
    let silent = Scripted { marks: Marks::default(), ..Scripted::default() };
    for (checks, status) in [(Scripted::default(), "pass"), (stuck, "warn"), (silent, "fail")] {
        let checks = Arc::new(checks);
        let (_, probe) = ask(checks.clone(), "/api/production/queue/heartbeat").await;
        let (_, text) = ask(checks, "/metrics").await;
        assert_eq!(serde_json::from_str::<Value>(&probe).unwrap()["status"]["status"], status);
        let told: Vec<_> = text.lines().filter(|line| line.starts_with("reprise_heartbeat_status{") && line.ends_with(" 1")).collect();
        assert_eq!(told, [format!(r#"reprise_heartbeat_status{{status="{status}"}} 1"#)]);
    }
}
