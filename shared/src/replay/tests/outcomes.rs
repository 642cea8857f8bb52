//! What becomes of the runs of a replay: what they are asked, which calls they make, and how both sides compare.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use super::*;
use crate::domain::definition::ToolUse;
use crate::domain::run::Cause;
use crate::engine::ports::ToolSpec;
use crate::operate::NewAnswer;
use crate::tools::{Tool, ToolContext, ToolTraits, Toolbox};

/// Charges a card, as it were, and counts.
struct Charge(Arc<AtomicUsize>);

#[async_trait]
impl Tool for Charge {
    fn spec(&self) -> ToolSpec {
        ToolSpec { name: "charge".into(), description: String::new(), parameters: json!({}) }
    }

    fn traits(&self) -> ToolTraits {
        ToolTraits { side_effects: true, ..ToolTraits::harmless(Duration::from_secs(5)) }
    }

    async fn call(&self, arguments: &Value, _context: &ToolContext<'_>) -> Result<String, String> {
        Ok(format!("charged {} as number {}", arguments["euros"], self.0.fetch_add(1, Ordering::SeqCst) + 1))
    }
}

#[tokio::test]
async fn a_tool_with_side_effects_is_not_called_unless_somebody_wants_it() {
    for (with_side_effects, charged, heard) in [(false, 1, "charged 5 as number 1"), (true, 2, "charged 5 as number 2")] {
        let calls = || Scripted::CallsWith("charge", json!({"euros": 5}));
        let mut w = world(vec![trigger("orders", "order")], vec![calls(), Scripted::Says("paid".into()), calls()]);
        let count = Arc::new(AtomicUsize::new(0));
        w.intake.engine.tools = Toolbox::of(vec![Arc::new(Charge(count.clone()))]);
        let mut bundle = (*w.intake.engine.bundle).clone();
        for agent in &mut bundle.agents {
            agent.tools.push(ToolUse::of("charge"));
        }
        w.intake.engine.bundle = Arc::new(bundle);
        w.publish("order", json!({"n": 1})).await;
        w.work().await;
        assert_eq!(count.load(Ordering::SeqCst), 1, "then");
        let (_, runs, _) = w.replay(&ReplayOrder { with_side_effects, ..everything() }).await;
        w.work().await;
        assert_eq!(count.load(Ordering::SeqCst), charged, "with side effects: {with_side_effects}");
        let asked = w.model.asked.lock().unwrap().last().unwrap().clone();
        assert_eq!(asked.last().unwrap().content.as_deref(), Some(heard), "what the model was told of its call");
        assert_eq!(w.store.get(runs[0].id).unwrap().state, RunState::Completed);
    }
}

#[tokio::test]
async fn what_a_person_answered_then_is_not_asked_again() {
    let asks = || Scripted::CallsWith("ask_human", json!({"question": "May I?", "expires_in_seconds": 600}));
    let w = world(Vec::new(), vec![asks(), Scripted::Says("done".into()), asks()]);
    let waiting = w.ask("go", None).await;
    let cause = Cause { at: w.clock.now(), by: "ana", reason: "answered", patience: Duration::ZERO };
    let yes = NewAnswer { question_id: "q2".into(), text: "yes".into(), approved: None };
    crate::operate::answer(w.store.as_ref(), w.queue.as_ref(), cause, &tenant(), waiting.id, &yes).await.unwrap();
    w.work().await;
    let (_, runs, _) = w.replay(&everything()).await;
    w.work().await;
    let run = w.store.get(runs[0].id).unwrap();
    let told = w.model.asked.lock().unwrap().last().unwrap().last().unwrap().content.clone();
    assert_eq!((run.state, told.as_deref()), (RunState::Completed, Some("yes")));
}

#[tokio::test]
async fn a_request_is_asked_again_after_all_that_was_said_before_it() {
    let script = ["a1", "a2", "b2"].map(|text| Scripted::Says(text.into())).to_vec();
    let w = world(Vec::new(), script);
    let first = w.ask("q1", None).await;
    let second = w.ask("q2", Some(first.conversation)).await;
    let (_, runs, _) = w.replay(&order(Selection::Runs(vec![second.id]))).await;
    w.work().await;
    let asked = w.model.asked.lock().unwrap().clone();
    assert_eq!(asked[2], asked[1], "the model sees the same");
    assert_eq!(asked[2][1..], [Message::user("q1"), Message::assistant("a1"), Message::user("q2")]);
    let run = w.store.get(runs[0].id).unwrap();
    assert_ne!(run.conversation, second.conversation, "in a conversation of its own");
    let old = w.store.get(second.id).unwrap();
    let comparison = compare(w.store.as_ref(), Some(&old), &run).await.unwrap();
    let answers = (comparison.old.unwrap().answer.unwrap(), comparison.new.answer.unwrap());
    let difference = comparison.difference.unwrap();
    assert_eq!((answers.0.as_str(), answers.1.as_str(), difference.same_answer), ("a2", "b2", Some(false)));
    assert_eq!((difference.steps, difference.input_tokens, difference.status_changed), (0, 0, false));
}

#[tokio::test]
async fn results_are_paged_with_both_runs_side_by_side() {
    let script = (0..20).map(|n| Scripted::Says(format!(" answer {} ", if n == 2 { 77 } else { n % 3 }))).collect();
    let w = world(vec![trigger("orders", "order")], script);
    for n in 0..3 {
        w.publish("order", json!({"n": n})).await;
        w.work().await;
    }
    let (job, ..) = w.replay(&everything()).await;
    let unfinished = results(w.jobs.as_ref(), w.store.as_ref(), &job, None, 10).await.unwrap();
    assert!(unfinished.results.iter().all(|one| one.comparison.as_ref().unwrap().difference.unwrap().same_answer.is_none()));
    w.work().await;
    let (mut same, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = results(w.jobs.as_ref(), w.store.as_ref(), &job, after.as_deref(), 2).await.unwrap();
        same.extend(page.results.iter().map(|one| one.comparison.as_ref().unwrap().difference.unwrap().same_answer));
        pages += 1;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((same, pages), (vec![Some(true), Some(true), Some(false)], 2));
}

#[tokio::test]
async fn a_replay_that_is_deleted_leaves_the_event_to_the_run_of_then() {
    let w = world(Vec::new(), Vec::new());
    let old = w.ask("q1", None).await;
    let (_, runs, _) = w.replay(&everything()).await;
    w.work().await;
    crate::operate::Records::erase(w.store.as_ref(), &tenant(), crate::operate::Erasure::Run(runs[0].id)).await.unwrap();
    assert!(w.store.input(&old).await.is_ok());
    let (_, runs, _) = w.replay(&everything()).await;
    crate::operate::Records::erase(w.store.as_ref(), &tenant(), crate::operate::Erasure::Run(old.id)).await.unwrap();
    assert_eq!(w.store.input(&runs[0]).await.unwrap().prompt, "q1", "and it has its own question");
}
