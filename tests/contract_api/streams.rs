//! Runs that are read along with: the events, their ids, and readers who come back.

use serde_json::json;
use shared::domain::state::RunState;
use shared::engine::CallError;
use shared::fakes::Scripted;

use crate::document::{StreamEvent, events};
use crate::requests::{ask, get};
use crate::world::{Answer, scripted, world};

const NO_RUN: &str = "run_01KAM3Q5T0ZJ8Y6W4V2N1M0K9H";

/// Answers of the route that the tests of all operations do not ask for.
pub(crate) async fn all() -> Vec<Answer> {
    let world = world();
    let started = world.call(ask(&json!({"prompt": "why?"}))).await;
    let stream = get("/v1/runs/{id}/stream");
    let answers = vec![world.call(stream.clone().id(started.text("/run_id"))).await, world.call(stream.id(NO_RUN)).await];
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200, 404]);
    answers
}

fn told(answer: &Answer) -> Vec<StreamEvent> {
    events(answer.body.as_str().unwrap())
}

fn names(events: &[StreamEvent]) -> Vec<&str> {
    events.iter().map(|event| event.name.as_str()).collect()
}

#[tokio::test]
async fn what_happens_in_a_run_is_told_and_again_from_any_id_on() {
    let world = scripted([Scripted::Calls(vec!["clock"]), Scripted::Says("Grüße an 日本".into())]);
    let asked = world.call(ask(&json!({"prompt": "why?", "stream": true}))).await;
    let first = told(&asked);
    assert_eq!((asked.status, asked.headers["content-type"].to_str().unwrap()), (200, "text/event-stream"));
    assert!(asked.body.as_str().unwrap().starts_with("retry: 1000\n\n"));
    assert_eq!((first[0].name.as_str(), first.last().unwrap().data["response"].as_str()), ("run", Some("Grüße an 日本")));
    let run = first[0].data["run_id"].as_str().unwrap().to_owned();

    let stream = get("/v1/runs/{id}/stream").id(run);
    let again = told(&world.call(stream.clone()).await);
    assert_eq!(names(&again), ["run", "step", "step", "delta", "step", "done"]);
    assert_eq!((&again[3].data["text"], again[3].id.as_deref()), (&json!("Grüße an 日本"), Some("3.-.17")));
    // Whoever comes back has read everything up to the id, and gets the rest: by the header, by the address, by the header before the address.
    for request in [
        stream.clone().header("Last-Event-ID", "3.-.4"),
        stream.clone().query("last_event_id", "3.-.4"),
        stream.clone().query("last_event_id", "1.-.0").header("Last-Event-ID", "3.-.4"),
    ] {
        let rest = told(&world.call(request).await);
        assert_eq!(names(&rest), ["run", "delta", "step", "done"]);
        assert_eq!(rest[1].data["text"], "ße an 日本");
    }
    let other_try = told(&world.call(stream.clone().header("Last-Event-ID", "3.7-7.4")).await);
    assert_eq!(names(&other_try), ["run", "reset", "delta", "step", "done"]);
    let at_the_end = told(&world.call(stream.header("Last-Event-ID", "4.-.0")).await);
    assert_eq!(names(&at_the_end), ["run", "done"]);
}

#[tokio::test]
async fn an_end_without_an_answer_is_an_event_and_what_was_not_begun_is_a_problem() {
    let world = scripted([Scripted::Fails(CallError::rejected("no"))]);
    let failed = told(&world.call(ask(&json!({"prompt": "why?", "stream": true}))).await);
    assert_eq!(names(&failed), ["run", "error"]);
    assert_eq!((&failed[1].data["code"], &failed[1].data["status"]), (&json!("provider_rejected"), &json!("failed")));
    for state in [RunState::Dead, RunState::Cancelled] {
        let run = world.run_of("acme", state);
        let events = told(&world.call(get("/v1/runs/{id}/stream").id(run.id.to_string())).await);
        assert_eq!(names(&events)[1], if state == RunState::Dead { "error" } else { "cancelled" });
    }
    for (field, body) in [
        ("stream", json!({"prompt": "why?", "stream": true, "background": true})),
        ("stream", json!({"prompt": "why?", "stream": "yes"})),
        ("agent", json!({"prompt": "why?", "stream": true, "agent": "nobody"})),
    ] {
        let refused = world.call(ask(&body)).await;
        assert!(refused.status >= 400 && refused.text("/field") == field, "{:#}", refused.body);
    }
}

#[tokio::test]
async fn what_is_no_id_is_refused() {
    let world = world();
    let run = world.run_of("acme", RunState::Completed).id.to_string();
    for bad in ["x", "1", "0.-.0", "1.-.0.0", "1.1-.0", "-1.-.0"] {
        let refused = world.call(get("/v1/runs/{id}/stream").id(run.clone()).header("Last-Event-ID", bad)).await;
        assert_eq!((refused.status, refused.text("/field")), (400, "Last-Event-ID"), "{bad}");
        let refused = world.call(get("/v1/runs/{id}/stream").id(run.clone()).query("last_event_id", bad)).await;
        assert_eq!((refused.status, refused.text("/field")), (400, "last_event_id"), "{bad}");
    }
}

#[tokio::test]
async fn the_same_key_reads_along_with_the_same_run() {
    let world = world();
    let request = ask(&json!({"prompt": "why?", "stream": true})).header("Idempotency-Key", "k");
    let (first, second) = (world.call(request.clone()).await, world.call(request).await);
    assert_eq!(told(&first)[0].data["run_id"], told(&second)[0].data["run_id"]);
    assert_eq!(second.headers["idempotency-replayed"], "true");
    assert_eq!((told(&second).last().unwrap().data["response"].as_str(), world.store.len()), (Some("done"), 1));
}
