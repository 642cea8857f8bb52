//! Bad ids and bad queries are 400s that name the parameter; what was sent is not echoed and nothing is written.

use shared::domain::state::RunState;

use crate::dead_letters;
use crate::document::DOCUMENT;
use crate::requests::{get, good};
use crate::world::world;

/// Ids that are none: cut, foreign, disguised, hostile.
fn bad_ids() -> Vec<String> {
    let good = "run_01KAM3Q5T0ZJ8Y6W4V2N1M0K9H";
    let mut bad: Vec<String> =
        ["", "x", "run_", "conv_", "call_01KAM3Q5T0ZJ8Y6W4V2N1M0K9H", "01KAM3Q5T0ZJ8Y6W4V2N1M0K9H"].map(Into::into).into();
    bad.extend(["' OR '1'='1", "\"; --", "../../etc/passwd", "%00", "run_%30", "{id}", "<script>alert(1)</script>"].map(String::from));
    bad.extend(["run_ünïcödé", "run_０１KAM3Q5T0ZJ8Y6W4V2N1M0K9", "🦀", "\u{0}", "\u{202e}run_"].map(String::from));
    bad.extend([good.to_lowercase(), good.replace('0', "O"), good.replace("run_0", "run_8"), format!("{good}A"), good.repeat(500)]);
    bad.extend(["'", "\"", "\n", "\r\nx-evil: 1", "\u{0}", " ", "#", "/steps"].map(|tail| format!("{good}{tail}")));
    bad
}

#[tokio::test]
async fn a_bad_id_is_refused_on_every_route_that_has_one() {
    let mut routes = 0;
    // A model's id is a name.
    for operation in DOCUMENT.operations().iter().filter(|operation| operation.path.contains("{id}") && !operation.is_openai()) {
        routes += 1;
        let schema = match operation.path {
            path if path.contains("conversations") || path.contains("history") => "ConversationId",
            path if path.contains("events") => "EventId",
            path if path.contains("incidents") => "IncidentId",
            path if path.contains("/jobs/") || path.contains("/replays/") => "JobId",
            path if path.contains("letters") => "LetterId",
            _ => "RunId",
        };
        let validator = DOCUMENT.validator(&DOCUMENT.0["components"]["schemas"][schema]);
        for bad in bad_ids() {
            let world = world();
            let answer = world.call(good(operation, bad.clone())).await;
            // With more behind the id, the rest of the address is what does not fit.
            let field = if operation.path.contains("{index}") && bad.ends_with("/steps") { "index" } else { "id" };
            assert_eq!((answer.status, answer.text("/code"), answer.text("/field")), (400, "invalid_request", field), "{bad:?}");
            assert!(bad.len() < 6 || !answer.text("/detail").contains(&bad), "{bad:?} is echoed");
            assert!(!answer.headers.contains_key("x-evil"));
            assert!(!validator.is_valid(&bad.clone().into()), "{bad:?} is an id by the document");
            world.assert_untouched(&bad);
        }
    }
    assert_eq!(routes, 26);
}

#[tokio::test]
async fn a_bad_query_is_refused_with_the_name_of_the_parameter() {
    let bad_limits = ["0", "101", "-1", "1.5", "x", "", "1e1", "99999999999999999999", "２"];
    let bad_times = ["yesterday", "", "2026-01-02", "2026-13-01T00:00:00Z", "2026-01-02T03:04:05", "0", "\u{0}"];
    let bad_runs = ["x", "", "0", "run_", "conv_01KAM3Q5T0V5E8R2D7C4B9A1XG", "run_01kam3q5t0zj8y6w4v2n1m0k9h", "'", "\n"];
    let bad_steps = ["x", "", "-1", "1.5", "99999999999", "run_01KAM3Q5T0ZJ8Y6W4V2N1M0K9H"];
    let bad_states = ["done", "", "DEAD", "dead,failed", "queued ", "\u{0}"];
    let bad_events = ["x", "", "0", "evt_", "run_01KAM3Q5T0ZJ8Y6W4V2N1M0K9H", "evt_01kam3q5t07ypb3gz5x1qd8e2r", "'", "\n"];
    let bad_jobs = ["x", "", "0", "job_", "run_01KAM3Q5T0ZJ8Y6W4V2N1M0K9H", "job_01kam3q5t0c4q9v7x2r8m6n1pz", "'", "\n"];
    let tables: [(&str, &str, &[&str]); 18] = [
        ("/v1/runs", "limit", &bad_limits),
        ("/v1/runs", "status", &bad_states),
        ("/v1/runs", "since", &bad_times),
        ("/v1/runs", "until", &bad_times),
        ("/v1/runs", "cursor", &bad_runs),
        ("/v1/runs/{id}/steps", "limit", &bad_limits),
        ("/v1/runs/{id}/steps", "cursor", &bad_steps),
        ("/v1/conversations/{id}", "limit", &bad_limits),
        ("/v1/conversations/{id}", "cursor", &bad_runs),
        ("/v1/events", "limit", &bad_limits),
        ("/v1/events", "since", &bad_times),
        ("/v1/events", "until", &bad_times),
        ("/v1/events", "cursor", &bad_events),
        ("/v1/dlq", "limit", &bad_limits),
        ("/v1/dlq/jobs", "limit", &bad_limits),
        ("/v1/replays", "limit", &bad_limits),
        ("/v1/replays", "cursor", &bad_jobs),
        ("/v1/dlq/jobs", "cursor", &bad_jobs),
    ];
    for (route, name, values) in tables.into_iter().chain(dead_letters::bad_parameters()) {
        for value in values {
            let world = world();
            let run = world.run_of("acme", RunState::Dead);
            let id = if route.contains("conversations") { run.conversation.to_string() } else { run.id.to_string() };
            let answer = world.call(get(route).id(id).query(name, *value)).await;
            assert_eq!((answer.status, answer.text("/field")), (400, name), "{route}?{name}={value:?}");
            assert_eq!(world.store.writes(), 0);
        }
    }
}

#[tokio::test]
async fn an_unknown_parameter_is_refused_where_it_could_be_a_mistyped_filter() {
    for route in ["/v1/runs", "/v1/runs/{id}/steps", "/v1/conversations/{id}", "/v1/events", "/v1/dlq"] {
        for (name, told) in [("statsu", "statsu"), ("Limit", "Limit"), ("limit ", "limit "), ("a\nb", "ab"), ("ü", "ü")] {
            let world = world();
            let run = world.run_of("acme", RunState::Dead);
            let id = if route.contains("conversations") { run.conversation.to_string() } else { run.id.to_string() };
            let answer = world.call(get(route).id(id).query(name, "1")).await;
            assert_eq!((answer.status, answer.text("/field")), (400, told), "{route}?{name}");
        }
        let world = world();
        let answer = world.call(get(route).id("run_01KAM3Q5T0ZJ8Y6W4V2N1M0K9H").query(&"x".repeat(5000), "1")).await;
        assert!(answer.status == 400 && answer.text("/field").len() <= 64, "a long name is not sent back whole");
    }
}

#[tokio::test]
async fn a_parameter_that_is_given_twice_is_refused_even_if_both_say_the_same() {
    for (route, name, value) in [
        ("/v1/runs", "limit", "7"),
        ("/v1/runs", "status", "dead"),
        ("/v1/runs", "since", "2026-01-02T03:04:05Z"),
        ("/v1/runs/{id}/steps", "cursor", "1"),
        ("/v1/conversations/{id}", "limit", "7"),
        ("/v1/events", "type", "ticket.opened"),
        ("/v1/dlq", "limit", "7"),
    ] {
        let world = world();
        let run = world.run_of("acme", RunState::Dead);
        let id = if route.contains("conversations") { run.conversation.to_string() } else { run.id.to_string() };
        let answer = world.call(get(route).id(id).query(name, value).query(name, value)).await;
        assert_eq!((answer.status, answer.text("/field")), (400, name), "{route}?{name}");
    }
}

#[tokio::test]
async fn a_range_in_which_nothing_can_lie_is_an_empty_page() {
    let world = world();
    world.run_of("acme", RunState::Dead);
    let backwards = get("/v1/runs").query("since", "2027-01-01T00:00:00Z").query("until", "2026-01-01T00:00:00Z");
    assert_eq!(world.call(backwards).await.body, serde_json::json!({"runs": [], "next_cursor": null}));
    let far = get("/v1/runs").query("since", "9999-12-30T00:00:00Z");
    assert_eq!(world.call(far).await.body["runs"], serde_json::json!([]));
    let ancient = get("/v1/runs").query("until", "0001-01-01T00:00:00+00:00");
    assert_eq!(world.call(ancient).await.body["runs"], serde_json::json!([]));
}
