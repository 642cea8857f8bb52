//! Every answer that the document promises is really given, by a situation that leads to it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use shared::config::ApiAuth;
use shared::domain::clock::Clock;
use shared::domain::failure::FailureCode;
use shared::domain::message::Message;
use shared::domain::run::{Cause, Run};
use shared::domain::state::RunState;
use shared::domain::step::{FinishReason, Step, StepBody, Usage};
use shared::engine::CallError;
use shared::engine::ports::{Model, ModelReply, ModelRequest};
use shared::fakes::{FixedClock, MemoryQueue, MemoryStore, Scripted};
use shared::operate::{self, Range, Records};

use crate::conversations;
use crate::dead_letters;
use crate::document::DOCUMENT;
use crate::requests::{Caller, OWNER, ask, asked, get, good, post};
use crate::streams;
use crate::world::{Answer, World, scripted, world};
use crate::{jobs, openai, operators, probes, providers, replays};

const NO_RUN: &str = "run_01KAM3Q5T0ZJ8Y6W4V2N1M0K9H";
const NO_INCIDENT: &str = "inc_01KAM3Q5T0ZJ8Y6W4V2N1M0K9H";
const NO_EVENT: &str = "evt_01KAM3Q5T07YPB3GZ5X1QD8E2R";
const NO_CONVERSATION: &str = "conv_01KAM3Q5T0V5E8R2D7C4B9A1XG";

#[tokio::test]
async fn every_answer_that_the_document_promises_is_given() {
    let mut given = BTreeSet::new();
    let openai = openai::all().await;
    let histories = histories().await;
    for answers in [
        starts().await,
        events().await,
        reads().await,
        results().await,
        Box::pin(commands()).await,
        Box::pin(dead_letters::all()).await,
        Box::pin(dead_letters::letters()).await,
        jobs::all().await,
        Box::pin(replays::all()).await,
        probes::all().await,
        providers::all().await,
        operators::all().await,
        refusals().await,
        openai,
        histories,
        streams::all().await,
    ] {
        given.extend(answers.into_iter().map(|answer| (answer.operation, answer.status)));
    }
    // The other direction, that nothing else is answered, is checked at every call of every test.
    assert_eq!(given, DOCUMENT.promised(), "left: given, right: promised");
}

async fn starts() -> Vec<Answer> {
    let mut answers = vec![world().call(ask(&json!({"prompt": "why?"}))).await];
    answers.push(world().call(ask(&json!({"prompt": "why?", "background": true}))).await);
    answers.push(world().call(ask(&json!({"prompt": "x".repeat(100_001)}))).await);
    answers.push(world().call(ask(&json!({"prompt": "why?", "conversation_id": NO_CONVERSATION}))).await);
    let busy = world();
    let first = busy.call(ask(&json!({"prompt": "why?", "background": true})).header("Idempotency-Key", "k")).await;
    let conversation = first.text("/conversation_id");
    answers.push(busy.call(ask(&json!({"prompt": "and?", "conversation_id": conversation, "multitask_strategy": "reject"}))).await);
    answers.push(scripted([Scripted::Fails(CallError::rejected("no"))]).call(ask(&json!({"prompt": "why?"}))).await);
    answers.push(busy.call(ask(&json!({"prompt": "and?", "background": true})).header("Idempotency-Key", "k")).await);
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200, 202, 413, 404, 409, 502, 422]);
    answers
}

async fn histories() -> Vec<Answer> {
    let world = world();
    let asked = world.call(ask(&json!({"prompt": "why?", "messages": [{"role": "system", "content": "be brief"}]}))).await;
    let history = get("/v1/agent/history/{id}");
    let shown = world.call(history.clone().id(asked.text("/conversation_id"))).await;
    let said = |role: &str, content: &str| json!({"role": role, "content": content});
    assert_eq!(shown.body, json!([said("system", "be brief"), said("user", "why?"), said("assistant", "done")]));
    vec![shown, world.call(history.id(NO_CONVERSATION)).await]
}

async fn events() -> Vec<Answer> {
    let world = world();
    let publish = |body: &serde_json::Value| post("/v1/events").body(body.to_string());
    let ticket = json!({
        "type": "ticket.opened", "source": "crm/eu", "id": "T-1", "correlation_id": "c",
        "payload": {"ticket": {"id": "T-1", "priority": "urgent"}, "customer": {"is_new": true}},
    });
    let published = world.call(publish(&ticket)).await;
    assert_eq!((published.status, published.text("/matches/0/outcome"), published.text("/matches/1/agent")), (202, "started", "triage"));
    assert_eq!(world.queue.take().len(), 2);
    let again = world.call(publish(&ticket)).await;
    assert_eq!((&again.body, again.headers["idempotency-replayed"].to_str().unwrap()), (&published.body, "true"));
    assert!(world.queue.take().is_empty(), "nothing is started again");
    let shown = world.call(get("/v1/events/{id}").id(published.text("/event_id"))).await;
    assert_eq!(shown.body, published.body);
    let run = world.call(get("/v1/runs/{id}").id(published.text("/matches/0/run_id"))).await;
    assert_eq!((run.text("/trigger"), run.text("/event_id")), ("triage-ticket", published.text("/event_id")));
    assert!(run.text("/prompt").contains("T-1"));
    let list = world.call(get("/v1/events").query("type", "ticket.opened").query("limit", "1")).await;
    assert_eq!((list.text("/events/0/event_id"), list.body["events"][0].get("payload")), (published.text("/event_id"), None));
    let other = json!({"type": "ticket.opened", "source": "crm/eu", "id": "T-1", "payload": null});
    let unheard = world.call(publish(&json!({"type": "t", "source": "s", "payload": [1]}))).await;
    assert_eq!(unheard.body["matches"], json!([]), "recorded, and no error");
    let mut answers = vec![published, again, shown, list, unheard];
    answers.push(world.call(publish(&other)).await);
    answers.push(world.call(publish(&json!({"type": "t", "source": "s", "payload": "x".repeat(200_001)}))).await);
    for (field, body) in [
        ("type", json!({"type": "a b", "source": "s", "payload": null})),
        ("type", json!({"type": "agent.request", "source": "s", "payload": null})),
        ("source", json!({"type": "t", "source": "", "payload": null})),
        ("id", json!({"type": "t", "source": "s", "payload": null, "id": "x".repeat(256)})),
        ("payload", json!({"type": "t", "source": "s"})),
        ("sauce", json!({"type": "t", "source": "s", "payload": null, "sauce": 1})),
    ] {
        let refused = world.call(publish(&body)).await;
        assert_eq!((refused.status, refused.text("/field")), (400, field), "{body}");
        answers.push(refused);
    }
    answers.push(world.call(get("/v1/events/{id}").id(NO_EVENT)).await);
    answers
}

async fn reads() -> Vec<Answer> {
    let world = world();
    let answered = world.call(ask(&json!({"prompt": "why?", "metadata": {"ticket": "A-17"}}))).await;
    let (run, conversation) = (answered.text("/run_id"), answered.text("/conversation_id"));
    let shown = world.call(get("/v1/runs/{id}").id(run)).await;
    assert_eq!((shown.text("/response"), shown.text("/prompt"), shown.text("/metadata/ticket")), ("done", "why?", "A-17"));
    let steps = world.call(get("/v1/runs/{id}/steps").id(run)).await;
    assert_eq!(steps.body["steps"], answered.body["steps"]);
    let turns = world.call(get("/v1/conversations/{id}").id(conversation)).await;
    assert_eq!((turns.text("/turns/0/run_id"), turns.text("/turns/0/response")), (run, "done"));
    let list = world.call(get("/v1/runs").query("status", "completed").query("limit", "1")).await;
    assert_eq!(list.text("/runs/0/run_id"), run);
    let usage = world.call(get("/v1/usage")).await;
    let (total, spend) = (&usage.body["total"], &turns.body["spend"]);
    assert_eq!((&total["runs"], &total["usage"]["input_tokens"], &total["cost_usd"]), (&json!(1), &json!(10), &Value::Null), "{total}");
    assert_eq!((spend, usage.body["days"].as_array().map(Vec::len)), (total, Some(7)), "a conversation's and a day's are the same sum");
    assert_eq!(world.call(get("/v1/usage").query("since", "2020-01-01")).await.status, 400, "more days than one answer tells of");
    let agents = world.call(get("/v1/agents")).await;
    let bundle = agents.text("/bundle").get(..8).unwrap().to_owned();
    assert_eq!((&shown.body["bundles"], &shown.body["agent_version"]), (&json!([bundle]), &agents.body["agents"][0]["version"]));
    assert_eq!((agents.text("/agents/0/name"), agents.text("/agents/0/strategy")), ("assistant", "react"));
    let history = world.call(get("/v1/history").query("status", "completed")).await;
    assert_eq!((history.text("/executions/0/workflowId"), history.text("/executions/0/task")), (run, "why?"));
    let mut answers = vec![shown, steps, turns, list, usage, agents, history];
    for route in ["/v1/runs/{id}", "/v1/runs/{id}/steps"] {
        answers.push(world.call(get(route).id(NO_RUN)).await);
    }
    answers.push(world.call(get("/openapi.json")).await);
    for method in ["GET", "DELETE"] {
        answers.push(world.call(asked(method, "/v1/conversations/{id}").id(NO_CONVERSATION)).await);
    }
    answers
}

async fn commands() -> Vec<Answer> {
    let world = world();
    let started = world.call(ask(&json!({"prompt": "why?", "background": true}))).await;
    let cancel = |id: &str| post("/v1/runs/{id}/cancel").id(id);
    let cancelled = world.call(cancel(started.text("/run_id"))).await;
    assert_eq!((cancelled.status, cancelled.text("/status"), cancelled.text("/error/code")), (200, "cancelled", "cancel_requested"));
    let again = world.call(cancel(started.text("/run_id"))).await;
    assert_eq!(again.status, 200);
    let ended = world.run_of("acme", RunState::Completed);
    let too_late = world.call(cancel(&ended.id.to_string())).await;
    assert_eq!((too_late.status, too_late.text("/code"), too_late.text("/run_id")), (409, "already_ended", &*ended.id.to_string()));
    let mut answers = vec![cancelled, again, too_late, world.call(cancel(NO_RUN)).await];
    let asking = world.asking("acme").id.to_string();
    for (id, body) in [
        (NO_RUN, json!({"question_id": "q2", "answer": "yes"})),
        (&asking, json!({"question_id": "q1", "answer": "yes"})),
        (&asking, json!({"question_id": "q2", "answer": "x".repeat(100_001)})),
        (&asking, json!({"question_id": "q2", "answer": "yes"})),
    ] {
        answers.push(world.call(post("/v1/runs/{id}/answer").id(id).body(body.to_string())).await);
    }
    let conversation = started.text("/conversation_id");
    answers.push(world.call(asked("DELETE", "/v1/conversations/{id}").id(conversation)).await);
    answers.push(conversations::more_than_one_request_deletes().await);
    let statuses = answers.iter().skip(4).map(|answer| answer.status).collect::<Vec<_>>();
    assert_eq!(statuses, [404, 409, 413, 202, 200, 202]);
    answers
}

/// What every route but the probes refuses alike.
async fn refusals() -> Vec<Answer> {
    let mut answers = vec![world().call(post("/v1/agent")).await];
    for operation in DOCUMENT.operations().into_iter().filter(|operation| !operation.is_openai()) {
        let good_id = match operation.path {
            path if path.contains("conversations") || path.contains("history") => NO_CONVERSATION,
            path if path.contains("events") => NO_EVENT,
            path if path.contains("incidents") => NO_INCIDENT,
            path if path.contains("/jobs/") || path.contains("/replays/") => jobs::NO_JOB,
            path if path.contains("letters") => dead_letters::NO_LETTER,
            _ => NO_RUN,
        };
        let request = good(&operation, good_id);
        let answered = DOCUMENT.promised();
        if answered.contains(&(operation.id().to_owned(), 403)) {
            answers.push(world().call(request.clone().from(Caller::Nobody)).await);
        }
        if answered.contains(&(operation.id().to_owned(), 503)) && !operation.is_probe() {
            let world = world();
            world.store.set_down(true);
            *world.queue.is_down.lock().unwrap() = true;
            *world.incidents.is_down.lock().unwrap() = true;
            *world.table.is_down.lock().unwrap() = true;
            *world.jobs.is_down.lock().unwrap() = true;
            *world.letters.is_down.lock().unwrap() = true;
            answers.push(world.call(request.clone().from(OWNER)).await);
        }
        if operation.path.contains("{id}") {
            answers.push(world().call(request.id("no id")).await);
        } else if answered.contains(&(operation.id().to_owned(), 400)) && operation.method == "GET" {
            answers.push(world().call(request.query("limit", "0")).await);
        }
    }
    answers
}

#[tokio::test]
async fn a_run_that_takes_longer_than_the_request_is_handed_over() {
    let world = scripted([Scripted::Hangs]);
    let answer = world.call(ask(&json!({"prompt": "think long"}))).await;
    assert_eq!((answer.status, answer.text("/status"), &answer.body["response"]), (202, "queued", &json!(null)));
    let run = answer.text("/run_id").parse().unwrap();
    assert_eq!(world.queue.take().iter().map(|(task, _)| task.run).collect::<Vec<_>>(), [run]);
    assert_eq!(world.store.get(run).unwrap().state, RunState::Queued);
}

#[tokio::test]
async fn a_failing_model_is_never_a_200_without_an_answer() {
    let outage = || Scripted::Fails(CallError::retryable(FailureCode::ProviderUnavailable, "the provider does not answer", None));
    for (script, code) in [
        (vec![outage(), outage(), outage()], "provider_unavailable"),
        (vec![Scripted::SaysNothing, Scripted::SaysNothing, Scripted::SaysNothing], "invalid_answer"),
    ] {
        let world = scripted(script);
        let answer = world.call(ask(&json!({"prompt": "why?"}))).await;
        assert_eq!((answer.status, answer.text("/error/code"), &answer.body["response"]), (202, code, &json!(null)));
        assert_eq!(world.queue.take().len(), 1, "the run goes on without its caller");
    }
    let rejected = scripted([Scripted::Fails(CallError::rejected("the provider filtered the answer"))]);
    let answer = rejected.call(ask(&json!({"prompt": "why?"}))).await;
    assert_eq!((answer.status, answer.text("/code")), (502, "provider_rejected"));
    let shown = rejected.call(get("/v1/runs/{id}").id(answer.text("/run_id"))).await;
    assert_eq!((shown.text("/status"), shown.text("/error/code"), &shown.body["response"]), ("failed", "provider_rejected", &json!(null)));
    let endless = scripted(vec![Scripted::Calls(vec!["clock"]); 20]);
    let answer = endless.call(ask(&json!({"prompt": "why?"}))).await;
    assert_eq!((answer.status, answer.text("/code")), (502, "step_limit"));
}

#[tokio::test]
async fn a_tool_call_and_a_second_turn_are_shown_as_promised() {
    let world = scripted([Scripted::Calls(vec!["clock", "nonsense"]), Scripted::Says("noon".into())]);
    let first = world.call(ask(&json!({"prompt": "when?"}))).await;
    assert_eq!((first.status, first.text("/response"), first.body["steps"].as_array().unwrap().len()), (200, "noon", 4));
    assert_eq!(first.body["steps"][2]["is_error"], true, "a tool that does not exist is data for the model");
    // Turns sort by the time of their runs.
    world.clock.advance(Duration::from_secs(1));
    let second = world.call(ask(&json!({"prompt": "sure?", "conversation_id": first.text("/conversation_id")}))).await;
    assert_eq!((second.status, second.text("/conversation_id")), (200, first.text("/conversation_id")));
    let turns = world.call(get("/v1/conversations/{id}").id(first.text("/conversation_id")).query("limit", "1")).await;
    assert_eq!(turns.text("/next_cursor"), first.text("/run_id"));
    let rest = world.call(get("/v1/conversations/{id}").id(first.text("/conversation_id")).query("cursor", first.text("/run_id"))).await;
    assert_eq!(rest.text("/turns/0/run_id"), second.text("/run_id"));
    let steps = world.call(get("/v1/runs/{id}/steps").id(first.text("/run_id")).query("limit", "3")).await;
    let rest = get("/v1/runs/{id}/steps").id(first.text("/run_id")).query("cursor", steps.text("/next_cursor"));
    assert_eq!(world.call(rest).await.body["steps"][0]["index"], 4);
}

/// A model during whose answer the run is ended by somebody else.
struct Interrupted(Arc<MemoryStore>, RunState);

#[async_trait]
impl Model for Interrupted {
    async fn ask(&self, _request: &ModelRequest<'_>) -> Result<ModelReply, CallError> {
        let tenant = "acme".parse().unwrap();
        let clock = FixedClock::at("2026-01-02T03:04:05Z");
        let id = self.0.ids(&tenant, None, Range::default(), 1).await.unwrap()[0];
        if self.1 == RunState::Cancelled {
            let cause = Cause { at: clock.now(), by: "somebody", reason: "cancelled", patience: Duration::ZERO };
            operate::cancel(self.0.as_ref(), &MemoryQueue::default(), cause, &tenant, id).await.unwrap();
        } else {
            self.0.put(Run { state: self.1, ended_at: Some(clock.now()), ..self.0.get(id).unwrap() });
        }
        let (message, usage) = (Message::assistant("too late"), Usage::default());
        Ok(ModelReply { provider: "p".into(), model: "m".into(), message, finish_reason: FinishReason::Stop, usage })
    }
}

#[tokio::test]
async fn a_run_that_somebody_else_ends_while_its_caller_waits_is_answered_by_its_state() {
    for (state, status, code) in [
        (RunState::Cancelled, 409, Some("cancelled")),
        // Another worker has the answer: its address tells.
        (RunState::Completed, 202, None),
        (RunState::Failed, 502, Some("run_failed")),
        (RunState::Dead, 502, Some("run_failed")),
    ] {
        let store = Arc::new(MemoryStore::default());
        let world = World::build(store.clone(), Arc::new(Interrupted(store, state)), ApiAuth::Iam);
        let answer = world.call(ask(&json!({"prompt": "why?"}))).await;
        assert_eq!((answer.status, answer.body["code"].as_str()), (status, code), "{state:?}");
        assert!(!answer.body.to_string().contains("too late"), "{state:?}: an answer that is not in the journal");
        let shown = world.call(get("/v1/runs/{id}").id(answer.text("/run_id"))).await;
        assert_eq!((shown.text("/status"), &shown.body["response"], &shown.body["steps"]), (state.as_str(), &json!(null), &json!(0)));
    }
}

async fn results() -> Vec<Answer> {
    let world = scripted([Scripted::Calls(vec!["clock"]), Scripted::Says("done".into())]);
    let answered = world.call(ask(&json!({"prompt": "why?"}))).await;
    let id = answered.text("/run_id");
    let result = |index: &str| get("/v1/runs/{id}/steps/{index}/result").id(format!("{id}/{index}"));
    // As it is: the step holds all of it.
    let short = world.call(result("2")).await;
    assert_eq!((short.status, &short.body["result"]), (200, &answered.body["steps"][1]["output"]));
    let run = id.parse().unwrap();
    let mut step = world.store.journal_of(run)[1].clone();
    step.index = 4;
    let StepBody::Tool(tool) = &mut step.body else { panic!("no tool was called") };
    (tool.output, tool.full) = ("the beginning".into(), Some("the beginning and the end \u{1b}[2J".into()));
    world.store.put_step(run, step);
    let long = world.call(result("4")).await;
    assert_eq!((long.text("/result"), &long.body["index"]), ("the beginning and the end \u{1b}[2J", &json!(4)));
    let steps = world.call(get("/v1/runs/{id}/steps").id(id)).await;
    assert_eq!((steps.text("/steps/3/output"), steps.body["steps"][3].get("full")), ("the beginning", None));
    let mut answers = vec![short, long];
    for (index, status, field) in [("1", 404, "index"), ("9", 404, "index"), ("0", 400, "index"), ("x", 400, "index")] {
        let refused = world.call(result(index)).await;
        assert_eq!((refused.status, refused.text("/field")), (status, field), "{index}");
        answers.push(refused);
    }
    answers
}

#[tokio::test]
async fn a_long_result_is_shown_whole_on_its_own_and_by_its_beginning_elsewhere() {
    let statuses: Vec<u16> = results().await.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 200, 404, 404, 400, 400]);
}

#[tokio::test]
async fn a_page_of_large_steps_has_fewer_of_them_and_none_is_lost() {
    // Three megabytes in all: more than one answer may have.
    let large = |n: usize| Scripted::Says(n.to_string().repeat(700_000));
    let world = scripted([Scripted::Calls(vec!["clock"; 3]), large(1)]);
    let run = world.call(ask(&json!({"prompt": "why?"}))).await;
    assert_eq!((run.status, run.body["steps"].as_array().unwrap().len()), (200, 5), "700 KB three times, and four small steps");
    let world = scripted([large(1), Scripted::Says("unasked".into())]);
    let first = world.call(ask(&json!({"prompt": "why?"}))).await;
    let id = first.text("/run_id").parse().unwrap();
    let mut stored = world.store.get(id).unwrap();
    let step = world.store.journal_of(id)[0].clone();
    for index in 2..=6 {
        world.store.put_step(id, Step { index, ..step.clone() });
    }
    stored.steps = 6;
    world.store.put(stored);
    let (mut seen, mut cursor, mut pages) = (Vec::new(), None, 0);
    loop {
        let request = get("/v1/runs/{id}/steps").id(id.to_string());
        let page = world.call(if let Some(cursor) = &cursor { request.query("cursor", cursor) } else { request }).await;
        assert!(page.body.to_string().len() < 4_000_000, "Lambda takes six megabytes");
        seen.extend(page.body["steps"].as_array().unwrap().iter().map(|step| step["index"].as_u64().unwrap()));
        pages += 1;
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!((seen, pages), (vec![1, 2, 3, 4, 5, 6], 2));
}
