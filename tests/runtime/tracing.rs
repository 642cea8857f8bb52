//! Traces are sent when the caller has its answer, and a collector that never answers keeps nobody waiting.

use std::net::TcpListener;
use std::time::Instant;

use crate::function::{Function, get};

#[test]
fn spans_are_sent_behind_the_answer_and_a_collector_that_hangs_is_not_waited_for() {
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", collector.local_addr().unwrap());
    let asked = std::thread::spawn(move || {
        let asked = collector.accept().map(|(stream, _)| (stream, Instant::now()));
        // It is never answered, for as long as this test runs.
        (asked.unwrap(), collector)
    });
    let function = Function::start("agent-api", &[("OTEL_EXPORTER_OTLP_ENDPOINT", Some(&address))]);
    let _ = function.api.must_hear("next");
    function.api.invoke(get("/openapi.json"));
    let said = function.api.hear();
    assert_eq!(said.what, "response", "{}", said.body);
    let ((_open, asked_at), _collector) = asked.join().unwrap();
    assert!(said.at < asked_at, "the collector was asked before the caller had its answer");
    for _ in 0..3 {
        let _ = function.api.must_hear("next");
        function.api.invoke(get("/openapi.json"));
        let _ = function.api.must_hear("response");
    }
}
