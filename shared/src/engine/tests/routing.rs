//! Which model is asked, and what becomes of a run when models fail.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::*;
use crate::domain::board::{Disabled, Pin};
use crate::domain::breaker::{Breaker, BreakerConfig, State};
use crate::domain::definition::{ModelRef, Sampling};
use crate::domain::overrides::Overrides;
use crate::fakes::MemoryBreakers;
use crate::operate::Switches;

/// A model for each provider.
#[derive(Default)]
struct Models {
    by_provider: BTreeMap<String, ScriptedModel>,
    /// Who was asked, in order.
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Model for Models {
    async fn ask(&self, request: &ports::ModelRequest<'_>) -> Result<ports::ModelReply, CallError> {
        let target = request.target.clone().unwrap();
        self.asked.lock().unwrap().push(target.to_string());
        let reply = self.by_provider[&target.provider].ask(request).await?;
        Ok(ports::ModelReply { provider: target.provider, model: target.model, ..reply })
    }
}

struct Chain {
    w: World,
    models: Arc<Models>,
    breakers: Arc<MemoryBreakers>,
}

fn config() -> BreakerConfig {
    BreakerConfig { failures: 3, percent: 50, window_seconds: 600, open_seconds: 30, longest_open_seconds: 120, probes: 2 }
}

fn model(name: &str) -> ModelRef {
    name.parse().unwrap()
}

fn fails(code: FailureCode) -> Scripted {
    Scripted::Fails(CallError::retryable(code, "HTTP 503", None))
}

fn says(text: &str) -> Scripted {
    Scripted::Says(text.into())
}

/// The deployment's chain is `a::m, b::m`.
async fn chain(a: impl IntoIterator<Item = Scripted>, b: impl IntoIterator<Item = Scripted>) -> Chain {
    let mut w = world([]).await;
    let by_provider = [("a", ScriptedModel::new(a)), ("b", ScriptedModel::new(b)), ("c", ScriptedModel::new([]))];
    let by_provider = by_provider.into_iter().map(|(name, model)| (name.to_owned(), model)).collect();
    let models = Arc::new(Models { by_provider, ..Models::default() });
    let breakers = Arc::new(MemoryBreakers::default());
    let configs = ["a", "b"].map(|name| (name.to_owned(), config())).into();
    w.engine.model = models.clone();
    w.engine.routes = Arc::new(Routes::new(vec![model("a::m"), model("b::m")], configs, breakers.clone()));
    Chain { w, models, breakers }
}

impl Chain {
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.models.asked.lock().unwrap())
    }

    fn state_of(&self, name: &str) -> Option<State> {
        self.breakers.board.lock().unwrap().breakers.get(&model(name)).map(|breaker| breaker.state)
    }

    /// One more run through the same engine; how it went.
    async fn another(&self) -> (Advance, Run) {
        let event = an_event(self.w.clock.now());
        let run = Run { event: event.id, ..a_run(&"acme".parse().unwrap(), self.w.clock.now()) };
        accept(&self.w.store, &event, &run).await;
        let delivery = self.w.engine.delivery("m", 0, 1);
        let advance = self.w.engine.take_up(&run.task(), &delivery, self.w.window(), &self.w.hold).await.unwrap();
        (advance, self.w.store.get(run.id).unwrap())
    }
}

fn completed(text: &str) -> Advance {
    Advance::Ended { state: RunState::Completed, response: Some(text.into()) }
}

const DOWN: FailureCode = FailureCode::ProviderUnavailable;

#[tokio::test]
async fn the_next_model_answers_where_the_one_before_it_fails_and_the_step_tells_so() {
    let c = chain([fails(DOWN), fails(DOWN), fails(DOWN)], [says("noon")]).await;
    assert_eq!(c.w.take_up(1).await, completed("noon"));
    assert_eq!(c.asked(), ["a::m", "a::m", "a::m", "b::m"]);
    let StepBody::Model(step) = c.w.store.journal_of(c.w.run.id)[0].body.clone() else { panic!("no model step") };
    assert_eq!((step.provider.as_str(), step.model.as_str(), step.failures.len()), ("b", "m", 3));
    assert_eq!((step.failures[0].code.as_ref(), step.failures[0].message.as_str()), ("provider_unavailable", "a::m: HTTP 503"));
}

#[tokio::test]
async fn a_caller_who_waits_is_answered_by_the_next_model_after_one_try() {
    let c = chain([fails(DOWN)], [says("noon")]).await;
    let window = Window { cut_calls: true, ..c.w.window() };
    assert_eq!(c.w.deliver("m", 1, window).await, completed("noon"));
    assert_eq!(c.asked(), ["a::m", "b::m"]);
}

/// What becomes of the run for a caller who waits for so long.
async fn within(c: &Chain, seconds: u64) -> Advance {
    let window = Window { deadline: after(c.w.clock.now(), Duration::from_secs(seconds)), cut_calls: true };
    let (run, input) = (c.w.claimed("me").await, an_event(c.w.clock.now()).agent_input().unwrap());
    c.w.engine.advance(run, &input, Carrier::Request, window, &c.w.hold).await.unwrap()
}

#[tokio::test]
async fn a_caller_who_waits_is_answered_by_the_next_model_where_the_first_one_hangs_and_its_breaker_hears_of_it() {
    // A call may take 20 s: all that this caller has.
    let c = chain([Scripted::Hangs], [says("noon")]).await;
    assert_eq!(within(&c, 20).await, completed("noon"));
    assert_eq!(c.asked(), ["a::m", "b::m"]);
    let StepBody::Model(step) = c.w.store.journal_of(c.w.run.id)[0].body.clone() else { panic!("no model step") };
    let failure = (step.failures[0].code.as_ref(), step.failures[0].message.as_str());
    assert_eq!(failure, ("provider_timeout", "a::m: the model did not answer within 10 s"), "half of the time for each");
    assert_eq!(c.breakers.calls.lock().unwrap()[1..], [0, 1], "counted");
}

#[tokio::test]
async fn a_model_that_has_begun_to_answer_is_not_cut_for_the_next_one() {
    let c = chain([Scripted::Drones], [says("noon")]).await;
    assert_eq!(within(&c, 15).await, Advance::HandedOver);
    assert_eq!(c.asked(), ["a::m"]);
    assert_eq!((c.w.stored().error(), &c.breakers.calls.lock().unwrap()[1..]), (None, &[0, 0][..]), "it is well, and the run goes on");
}

#[tokio::test]
async fn the_last_model_that_may_be_asked_has_all_the_time_and_is_cut_without_a_failure() {
    let c = chain([Scripted::Hangs], [says("noon")]).await;
    let disabled = Disabled { name: "b".into(), reason: "bad day".into(), by: "me".into(), at: c.w.clock.now() };
    c.breakers.disable(&disabled).await.unwrap();
    let deadline = after(c.w.clock.now(), Duration::from_secs(15));
    assert_eq!(within(&c, 15).await, Advance::HandedOver);
    assert!(c.w.clock.now() >= deadline);
    assert_eq!((c.asked(), c.w.stored().error()), (vec!["a::m".to_owned()], None));
}

#[tokio::test]
async fn a_probe_that_is_cut_gives_its_place_back() {
    for (script, is_well) in [(Scripted::Hangs, false), (Scripted::Drones, true)] {
        let c = chain([script.clone()], []).await;
        let disabled = Disabled { name: "b".into(), reason: "bad day".into(), by: "me".into(), at: c.w.clock.now() };
        c.breakers.disable(&disabled).await.unwrap();
        let open = Breaker::closed(model("a::m"), c.w.clock.now()).tripped(&config(), DOWN, c.w.clock.now()).unwrap();
        c.breakers.change(&open).await.unwrap();
        c.w.clock.advance(Duration::from_secs(31));
        assert_eq!(within(&c, 15).await, Advance::HandedOver);
        let (now, state) = (c.w.clock.now(), c.state_of("a::m").unwrap());
        match state {
            State::HalfOpen { succeeded: 1, probe_until } => assert!(is_well && probe_until <= now, "{script:?}"),
            State::Open { until } => assert!(!is_well && until > now, "{script:?}"),
            other => panic!("{script:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn what_hangs_or_refuses_the_key_or_the_request_is_asked_once_if_there_is_another() {
    let refusal = || Scripted::Fails(CallError::rejected("HTTP 400"));
    let slow = || Scripted::Fails(CallError::retryable(FailureCode::ProviderRateLimited, "429", Some(Duration::from_secs(5))));
    for first in [fails(FailureCode::ProviderTimeout), fails(FailureCode::ProviderAuth), refusal(), slow(), Scripted::Hangs] {
        let c = chain([first.clone()], [says("noon")]).await;
        assert_eq!(c.w.take_up(1).await, completed("noon"), "{first:?}");
        assert_eq!(c.asked(), ["a::m", "b::m"], "{first:?}");
    }
}

#[tokio::test]
async fn when_all_fail_the_failure_tells_of_each_once() {
    let c = chain((0..9).map(|_| fails(DOWN)), (0..9).map(|_| fails(FailureCode::ProviderRateLimited))).await;
    assert!(matches!(c.w.take_up(1).await, Advance::Again { .. }));
    let error = c.w.stored().error().unwrap().clone();
    assert_eq!((error.code.as_ref(), c.w.stored().attempts), ("provider_unavailable", 1));
    assert_eq!(error.message, "a::m: HTTP 503 (3 tries); b::m: HTTP 503 (3 tries)");
    let rejected = || [Scripted::Fails(CallError::rejected("HTTP 400"))];
    let c = chain(rejected(), rejected()).await;
    assert_eq!(c.w.take_up(1).await, Advance::Ended { state: RunState::Failed, response: None });
    assert_eq!(c.w.stored().error().unwrap().message, "a::m: HTTP 400; b::m: HTTP 400");
}

#[tokio::test]
async fn the_run_comes_back_when_the_first_of_the_providers_has_room_and_burns_no_attempt() {
    let full = |seconds| Scripted::Fails(CallError::retryable(FailureCode::ProviderRateLimited, "429", Some(Duration::from_secs(seconds))));
    let c = chain([full(40)], [full(25)]).await;
    assert_eq!(c.w.take_up(1).await, Advance::Again { after: Duration::from_secs(25) });
    assert_eq!((c.w.stored().attempts, c.w.stored().error().unwrap().code.as_ref()), (0, "provider_rate_limited"));
}

#[tokio::test]
async fn an_agents_own_models_and_a_requests_model_go_before_the_deployments() {
    let mut c = chain([], [says("from b")]).await;
    let mut bundle = (*c.w.engine.bundle).clone();
    for agent in &mut bundle.agents {
        agent.models = vec![model("c::m")];
    }
    c.w.engine.bundle = Arc::new(bundle);
    c.another().await;
    assert_eq!(c.asked(), ["c::m"]);
    let input = AgentInput {
        overrides: Overrides { model: Some(model("b::x")), ..Overrides::default() },
        ..an_event(c.w.clock.now()).agent_input().unwrap()
    };
    let run = c.w.claimed("me").await;
    let carrier = Carrier::Message { deliveries: 1, sent_at: None };
    assert_eq!(c.w.engine.advance(run, &input, carrier, c.w.window(), &c.w.hold).await.unwrap(), completed("from b"));
    assert_eq!(c.asked(), ["b::x"]);
}

#[tokio::test]
async fn while_all_is_well_breakers_are_read_now_and_then_and_never_written() {
    let c = chain([], []).await;
    for _ in 0..50 {
        c.another().await;
    }
    assert_eq!(*c.breakers.calls.lock().unwrap(), [1, 0, 0], "the clock stands still");
    c.w.clock.advance(Duration::from_secs(2));
    c.another().await;
    assert_eq!(*c.breakers.calls.lock().unwrap(), [2, 0, 0]);
}

#[tokio::test]
async fn a_breaker_opens_skips_the_model_and_closes_after_probes() {
    // What one run has seen is counted with what another sees: pauses between tries are drawn, so it takes one more or less.
    let c = chain((0..40).map(|_| fails(DOWN)), []).await;
    for _ in 0..4 {
        c.another().await;
        c.w.clock.advance(Duration::from_secs(2));
    }
    assert!(matches!(c.state_of("a::m"), Some(State::Open { .. })), "{:?}", c.state_of("a::m"));
    c.models.by_provider["a"].heal();
    c.asked();
    let (advance, run) = c.another().await;
    assert_eq!((advance, c.asked()), (completed("done"), vec!["b::m".to_owned()]));
    let StepBody::Model(step) = c.w.store.journal_of(run.id)[0].body.clone() else { panic!("no model step") };
    assert_eq!(step.failures, [], "nothing was asked in vain");
    c.w.clock.advance(Duration::from_secs(31));
    for _ in 0..2 {
        c.another().await;
        assert_eq!(c.asked(), ["a::m"], "a probe");
    }
    let breaker = c.breakers.board.lock().unwrap().breakers[&model("a::m")].clone();
    assert_eq!((breaker.state, breaker.opened), (State::Closed, 1));
}

#[tokio::test]
async fn a_model_that_only_a_request_names_has_no_breaker_and_can_be_switched_off_all_the_same() {
    let c = chain([], []).await;
    let (clock, until) = (c.w.clock.as_ref(), after(c.w.clock.now(), Duration::from_secs(90)));
    let agent = Agent { models: vec![model("a::agents")], ..c.w.engine.bundle.agents[0].clone() };
    let routes = Routes::new(vec![model("a::m")], [("a".to_owned(), config())].into(), c.breakers.clone()).with_agents(&[agent]);
    for _ in 0..9 {
        for name in ["a::m", "a::agents", "a::nobodys"] {
            if let Ok(permit) = routes.admit(&model(name), clock, until).await {
                routes.report(&model(name), permit, Some(DOWN), clock).await;
            }
        }
        c.w.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(c.breakers.board.lock().unwrap().breakers.keys().map(ToString::to_string).collect::<Vec<_>>(), ["a::agents", "a::m"]);
    assert!(!c.breakers.counts.lock().unwrap().keys().any(|(counted, _, _)| *counted == model("a::nobodys")));
    let disabled = Disabled { name: "a::nobodys".into(), reason: "dear".into(), by: "me".into(), at: clock.now() };
    c.breakers.disable(&disabled).await.unwrap();
    c.w.clock.advance(Duration::from_secs(3));
    assert!(routes.admit(&model("a::nobodys"), clock, until).await.is_err());
}

#[tokio::test]
async fn one_probe_is_made_by_all_workers_together() {
    let c = chain((0..6).map(|_| fails(DOWN)), []).await;
    for _ in 0..2 {
        c.another().await;
        c.w.clock.advance(Duration::from_secs(2));
    }
    // Another function, with what it knows of the same breakers.
    let other = Routes::new(vec![model("a::m")], [("a".to_owned(), config())].into(), c.breakers.clone());
    let (clock, until) = (c.w.clock.as_ref(), after(c.w.clock.now(), Duration::from_secs(90)));
    other.board(clock).await;
    c.w.clock.advance(Duration::from_secs(31));
    let mut permits = Vec::new();
    for routes in [&other, c.w.engine.routes.as_ref()] {
        permits.push(routes.admit(&model("a::m"), clock, until).await.is_ok());
    }
    assert_eq!(permits, [true, false]);
}

#[tokio::test]
async fn with_no_model_to_ask_a_run_waits_and_burns_no_attempt() {
    let c = chain([], []).await;
    for name in ["a", "b::m"] {
        let disabled = Disabled { name: name.into(), reason: "bad day".into(), by: "me".into(), at: c.w.clock.now() };
        c.breakers.disable(&disabled).await.unwrap();
    }
    for n in 1..=6_u32 {
        let message = format!("m{n}");
        assert!(matches!(c.w.deliver(&message, 1, c.w.window()).await, Advance::Again { .. }));
        assert_eq!((c.w.stored().state, c.w.stored().attempts), (RunState::Queued, 0));
    }
    let error = c.w.stored().error().unwrap().clone();
    assert_eq!(error.code, "no_provider");
    assert!(error.message.starts_with("a::m: not asked, switched off by an operator: bad day; b::m: not asked"), "{}", error.message);
    assert_eq!(c.asked(), [""; 0]);
    c.breakers.enable("b::m").await.unwrap();
    c.w.clock.advance(Duration::from_secs(2));
    assert_eq!(c.w.deliver("last", 1, c.w.window()).await, completed("done"));
    assert_eq!(c.asked(), ["b::m"]);
}

#[tokio::test]
async fn a_pin_stands_in_for_every_chain() {
    let c = chain([], []).await;
    let pin = Pin { to: vec![model("c::x")], reason: "r".into(), by: "me".into(), at: c.w.clock.now() };
    c.breakers.pin(Some(&pin)).await.unwrap();
    c.another().await;
    assert_eq!(c.asked(), ["c::x"]);
    c.breakers.pin(None).await.unwrap();
    c.another().await;
    assert_eq!(c.asked(), ["c::x"], "what is known holds for two seconds");
    c.w.clock.advance(Duration::from_secs(2));
    c.another().await;
    assert_eq!(c.asked(), ["a::m"]);
}

#[tokio::test]
async fn a_store_of_breakers_that_is_down_stops_no_call() {
    let c = chain([fails(DOWN)], []).await;
    *c.breakers.is_down.lock().unwrap() = true;
    assert_eq!(c.another().await.0, completed("done"));
}

#[tokio::test]
async fn failures_are_written_once_a_second_at_most() {
    let c = chain((0..40).map(|_| Scripted::Fails(CallError::rejected("HTTP 400"))), []).await;
    for _ in 0..20 {
        c.another().await;
    }
    assert_eq!(*c.breakers.calls.lock().unwrap(), [1, 0, 0], "what is wrong with a request says nothing of the provider");
    let c = chain((0..40).map(|_| fails(FailureCode::ProviderAuth)), []).await;
    for _ in 0..20 {
        c.another().await;
    }
    assert_eq!(*c.breakers.calls.lock().unwrap(), [1, 0, 1]);
}

#[tokio::test]
async fn an_empty_answer_is_one_where_the_request_names_texts_that_end_it_and_else_a_failure_of_no_breaker() {
    let c = chain((0..9).map(|_| Scripted::SaysNothing), (0..9).map(|_| Scripted::SaysNothing)).await;
    let sampling = Sampling { stop: vec!["X".into()], ..Sampling::default() };
    let overrides = Overrides { sampling, ..Overrides::default() };
    let input = AgentInput { overrides, ..an_event(c.w.clock.now()).agent_input().unwrap() };
    let (run, carrier) = (c.w.claimed("me").await, Carrier::Message { deliveries: 1, sent_at: None });
    assert_eq!(c.w.engine.advance(run, &input, carrier, c.w.window(), &c.w.hold).await.unwrap(), completed(""));
    assert_eq!(c.asked(), ["a::m"]);
    let StepBody::Model(step) = c.w.store.journal_of(c.w.run.id)[0].body.clone() else { panic!("no model step") };
    assert_eq!(step.message.content.as_deref(), Some(""), "an empty text, not none");
    let (_, run) = c.another().await;
    assert_eq!(run.error().unwrap().code, "invalid_answer");
    assert_eq!(c.breakers.calls.lock().unwrap()[1..], [0, 0]);
}

#[tokio::test]
async fn those_who_wait_for_a_breaker_do_not_come_back_together() {
    let c = chain([], []).await;
    for name in ["a::m", "b::m"] {
        let open = Breaker::closed(model(name), c.w.clock.now()).tripped(&config(), DOWN, c.w.clock.now()).unwrap();
        c.breakers.change(&open).await.unwrap();
    }
    let mut pauses = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let (Advance::Again { after }, _) = c.another().await else { panic!("somebody was asked") };
        assert!((30..=36).contains(&after.as_secs()), "{after:?}");
        pauses.insert(after);
    }
    assert!(pauses.len() > 15, "{pauses:?}");
    assert_eq!(c.asked(), [""; 0]);
}
