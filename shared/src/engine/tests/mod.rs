//! The engine over in-memory ports: what it does when all goes well, and when each thing goes wrong.

mod bundles;
mod limits_and_waits;
mod revived;
mod routing;
mod strategies;
mod told;
mod tool_calls;
mod traced;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::domain::clock::between;
use crate::domain::failure::FailureCode;
use crate::domain::id::RunId;
use crate::domain::step::{LARGEST_STEP, Purpose, Step, StepBody};
use crate::engine::ports::{Journal, Refusal, ToolSpec, Write};
use crate::fakes::{CountingHold, FixedClock, MemoryQueue, MemoryStore, Scripted, ScriptedModel, a_run, accept, an_event, engine};
use crate::tools::{Tool, ToolContext, ToolTraits};

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
    world_asked(serde_json::json!({"prompt": "why?"}), script).await
}

/// A world whose run is asked this.
async fn world_asked(input: serde_json::Value, script: impl IntoIterator<Item = Scripted>) -> World {
    let (store, queue) = (Arc::new(MemoryStore::default()), Arc::new(MemoryQueue::default()));
    let model = Arc::new(ScriptedModel::new(script));
    let clock = Arc::new(FixedClock::at("2026-01-02T03:04:05Z"));
    let engine = engine(store.clone(), queue.clone(), model.clone(), clock.clone());
    let event = crate::domain::event::Event { payload: input, ..an_event(clock.now()) };
    let run = Run { event: event.id, ..a_run(&"acme".parse().unwrap(), clock.now()) };
    accept(&store, &event, &run).await;
    World { store, queue, model, clock, engine, hold: CountingHold::default(), run }
}

impl World {
    /// The agent of the run is another one from now on.
    fn change_agent(&mut self, change: impl FnOnce(&mut Agent)) {
        let mut bundle = (*self.engine.bundle).clone();
        change(bundle.agents.iter_mut().find(|agent| agent.name == self.run.agent).unwrap());
        self.engine.bundle = Arc::new(bundle);
    }

    fn steps(&self) -> Vec<Step> {
        self.store.journal_of(self.run.id)
    }

    async fn take_up(&self, attempt: u32) -> Advance {
        self.take_up_for(attempt, Duration::from_secs(300)).await
    }

    async fn take_up_for(&self, attempt: u32, time: Duration) -> Advance {
        let window = Window { deadline: after(self.clock.now(), time), cut_calls: false };
        self.deliver("m", attempt, window).await
    }

    /// The message with that id, delivered for the nth time.
    async fn deliver(&self, message: &str, deliveries: u32, window: Window) -> Advance {
        let delivery = self.engine.delivery(message, 0, deliveries);
        self.engine.take_up(&self.stored().task(), &delivery, window, &self.hold).await.unwrap()
    }

    fn window(&self) -> Window {
        Window { deadline: after(self.clock.now(), Duration::from_secs(300)), cut_calls: false }
    }

    /// Another worker's lease on the run, taken with the message `m`.
    async fn claim(&self, owner: &str) -> Claim {
        let now = self.clock.now();
        let lease = Lease { owner: owner.into(), now, until: after(now, self.engine.limits.lease), message: "m".into(), sent_at: None };
        self.store.claim(&self.stored().task(), &lease).await.unwrap()
    }

    async fn claimed(&self, owner: &str) -> Run {
        match self.claim(owner).await {
            Claim::Taken(run) => *run,
            Claim::Refused(refusal) => panic!("refused: {refusal:?}"),
        }
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
    assert_eq!(w.deliver("moved", 1, w.window()).await, Advance::HandedOver, "a redriven one does: it has another name");
    let run = w.stored();
    assert_eq!((run.state, run.epoch, run.attempts), (RunState::Queued, 2, 0));
    assert!(matches!(w.deliver("new", 1, w.window()).await, Advance::Ended { state: RunState::Completed, .. }));
}

#[tokio::test]
async fn attempts_are_the_runs_and_not_the_messages() {
    let w = world(std::iter::repeat_with(outage).take(9)).await;
    assert!(matches!(w.deliver("a", 1, w.window()).await, Advance::Again { .. }));
    assert!(matches!(w.deliver("b", 1, w.window()).await, Advance::Again { .. }));
    assert_eq!(w.deliver("c", 1, w.window()).await, Advance::Dead);
    let w = world([outage(), outage(), outage()]).await;
    assert_eq!(w.deliver("a", 3, w.window()).await, Advance::HandedOver, "the last delivery of a message, not the last attempt of its run");
    assert_eq!((w.stored().state, w.stored().attempts), (RunState::Queued, 1));
}

#[tokio::test]
async fn progress_gives_new_attempts() {
    let fails = (0..6).map(|_| outage());
    let w = world(fails.chain([Scripted::Calls(vec!["clock"])]).chain((0..3).map(|_| outage()))).await;
    for deliveries in [1, 2] {
        assert!(matches!(w.take_up(deliveries).await, Advance::Again { .. }));
    }
    assert_eq!(w.take_up(3).await, Advance::HandedOver, "the third attempt finished two steps before it failed");
    assert_eq!((w.stored().state, w.stored().attempts, w.stored().steps), (RunState::Queued, 1, 2));
}

#[tokio::test]
async fn a_provider_without_room_burns_no_attempt() {
    let throttled = || Scripted::Fails(CallError::retryable(FailureCode::ProviderRateLimited, "429", None));
    let w = world(std::iter::repeat_with(throttled).take(3 * 6).chain([Scripted::Says("noon".into())])).await;
    for n in 1..=6_usize {
        let message = format!("m{n}");
        let Advance::Again { after } = w.deliver(&message, 1, w.window()).await else { panic!("a throttle is no end") };
        assert!(after <= Duration::from_secs(5 << n), "{after:?} after {n}");
        assert_eq!((w.stored().state, w.stored().attempts, w.stored().failures.len()), (RunState::Queued, 0, n));
    }
    assert_eq!(w.deliver("last", 3, w.window()).await, Advance::Ended { state: RunState::Completed, response: Some("noon".into()) });
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
    let first = w.claimed("a").await;
    assert!(matches!(w.claim("b").await, Claim::Refused(Refusal::Leased { .. })));
    w.clock.advance(Duration::from_secs(61));
    let second = w.claimed("b").await;
    assert!(second.abandoned);
    assert_eq!(second.failures.last().unwrap().code, "worker_lost");
    assert!(matches!(
        w.engine.settle(first, Stop::Deadline, Carrier::Message { deliveries: 1, sent_at: None }, 0).await,
        Ok(Advance::Lost)
    ));
    assert!(matches!(w.store.renew(&w.run, w.clock.now()).await, Err(JournalError::Lost)));
    assert_eq!(w.engine.settle(second, Stop::Deadline, Carrier::Request, 0).await.unwrap(), Advance::HandedOver);
}

#[tokio::test]
async fn a_message_that_the_transport_sent_twice_does_not_wake_the_dead_run_and_one_that_was_sent_after_its_death_does() {
    let w = world(std::iter::repeat_with(outage).take(9)).await;
    for deliveries in 1..=3 {
        w.take_up(deliveries).await;
    }
    let died = w.stored().ended_at.unwrap();
    for (sent_at, expected) in [(died, Advance::Dead), (after(died, Duration::from_millis(1)), Advance::HandedOver)] {
        let twin = Delivery { sent_at: Some(sent_at), ..w.engine.delivery("twin", 0, 1) };
        assert_eq!(w.engine.take_up(&w.run.task(), &twin, w.window(), &w.hold).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_run_does_not_die_before_its_message_was_sent_however_far_the_clock_is_behind() {
    let w = world(std::iter::repeat_with(outage).take(9)).await;
    let sent_at = after(w.clock.now(), Duration::from_secs(300));
    for deliveries in 1..=3 {
        let delivery = Delivery { sent_at: Some(sent_at), ..w.engine.delivery("m", 0, deliveries) };
        w.engine.take_up(&w.run.task(), &delivery, w.window(), &w.hold).await.unwrap();
    }
    assert_eq!((w.stored().state, w.stored().ended_at), (RunState::Dead, Some(sent_at)));
}

#[tokio::test]
async fn a_claim_that_the_transport_repeats_is_one_claim() {
    let w = world([]).await;
    w.claimed("a").await;
    let again = w.claimed("a").await;
    assert_eq!((again.abandoned, again.attempts, again.transitions.len(), again.lease_no), (false, 1, 2, 1));
    w.clock.advance(Duration::from_secs(61));
    w.claimed("b").await;
    assert!(w.claimed("b").await.abandoned, "and it does not forget who was before");
}

#[tokio::test]
async fn a_message_of_an_older_epoch_is_dropped_unless_the_new_one_was_never_sent() {
    let w = world([Scripted::Calls(vec!["clock"]), outage(), outage(), outage()]).await;
    let old = w.run.task();
    let deliver = |n| w.engine.delivery("m", 0, n);
    *w.queue.is_down.lock().unwrap() = true;
    assert!(w.engine.take_up(&old, &deliver(1), w.window(), &w.hold).await.is_err(), "the message must come back");
    *w.queue.is_down.lock().unwrap() = false;
    assert_eq!(w.engine.take_up(&old, &deliver(2), w.window(), &w.hold).await.unwrap(), Advance::HandedOver);
    assert_eq!(w.queue.take()[0].0.epoch, 3, "should the other message exist after all, it means nothing any more");
    assert_eq!(w.engine.take_up(&old, &deliver(1), w.window(), &w.hold).await.unwrap(), Advance::Stale);
}

#[tokio::test]
async fn a_cancelled_run_writes_nothing_more() {
    let w = world([]).await;
    w.store.put(Run { state: RunState::Cancelled, ..w.stored() });
    assert_eq!(w.take_up(1).await, Advance::Ended { state: RunState::Cancelled, response: None });
    assert_eq!(w.model.calls(), 0);
}

#[tokio::test]
async fn a_panic_is_on_record_and_counts_as_one_attempt() {
    let w = world([]).await;
    let delivery = w.engine.delivery("m", 0, 1);
    w.claimed(&delivery.owner).await;
    let settled = w.engine.settle_unsettled(&w.run.task(), &delivery, FailureCode::WorkerPanicked).await.unwrap();
    assert!(matches!(settled, Advance::Again { .. }));
    assert_eq!((w.stored().error().unwrap().code.as_ref(), w.stored().attempts), ("worker_panicked", 1));
}

#[tokio::test]
async fn an_answer_too_large_for_the_journal_fails_by_name_and_is_never_cut() {
    let w = world([Scripted::Says("x".repeat(LARGEST_STEP))]).await;
    assert_eq!(w.take_up(1).await, Advance::Ended { state: RunState::Failed, response: None });
    assert_eq!(w.stored().error().unwrap().code, "result_too_large");
    assert_eq!(w.model.calls(), 1);
}

#[tokio::test]
async fn a_paid_answer_is_written_as_long_as_the_lease_holds() {
    let w = world([]).await;
    let claimed = w.claimed("a").await;
    w.store.set_down(true);
    let tries = std::cell::Cell::new(0);
    let renew = || async {
        tries.set(tries.get() + 1);
        if tries.get() == 3 {
            w.store.set_down(false);
        }
        w.store.renew(&claimed, claimed.lease_end()).await
    };
    assert!(w.engine.insist(&claimed, renew).await.is_ok());
    assert_eq!(tries.get(), 3);
    w.store.set_down(true);
    let renew = || w.store.renew(&claimed, claimed.lease_end());
    assert!(matches!(w.engine.insist(&claimed, renew).await, Err(Stop::Journal(_))), "not for ever");
}

#[tokio::test]
async fn a_run_whose_workers_vanish_one_after_the_other_dies() {
    let w = world([]).await;
    for worker in ["a", "b", "c"] {
        w.claimed(worker).await;
        w.clock.advance(Duration::from_secs(61));
    }
    assert_eq!(w.take_up(4).await, Advance::Dead);
    let codes: Vec<_> = w.stored().failures.iter().map(|failure| failure.code.to_string()).collect();
    assert_eq!(codes, ["worker_lost", "worker_lost"], "what the last one found, and the verdict; the trail has every claim");
    assert_eq!(w.stored().transitions.iter().filter(|transition| transition.reason == "claimed").count(), 4);
    assert_eq!(w.model.calls(), 0);
}

#[tokio::test]
async fn a_hand_over_at_the_deadline_burns_no_attempt() {
    let w = world(std::iter::repeat_with(|| Scripted::Calls(vec!["clock"])).take(3)).await;
    for n in 1..=3 {
        let run = w.claimed("a").await;
        let settled = w.engine.settle(Run { steps: 0, ..run }, Stop::Deadline, Carrier::Request, 0).await.unwrap();
        assert_eq!(settled, Advance::HandedOver);
        assert_eq!((w.stored().attempts, w.stored().epoch), (0, n + 1));
    }
    assert!(matches!(w.take_up(1).await, Advance::Ended { state: RunState::Completed, .. }));
}

#[tokio::test]
async fn a_cancellation_reaches_the_call_in_flight() {
    let mut w = world([Scripted::Hangs]).await;
    w.engine.limits.model_timeout = Duration::from_secs(50);
    let began = w.clock.now();
    let cancel = async {
        // The worker has begun to wait: each look moves the clock.
        while w.model.calls() == 0 {
            tokio::task::yield_now().await;
        }
        let cause = Cause { at: w.clock.now(), by: "ana", reason: "cancelled", patience: Duration::ZERO };
        crate::operate::cancel(w.store.as_ref(), w.queue.as_ref(), cause, &w.run.tenant, w.run.id).await.unwrap();
    };
    let (advance, ()) = tokio::join!(w.take_up(1), cancel);
    assert_eq!(advance, Advance::Lost);
    assert!(between(began, w.clock.now()) <= Duration::from_secs(3), "not after the 50 s of the call");
    assert_eq!(w.stored().state, RunState::Cancelled);
}

/// A tool whose effect must not happen twice.
struct Pays;

#[async_trait::async_trait]
impl Tool for Pays {
    fn spec(&self) -> ToolSpec {
        // The name that the agent knows a tool by.
        ToolSpec { name: "clock".into(), description: "pays".into(), parameters: serde_json::json!({}) }
    }

    fn traits(&self) -> ToolTraits {
        ToolTraits { idempotent: false, side_effects: true, ..ToolTraits::harmless(Duration::from_secs(1)) }
    }

    async fn call(&self, _arguments: &serde_json::Value, _context: &ToolContext<'_>) -> Result<String, String> {
        Ok("paid".into())
    }
}

/// A world whose worker vanished after the model had asked for the tool.
async fn abandoned_before_a_tool(tools: Toolbox) -> World {
    let mut w = world([Scripted::Calls(vec!["clock"])]).await;
    let mut claimed = w.claimed("gone").await;
    let request = ports::ModelRequest::new(&[], String::new());
    let reply = w.model.ask(&request).await.unwrap();
    let body =
        StepBody::Model(crate::domain::step::ModelStep::new(reply.provider, reply.model, reply.message, reply.finish_reason, reply.usage));
    let step = Step { index: 1, started_at: w.clock.now(), ended_at: w.clock.now(), body };
    w.engine.count(&mut claimed, &step);
    w.store.write(&[Write::Progress(&claimed, &step), Write::Step(&claimed, &step)]).await.unwrap();
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
async fn a_run_that_could_not_be_read_is_given_back_before_its_next_call_is_taken_for_begun() {
    let w = abandoned_before_a_tool(Toolbox::of(vec![Arc::new(Pays)])).await;
    let run = Run { state: RunState::Queued, lease_owner: None, lease_until_ms: 0, attempts: 0, ..w.stored() };
    w.store.put(Run { event: crate::domain::id::EventId::new(w.clock.now()), ..run.clone() });
    assert!(matches!(w.take_up(1).await, Advance::Again { .. }));
    let unread = w.stored();
    assert_eq!((unread.state, unread.error().unwrap().code.as_ref(), unread.abandoned), (RunState::Queued, "journal_unavailable", false));
    w.store.put(Run { event: run.event, ..unread });
    assert!(matches!(w.take_up(2).await, Advance::Ended { state: RunState::Completed, .. }));
}

#[tokio::test]
async fn nor_is_it_after_a_panic() {
    let w = abandoned_before_a_tool(Toolbox::of(vec![Arc::new(Pays)])).await;
    w.clock.advance(Duration::from_secs(61));
    let delivery = w.engine.delivery("m", 0, 2);
    assert_eq!(w.engine.settle_unsettled(&w.run.task(), &delivery, FailureCode::WorkerPanicked).await.unwrap(), Advance::Dead);
    assert_eq!(w.stored().error().unwrap().code, "uncertain_tool_call");
}

#[tokio::test]
async fn a_tool_that_may_be_called_twice_is() {
    let w = abandoned_before_a_tool(Toolbox::built_in(Arc::new(FixedClock::at("2026-01-02T03:04:05Z")))).await;
    w.clock.advance(Duration::from_secs(61));
    assert!(matches!(w.take_up(2).await, Advance::Ended { state: RunState::Completed, .. }));
}

/// Notes when the run is due while it is worked on.
struct Peeks(Arc<MemoryStore>, RunId, Mutex<Option<i64>>);

#[async_trait::async_trait]
impl Model for Peeks {
    async fn ask(&self, request: &ports::ModelRequest<'_>) -> Result<ports::ModelReply, CallError> {
        *self.2.lock().unwrap() = self.0.get(self.1).and_then(|run| run.due_ms);
        ScriptedModel::new([]).ask(request).await
    }
}

#[tokio::test]
async fn a_run_that_is_looked_at_rarely_is_looked_at_after_the_lease_of_whoever_takes_it_up() {
    for (due_in, expected) in [(3_600, 60 + 10), (65, 65)] {
        let mut w = world([]).await;
        let peeks = Arc::new(Peeks(w.store.clone(), w.run.id, Mutex::default()));
        w.engine.model = peeks.clone();
        let (mut run, now) = (w.stored(), w.clock.now());
        run.look_at(after(now, Duration::from_secs(due_in)));
        w.store.put(run);
        assert!(matches!(w.take_up(1).await, Advance::Ended { state: RunState::Completed, .. }));
        let due = Timestamp::from_millisecond(peeks.2.lock().unwrap().unwrap()).unwrap();
        assert_eq!(between(now, due), Duration::from_secs(expected));
        assert_eq!(w.store.writes(), if due_in == 65 { 3 } else { 4 }, "acceptance, claim, end, and one more only where it is needed");
    }
}
