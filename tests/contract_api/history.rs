//! The history: every run told whole, failures included.

use std::time::Duration;

use serde_json::{Value, json};
use shared::domain::state::RunState;
use shared::domain::step::{Purpose, StepBody, Verdict};
use shared::engine::CallError;
use shared::fakes::Scripted;

use crate::requests::{ANA, Caller, ask, get};
use crate::world::{scripted, world};

#[tokio::test]
async fn a_completed_run_and_a_failed_one_are_told_with_question_answer_error_and_times() {
    let world = scripted([Scripted::Says("forty-two".into()), Scripted::Fails(CallError::rejected("no"))]);
    world.call(ask(&json!({"prompt": "why?", "metadata": {"ticket": "A-17"}}))).await;
    world.clock.advance(Duration::from_secs(1));
    world.call(ask(&json!({"prompt": "and now?"}))).await;
    let page = world.call(get("/v1/history")).await;
    let (failed, done) = (&page.body["executions"][0], &page.body["executions"][1]);
    assert_eq!(
        (&done["task"], &done["result"], &done["error"], &done["mode"]),
        (&json!("why?"), &json!("forty-two"), &Value::Null, &json!("react"))
    );
    assert_eq!((&done["routing"]["model"], &done["metadata"]["ticket"]), (&json!("script::m"), &json!("A-17")));
    assert_eq!(
        (&failed["task"], &failed["result"], &failed["error"]["code"]),
        (&json!("and now?"), &Value::Null, &json!("provider_rejected"))
    );
    assert_eq!((&failed["status"], &failed["phase_status"]["working"]), (&json!("failed"), &json!("failed")));
    assert!(failed["execution_summary"]["duration_seconds"].is_number());
}

#[tokio::test]
async fn a_run_that_goes_on_is_told_with_the_time_it_has_taken_so_far() {
    let world = world();
    world.call(ask(&json!({"prompt": "why?", "background": true}))).await;
    world.clock.advance(Duration::from_millis(2_500));
    let page = world.call(get("/v1/history").query("status", "queued")).await;
    let run = &page.body["executions"][0];
    assert_eq!((&run["end_time"], &run["result"], &run["phase_status"]["queued"]), (&Value::Null, &Value::Null, &json!("running")));
    assert_eq!((&run["phase_timings"]["queued"], &run["execution_summary"]["duration_seconds"]), (&json!(2.5), &Value::Null));
}

#[tokio::test]
async fn what_was_said_of_an_answer_stands_with_it_or_in_the_step_behind_it() {
    let verdict = |score| Some(Verdict { score, success: score > 0.5, issues: vec!["too short".into()], improvements: Vec::new() });
    for (of_answer, behind, score) in [(verdict(0.9), None, 0.9), (None, verdict(0.4), 0.4)] {
        let world = world();
        let asked = world.call(ask(&json!({"prompt": "why?"}))).await;
        let id = asked.text("/run_id").parse().unwrap();
        let mut run = world.store.get(id).unwrap();
        let mut step = world.store.journal_of(id)[0].clone();
        let StepBody::Model(model) = &mut step.body else { panic!("a model call") };
        model.verdict = of_answer;
        world.store.put_step(id, step.clone());
        if let Some(verdict) = behind {
            let StepBody::Model(model) = &mut step.body else { panic!("a model call") };
            (model.purpose, model.verdict, step.index) = (Purpose::Evaluate, Some(verdict), 2);
            world.store.put_step(id, step);
            run.steps = 2;
            world.store.put(run);
        }
        let page = world.call(get("/v1/history")).await;
        let quality = &page.body["executions"][0]["quality"];
        assert_eq!((&quality["score"], &quality["missing"]), (&json!(score), &json!(["too short"])));
        assert_eq!(page.text("/executions/0/result"), "done");
    }
}

#[tokio::test]
async fn a_walk_shows_every_run_of_the_tenant_once_even_if_answers_are_long() {
    let long = "x".repeat(1_000_000);
    let world = scripted((0..5).map(|_| Scripted::Says(long.clone())));
    for n in 0..5 {
        world.clock.advance(Duration::from_secs(1));
        world.call(ask(&json!({"prompt": format!("{n}")}))).await;
    }
    world.run_of("evil", RunState::Completed);
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let request = get("/v1/history").query("limit", "100").from(ANA);
        let page = world.call(if let Some(cursor) = cursor { request.query("cursor", cursor) } else { request }).await;
        let tasks = page.body["executions"].as_array().unwrap().iter().map(|run| run["task"].as_str().unwrap().to_owned());
        seen.extend(tasks);
        cursor = page.body["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
        assert!(page.body.to_string().len() < 4_000_000);
    }
    assert_eq!(seen, ["4", "3", "2", "1", "0"]);
    let theirs = world.call(get("/v1/history").from(Caller::Authorized("evil", "eve"))).await;
    assert_eq!(theirs.body["executions"].as_array().map(Vec::len), Some(1));
}
