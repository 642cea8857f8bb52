//! Each probe under each fault: one table, row by row, on a deployed stack. Faults of the dependencies are put between them and the function
//! that is asked, by its settings: for all others the stack goes on as it was. Workers and the sweeper are stopped for real.

mod row;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tests::functions::{Paused, Reconfigured};
use tests::runtime_api::{Mute, closed};
use tests::{Stack, wait_for};

use super::pager::Pager;
use row::{HEALTHY, Row, timed};

/// After this time the sweeper looks after a run that nobody has taken up: the stack's lease, and the end of the tick that does.
const UNTAKEN: Duration = Duration::from_secs(20);
/// A tick of the sweeper, the canary and its worker: milliseconds while nothing else is to be done.
const TICK: Duration = Duration::from_secs(30);
/// What counts as late for a canary, and a little.
const LATE: Duration = Duration::from_secs(31);
/// How old signs of life may be while a worker gives none. A row takes seconds.
const DEAD: Duration = Duration::from_secs(45);

#[expect(clippy::disallowed_methods, reason = "marks of the deployed stack bear the machine's own time")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// A time on the sweeper's or the worker's mark.
fn mark(stack: &Stack, of: &str, name: &str) -> Option<Timestamp> {
    stack.item("#heartbeat", of)[name]["S"].as_str()?.parse().ok()
}

/// Lets the sweeper tick once, and waits until it has.
fn tick(stack: &Stack) -> Timestamp {
    let before = mark(stack, "sweeper", "at");
    stack.invoke("sweeper");
    wait_for("a tick of the sweeper", TICK, || mark(stack, "sweeper", "at").filter(|at| Some(*at) > before).ok_or("no new mark"))
}

/// A tick whose canary has arrived.
fn beat(stack: &Stack) {
    let at = tick(stack);
    // The canary is sent before the mark is written, in the same tick.
    let sent_after = at - SignedDuration::from_secs(5);
    wait_for("the canary", TICK, || mark(stack, "worker", "sent_at").filter(|sent| *sent > sent_after).ok_or("no new canary"));
}

/// Waits until it is `age` since `at`.
fn wait_until_old(what: &str, at: Timestamp, age: Duration) {
    wait_for(what, age * 2 + TICK, || {
        let is = now().duration_since(at);
        if is > SignedDuration::try_from(age).unwrap_or_default() { Ok(()) } else { Err(format!("{is:#} old")) }
    });
}

/// `health` with other settings.
fn broken<'a>(stack: &'a Stack, variable: &str, value: &str) -> Reconfigured<'a> {
    stack.reconfigure("health", &[(variable, value)])
}

/// The rows whose faults are between `health` and what it asks.
fn dependencies(stack: &Stack) {
    let mute = format!("http://{}", Mute::start().address);
    let gone = format!("http://{}", closed());
    let table = Row {
        not_ready: &["dependencies"],
        detailed: ("unhealthy", "database"),
        health: ("unhealthy", "database"),
        heartbeat: ("fail", "Whether workers live cannot be told"),
        metrics: false,
        ..HEALTHY
    };
    let queue = Row {
        not_ready: &["queue"],
        detailed: ("unhealthy", "event_queue"),
        health: ("unhealthy", "queue"),
        heartbeat: ("fail", "SQS connection failed"),
        metrics: false,
        ..HEALTHY
    };
    let dlq = Row { detailed: ("unhealthy", "dlq"), health: ("unhealthy", "dependencies"), ..queue };
    let no_queue = format!("{}-gone", stack.tasks.url);
    for (variable, value, row) in [
        ("AWS_ENDPOINT_URL_DYNAMODB", gone.as_str(), Row { fault: "the table cannot be reached", ..table }),
        ("AWS_ENDPOINT_URL_DYNAMODB", &mute, Row { fault: "the table hangs", ..table }),
        ("TABLE_NAME", "gone", Row { fault: "the table is missing", ..table }),
        ("AWS_ENDPOINT_URL_SQS", &gone, Row { fault: "the queues cannot be reached", ..queue }),
        ("AWS_ENDPOINT_URL_SQS", &mute, Row { fault: "the queues hang", ..queue }),
        ("TASK_QUEUE_URL", &no_queue, Row { fault: "the queue is missing", ..queue }),
        ("DLQ_URL", &no_queue, Row { fault: "the dead-letter queue is missing", ..dlq }),
    ] {
        let _broken = broken(stack, variable, value);
        row.holds(stack);
        let (took, answer) = timed(stack, "/health/detailed");
        // Of the product's 2 s; this machine and its emulator have the rest.
        assert!(took < Duration::from_secs(5), "{}: {took:?}: {}", row.fault, answer.body);
    }
}

/// A breaker in the table, as a function that has opened it leaves it; dropped, it is gone.
struct Open<'a>(&'a Stack, String);

impl<'a> Open<'a> {
    fn of(stack: &'a Stack, model: &str) -> Self {
        let (at, until) = (now(), now() + SignedDuration::from_secs(600));
        let body = json!({
            "target": model, "state": "open", "until": format!("{until:.3}"), "version": 1, "times": 1, "opened": 1,
            "changed_at": format!("{at:.3}"), "cause": "provider_unavailable",
        });
        let sk = format!("breaker#{model}");
        let item = json!({"pk": {"S": "#providers"}, "sk": {"S": sk}, "body": {"S": body.to_string()}, "version": {"N": "1"}});
        stack.put_item(&item);
        Self(stack, sk)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.delete_item("#providers", &self.1);
    }
}

/// A provider that an operator has switched off; dropped, it is on again.
struct Off<'a>(&'a Stack, Value);

impl Drop for Off<'_> {
    fn drop(&mut self) {
        let _enabled = self.0.api.post("/v1/providers/enable", &self.1);
    }
}

/// The rows about the model provider. There is one, so that the system is unhealthy without it; workers live all the same.
fn providers(stack: &Stack) {
    let (provider, model) = stack.first_model();
    let down = Row { not_ready: &["llm"], detailed: ("unhealthy", "provider:openai"), health: ("unhealthy", "llm"), ..HEALTHY };
    assert_eq!(provider, "openai");
    {
        let _refusing = broken(stack, "MODEL_BASE_URL", &format!("http://{}/v1/", closed()));
        Row { fault: "the provider refuses connections", ..down }.holds(stack);
    }
    {
        let _open = Open::of(stack, &model);
        Row { fault: "the breaker of the provider is open", ..down }.holds(stack);
    }
    {
        let _public = broken(stack, "MODEL_BASE_URL", "");
        Row { fault: "nothing, and the provider has no address of its own", ..HEALTHY }.holds(stack);
        let said = stack.api.get("/health/detailed").must(200);
        assert!(said.to_string().contains("not asked: known from calls only"), "{said}");
        let _open = Open::of(stack, &model);
        Row { fault: "the breaker of a provider without an address of its own is open", ..down }.holds(stack);
    }
    let off = Off(stack, json!({"name": provider, "reason": "a drill"}));
    assert_eq!(stack.api.post("/v1/providers/disable", &off.1).status, 200);
    Row { fault: "an operator has switched the provider off", ..down }.holds(stack);
    drop(off);
    let second = format!("{model},backup::gpt-4o-mini");
    let providers = format!(r#"[{{"name":"backup","protocol":"openai","base_url":"http://{}/v1/"}}]"#, closed());
    let _two = stack.reconfigure("health", &[("MODEL", &second), ("PROVIDERS", &providers)]);
    let one = Row { detailed: ("degraded", "provider:backup"), health: ("degraded", "llm"), ..HEALTHY };
    Row { fault: "one provider of two refuses connections", ..one }.holds(stack);
}

/// The rows about how much there is to be done. The consumer is paused, and its last sign of life is fresh.
fn backlog(stack: &Stack) {
    let much = Row { detailed: ("degraded", "event_queue"), health: ("degraded", "queue"), heartbeat: ("warn", "The backlog"), ..HEALTHY };
    let waiting = (stack.start("who takes this up?"), now());
    // Canaries of long ago: whoever takes one off leaves the mark of a newer one alone.
    let old = r#"{"v":1,"canary":"2026-01-02T03:04:05.000Z"}"#;
    for _ in 0..3 {
        let _at = tick(stack);
        (0..6).for_each(|_| stack.tasks.send(old));
    }
    Row { fault: "the backlog grows and nothing drains", ..much }.holds(stack);
    stack.tasks.purge();
    let _at = tick(stack);
    // One job that waits is no warning.
    Row { fault: "one message waits", ..HEALTHY }.holds(stack);
    stack.tasks.send(old);
    let few = broken(stack, "BACKLOG_THRESHOLD", "1");
    let warn = ("warn", "The backlog is large");
    Row { fault: "the backlog is above its threshold", heartbeat: warn, ..much }.holds(stack);
    drop(few);
    waits_for_long(stack, much, waiting);
    stack.tasks.purge();
}

/// The row about a run that nobody has taken up for longer than its lease would last, however few wait beside it.
fn waits_for_long(stack: &Stack, much: Row, (run, since): (String, Timestamp)) {
    wait_until_old("a run that nobody has taken up", since, UNTAKEN);
    let _at = tick(stack);
    {
        let _impatient = broken(stack, "BACKLOG_AGE_SECONDS", "1");
        Row { fault: "a run waits for too long", heartbeat: ("warn", "A run has waited in the queue for"), ..much }.holds(stack);
    }
    let _cancelled = stack.api.post(&format!("/v1/runs/{run}/cancel"), &Value::Null).must(200);
    let _at = tick(stack);
    Row { fault: "nothing, and the run that waited was cancelled", ..HEALTHY }.holds(stack);
}

/// The row about dead letters.
fn dead_letters(stack: &Stack) {
    let _few = broken(stack, "DEAD_LETTER_THRESHOLD", "1");
    (0..2).for_each(|_| stack.dead_letters.send("poison of a drill"));
    let many = Row { detailed: ("degraded", "dlq"), health: ("degraded", "queue"), ..HEALTHY };
    Row { fault: "dead letters are above their threshold", ..many }.holds(stack);
    stack.dead_letters.purge();
}

/// The rows about who gives no sign of life. The consumer is paused.
fn signs<'a>(stack: &'a Stack, paused: Paused<'a>) {
    let dead = Row { detailed: ("unhealthy", "worker"), health: ("unhealthy", "worker"), ..HEALTHY };
    let dead = Row { heartbeat: ("fail", "No worker has taken a canary off the queue for"), ..dead };
    let arrived = mark(stack, "worker", "at").unwrap();
    wait_until_old("a canary that is old", arrived, DEAD);
    let short = broken(stack, "HEARTBEAT_TIMEOUT_SECONDS", &DEAD.as_secs().to_string());
    let cannot_start = stack.reconfigure("queue-consumer", &[("TABLE_NAME", "")]);
    drop(paused);
    let _at = tick(stack);
    let is_taken = || if stack.tasks.depth() > stack.tasks.awake() { Ok(()) } else { Err("nothing is in flight") };
    wait_for("a canary in the hands of a consumer that does not start", TICK, is_taken);
    Row { fault: "the consumer does not start", ..dead }.holds(stack);
    let paused = stack.pause_consumer();
    drop(cannot_start);
    stack.tasks.purge();
    let sent = tick(stack);
    Row { fault: "the mapping is disabled", ..dead }.holds(stack);
    drop(short);
    wait_until_old("a canary that has waited for long", sent, LATE);
    drop(paused);
    let late = Row { detailed: ("degraded", "worker"), health: ("degraded", "worker"), ..HEALTHY };
    Row { fault: "the canary came late", heartbeat: ("warn", "The last canary waited"), ..late }.holds(stack);
    let _impatient = broken(stack, "HEARTBEAT_TIMEOUT_SECONDS", "1");
    let silent = Row { detailed: ("unhealthy", "sweeper"), health: ("unhealthy", "sweeper"), ..HEALTHY };
    Row { fault: "the sweeper is silent", heartbeat: ("fail", "The sweeper has been silent for"), ..silent }.holds(stack);
}

/// The alarms that the rows' faults may set off, if they last long enough. None of them is of requests: that probes fail is no failed request.
const CALLED_FOR: [&str; 5] = ["heartbeat-missing", "sweeper-silent", "dead-letters", "breaker-open", "queue-consumer-errors"];

#[test]
fn every_probe_tells_the_truth_under_every_fault() {
    let stack = Stack::alone();
    let pager = Pager::of(&stack);
    pager.expect(|sign| CALLED_FOR.contains(&sign));
    let by_hand = stack.unschedule_sweeper();
    // The rows take longer than a sign of life may be old, and the sweeper ticks when the test says so.
    let patient = broken(&stack, "HEARTBEAT_TIMEOUT_SECONDS", "3600");
    beat(&stack);
    HEALTHY.holds(&stack);
    let paused = stack.pause_consumer();
    backlog(&stack);
    dead_letters(&stack);
    providers(&stack);
    dependencies(&stack);
    signs(&stack, paused);
    drop((patient, by_hand));
    beat(&stack);
    Row { fault: "nothing any more", ..HEALTHY }.holds(&stack);
    pager.must_be_quiet("probes");
}

#[test]
fn a_burst_of_probes_asks_the_queues_about_once_a_period() {
    const AT_ONCE: usize = 5;
    const EACH: usize = 8;
    const PERIOD: u64 = 10;
    let stack = Stack::alone();
    let _slower = broken(&stack, "PROBE_CACHE_SECONDS", &PERIOD.to_string());
    let burst = || {
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| (0..EACH).for_each(|_| drop(stack.api.get("/api/production/ready"))));
            }
        });
    };
    // So that no sandbox starts while it is counted.
    burst();
    let (since, begun) = (stack.log_position(), now());
    burst();
    let periods = now().duration_since(begun).as_secs().unsigned_abs() / PERIOD + 2;
    let calls: Vec<_> = stack.calls("", since).into_iter().filter(|call| call.function == "health").collect();
    let of = |operation: &str| calls.iter().filter(|call| call.operation == operation).count();
    assert!(of("BatchGetItem") >= AT_ONCE * EACH, "each probe reads the table for itself");
    let asked = u64::try_from(of("GetQueueAttributes")).unwrap_or(u64::MAX);
    // The three queues, by one probe of a period, and by one more that could not claim it in time.
    assert!(asked <= 3 * 2 * periods, "{asked} times in {periods} periods");
}
