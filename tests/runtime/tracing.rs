//! Traces are sent when the caller has its answer, and a collector that never answers keeps nobody waiting.

use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::function::{Function, get};

/// Well above the second that an invocation's spans may take (the outbox's own tests hold it to that), and well below the ten that an
/// exporter waits by itself.
const BOUND: Duration = Duration::from_secs(5);

#[test]
fn spans_are_sent_behind_the_answer_and_a_collector_that_hangs_is_not_waited_for() {
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", collector.local_addr().unwrap());
    let (say, asked) = channel();
    std::thread::spawn(move || {
        let (stream, _) = collector.accept().unwrap();
        // It is never answered, for as long as this test runs.
        say.send((Instant::now(), stream, collector))
    });
    let function = Function::start("agent-api", &[("OTEL_EXPORTER_OTLP_ENDPOINT", Some(&address))]);
    let _ = function.api.must_hear("next");
    function.api.invoke(get("/openapi.json"));
    let mut answered = function.api.hear();
    assert_eq!(answered.what, "response", "{}", answered.body);
    let (asked_at, _open, _collector) = asked.recv_timeout(Duration::from_secs(20)).expect("the collector was not asked");
    assert!(answered.at < asked_at, "the collector was asked before the caller had its answer");
    for _ in 0..4 {
        let next = function.api.hear();
        assert_eq!(next.what, "next", "{}", next.body);
        let waited = next.at.duration_since(answered.at);
        assert!(waited < BOUND, "the collector was waited for: {waited:?}");
        function.api.invoke(get("/openapi.json"));
        answered = function.api.hear();
        assert_eq!(answered.what, "response", "{}", answered.body);
    }
}
