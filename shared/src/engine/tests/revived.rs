//! Dead runs that an operator has put back: where they go on, and under what.

use super::*;
use crate::domain::definition::ModelRef;
use crate::domain::overrides::Overrides;
use crate::domain::revival::Revival;
use crate::ledger::revive;

/// A run that has called the clock and died of what came then.
async fn died() -> World {
    let fails = (0..20).map(|_| outage());
    let w = world([Scripted::Calls(vec!["clock"])].into_iter().chain(fails)).await;
    for message in 0..9 {
        if w.deliver(&format!("m{message}"), 3, w.window()).await == Advance::Dead {
            break;
        }
    }
    assert_eq!((w.stored().state, w.stored().steps), (RunState::Dead, 2));
    w.model.heal();
    w
}

async fn put_back(w: &mut World, revival: &Revival) {
    let dead = w.stored();
    let cause = w.engine.cause("retried");
    w.run = revive(w.store.as_ref(), &dead, cause, revival).await.unwrap().unwrap().run;
}

#[tokio::test]
async fn a_retry_makes_no_call_that_the_journal_has_and_one_from_the_start_makes_all_anew() {
    for (from_start, shown, answered_at) in [(false, 4, 3), (true, 2, 3)] {
        let mut w = died().await;
        let asked = w.model.calls();
        put_back(&mut w, &Revival { from_start, ..Revival::default() }).await;
        assert!(matches!(w.deliver("again", 1, w.window()).await, Advance::Ended { state: RunState::Completed, .. }));
        let run = w.stored();
        assert_eq!(w.model.calls() - asked, 1);
        let messages = w.model.asked.lock().unwrap().last().unwrap().len();
        assert_eq!(messages, shown, "instructions and question, and what the journal tells if that counts");
        assert_eq!((run.steps, run.answered_at), (answered_at, Some(answered_at)), "one journal, whatever counts of it");
        assert!(w.steps().iter().map(|step| step.index).eq(1..=run.steps));
    }
}

#[tokio::test]
async fn a_run_that_begins_anew_has_all_its_steps_again() {
    let mut w = died().await;
    w.change_agent(|agent| agent.caps.steps = 2);
    put_back(&mut w, &Revival { from_start: true, ..Revival::default() }).await;
    assert!(matches!(w.deliver("again", 1, w.window()).await, Advance::Ended { state: RunState::Completed, .. }));
}

#[tokio::test]
async fn the_model_that_an_operator_chose_is_the_only_one() {
    let mut w = died().await;
    let chosen: ModelRef = "offline::another".parse().unwrap();
    put_back(&mut w, &Revival { model: Some(chosen.clone()), ..Revival::default() }).await;
    let wanted = Overrides { model: Some("offline::wanted".parse().unwrap()), ..Overrides::default() };
    let agent = w.engine.agent_of(&w.run, &AgentInput { overrides: wanted, ..AgentInput::default() }).unwrap();
    assert_eq!(agent.models, [chosen]);
}

#[tokio::test]
async fn a_model_that_an_operator_chose_and_that_refuses_leaves_the_run_dead_for_another_choice() {
    let mut w = died().await;
    let chosen = "offline::another".parse().ok();
    put_back(&mut w, &Revival { model: chosen, ..Revival::default() }).await;
    w.engine.model = Arc::new(ScriptedModel::new([Scripted::Fails(CallError::rejected("no such model"))]));
    assert_eq!(w.deliver("again", 1, w.window()).await, Advance::Dead);
    assert_eq!((w.stored().state, &*w.stored().error().unwrap().code), (RunState::Dead, "provider_rejected"));
}

#[tokio::test]
async fn what_a_run_died_of_names_the_model_that_failed() {
    let w = died().await;
    let entry = w.stored().dead_entry().unwrap();
    assert_eq!(entry.provider, w.engine.routes.chain().first().map(ToString::to_string));
    assert_eq!(entry.code, "provider_unavailable");
}
