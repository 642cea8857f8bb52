//! Events: recorded once, shown with what their triggers made of them. The triggers are those of `infra/agents/`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::requests::{Asked, Caller, ask, get, post};
use crate::world::{Answer, World, world};

const EVE: Caller = Caller::Authorized("evil", "eve");

/// An urgent ticket of a new customer: both triggers of the example agent fit.
fn ticket(id: &str, ticket: &str) -> Value {
    let payload =
        json!({"ticket": {"id": ticket, "priority": "urgent", "subject": "Login fails"}, "customer": {"name": "Ada", "is_new": true}});
    json!({"type": "ticket.opened", "source": "crm/eu", "id": id, "correlation_id": "story-1", "payload": payload})
}

fn publish(event: &Value) -> Asked {
    post("/v1/events").body(event.to_string())
}

fn outcomes(answer: &Answer) -> Vec<(String, String)> {
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    answer.body["matches"].as_array().unwrap().iter().map(|entry| (text(entry, "trigger"), text(entry, "outcome"))).collect()
}

fn is_replay(answer: &Answer) -> bool {
    answer.headers.contains_key("idempotency-replayed")
}

fn runs(world: &World) -> (usize, usize) {
    (world.store.len(), world.queue.sent.lock().unwrap().len())
}

#[tokio::test]
async fn an_event_starts_a_run_for_each_trigger_that_fits_and_each_run_says_so() {
    let world = world();
    let event = world.call(publish(&ticket("1", "T-1"))).await;
    let started = |name: &str| (name.to_owned(), "started".to_owned());
    let mut found = outcomes(&event);
    found.sort();
    assert_eq!(found, [started("greet-customer"), started("triage-ticket")]);
    assert_eq!(
        (event.text("/type"), event.text("/source"), event.text("/id"), event.text("/correlation_id")),
        ("ticket.opened", "crm/eu", "1", "story-1")
    );
    assert_eq!(runs(&world), (2, 2));
    world.work().await;
    for entry in event.body["matches"].as_array().unwrap() {
        let run = world.call(get("/v1/runs/{id}").id(entry["run_id"].as_str().unwrap())).await;
        assert_eq!((run.text("/status"), run.text("/response"), run.text("/agent")), ("completed", "done", "triage"));
        assert_eq!((&run.body["trigger"], &run.body["event_id"]), (&entry["trigger"], &event.body["event_id"]));
        assert!(run.text("/prompt").contains("T-1") || run.text("/prompt").contains("Ada"), "{}", run.text("/prompt"));
    }
    let shown = world.call(get("/v1/events/{id}").id(event.text("/event_id"))).await;
    assert_eq!(shown.body, event.body);
}

#[tokio::test]
async fn an_event_that_no_trigger_wants_is_recorded_and_no_error() {
    let world = world();
    let event = world.call(publish(&json!({"type": "nothing.special", "source": "test", "payload": [1, null]}))).await;
    assert_eq!((event.status, &event.body["matches"], runs(&world)), (202, &json!([]), (0, 0)));
    let shown = world.call(get("/v1/events/{id}").id(event.text("/event_id"))).await;
    assert_eq!((shown.status, &shown.body["payload"]), (200, &json!([1, null])));
}

#[tokio::test]
async fn an_event_that_is_sent_again_is_the_same_event_by_its_id_or_by_the_requests_key() {
    let world = world();
    let first = world.call(publish(&ticket("1", "T-1"))).await;
    let again = world.call(publish(&ticket("1", "T-1"))).await;
    assert_eq!((is_replay(&first), is_replay(&again), &again.body), (false, true, &first.body));
    let nameless = json!({"type": "nothing.special", "source": "test", "payload": {}});
    let first = world.call(publish(&nameless).header("Idempotency-Key", "k")).await;
    let again = world.call(publish(&nameless).header("Idempotency-Key", "k")).await;
    assert_eq!((is_replay(&first), is_replay(&again), &again.body), (false, true, &first.body));
    let without = world.call(publish(&nameless)).await;
    assert_ne!(without.body["event_id"], first.body["event_id"]);
    assert_eq!(runs(&world), (2, 2));
}

#[tokio::test]
async fn the_same_id_with_another_event_is_refused_but_not_of_another_source_or_tenant() {
    let world = world();
    let first = world.call(publish(&ticket("1", "T-1"))).await;
    let other = world.call(publish(&ticket("1", "T-2"))).await;
    assert_eq!((other.status, other.text("/code"), other.text("/field")), (422, "idempotency_key_reused", "id"));
    assert_eq!(runs(&world), (2, 2));
    let mut elsewhere = ticket("1", "T-3");
    elsewhere["source"] = json!("shop");
    let theirs = ticket("1", "T-1");
    for request in [publish(&elsewhere), publish(&theirs).from(EVE)] {
        let answer = world.call(request).await;
        assert_eq!((answer.status, is_replay(&answer)), (202, false));
        assert_ne!(answer.body["event_id"], first.body["event_id"]);
    }
}

#[tokio::test]
async fn a_trigger_that_has_seen_the_same_starts_no_second_run_and_says_why() {
    let world = world();
    world.call(publish(&ticket("1", "T-1"))).await;
    world.clock.advance(Duration::from_secs(60));
    let same_ticket = world.call(publish(&ticket("2", "T-1"))).await;
    let triage = outcomes(&same_ticket).into_iter().find(|(trigger, _)| trigger == "triage-ticket");
    assert_eq!(triage, Some(("triage-ticket".into(), "duplicate".into())));
    let entry = same_ticket.body["matches"].as_array().unwrap().iter().find(|entry| entry["trigger"] == "triage-ticket").unwrap();
    assert!(entry.get("run_id").is_none(), "{entry}");
    assert_eq!(world.store.len(), 3, "the other trigger has run again");
    world.clock.advance(Duration::from_secs(3600));
    let later = world.call(publish(&ticket("3", "T-1"))).await;
    assert!(outcomes(&later).contains(&("triage-ticket".into(), "started".into())));
}

#[tokio::test]
async fn a_trigger_that_has_run_as_often_as_it_may_says_so() {
    let world = world();
    let mut greeted = 0;
    for n in 0..31 {
        let event = world.call(publish(&ticket(&n.to_string(), &format!("T-{n}")))).await;
        greeted += usize::from(outcomes(&event).contains(&("greet-customer".into(), "started".into())));
        if n == 30 {
            assert!(outcomes(&event).contains(&("greet-customer".into(), "rate_limited".into())));
            assert!(outcomes(&event).contains(&("triage-ticket".into(), "started".into())), "its sibling is not held up");
        }
    }
    assert_eq!(greeted, 30);
}

#[tokio::test]
async fn another_tenants_event_is_not_found() {
    let world = world();
    let event = world.call(publish(&ticket("1", "T-1"))).await;
    let theirs = world.call(get("/v1/events/{id}").id(event.text("/event_id")).from(EVE)).await;
    assert_eq!((theirs.status, theirs.text("/field")), (404, "id"));
    assert!(!theirs.body.to_string().contains("T-1"));
}

#[tokio::test]
async fn events_are_listed_newest_first_with_what_came_of_them_and_only_to_their_tenant() {
    let world = world();
    let first = world.call(publish(&ticket("1", "T-1"))).await;
    world.clock.advance(Duration::from_secs(1));
    let asked = world.call(ask(&json!({"prompt": "why?", "background": true}))).await;
    world.clock.advance(Duration::from_secs(1));
    let unheard = world.call(publish(&json!({"type": "nothing.special", "source": "test", "payload": 1}))).await;
    let listed = world.call(get("/v1/events")).await;
    let ids: Vec<&str> = (0..3).map(|n| listed.text(&format!("/events/{n}/event_id"))).collect();
    assert_eq!((ids[0], ids[2], &listed.body["next_cursor"]), (unheard.text("/event_id"), first.text("/event_id"), &json!(null)));
    assert_eq!((listed.text("/events/1/type"), listed.text("/events/1/run_id")), ("agent.request", asked.text("/run_id")));
    assert_eq!(listed.body["events"][2]["matches"], first.body["matches"]);
    assert_eq!(world.call(get("/v1/events/{id}").id(ids[1])).await.body["payload"]["prompt"], "why?");
    let paged = world.call(get("/v1/events").query("limit", "1").query("cursor", ids[0])).await;
    assert_eq!((paged.text("/events/0/event_id"), paged.text("/next_cursor")), (ids[1], ids[1]));
    for (name, value, expected) in [
        ("type", "ticket.opened", vec![ids[2]]),
        ("source", "test", vec![ids[0]]),
        ("since", "2026-01-02T03:04:06Z", vec![ids[0], ids[1]]),
        ("until", "2026-01-02T03:04:06Z", vec![ids[2]]),
    ] {
        let page = world.call(get("/v1/events").query(name, value)).await;
        let found: Vec<&str> = page.body["events"].as_array().unwrap().iter().map(|event| event["event_id"].as_str().unwrap()).collect();
        assert_eq!(found, expected, "{name}={value}");
    }
    assert_eq!(world.call(get("/v1/events").from(EVE)).await.body["events"], json!([]));
}
