//! Tool calls: at the same time, with leave, for the caller, before the model is asked.

use serde_json::json;

use super::*;
use crate::domain::definition::ToolUse;
use crate::domain::id::JobId;
use crate::domain::revival::Replay;
use crate::domain::step::{StandIn, ToolStep};
use crate::fakes::locked;

/// A call that takes so long breaks off.
const BREAKS: u64 = 8;

/// A tool that takes as many seconds as it is told, and notes when each call begins.
pub(super) struct Takes {
    name: &'static str,
    idempotent: bool,
    side_effects: bool,
    clock: Arc<dyn Clock>,
    began: Arc<Mutex<Vec<(String, jiff::Timestamp)>>>,
    /// What it says before how long it took.
    says: &'static str,
}

impl Takes {
    /// One that does no harm and that nobody watches.
    pub(super) fn harmless(says: &'static str, clock: Arc<dyn Clock>) -> Self {
        Self { name: "takes", idempotent: true, side_effects: false, clock, began: Arc::default(), says }
    }
}

#[async_trait::async_trait]
impl Tool for Takes {
    fn spec(&self) -> ToolSpec {
        ToolSpec { name: self.name.into(), description: String::new(), parameters: json!({}) }
    }

    fn traits(&self) -> ToolTraits {
        ToolTraits { idempotent: self.idempotent, side_effects: self.side_effects, ..ToolTraits::harmless(Duration::from_secs(10)) }
    }

    async fn call(&self, arguments: &serde_json::Value, context: &ToolContext<'_>) -> Result<String, String> {
        locked(&self.began).push((context.key.rsplit(':').next().unwrap().to_owned(), self.clock.now()));
        self.clock.sleep(Duration::from_secs(arguments["seconds"].as_u64().unwrap_or(0))).await;
        if arguments["seconds"] == BREAKS {
            context.doubt.note();
            return Err("the connection broke".into());
        }
        Ok(format!("{} {}", self.says, arguments["seconds"]))
    }
}

/// The test's own time, which passes only while everybody waits.
struct PausedClock(jiff::Timestamp, tokio::time::Instant);

#[async_trait::async_trait]
impl Clock for PausedClock {
    fn now(&self) -> jiff::Timestamp {
        after(self.0, self.1.elapsed())
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A model that asks for calls of `takes` with these seconds, then answers.
pub(super) struct Asks(pub(super) Mutex<Vec<Vec<u64>>>);

#[async_trait::async_trait]
impl Model for Asks {
    async fn ask(&self, request: &ports::ModelRequest<'_>) -> Result<ports::ModelReply, CallError> {
        let mut reply = ScriptedModel::new([]).ask(request).await?;
        if let Some(calls) = locked(&self.0).pop() {
            let call = |(n, seconds): (usize, &u64)| crate::domain::message::ToolCall {
                id: format!("c{n}"),
                name: "takes".into(),
                arguments: json!({"seconds": seconds}),
            };
            reply.message.tool_calls = calls.iter().enumerate().map(call).collect();
            reply.finish_reason = crate::domain::step::FinishReason::ToolCalls;
        }
        Ok(reply)
    }
}

async fn with_tool(idempotent: bool, calls: Vec<Vec<u64>>, parallel: u32) -> (World, Arc<Mutex<Vec<(String, jiff::Timestamp)>>>) {
    let mut w = world([]).await;
    let began = Arc::new(Mutex::new(Vec::new()));
    let clock: Arc<dyn Clock> = Arc::new(PausedClock(w.clock.now(), tokio::time::Instant::now()));
    w.engine.clock = clock.clone();
    let tool = Takes { name: "takes", idempotent, side_effects: !idempotent, clock, began: began.clone(), says: "took" };
    w.engine.tools = Toolbox::of(vec![Arc::new(tool)]);
    w.engine.model = Arc::new(Asks(Mutex::new(calls)));
    w.change_agent(|agent| {
        agent.tools = vec![ToolUse::of("takes")];
        agent.parallel_tool_calls = parallel;
    });
    (w, began)
}

fn results(w: &World) -> Vec<String> {
    let result = |step: &Step| match &step.body {
        StepBody::Tool(tool) => Some(tool.output.clone()),
        StepBody::Model(_) | StepBody::Approval(_) => None,
    };
    w.steps().iter().filter_map(result).collect()
}

#[tokio::test(start_paused = true)]
async fn calls_of_one_answer_are_made_at_the_same_time_and_journaled_as_they_end() {
    let (w, began) = with_tool(true, vec![vec![9, 1, 5]], 4).await;
    assert!(matches!(w.take_up(1).await, Advance::Ended { state: RunState::Completed, .. }));
    assert_eq!(results(&w), ["took 1", "took 5", "took 9"]);
    let mut keys: Vec<_> = locked(&began).iter().map(|(key, _)| key.clone()).collect();
    keys.sort();
    assert_eq!(keys, ["2", "3", "4"], "each has the number of its place, whichever ends first");
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_at_the_same_time_than_the_agent_may() {
    let (w, _) = with_tool(true, vec![vec![9, 1, 5]], 2).await;
    w.take_up(1).await;
    assert_eq!(results(&w), ["took 1", "took 9", "took 5"]);
    let (w, _) = with_tool(true, vec![vec![9, 1, 5]], 1).await;
    w.take_up(1).await;
    assert_eq!(results(&w), ["took 9", "took 1", "took 5"]);
}

#[tokio::test(start_paused = true)]
async fn calls_that_must_not_be_repeated_are_made_one_after_the_other() {
    let (w, _) = with_tool(false, vec![vec![9, 1, 5]], 4).await;
    w.take_up(1).await;
    assert_eq!(results(&w), ["took 9", "took 1", "took 5"]);
}

#[tokio::test(start_paused = true)]
async fn a_tool_may_be_called_as_often_as_its_agent_may_and_the_model_is_told() {
    let (mut w, began) = with_tool(true, vec![vec![3], vec![1, 2]], 4).await;
    w.change_agent(|agent| agent.tools = vec![ToolUse { max_calls: Some(2), ..ToolUse::of("takes") }]);
    assert!(matches!(w.take_up(1).await, Advance::Ended { state: RunState::Completed, .. }));
    assert_eq!(locked(&began).len(), 2);
    assert!(results(&w)[2].starts_with("error: the tool `takes` may be called 2 times"), "{:?}", results(&w));
}

#[tokio::test(start_paused = true)]
async fn calls_of_one_answer_count_together_and_so_do_questions() {
    let (mut w, began) = with_tool(true, vec![vec![1, 2, 3]], 4).await;
    w.change_agent(|agent| agent.tools = vec![ToolUse { max_calls: Some(1), ..ToolUse::of("takes") }]);
    assert!(matches!(w.take_up(1).await, Advance::Ended { state: RunState::Completed, .. }));
    assert_eq!((locked(&began).len(), results(&w).len()), (1, 3), "the model is told of the other two");
    let mut w = world([Scripted::CallsWith("ask_human", json!({"question": "May I?"})), Scripted::Says("then not".into())]).await;
    w.change_agent(|agent| agent.tools = vec![ToolUse { max_calls: Some(0), ..ToolUse::of("ask_human") }]);
    assert!(matches!(w.take_up(1).await, Advance::Ended { state: RunState::Completed, .. }));
    assert!(results(&w)[0].contains("may be called 0 times"), "{:?}", results(&w));
}

async fn answer(w: &World, approved: bool, why: &str) {
    let run = w.stored();
    let Some(Waiting::Approval { question_id, question, .. }) = &run.waiting else { panic!("{:?}", run.waiting) };
    assert_eq!(question, r#"May the agent call `takes` with {"seconds":7}?"#);
    let new = crate::operate::NewAnswer { question_id: question_id.clone(), text: why.into(), approved: Some(approved) };
    let cause = Cause { at: w.clock.now(), by: "ana", reason: "answered", patience: Duration::ZERO };
    for _ in 0..2 {
        crate::operate::answer(w.store.as_ref(), w.queue.as_ref(), cause, &run.tenant, run.id, &new).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_needs_leave_is_made_once_somebody_allows_it() {
    let (mut w, began) = with_tool(false, vec![vec![7]], 4).await;
    w.change_agent(|agent| agent.tools = vec![ToolUse { approval: true, ..ToolUse::of("takes") }]);
    assert_eq!(w.take_up(1).await, Advance::Waiting);
    assert!(locked(&began).is_empty());
    let run = w.stored();
    let text = crate::operate::NewAnswer { question_id: "q2".into(), text: "yes".into(), approved: None };
    let cause = Cause { at: w.clock.now(), by: "ana", reason: "answered", patience: Duration::ZERO };
    let refused = crate::operate::answer(w.store.as_ref(), w.queue.as_ref(), cause, &run.tenant, run.id, &text).await;
    assert!(matches!(refused, Err(crate::operate::CommandError::OtherAnswer)), "a text is no leave");
    answer(&w, true, "").await;
    assert!(matches!(w.deliver("next", 1, w.window()).await, Advance::Ended { state: RunState::Completed, .. }));
    assert_eq!(results(&w), ["took 7"]);
    assert!(matches!(&w.steps()[1].body, StepBody::Approval(leave) if leave.by == "ana"), "who allowed it is on record");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_not_allowed_is_not_made_and_the_model_is_told_why() {
    let (mut w, began) = with_tool(false, vec![vec![7]], 4).await;
    w.change_agent(|agent| agent.tools = vec![ToolUse { approval: true, ..ToolUse::of("takes") }]);
    assert_eq!(w.take_up(1).await, Advance::Waiting);
    answer(&w, false, "too long").await;
    assert!(matches!(w.deliver("next", 1, w.window()).await, Advance::Ended { state: RunState::Completed, .. }));
    assert!(locked(&began).is_empty());
    assert_eq!(results(&w), ["error: a person did not allow this call: too long"]);
}

#[tokio::test(start_paused = true)]
async fn an_allowed_call_that_may_have_happened_is_in_doubt_and_one_that_waits_for_leave_is_not() {
    let (mut w, _) = with_tool(false, vec![vec![7]], 4).await;
    w.change_agent(|agent| agent.tools = vec![ToolUse { approval: true, ..ToolUse::of("takes") }]);
    assert_eq!(w.take_up(1).await, Advance::Waiting);
    answer(&w, true, "").await;
    w.claimed("gone").await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(w.deliver("m", 2, w.window()).await, Advance::Dead);
    assert_eq!(w.stored().error().unwrap().code, "uncertain_tool_call");
}

#[tokio::test(start_paused = true)]
async fn a_call_of_the_callers_own_tool_ends_the_run_and_is_the_callers_to_make() {
    let overrides = json!({"client_tools": [{"name": "weather", "parameters": {"type": "object"}}]});
    let w = world_asked(json!({"prompt": "why?", "overrides": overrides}), [Scripted::Calls(vec!["weather"])]).await;
    assert_eq!(w.take_up(1).await, Advance::Ended { state: RunState::Completed, response: Some(String::new()) });
    assert!(matches!(&w.steps()[0].body, StepBody::Model(step) if step.message.tool_calls[0].name == "weather"));
    assert_eq!(w.stored().steps, 1);
}

#[tokio::test(start_paused = true)]
async fn of_calls_for_both_the_agents_own_are_made_before_the_run_ends() {
    let overrides = json!({"client_tools": [{"name": "weather", "parameters": {"type": "object"}}], "tools": ["clock"]});
    let w = world_asked(json!({"prompt": "why?", "overrides": overrides}), [Scripted::Calls(vec!["weather", "clock"])]).await;
    assert_eq!(w.take_up(1).await, Advance::Ended { state: RunState::Completed, response: Some(String::new()) });
    assert_eq!((w.stored().steps, results(&w).len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn calls_that_the_request_asks_for_are_made_before_the_model_is_asked() {
    let overrides = json!({"preset_calls": [{"name": "clock", "args": {"timezone": "UTC"}}, {"name": "rm_rf"}]});
    let w = world_asked(json!({"prompt": "why?", "overrides": overrides}), [Scripted::Says("noon".into())]).await;
    assert_eq!(w.take_up(1).await, Advance::Ended { state: RunState::Completed, response: Some("noon".into()) });
    let results = results(&w);
    assert!(results.iter().any(|result| result.contains("2026-01-02")), "{results:?}");
    assert!(results.iter().any(|result| result.starts_with("error: no tool is named `rm_rf`")), "{results:?}");
    assert_eq!(w.model.calls(), 1, "it is shown both results");
}

/// A tool whose result is longer than a model is told.
struct Talks;

#[async_trait::async_trait]
impl Tool for Talks {
    fn spec(&self) -> ToolSpec {
        ToolSpec { name: "clock".into(), description: String::new(), parameters: json!({}) }
    }

    fn traits(&self) -> ToolTraits {
        ToolTraits::harmless(Duration::from_secs(1))
    }

    async fn call(&self, _arguments: &serde_json::Value, _context: &ToolContext<'_>) -> Result<String, String> {
        Ok("x".repeat(150_000))
    }
}

#[tokio::test]
async fn a_long_result_is_journaled_whole_and_told_by_its_beginning() {
    let mut w = world([Scripted::Calls(vec!["clock"]), Scripted::Says("done".into())]).await;
    w.engine.tools = Toolbox::of(vec![Arc::new(Talks)]);
    assert!(matches!(w.take_up(1).await, Advance::Ended { state: RunState::Completed, .. }));
    let steps = w.steps();
    let StepBody::Tool(tool) = &steps[1].body else { panic!("{steps:?}") };
    assert_eq!(tool.full.as_deref().map(str::len), Some(150_000));
    assert!(tool.output.len() < 101_000 && tool.output.ends_with("the whole result is kept with this step]"), "{}", tool.output.len());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_broke_off_is_made_again_only_if_that_does_no_harm() {
    let (w, began) = with_tool(false, vec![vec![BREAKS]], 1).await;
    assert_eq!(w.take_up(1).await, Advance::Dead);
    let run = w.stored();
    assert_eq!((run.error().unwrap().code.as_ref(), run.steps, locked(&began).len()), ("uncertain_tool_call", 1, 1));
    let (w, _) = with_tool(true, vec![vec![BREAKS]], 1).await;
    assert!(matches!(w.take_up(1).await, Advance::Ended { state: RunState::Completed, .. }));
    assert_eq!(results(&w), ["error: the connection broke"], "the model may ask again");
}

/// The world's run as a replay of a run that made these calls of `takes` with these results.
async fn replays(w: &mut World, withholds: bool, recorded: &[(u64, &str)]) {
    let mut original = a_run(&w.run.tenant, w.clock.now());
    for (index, (seconds, output)) in (1..).zip(recorded) {
        let call = crate::domain::message::ToolCall { id: "x".into(), name: "takes".into(), arguments: json!({"seconds": seconds}) };
        let tool = ToolStep { call, output: (*output).into(), is_error: false, full: None, stand_in: None };
        let at = w.clock.now();
        w.store.put_step(original.id, Step { index, started_at: at, ended_at: at, body: StepBody::Tool(tool) });
        original.steps = index;
    }
    let replay = Replay { job: JobId::new(w.clock.now()), of: Some(original.id), withholds };
    w.store.put(original);
    let run = Run { replay: Some(replay), ..w.store.get(w.run.id).unwrap() };
    let event = w.store.tables().events[&run.event].clone();
    w.store.write(&[ports::Write::Input(&run, &event.agent_input().unwrap())]).await.unwrap();
    w.store.put(run);
}

fn stand_ins(w: &World) -> Vec<Option<StandIn>> {
    let stand_in = |step: &Step| match &step.body {
        StepBody::Tool(tool) => Some(tool.stand_in),
        StepBody::Model(_) | StepBody::Approval(_) => None,
    };
    w.steps().iter().filter_map(stand_in).collect()
}

#[tokio::test(start_paused = true)]
async fn a_replay_without_side_effects_calls_nothing_that_has_any() {
    for (side_effects, withholds, made) in [(true, true, 0), (true, false, 3), (false, true, 3)] {
        let (mut w, began) = with_tool(true, vec![vec![1, 1, 2]], 4).await;
        w.engine.tools = Toolbox::of(vec![Arc::new(Takes {
            name: "takes",
            idempotent: true,
            side_effects,
            clock: w.engine.clock.clone(),
            began: began.clone(),
            says: "took",
        })]);
        replays(&mut w, withholds, &[(1, "first"), (1, "second")]).await;
        assert!(matches!(w.take_up(1).await, Advance::Ended { state: RunState::Completed, .. }));
        assert_eq!(locked(&began).len(), made, "{side_effects} {withholds}");
        if made == 0 {
            assert_eq!(results(&w)[..2], ["first", "second"], "the same calls gave this then, in this order");
            assert!(results(&w)[2].contains("without side effects"), "the run then made no such call");
            assert_eq!(stand_ins(&w), [Some(StandIn::Recorded), Some(StandIn::Recorded), Some(StandIn::Withheld)]);
        } else {
            assert_eq!(stand_ins(&w), [None, None, None]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_without_side_effects_waits_for_nobody() {
    let (mut w, began) = with_tool(true, vec![vec![1]], 4).await;
    w.change_agent(|agent| agent.tools = vec![ToolUse { approval: true, ..ToolUse::of("takes") }]);
    replays(&mut w, true, &[(1, "allowed then")]).await;
    assert!(matches!(w.take_up(1).await, Advance::Ended { state: RunState::Completed, .. }));
    assert_eq!((results(&w), locked(&began).len()), (vec!["allowed then".to_owned()], 0));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_died_over_a_call_that_is_not_made_leaves_no_doubt() {
    let (mut w, _) = with_tool(false, vec![vec![1]], 4).await;
    replays(&mut w, true, &[]).await;
    let mut run = w.store.get(w.run.id).unwrap();
    run.abandoned = true;
    w.store.put(run);
    assert!(matches!(w.take_up(1).await, Advance::Ended { state: RunState::Completed, .. }));
}
