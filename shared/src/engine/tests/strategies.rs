//! How an agent comes to its answer: schemas, mending, reflexion, examples, and what a request changes.

use serde_json::json;

use super::*;
use crate::domain::definition::{Evaluation, Example, ModelRef, OutputSchema, Reflexion, Rule, Scale, Strategy, ToolUse};
use crate::domain::step::FinishReason;

fn says(text: &str) -> Scripted {
    Scripted::Says(text.into())
}

fn city() -> OutputSchema {
    OutputSchema {
        name: "city".into(),
        schema: json!({"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}}),
        repairs: 1,
    }
}

fn purposes(w: &World) -> Vec<Purpose> {
    let purpose = |step: &Step| match &step.body {
        StepBody::Model(model) => Some(model.purpose),
        StepBody::Tool(_) | StepBody::Approval(_) => None,
    };
    w.steps().iter().filter_map(purpose).collect()
}

fn reflexion(evaluation: Evaluation) -> Strategy {
    Strategy::Reflexion(Reflexion { max_iterations: 3, threshold: 0.8, scale: Scale::Structured, evaluation })
}

#[tokio::test]
async fn an_answer_that_does_not_satisfy_its_schema_is_mended() {
    let mut w = world([says(r#"{"town": "Berlin"}"#), says(r#"{"city": "Berlin"}"#)]).await;
    w.change_agent(|agent| agent.output = Some(city()));
    assert_eq!(w.take_up(1).await, Advance::Ended { state: RunState::Completed, response: Some(r#"{"city": "Berlin"}"#.into()) });
    let told = w.model.asked.lock().unwrap()[1].last().unwrap().content.clone().unwrap();
    assert!(told.contains("\"city\" is a required property"), "{told}");
    assert!(matches!(&w.steps()[0].body, StepBody::Model(step) if step.problem.is_some()), "what was wrong is on record");
}

#[tokio::test]
async fn an_answer_that_cannot_be_mended_is_a_failure_by_name() {
    let mut w = world([says("Berlin"), says("Berlin!")]).await;
    w.change_agent(|agent| agent.output = Some(city()));
    assert_eq!(w.take_up(1).await, Advance::Ended { state: RunState::Failed, response: None });
    assert_eq!((w.stored().error().unwrap().code.as_ref(), w.steps().len(), w.model.calls()), ("invalid_output", 2, 2));
}

#[tokio::test]
async fn an_answer_that_is_cut_off_or_refused_is_journaled_and_no_success() {
    for (finish, code) in [(FinishReason::Length, "answer_cut_off"), (FinishReason::ContentFilter, "answer_refused")] {
        let mut w = world([]).await;
        // With its last step: what became of it says more than that there are no more.
        w.change_agent(|agent| agent.caps.steps = 1);
        w.engine.model = Arc::new(Ends(finish));
        assert_eq!(w.take_up(1).await, Advance::Ended { state: RunState::Failed, response: None });
        let run = w.stored();
        assert_eq!((run.error().unwrap().code.as_ref(), run.steps, run.usage.output_tokens), (code, 1, 5), "it was paid for");
    }
}

/// Says something, and ends so.
struct Ends(FinishReason);

#[async_trait::async_trait]
impl Model for Ends {
    async fn ask(&self, request: &ports::ModelRequest<'_>) -> Result<ports::ModelReply, CallError> {
        let reply = ScriptedModel::new([says("Once upon a")]).ask(request).await?;
        Ok(ports::ModelReply { finish_reason: self.0, ..reply })
    }
}

#[tokio::test]
async fn a_rule_evaluates_without_a_call_and_the_agent_reflects_until_it_is_met() {
    let mut w = world([says("It is late."), says("Name the city."), says("It is late in Berlin.")]).await;
    w.change_agent(|agent| agent.strategy = reflexion(Evaluation::Rule(Rule { contains: vec!["berlin".into()], ..Rule::default() })));
    assert_eq!(w.take_up(1).await, Advance::Ended { state: RunState::Completed, response: Some("It is late in Berlin.".into()) });
    assert_eq!(purposes(&w), [Purpose::Act, Purpose::Reflect, Purpose::Act]);
    let asked = w.model.asked.lock().unwrap();
    assert!(
        asked[1].last().unwrap().content.as_deref().unwrap().contains("it does not say `berlin`"),
        "the reflection knows what was wrong"
    );
    assert!(asked[2].last().unwrap().content.as_deref().unwrap().contains("Name the city."), "and the agent what to do better");
}

#[tokio::test]
async fn a_model_evaluates_and_the_last_answer_stands_whatever_its_score() {
    let bad = || says(r#"{"score": 0.2, "issues": ["thin"], "improvements": ["more"]}"#);
    let mut w = world([says("a"), bad(), says("do more"), says("b"), bad(), says("do more"), says("c"), bad()]).await;
    w.change_agent(|agent| agent.strategy = reflexion(Evaluation::Model { instructions: Some("Be strict.".into()), model: None }));
    assert_eq!(w.take_up(1).await, Advance::Ended { state: RunState::Completed, response: Some("c".into()) });
    use Purpose::{Act, Evaluate, Reflect};
    assert_eq!(purposes(&w), [Act, Evaluate, Reflect, Act, Evaluate, Reflect, Act, Evaluate]);
    let last = w.steps().pop().unwrap();
    let StepBody::Model(last) = last.body else { panic!("{last:?}") };
    assert!(last.verdict.is_some_and(|verdict| !verdict.success && verdict.score == 0.2), "that it was not good enough is on record");
    let turn = w.store.tables().turns.into_values().next().unwrap();
    assert_eq!(turn.response.as_deref(), Some("c"), "the answer is the agent's, not the evaluator's");
    assert!(w.model.asked.lock().unwrap()[1][0].content.as_deref().unwrap().contains("Be strict."));
}

#[tokio::test]
async fn a_reflexion_that_is_cut_off_goes_on_where_it_was() {
    let mut w =
        world([says("a"), says(r#"{"score": 0.1}"#), outage(), outage(), outage(), says("do more"), says("b"), says(r#"{"score": 1}"#)])
            .await;
    w.change_agent(|agent| agent.strategy = reflexion(Evaluation::Model { instructions: None, model: None }));
    assert_eq!(w.take_up(1).await, Advance::HandedOver);
    assert_eq!(purposes(&w), [Purpose::Act, Purpose::Evaluate]);
    assert_eq!(w.deliver("next", 1, w.window()).await, Advance::Ended { state: RunState::Completed, response: Some("b".into()) });
    assert_eq!(w.model.calls(), 8, "nothing that was finished is asked again");
}

#[tokio::test]
async fn the_past_of_a_run_is_not_judged_anew_under_other_definitions() {
    let mut w = world([says("short"), outage(), outage(), outage(), says("write more"), says("longer, at last")]).await;
    let rule = |least| Evaluation::Rule(Rule { min_chars: Some(least), ..Rule::default() });
    w.change_agent(|agent| agent.strategy = reflexion(rule(10)));
    assert_eq!(w.take_up(1).await, Advance::HandedOver);
    w.change_agent(|agent| {
        agent.version += 1;
        agent.strategy = reflexion(rule(1));
        agent.tools.clear();
    });
    assert_eq!(
        w.deliver("next", 1, w.window()).await,
        Advance::Ended { state: RunState::Completed, response: Some("longer, at last".into()) }
    );
}

#[tokio::test]
async fn examples_come_before_the_question() {
    let mut w = world([]).await;
    w.change_agent(|agent| agent.examples = vec![Example { input: "2+2?".into(), output: "4".into() }]);
    w.take_up(1).await;
    let asked = w.model.asked.lock().unwrap()[0].clone();
    let said: Vec<_> = asked[1..].iter().map(|message| message.content.clone().unwrap()).collect();
    assert_eq!(said, ["2+2?", "4", "why?"]);
}

/// Notes what it is asked besides the messages.
#[derive(Default)]
struct Notes(Mutex<Vec<(Option<f64>, Option<ports::ToolSpec>)>>);

#[async_trait::async_trait]
impl Model for Notes {
    async fn ask(&self, request: &ports::ModelRequest<'_>) -> Result<ports::ModelReply, CallError> {
        self.0.lock().unwrap().push((request.sampling.temperature, request.tools.first().cloned()));
        ScriptedModel::new([]).ask(request).await
    }
}

#[tokio::test]
async fn what_requests_change_stays_in_their_runs_however_many_there_are() {
    let mut runs = Vec::new();
    for n in 0..16_u32 {
        let temperature = f64::from(n) / 16.0;
        let tools = if n % 2 == 0 { vec!["clock"] } else { vec![] };
        let overrides = json!({"sampling": {"temperature": temperature}, "tools": tools, "caps": {"steps": n + 1}});
        let mut w = world_asked(json!({"prompt": "why?", "overrides": overrides}), []).await;
        let notes = Arc::new(Notes::default());
        w.engine.model = notes.clone();
        runs.push((w, notes, temperature, n % 2 == 0));
    }
    let bundle = runs[0].0.engine.bundle.clone();
    for (w, ..) in &mut runs {
        w.engine.bundle = bundle.clone();
    }
    futures_util::future::join_all(runs.iter().map(|(w, ..)| w.take_up(1))).await;
    for (_, notes, temperature, has_tool) in &runs {
        let notes = notes.0.lock().unwrap();
        assert_eq!((notes[0].0, notes[0].1.is_some()), (Some(*temperature), *has_tool));
    }
    assert_eq!(*bundle, crate::domain::definition::Bundle::embedded(), "the shared definitions are as they were");
}

#[test]
fn a_request_can_lower_caps_and_take_tools_away_but_not_the_other_way_round() {
    let bundle = crate::domain::definition::Bundle::embedded();
    let agent = bundle.agent("assistant").unwrap();
    let overrides = |value| serde_json::from_value::<crate::domain::overrides::Overrides>(value).unwrap();
    let lower = agent.for_run(&overrides(json!({"caps": {"steps": 3, "tokens": 9, "cost_micros": 5}, "tools": ["clock", "rm_rf"]})));
    assert_eq!((lower.caps.steps, lower.caps.tokens, lower.caps.cost_micros), (3, Some(9), Some(5)));
    assert_eq!(lower.tools, [ToolUse::of("clock")]);
    let higher = agent.for_run(&overrides(json!({"caps": {"steps": 9_999, "wall_seconds": 99_999_999}})));
    assert_eq!(higher.caps, agent.caps);
    let model = agent.for_run(&overrides(json!({"model": "backup::m", "effort": "high"})));
    assert_eq!(model.models, [ModelRef { provider: "backup".into(), model: "m".into() }]);
}
