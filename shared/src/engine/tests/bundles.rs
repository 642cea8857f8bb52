//! Runs that outlive a deploy: begun with one bundle, worked on with the next.

use serde_json::json;

use super::*;

/// The next deploy: another version, with what `change` makes of the run's agent.
fn deploy(w: &mut World, version: &str, change: impl FnOnce(&mut Agent)) {
    w.change_agent(change);
    let bundle = Bundle { version: version.repeat(64), ..(*w.engine.bundle).clone() };
    w.engine.bundle = Arc::new(bundle);
}

/// A run that was handed over after a model call and a tool call under one bundle, and that the next worker takes up.
async fn begun_under_another(script: impl IntoIterator<Item = Scripted>) -> World {
    let first = [Scripted::Calls(vec!["clock"]), outage(), outage(), outage()];
    let mut w = world(first.into_iter().chain(script)).await;
    deploy(&mut w, "a", |agent| agent.version = 1);
    assert_eq!(w.take_up(1).await, Advance::HandedOver);
    let run = w.stored();
    assert_eq!((run.steps, run.definitions.as_str()), (2, "1@aaaaaaaa"));
    w
}

#[tokio::test]
async fn a_run_begun_with_one_bundle_ends_with_another_and_its_record_names_both() {
    let mut w = Box::pin(begun_under_another([Scripted::Says("noon".into())])).await;
    let before = w.steps();
    deploy(&mut w, "b", |agent| {
        agent.version = 2;
        agent.instructions = "Answer in one word.".into();
    });
    assert_eq!(w.take_up(1).await, Advance::Ended { state: RunState::Completed, response: Some("noon".into()) });
    let run = w.stored();
    assert_eq!((run.steps, run.definitions.as_str(), run.agent_version()), (3, "1@aaaaaaaa 2@bbbbbbbb", Some(1)));
    assert_eq!(w.steps()[..2], before, "what was finished stays as it was");
    let asked = w.model.asked.lock().unwrap().clone();
    assert_eq!(asked.last().unwrap()[0].content.as_deref(), Some("Answer in one word."), "the next call is made as the agent is now");
}

#[tokio::test]
async fn a_tool_that_the_next_bundle_takes_away_is_an_error_for_the_model_and_not_for_the_run() {
    let mut w = abandoned_before_a_tool(Toolbox::built_in(Arc::new(FixedClock::at("2026-01-02T03:04:05Z")))).await;
    w.clock.advance(Duration::from_secs(61));
    deploy(&mut w, "b", |agent| agent.tools.retain(|tool| tool.name != "clock"));
    assert!(matches!(w.take_up(2).await, Advance::Ended { state: RunState::Completed, .. }), "{:?}", w.stored());
    let StepBody::Tool(tool) = &w.steps()[1].body else { panic!("{:?}", w.steps()) };
    assert!(tool.is_error && tool.output.contains("no tool is named `clock`"), "{tool:?}");
    assert_eq!(w.model.calls(), 2, "the call that the old bundle allowed, and the answer");
}

#[tokio::test]
async fn two_engines_with_two_bundles_work_side_by_side_on_what_each_has() {
    let (mut old, mut new) =
        (world([Scripted::Says("old".into())]).await, world_asked(json!({"prompt": "why?"}), [Scripted::Says("new".into())]).await);
    deploy(&mut old, "a", |agent| agent.instructions = "Old.".into());
    deploy(&mut new, "b", |agent| agent.instructions = "New.".into());
    let (a, b) = Box::pin(futures_util::future::join(old.take_up(1), new.take_up(1))).await;
    assert!(matches!((a, b), (Advance::Ended { .. }, Advance::Ended { .. })));
    for (w, instructions) in [(&old, "Old."), (&new, "New.")] {
        assert_eq!(w.model.asked.lock().unwrap()[0][0].content.as_deref(), Some(instructions));
    }
}

#[tokio::test]
async fn a_run_whose_agent_the_next_bundle_does_not_have_waits_for_the_one_after() {
    let mut w = Box::pin(begun_under_another([Scripted::Says("noon".into())])).await;
    let agents = w.engine.bundle.agents.clone();
    w.engine.bundle = Arc::new(Bundle { agents: Vec::new(), version: "b".repeat(64), ..(*w.engine.bundle).clone() });
    assert!(matches!(w.take_up(1).await, Advance::Again { .. }));
    assert_eq!(w.stored().error().unwrap().code, "unknown_agent");
    w.engine.bundle = Arc::new(Bundle { agents, version: "c".repeat(64), ..(*w.engine.bundle).clone() });
    assert!(matches!(w.take_up(2).await, Advance::Ended { state: RunState::Completed, .. }));
}
