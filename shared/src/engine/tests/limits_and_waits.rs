//! The limits of an agent, and runs that wait: for a person, for a time, for their next invocation.

use super::*;

#[tokio::test]
async fn a_loop_of_tool_calls_ends_at_the_limit_of_steps() {
    let w = world(std::iter::repeat_with(|| Scripted::Calls(vec!["clock"])).take(50)).await;
    assert_eq!(w.take_up(1).await, Advance::Ended { state: RunState::Failed, response: None });
    assert_eq!(w.stored().error().unwrap().code, "step_limit");
    assert_eq!(w.model.calls(), 10);
}

#[tokio::test]
async fn a_question_makes_the_run_wait_without_worker_or_attempt() {
    let ask = Scripted::CallsWith("ask_human", serde_json::json!({"question": "May I?", "expires_in_seconds": 60}));
    let w = world([ask, Scripted::Says("thanks".into())]).await;
    assert_eq!(w.take_up(1).await, Advance::Waiting);
    let run = w.stored();
    assert_eq!((run.state, run.attempts, run.steps, run.lease_owner.clone()), (RunState::Waiting, 0, 1, None));
    assert_eq!(run.due_ms, run.waiting.as_ref().and_then(Waiting::ends_at).map(|at| at.as_millisecond()));
    assert!(matches!(w.take_up(2).await, Advance::Ended { state: RunState::Waiting, .. }), "its message is done");
    let answer = crate::operate::NewAnswer { question_id: "q2".into(), text: "yes".into(), approved: None };
    let cause = Cause { at: w.clock.now(), by: "ana", reason: "answered", patience: Duration::ZERO };
    crate::operate::answer(w.store.as_ref(), w.queue.as_ref(), cause, &run.tenant, run.id, &answer).await.unwrap();
    assert!(matches!(w.deliver("next", 1, w.window()).await, Advance::Ended { state: RunState::Completed, .. }));
    let seen = w.model.asked.lock().unwrap()[1].last().unwrap().content.clone();
    assert_eq!(seen.as_deref(), Some("yes"), "the answer is the result of the call");
}

#[tokio::test]
async fn a_short_wait_is_ended_by_its_alarm() {
    let wait = Scripted::CallsWith("wait", serde_json::json!({"seconds": 30}));
    let w = world([wait, Scripted::Says("here again".into())]).await;
    assert_eq!(w.take_up(1).await, Advance::Waiting);
    let (alarm, delay) = w.queue.take_first().unwrap();
    assert_eq!((alarm, delay), (w.stored().task(), Duration::from_secs(30)));
    assert!(matches!(w.deliver("early", 1, w.window()).await, Advance::Ended { state: RunState::Waiting, .. }), "not before its time");
    w.clock.advance(Duration::from_secs(30));
    assert_eq!(w.deliver("alarm", 1, w.window()).await, Advance::HandedOver);
    assert_eq!((w.stored().state, w.stored().steps), (RunState::Queued, 2));
    assert!(matches!(w.deliver("next", 1, w.window()).await, Advance::Ended { state: RunState::Completed, .. }));
    assert_eq!(w.stored().working_time(w.clock.now()), Duration::ZERO, "the clock moved only while it waited");
}

#[tokio::test]
async fn the_same_call_again_and_again_ends_the_run_by_name() {
    let again = || Scripted::CallsWith("clock", serde_json::json!({"timezone": "UTC"}));
    let w = world(std::iter::repeat_with(again).take(9)).await;
    assert_eq!(w.take_up(1).await, Advance::Ended { state: RunState::Failed, response: None });
    assert_eq!(w.stored().error().unwrap().code, "repeated_tool_call");
    assert_eq!(w.stored().steps, 7, "three calls with their answers, and the fourth request");
}

#[tokio::test]
async fn every_cap_ends_the_run_with_its_name() {
    let w = world([]).await;
    let agent = w.engine.bundle.agent("assistant").unwrap().clone();
    let open = Transcript::open(&agent, vec![], &AgentInput::default());
    let code = |agent: &Agent, run: &Run| match w.engine.check_caps(run, agent, &open, &Next::Model(crate::domain::step::Purpose::Act)) {
        Err(Stop::Terminal(failure)) => failure.code.into_owned(),
        Err(_) => "another stop".into(),
        Ok(()) => "none".into(),
    };
    assert_eq!(code(&agent, &w.run), "none");
    let with = |change: fn(&mut crate::domain::agent::Caps)| {
        let mut agent = agent.clone();
        change(&mut agent.caps);
        agent
    };
    let used = |input_tokens| Run {
        usage: crate::domain::step::Usage { input_tokens, output_tokens: 1, ..crate::domain::step::Usage::default() },
        ..w.run.clone()
    };
    assert_eq!(code(&with(|caps| caps.steps = 0), &w.run), "step_limit");
    assert_eq!(code(&with(|caps| caps.tokens = Some(10)), &used(9)), "token_limit");
    assert_eq!(code(&with(|caps| caps.tokens = Some(10)), &used(8)), "none");
    assert_eq!(code(&with(|caps| caps.cost_micros = Some(5)), &Run { cost_micros: Some(5), ..w.run.clone() }), "cost_limit");
    assert_eq!(code(&with(|caps| caps.cost_micros = Some(5)), &Run { cost_micros: Some(4), ..w.run.clone() }), "none");
    assert_eq!(
        code(&with(|caps| caps.cost_micros = Some(5)), &Run { cost_micros: None, ..w.run.clone() }),
        "cost_limit",
        "unknown is not free"
    );
    w.clock.advance(Duration::from_secs(100));
    assert_eq!(code(&with(|caps| caps.wall_seconds = 100), &w.run), "time_limit");
    assert_eq!(
        code(&with(|caps| caps.wall_seconds = 100), &Run { waited_ms: 1_000, ..w.run.clone() }),
        "none",
        "waiting is no working time"
    );
}

/// Takes four minutes for each answer, and wants a tool fourteen times.
struct Slow {
    clock: Arc<FixedClock>,
    script: ScriptedModel,
}

#[async_trait::async_trait]
impl Model for Slow {
    async fn ask(&self, request: &ports::ModelRequest<'_>) -> Result<ports::ModelReply, CallError> {
        self.clock.sleep(Duration::from_secs(240)).await;
        self.script.ask(request).await
    }
}

#[tokio::test]
async fn a_run_of_an_hour_completes_over_many_invocations_of_minutes() {
    let mut w = world([]).await;
    let script = ScriptedModel::new((0..9).map(|_| Scripted::Calls(vec!["clock"])));
    w.engine.model = Arc::new(Slow { clock: w.clock.clone(), script });
    w.engine.limits = Limits { lease: Duration::from_secs(400), model_timeout: Duration::from_secs(300), max_attempts: 2 };
    let (began, mut invocations) = (w.clock.now(), 0);
    loop {
        invocations += 1;
        let window = Window { deadline: after(w.clock.now(), Duration::from_secs(310)), cut_calls: false };
        match w.deliver(&format!("m{invocations}"), 1, window).await {
            Advance::HandedOver => w.clock.advance(Duration::from_secs(120)),
            Advance::Ended { state, .. } => break assert_eq!(state, RunState::Completed),
            other => panic!("{other:?}"),
        }
    }
    assert!(between(began, w.clock.now()) >= Duration::from_secs(3_300), "{:?}", between(began, w.clock.now()));
    assert_eq!((invocations, w.stored().steps, w.stored().failures.len()), (10, 19, 0));
    let mut all = w.store.tables().archives.remove(&w.run.id).unwrap_or_default().into_iter().flat_map(|archive| archive.transitions);
    assert_eq!(all.next().unwrap().reason, "accepted", "a long trail is kept whole");
}
