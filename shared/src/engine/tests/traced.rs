//! One trace for each run: what is behind what, what is linked to what, and what is said of it.

use std::collections::BTreeMap;

use opentelemetry::trace::Status;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use serde_json::json;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;
use crate::domain::trace::{RunTrace, TraceContext};
use crate::telemetry::outbox::{Kept, Outbox};
use crate::telemetry::{Format, Lines};

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Collects spans for as long as the guard lives.
fn collect(is_content_shown: bool) -> (Kept, DefaultGuard) {
    let outbox = Outbox::new("http://127.0.0.1:1", None, Resource::builder_empty().build()).unwrap();
    let kept = outbox.kept.clone();
    // Log lines know which invocation it is.
    let lines = Lines::to(Format::Json, |_| ());
    (kept, crate::fakes::subscribe(tracing_subscriber::registry().with(lines).with(outbox.layer(is_content_shown))))
}

/// The spans that have ended, by name; of those with one name, in order.
struct Spans(Vec<SpanData>);

impl Spans {
    fn named(&self, name: &str) -> Vec<&SpanData> {
        self.0.iter().filter(|span| span.name == name).collect()
    }

    #[track_caller]
    fn one(&self, name: &str) -> &SpanData {
        let all = self.named(name);
        assert_eq!(all.len(), 1, "{name} in {:?}", self.0.iter().map(|span| &span.name).collect::<Vec<_>>());
        all[0]
    }
}

fn said(span: &SpanData) -> BTreeMap<&str, String> {
    span.attributes.iter().map(|said| (said.key.as_str(), said.value.as_str().into_owned())).collect()
}

#[track_caller]
fn is_behind(child: &SpanData, parent: &SpanData) {
    assert_eq!(child.span_context.trace_id(), parent.span_context.trace_id(), "{} is of the trace of {}", child.name, parent.name);
    assert_eq!(child.parent_span_id, parent.span_context.span_id(), "{} is behind {}", child.name, parent.name);
}

fn links(span: &SpanData) -> Vec<opentelemetry::trace::SpanId> {
    span.links.iter().map(|link| link.span_context.span_id()).collect()
}

/// A world whose run was accepted by a request of a caller with a trace of its own, and where its message was sent.
async fn traced_world(script: impl IntoIterator<Item = Scripted>) -> (World, TraceContext) {
    let w = world(script).await;
    let request = span::request("POST", "/v1/agent", "r1", CALLER.parse().ok());
    let place = request.in_scope(span::place).unwrap();
    w.store.put(Run { trace: Some(RunTrace::accepted(place)), ..w.stored() });
    let sent = request.in_scope(|| span::sending(&w.run.task())).1.unwrap();
    (w, sent)
}

impl World {
    /// Takes the message up as the queue consumer does.
    async fn consume(&self, deliveries: u32, sent: Option<TraceContext>) -> Advance {
        let around = span::message(&self.run.task(), "m", deliveries, sent);
        self.take_up(deliveries).instrument(around).await
    }
}

#[tokio::test]
async fn a_run_is_one_trace_from_its_request_over_the_queue_to_each_call_of_each_attempt() {
    let (kept, _collecting) = collect(false);
    let fails = (0..3).map(|_| outage());
    let (w, sent) = traced_world(fails.chain([Scripted::Calls(vec!["clock"]), Scripted::Says("noon".into())])).await;
    assert!(matches!(w.consume(1, Some(sent)).await, Advance::Again { .. }));
    assert!(matches!(w.consume(2, Some(sent)).await, Advance::Ended { state: RunState::Completed, .. }));

    let spans = Spans(kept.take());
    let caller: TraceContext = CALLER.parse().unwrap();
    let (request, send) = (spans.one("POST /v1/agent"), spans.one("send tasks"));
    assert_eq!((request.span_context.trace_id(), request.parent_span_id), (caller.trace.into(), caller.span.into()));
    assert!(request.parent_span_is_remote);
    is_behind(send, request);
    let (messages, attempts) = (spans.named("process tasks"), spans.named("invoke_agent assistant"));
    assert_eq!((messages.len(), attempts.len()), (2, 2));
    for (message, attempt) in messages.iter().zip(&attempts) {
        is_behind(message, send);
        assert_eq!(links(message), [send.span_context.span_id()]);
        is_behind(attempt, message);
    }
    assert!(links(attempts[0]).is_empty());
    assert_eq!(links(attempts[1]), [attempts[0].span_context.span_id()]);
    assert_eq!(attempts[0].status, Status::error("provider_unavailable"));
    assert_eq!(attempts[1].status, Status::Unset);

    let chats = spans.named("chat m");
    assert_eq!(chats.len(), 5);
    for (n, chat) in chats.iter().enumerate() {
        is_behind(chat, attempts[usize::from(n >= 3)]);
        assert_eq!(chat.status != Status::Unset, n < 3);
    }
    is_behind(spans.one("execute_tool clock"), attempts[1]);
    assert_eq!(w.stored().trace.unwrap().parent.unwrap().trace, caller.trace);
}

#[tokio::test]
async fn spans_say_what_the_conventions_ask_for_and_nothing_that_was_said() {
    let (kept, _collecting) = collect(false);
    let (w, sent) = traced_world([Scripted::Calls(vec!["clock"]), Scripted::Says("noon".into())]).await;
    w.consume(1, Some(sent)).await;
    let spans = Spans(kept.take());
    let (agent, chat, tool) = (spans.one("invoke_agent assistant"), spans.named("chat m")[1], spans.one("execute_tool clock"));
    let conversation = w.run.conversation.to_string();
    for (span, name, value) in [
        (agent, "gen_ai.operation.name", "invoke_agent"),
        (agent, "gen_ai.agent.name", "assistant"),
        (agent, "gen_ai.conversation.id", conversation.as_str()),
        (agent, "reprise.run.outcome", "completed"),
        (agent, "attempt", "1"),
        (chat, "gen_ai.operation.name", "chat"),
        (chat, "gen_ai.provider.name", "script"),
        (chat, "gen_ai.request.model", "m"),
        (chat, "gen_ai.usage.input_tokens", "10"),
        (chat, "gen_ai.response.finish_reasons", r#"["stop"]"#),
        (tool, "gen_ai.operation.name", "execute_tool"),
        (tool, "gen_ai.tool.name", "clock"),
        (tool, "step", "2"),
        (spans.one("send tasks"), "messaging.system", "aws_sqs"),
        (spans.one("process tasks"), "messaging.message.id", "m"),
        (spans.one("POST /v1/agent"), "http.route", "/v1/agent"),
    ] {
        assert_eq!(said(span).get(name).map(String::as_str), Some(value), "{name} of {}", span.name);
    }
    let content = ["gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.tool.call.arguments", "gen_ai.tool.call.result"];
    for span in &spans.0 {
        let said = said(span);
        assert!(content.iter().all(|name| !said.contains_key(name)), "{said:?}");
        assert!(said.values().all(|value| !value.contains("why?") && !value.contains("noon")), "{said:?}");
        assert!(span.events.is_empty(), "what happens inside is in the logs");
    }
}

#[tokio::test]
async fn requests_and_messages_say_what_x_ray_calls_their_invocations() {
    let (kept, _collecting) = collect(false);
    let (w, sent) = traced_world([]).await;
    let invocation =
        |xray| tracing::info_span!(target: span::INVOCATION, "Lambda runtime invoke", requestId = "lambda", xrayTraceId = xray);
    w.consume(1, Some(sent)).instrument(invocation("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1")).await;
    invocation("Root=1-abc;Sampled=0").in_scope(|| drop(span::request("GET", "/v1/runs/{id}", "r2", None)));
    let spans = Spans(kept.take());
    for (name, xray) in
        [("process tasks", Some("1-5759e988-bd862e3fe1be46a994272793")), ("GET /v1/runs/{id}", Some("1-abc")), ("POST /v1/agent", None)]
    {
        assert_eq!(said(spans.one(name)).get("aws.xray.trace_id").map(String::as_str), xray, "{name}");
    }
}

#[tokio::test]
async fn what_was_said_is_in_the_trace_where_the_operator_wants_it() {
    let (kept, _collecting) = collect(true);
    let (w, sent) = traced_world([Scripted::Calls(vec!["clock"]), Scripted::Says("noon".into())]).await;
    w.consume(1, Some(sent)).await;
    let spans = Spans(kept.take());
    let chat = said(spans.named("chat m")[1]);
    let asked: serde_json::Value = serde_json::from_str(&chat["gen_ai.input.messages"]).unwrap();
    let asked: Vec<_> = asked.as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(asked, ["system", "user", "assistant", "tool"]);
    let answered: serde_json::Value = serde_json::from_str(&chat["gen_ai.output.messages"]).unwrap();
    assert_eq!(answered, json!([{"role": "assistant", "parts": [{"type": "text", "content": "noon"}]}]));
    let tool = said(spans.one("execute_tool clock"));
    assert!(tool.contains_key("gen_ai.tool.call.arguments") && tool.contains_key("gen_ai.tool.call.result"), "{tool:?}");
}

#[tokio::test]
async fn an_attempt_that_somebody_else_has_caused_is_of_its_runs_trace_and_linked_to_the_cause() {
    let (kept, _collecting) = collect(false);
    let (w, sent) = traced_world((0..9).map(|_| outage())).await;
    for deliveries in 1..=3 {
        w.consume(deliveries, Some(sent)).await;
    }
    assert_eq!(w.stored().state, RunState::Dead);
    let before = Spans(kept.take());
    // An operator's retry has a trace of its own.
    let retry = span::request("POST", "/v1/dlq/{id}/retry", "r2", None);
    let (_, sent) = retry.in_scope(|| span::sending(&w.run.task()));
    let around = span::message(&w.run.task(), "moved", 1, sent);
    assert_eq!(w.deliver("moved", 1, w.window()).instrument(around).await, Advance::HandedOver);
    let around = span::message(&w.run.task(), "new", 1, sent);
    assert!(matches!(w.deliver("new", 1, w.window()).instrument(around).await, Advance::Ended { .. } | Advance::Again { .. }));
    drop(retry);
    let after = Spans(kept.take());
    let (last, next) = (before.named("invoke_agent assistant")[2], after.one("invoke_agent assistant"));
    assert_eq!(next.span_context.trace_id(), last.span_context.trace_id());
    let cause = after.named("process tasks")[1];
    assert_ne!(cause.span_context.trace_id(), next.span_context.trace_id());
    assert_eq!(links(next), [cause.span_context.span_id(), last.span_context.span_id()]);
}

#[tokio::test]
async fn a_replay_is_a_trace_of_its_own_that_is_linked_to_the_run_of_then() {
    let (kept, _collecting) = collect(false);
    let (w, _) = traced_world([]).await;
    let then = RunTrace::with_attempt(w.stored().trace, CALLER.parse().unwrap());
    w.store.put(Run { trace: RunTrace::told_of(&then), ..w.stored() });
    w.consume(1, None).await;
    let spans = Spans(kept.take());
    let (attempt, caller) = (spans.one("invoke_agent assistant"), CALLER.parse::<TraceContext>().unwrap());
    assert_ne!(attempt.span_context.trace_id(), caller.trace.into());
    assert_eq!(links(attempt), [spans.one("process tasks").span_context.span_id(), caller.span.into()]);
    assert_eq!(w.stored().trace.unwrap().parent.unwrap().trace, u128::from_be_bytes(attempt.span_context.trace_id().to_bytes()));
}

#[tokio::test]
async fn what_its_caller_does_not_keep_is_not_kept() {
    let (kept, _collecting) = collect(false);
    let w = world([]).await;
    let request = span::request("POST", "/v1/agent", "r1", CALLER.replace("-01", "-00").parse().ok());
    let place = request.in_scope(span::place).unwrap();
    w.store.put(Run { trace: Some(RunTrace::accepted(place)), ..w.stored() });
    w.consume(1, Some(place)).await;
    drop(request);
    assert!(kept.take().is_empty());
    assert!(!w.stored().trace.unwrap().before.unwrap().is_sampled);
}

#[tokio::test]
async fn where_nobody_collects_a_record_has_no_trace() {
    let w = world([]).await;
    w.consume(1, CALLER.parse().ok()).await;
    assert_eq!(w.stored().trace, None);
}
