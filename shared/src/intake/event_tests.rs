//! Publishing events over in-memory ports: which runs they start, and that they start them once.

use serde_json::json;

use super::tests::{World, tenant, world};
use super::*;
use crate::domain::definition::{Dedupe, Rate};
use crate::domain::event::MatchOutcome;
use crate::domain::trigger::Trigger;
use crate::domain::wildcard::Wildcard;
use crate::engine::ports::Journal;
use crate::fakes::Scripted;

fn trigger(name: &str) -> Trigger {
    Trigger {
        name: name.into(),
        agent: "assistant".into(),
        kind: "ticket.opened".into(),
        source: Wildcard::any(),
        filter: None,
        dedupe: None,
        rate: None,
        prompt: None,
    }
}

fn event(n: u32, key: Option<&str>) -> NewEvent {
    NewEvent {
        kind: "ticket.opened".into(),
        source: "crm".into(),
        payload: json!({"n": n}),
        client_id: None,
        meta: EventMeta::default(),
        keys: key.map(|key| RequestKey { digest: key.into(), fingerprint: n.to_string() }).into_iter().collect(),
    }
}

impl World {
    async fn publish(&self, triggers: &[Trigger], new: NewEvent) -> Result<Published, IntakeError> {
        self.intake.publish_to(triggers, &self.ana, new).await
    }
}

fn outcomes(published: &Published) -> Vec<MatchOutcome> {
    published.event.matches.iter().map(|found| found.outcome).collect()
}

#[tokio::test]
async fn each_trigger_that_an_event_fires_starts_a_run_of_its_own() {
    let w = world([Scripted::Says("one".into()), Scripted::Fails(crate::engine::CallError::rejected("no"))]);
    let published = w.publish(&[trigger("a"), trigger("b")], event(1, None)).await.unwrap();
    assert_eq!(outcomes(&published), [MatchOutcome::Started, MatchOutcome::Started]);
    w.work().await;
    let runs: Vec<Run> = published.event.matches.iter().map(|found| w.get(found.run_id.unwrap())).collect();
    assert_eq!(runs.iter().map(|run| run.state).collect::<Vec<_>>(), [RunState::Completed, RunState::Failed], "each has its own end");
    assert_eq!((runs[0].trigger.as_deref(), runs[0].event), (Some("a"), published.event.id));
    let asked = w.model.asked.lock().unwrap()[0].last().unwrap().content.clone().unwrap();
    assert!(asked.contains("ticket.opened") && asked.contains("\"n\""), "{asked}");
    let stored = w.store.event(&tenant(), published.event.id).await.unwrap().unwrap();
    assert_eq!(stored, published.event, "what came of it is recorded with it");
}

#[tokio::test]
async fn an_event_that_fires_nothing_is_recorded_and_no_error() {
    let w = world([]);
    let published = w.publish(&[], event(1, None)).await.unwrap();
    assert!(published.event.matches.is_empty() && w.store.is_empty());
    assert!(w.store.event(&tenant(), published.event.id).await.unwrap().is_some());
}

#[tokio::test]
async fn an_event_that_is_sent_again_starts_nothing_again() {
    let w = world([]);
    let triggers = [trigger("a"), trigger("b")];
    let first = w.publish(&triggers, event(1, Some("k"))).await.unwrap();
    let again = w.publish(&triggers, event(1, Some("k"))).await.unwrap();
    assert_eq!((again.event, again.is_replay, w.store.len()), (first.event, true, 2));
    assert!(matches!(w.publish(&triggers, event(2, Some("k"))).await, Err(IntakeError::KeyReused)));
}

#[tokio::test]
async fn dedupe_and_rate_are_shared_and_hold_for_their_window() {
    let w = world([]);
    let dedupe = Trigger { dedupe: Some(Dedupe { key: "/n".into(), window_seconds: 60 }), ..trigger("seen") };
    let rate = Trigger { rate: Some(Rate { limit: 2, window_seconds: 60 }), ..trigger("rate") };
    let triggers = [dedupe, rate, trigger("free")];
    use MatchOutcome::{Duplicate, RateLimited, Started};
    assert_eq!(outcomes(&w.publish(&triggers, event(1, None)).await.unwrap()), [Started, Started, Started]);
    assert_eq!(outcomes(&w.publish(&triggers, event(1, None)).await.unwrap()), [Duplicate, Started, Started]);
    assert_eq!(outcomes(&w.publish(&triggers, event(2, None)).await.unwrap()), [Started, RateLimited, Started]);
    assert_eq!(outcomes(&w.publish(&triggers, event(2, None)).await.unwrap()), [Duplicate, RateLimited, Started]);
    w.clock.advance(Duration::from_secs(60));
    assert_eq!(outcomes(&w.publish(&triggers, event(1, None)).await.unwrap()), [Started, Started, Started], "a window later");
}

#[tokio::test]
async fn one_event_starts_as_many_runs_as_may_share_a_type_in_one_write() {
    let w = world([]);
    let both = |n: usize| Trigger {
        dedupe: Some(Dedupe { key: "/n".into(), window_seconds: 60 }),
        rate: Some(Rate { limit: 2, window_seconds: 60 }),
        ..trigger(&format!("t{n}"))
    };
    let triggers: Vec<Trigger> = (0..crate::domain::definition::MOST_TRIGGERS_OF_A_TYPE).map(both).collect();
    let writes = w.store.writes();
    let published = w.publish(&triggers, event(1, Some("k"))).await.unwrap();
    assert_eq!((published.event.matches.len(), w.store.writes() - writes), (16, 1));
}
