//! The engine over in-memory ports: what it does when all goes well, and when each thing goes wrong.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::domain::failure::FailureCode;
use crate::engine::ports::{Acceptance, ToolSpec};
use crate::fakes::{CountingHold, FixedClock, MemoryQueue, MemoryStore, Scripted, ScriptedModel, a_run, an_event, engine};
use crate::tools::Tool;

struct World {
    store: Arc<MemoryStore>,
    queue: Arc<MemoryQueue>,
    model: Arc<ScriptedModel>,
    clock: Arc<FixedClock>,
    engine: Engine,
    hold: CountingHold,
    run: Run,
}

async fn world(script: impl IntoIterator<Item = Scripted>) -> World {
    let (store, queue) = (Arc::new(MemoryStore::default()), Arc::new(MemoryQueue::default()));
    let model = Arc::new(ScriptedModel::new(script));
    let clock = Arc::new(FixedClock::at("2026-01-02T03:04:05Z"));
    let engine = engine(store.clone(), queue.clone(), model.clone(), clock.clone());
    let event = an_event(clock.now());
    let run = Run { event: event.id, ..a_run(&"acme".parse().unwrap(), clock.now()) };
    store.accept(&Acceptance { event, run: run.clone() }).await.unwrap();
    World { store, queue, model, clock, engine, hold: CountingHold::default(), run }
}

impl World {
    async fn take_up(&self, attempt: u32) -> Advance {
        self.take_up_for(attempt, Duration::from_secs(300)).await
    }

    async fn take_up_for(&self, attempt: u32, time: Duration) -> Advance {
        let window = Window { deadline: after(self.clock.now(), time), cut_calls: false };
        self.engine.take_up(&self.stored().task(), &self.engine.delivery("m", attempt), window, &self.hold).await.unwrap()
    }

    fn stored(&self) -> Run {
        self.store.get(self.run.id).unwrap()
    }
}

fn outage() -> Scripted {
    Scripted::Fails(CallError::retryable(FailureCode::ProviderUnavailable, "503", None))
}

#[tokio::test]
async fn a_run_calls_model_tool_model_and_ends_with_the_answer() {
    let w = world([Scripted::Calls(vec!["clock"]), Scripted::Says("noon".into())]).await;
    assert_eq!(w.take_up(1).await, Advance::Ended { state: RunState::Completed, response: Some("noon".into()) });
    let run = w.stored();
    assert_eq!((run.state, run.steps, run.usage.input_tokens, run.error()), (RunState::Completed, 3, 20, None));
    assert_eq!(w.store.journal_of(run.id).len(), 3);
}

#[tokio::test]
async fn a_run_of_n_steps_costs_n_writes_and_a_claim() {
    let w = world([Scripted::Calls(vec!["clock"]), Scripted::Says("noon".into())]).await;
    let before = w.store.writes();
    w.take_up(1).await;
    let (claim, steps) = (1, 3);
    assert_eq!(w.store.writes() - before, claim + steps, "the last step and the end of the run are one write");
}

#[tokio::test]
async fn a_finished_step_is_never_repeated() {
    let w = world([Scripted::Calls(vec!["clock"]), outage(), outage(), outage(), Scripted::Says("noon".into())]).await;
    assert_eq!(w.take_up(1).await, Advance::HandedOver, "progress earns a new message");
    let run = w.stored();
    assert_eq!((run.state, run.epoch, run.steps), (RunState::Queued, 2, 2));
    assert_eq!(w.queue.take()[0].0.epoch, 2);
    assert!(matches!(w.take_up(1).await, Advance::Ended { state: RunState::Completed, .. }));
    assert_eq!(w.model.calls(), 5, "one per step and one per failed try");
}

#[tokio::test]
async fn attempts_without_progress_are_used_up() {
    let w = world(std::iter::repeat_with(outage).take(9)).await;
    assert!(matches!(w.take_up(1).await, Advance::Again { .. }));
    assert!(matches!(w.take_up(2).await, Advance::Again { .. }));
    assert_eq!(w.take_up(3).await, Advance::Dead);
    let run = w.stored();
    assert_eq!((run.state, run.failures.len(), run.attempts), (RunState::Dead, 3, 3));
    assert_eq!(run.error().unwrap().code, "provider_unavailable");
    assert_eq!(w.take_up(4).await, Advance::Dead, "a message on its way to the dead letters does not wake the run");
    assert!(matches!(w.take_up(1).await, Advance::Ended { state: RunState::Completed, .. }), "a redriven one does");
}

#[tokio::test]
async fn a_terminal_error_fails_at_once() {
    let w = world([Scripted::Fails(CallError::rejected("context too long"))]).await;
    assert_eq!(w.take_up(1).await, Advance::Ended { state: RunState::Failed, response: None });
    assert_eq!(w.stored().error().unwrap().code, "provider_rejected");
    assert_eq!(w.model.calls(), 1);
}

#[tokio::test]
async fn an_empty_answer_is_an_error_and_not_an_answer() {
    let w = world([Scripted::SaysNothing, Scripted::Says("".into()), Scripted::Says("  ".into())]).await;
    assert!(matches!(w.take_up(1).await, Advance::Again { .. }));
    assert_eq!(w.stored().error().unwrap().code, "invalid_answer");
    assert_eq!(w.stored().steps, 0);
}

#[tokio::test]
async fn a_hanging_model_is_cut_at_its_time_out_and_the_lease_is_renewed_meanwhile() {
    let mut w = world(std::iter::repeat_n(Scripted::Hangs, 9)).await;
    w.engine.limits.model_timeout = Duration::from_secs(50);
    assert!(matches!(w.take_up(1).await, Advance::Again { .. }));
    assert_eq!(w.stored().error().unwrap().code, "provider_timeout");
    assert!(w.hold.0.lock().unwrap().len() >= 3, "50 s are longer than a third of the lease of 60 s");
}

#[tokio::test]
async fn a_worker_hands_over_when_no_call_fits_into_its_time() {
    let w = world([Scripted::Calls(vec!["clock"])]).await;
    assert!(matches!(w.take_up_for(1, Duration::from_secs(20)).await, Advance::Ended { .. }), "the clock stands still, so all fits");
    let w = world([Scripted::Calls(vec!["clock"])]).await;
    assert!(matches!(w.take_up_for(1, Duration::from_secs(19)).await, Advance::Again { .. }), "not even one call: an attempt is burned");
    assert_eq!(w.stored().error().unwrap().code, "no_time");
}

#[tokio::test]
async fn a_late_worker_can_write_nothing() {
    let w = world([]).await;
    let task = w.run.task();
    let lease = |owner: &str, w: &World| Lease {
        owner: owner.into(),
        now: w.clock.now(),
        until: after(w.clock.now(), w.engine.limits.lease),
        attempt: 1,
    };
    let Claim::Taken(first) = w.store.claim(&task, &lease("a", &w)).await.unwrap() else { panic!("refused") };
    assert!(matches!(w.store.claim(&task, &lease("b", &w)).await.unwrap(), Claim::Refused(Refusal::Leased { .. })));
    w.clock.advance(Duration::from_secs(61));
    let Claim::Taken(second) = w.store.claim(&task, &lease("b", &w)).await.unwrap() else { panic!("refused") };
    assert!(second.was_abandoned);
    assert!(matches!(w.store.release(&first.run).await, Err(JournalError::Lost)));
    w.store.release(&Run { state: RunState::Queued, ..second.run }).await.unwrap();
}

#[tokio::test]
async fn a_message_of_an_older_epoch_is_dropped_unless_the_new_one_was_never_sent() {
    let w = world([Scripted::Calls(vec!["clock"]), outage(), outage(), outage()]).await;
    let old = w.run.task();
    *w.queue.is_down.lock().unwrap() = true;
    let window = Window { deadline: after(w.clock.now(), Duration::from_secs(300)), cut_calls: false };
    assert!(w.engine.take_up(&old, &w.engine.delivery("m", 1), window, &w.hold).await.is_err(), "the message must come back");
    *w.queue.is_down.lock().unwrap() = false;
    assert_eq!(w.engine.take_up(&old, &w.engine.delivery("m", 2), window, &w.hold).await.unwrap(), Advance::HandedOver);
    assert_eq!(w.queue.take()[0].0.epoch, 3, "should the other message exist after all, it means nothing any more");
    assert_eq!(w.engine.take_up(&old, &w.engine.delivery("m", 1), window, &w.hold).await.unwrap(), Advance::Stale);
}

#[tokio::test]
async fn a_cancelled_run_writes_nothing_more() {
    let w = world([]).await;
    w.store.put(Run { state: RunState::Cancelled, ..w.stored() });
    assert_eq!(w.take_up(1).await, Advance::Ended { state: RunState::Cancelled, response: None });
    assert_eq!(w.model.calls(), 0);
}

#[tokio::test]
async fn a_loop_of_tool_calls_ends_at_the_limit_of_steps() {
    let w = world(std::iter::repeat_with(|| Scripted::Calls(vec!["clock"])).take(50)).await;
    assert_eq!(w.take_up(1).await, Advance::Ended { state: RunState::Failed, response: None });
    assert_eq!(w.stored().error().unwrap().code, "step_limit");
    assert_eq!(w.model.calls(), 10);
}

#[tokio::test]
async fn a_panic_is_on_record_and_counts_as_an_attempt() {
    let w = world([]).await;
    let task = w.run.task();
    let lease = Lease {
        owner: w.engine.delivery("m", 1).owner,
        now: w.clock.now(),
        until: after(w.clock.now(), w.engine.limits.lease),
        attempt: 1,
    };
    assert!(matches!(w.store.claim(&task, &lease).await.unwrap(), Claim::Taken(_)));
    assert!(matches!(
        w.engine.settle_unsettled(&task, &w.engine.delivery("m", 1), FailureCode::WorkerPanicked).await.unwrap(),
        Advance::Again { .. }
    ));
    assert_eq!(w.stored().error().unwrap().code, "worker_panicked");
}

#[tokio::test]
async fn an_answer_too_large_for_the_journal_fails_by_name_and_is_never_cut() {
    let w = world([Scripted::Says("x".repeat(200_000))]).await;
    assert_eq!(w.take_up(1).await, Advance::Ended { state: RunState::Failed, response: None });
    assert_eq!(w.stored().error().unwrap().code, "result_too_large");
    assert_eq!(w.model.calls(), 1);
}

#[tokio::test]
async fn a_paid_answer_is_written_as_long_as_the_lease_holds() {
    let w = world([]).await;
    let task = w.run.task();
    let delivery = w.engine.delivery("m", 1);
    let lease = Lease { owner: delivery.owner, now: w.clock.now(), until: after(w.clock.now(), w.engine.limits.lease), attempt: 1 };
    let Claim::Taken(claimed) = w.store.claim(&task, &lease).await.unwrap() else { panic!("refused") };
    w.store.set_down(true);
    let tries = std::cell::Cell::new(0);
    let write = || {
        tries.set(tries.get() + 1);
        if tries.get() == 3 {
            w.store.set_down(false);
        }
        w.store.release(&claimed.run)
    };
    assert!(w.engine.insist(&claimed.run, write).await.is_ok());
    assert_eq!(tries.get(), 3);
    w.store.set_down(true);
    assert!(matches!(w.engine.insist(&claimed.run, || w.store.release(&claimed.run)).await, Err(Stop::Journal(_))), "not for ever");
}

#[tokio::test]
async fn a_redriven_message_whose_first_delivery_came_to_nothing_still_wakes_its_run() {
    let w = world([]).await;
    w.store.put(Run { state: RunState::Dead, attempts: 3, ..w.stored() });
    assert!(matches!(w.take_up(2).await, Advance::Ended { state: RunState::Completed, .. }));
}

/// A tool whose effect must not happen twice.
struct Pays;

#[async_trait::async_trait]
impl Tool for Pays {
    fn spec(&self) -> ToolSpec {
        // The name that the agent knows a tool by.
        ToolSpec { name: "clock", description: "pays", parameters: serde_json::json!({}) }
    }

    fn is_idempotent(&self) -> bool {
        false
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn call(&self, _arguments: &serde_json::Value, _key: &str) -> Result<String, String> {
        Ok("paid".into())
    }
}

/// A world whose worker vanished after the model had asked for the tool.
async fn abandoned_before_a_tool(tools: Toolbox) -> World {
    let mut w = world([Scripted::Calls(vec!["clock"])]).await;
    let task = w.run.task();
    let lease = Lease { owner: "gone".into(), now: w.clock.now(), until: after(w.clock.now(), w.engine.limits.lease), attempt: 1 };
    let Claim::Taken(claimed) = w.store.claim(&task, &lease).await.unwrap() else { panic!("refused") };
    let request = ports::ModelRequest { messages: &[], tools: vec![], key: String::new() };
    let reply = w.model.ask(&request).await.unwrap();
    let body = StepBody::Model(crate::domain::step::ModelStep {
        provider: reply.provider,
        model: reply.model,
        message: reply.message,
        finish_reason: reply.finish_reason,
        usage: reply.usage,
        failures: vec![],
    });
    let step = Step { index: 1, started_at: w.clock.now(), ended_at: w.clock.now(), body };
    w.store.append(&claimed.run, &step).await.unwrap();
    w.engine.tools = tools;
    w
}

#[tokio::test]
async fn a_tool_call_that_may_have_happened_is_not_made_again() {
    let w = abandoned_before_a_tool(Toolbox::of(vec![Arc::new(Pays)])).await;
    w.clock.advance(Duration::from_secs(61));
    assert_eq!(w.take_up(2).await, Advance::Dead);
    let run = w.stored();
    assert_eq!((run.state, run.error().unwrap().code.as_ref(), run.steps), (RunState::Dead, "uncertain_tool_call", 1));
}

#[tokio::test]
async fn nor_is_it_after_a_panic() {
    let w = abandoned_before_a_tool(Toolbox::of(vec![Arc::new(Pays)])).await;
    w.clock.advance(Duration::from_secs(61));
    let delivery = w.engine.delivery("m", 2);
    assert_eq!(w.engine.settle_unsettled(&w.run.task(), &delivery, FailureCode::WorkerPanicked).await.unwrap(), Advance::Dead);
    assert_eq!(w.stored().error().unwrap().code, "uncertain_tool_call");
}

#[tokio::test]
async fn a_tool_that_may_be_called_twice_is() {
    let w = abandoned_before_a_tool(Toolbox::built_in(Arc::new(FixedClock::at("2026-01-02T03:04:05Z")))).await;
    w.clock.advance(Duration::from_secs(61));
    assert!(matches!(w.take_up(2).await, Advance::Ended { state: RunState::Completed, .. }));
}
