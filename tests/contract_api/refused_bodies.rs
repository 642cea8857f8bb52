//! Bad bodies of `POST /v1/agent` are 4xx problems that name the field; nothing is recorded, queued or asked of a model.

use serde_json::{Value, json};

use crate::document::DOCUMENT;
use crate::requests::{Asked, ask, post};
use crate::world::world;

async fn refused(request: Asked, status: u16, field: &str, what: &str) {
    let world = world();
    let answer = world.call(request).await;
    let code = if status == 413 { "too_large" } else { "invalid_request" };
    assert_eq!((answer.status, answer.text("/code"), answer.text("/field")), (status, code, field), "{what}: {}", answer.text("/detail"));
    assert!(answer.text("/detail").len() <= 400, "{what}: what was sent is echoed");
    world.assert_untouched(what);
}

fn fits_the_document(body: &Value) -> bool {
    fits("AgentRequest", body)
}

fn fits(schema: &str, body: &Value) -> bool {
    DOCUMENT.validator(&DOCUMENT.0["components"]["schemas"][schema]).is_valid(body)
}

#[tokio::test]
async fn what_is_no_json_object_is_refused() {
    refused(post("/v1/agent"), 400, "body", "no body").await;
    let nested = format!(r#"{{"prompt": "x", "metadata": {{"a": {}{}}}}}"#, "[".repeat(5000), "]".repeat(5000));
    for body in [
        "",
        " \n",
        "{",
        "why?",
        "prompt=why",
        "{'prompt': 'x'}",
        r#"{"prompt": "x""#,
        r#"{"prompt": "x",}"#,
        r#"{"prompt": "x"} and more"#,
        r#"{"prompt": "x"}{"prompt": "y"}"#,
        r#"{"prompt": "\ud800"}"#,
        "{\"prompt\": \"a\nb\"}",
        "\u{feff}{\"prompt\": \"x\"}",
        "null",
        "7",
        r#""why?""#,
        "[]",
        r#"["why?"]"#,
        r#"[{"prompt": "x"}]"#,
        &nested,
    ] {
        refused(post("/v1/agent").body(body), 400, "body", &body.chars().take(40).collect::<String>()).await;
    }
    // {"prompt": "<0xff>"}: not UTF-8.
    refused(post("/v1/agent").base64("eyJwcm9tcHQiOiAi/yJ9"), 400, "body", "not UTF-8").await;
}

#[tokio::test]
async fn a_field_that_does_not_fit_is_named_by_the_answer_and_refused_by_the_document() {
    let with = |name: &str, value: Value| json!({"prompt": "why?", name: value});
    let said = |message: Value| json!({"prompt": "why?", "messages": [{"role": "user", "content": "so"}, message]});
    let mut table = vec![
        ("prompt", json!({})),
        ("prompt", json!({"prompt": null})),
        ("prompt", json!({"prompt": 7})),
        ("prompt", json!({"prompt": ["why?"]})),
        ("prompt", json!({"prompt": ""})),
        ("prompt", json!({"prompt": " \t\n\u{2003}"})),
        ("promt", json!({"promt": "why?"})),
        ("run_id", with("run_id", json!("run_01KAM3Q5T0ZJ8Y6W4V2N1M0K9H"))),
        ("tenant", with("tenant", json!("evil"))),
        ("ünknown", with("ünknown", json!(1))),
        ("agent", with("agent", json!(7))),
        ("background", with("background", json!("true"))),
        ("background", with("background", json!(1))),
        ("background", with("background", json!(null))),
        ("metadata", with("metadata", json!("x"))),
        ("metadata", with("metadata", json!([]))),
        ("metadata", with("metadata", json!(null))),
        ("messages", with("messages", json!("so"))),
        ("messages", with("messages", json!({}))),
        ("messages[0]", with("messages", json!(["so"]))),
        // What a parser of structs would read as fields in order, or as a word.
        ("messages[0]", with("messages", json!([["user", "so"]]))),
        ("messages[1].tool_calls[0]", said(json!({"role": "assistant", "tool_calls": [["a", "clock"]]}))),
        ("messages[1].role", said(json!({"role": {"user": null}, "content": "x"}))),
        ("multitask_strategy", with("multitask_strategy", json!("queue"))),
        ("multitask_strategy", with("multitask_strategy", json!(""))),
        ("multitask_strategy", with("multitask_strategy", json!(null))),
        ("multitask_strategy", with("multitask_strategy", json!({"reject": null}))),
        ("messages[1].role", said(json!({"role": "robot", "content": "x"}))),
        ("messages[1].role", said(json!({"role": 7, "content": "x"}))),
        ("messages[1].content", said(json!({"role": "user", "content": 7}))),
        ("messages[1].content", said(json!({"role": "user"}))),
        ("messages[1].content", said(json!({"role": "user", "content": null}))),
        ("messages[1].content", said(json!({"role": "system"}))),
        ("messages[1].content", said(json!({"role": "assistant"}))),
        ("messages[1].content", said(json!({"role": "assistant", "tool_calls": []}))),
        ("messages[1].extra", said(json!({"role": "user", "content": "x", "extra": 1}))),
        ("messages[1]", said(json!({"content": "x"}))),
        ("messages[1].tool_calls[0]", said(json!({"role": "assistant", "tool_calls": [{"id": "a"}]}))),
        ("messages[1].tool_calls[0].id", said(json!({"role": "assistant", "tool_calls": [{"id": 7, "name": "clock"}]}))),
        ("messages[1].tool_calls", said(json!({"role": "assistant", "tool_calls": "clock"}))),
        ("messages[1].tool_call_id", said(json!({"role": "tool", "content": "noon"}))),
    ];
    let conversations =
        ["", "x", "conv_", "run_01KAM3Q5T0ZJ8Y6W4V2N1M0K9H", "conv_01kam3q5t0v5e8r2d7c4b9a1xg", "conv_01KAM3Q5T0V5E8R2D7C4B9A1XG'"];
    table.extend(conversations.map(|id| ("conversation_id", with("conversation_id", json!(id)))));
    let disguised = ["conv_01KAM3Q5T0V5E8R2D7C4B9A1XG\n", "conv_01KAM3Q5T0V5E8R2D7C4B9A1XG\u{0}", "cönv_01KAM3Q5T0V5E8R2D7C4B9A1XG"];
    table.extend(disguised.map(|id| ("conversation_id", with("conversation_id", json!(id)))));
    table.push(("conversation_id", with("conversation_id", json!(7))));
    for (field, body) in table {
        refused(ask(&body), 400, field, &body.to_string()).await;
        assert!(!fits_the_document(&body), "the document takes what the function refuses: {body}");
    }
}

#[tokio::test]
async fn what_a_schema_cannot_say_is_refused_all_the_same() {
    let calls = json!({"role": "assistant", "tool_calls": [{"id": "a", "name": "clock"}]});
    let answers = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "noon"});
    for (field, body) in [
        ("agent", json!({"prompt": "why?", "agent": "nobody"})),
        ("agent", json!({"prompt": "why?", "agent": ""})),
        ("model", json!({"prompt": "why?", "model": "ollama::x1"})),
        ("model", json!({"prompt": "why?", "model": "ollama::x1", "background": true})),
        ("messages[0].tool_call_id", json!({"prompt": "why?", "messages": [answers("a")]})),
        ("messages[1].tool_call_id", json!({"prompt": "why?", "messages": [calls, answers("b")]})),
        // The call must come before its result.
        ("messages[0].tool_call_id", json!({"prompt": "why?", "messages": [answers("a"), calls]})),
    ] {
        refused(ask(&body), 400, field, &body.to_string()).await;
    }
    let no_content = json!({"prompt": "why?", "messages": [calls, {"role": "tool", "tool_call_id": "a"}]});
    refused(ask(&no_content), 400, "messages[1].content", "a result without content").await;
    let long = "x".repeat(9000);
    refused(ask(&json!({"prompt": "why?", &long: 1})), 400, &long[..64], "a name that is not sent back whole").await;
    refused(post("/v1/agent").body(r#"{"prompt": "x", "prompt": "y"}"#), 400, "prompt", "a field twice").await;
}

#[tokio::test]
async fn what_is_too_long_is_a_413() {
    let long = json!({"role": "user", "content": "x".repeat(150_000)});
    for (field, body) in [
        ("prompt", json!({"prompt": "x".repeat(99_999)})),
        ("prompt", json!({"prompt": "x".repeat(2_000_000)})),
        // The limit is in bytes as JSON: two for each of these, and two quotes.
        ("prompt", json!({"prompt": "ü".repeat(50_000)})),
        ("prompt", json!({"prompt": "\"".repeat(50_000)})),
        ("messages", json!({"prompt": "why?", "messages": [long]})),
        ("metadata", json!({"prompt": "why?", "metadata": {"a": "x".repeat(16_000)}})),
    ] {
        refused(ask(&body), 413, field, field).await;
    }
}

#[tokio::test]
async fn what_fits_the_document_is_taken() {
    let conversation = [
        json!({"role": "system", "content": "Be brief."}),
        json!({"role": "user", "content": "", "name": "ana"}),
        json!({"role": "assistant", "content": null, "tool_calls": [{"id": "a", "name": "clock", "arguments": {}}]}),
        json!({"role": "tool", "tool_call_id": "a", "name": "clock", "content": "noon"}),
        json!({"role": "assistant", "content": "noon"}),
    ];
    for body in [
        json!({"prompt": "why?"}),
        json!({"prompt": "x".repeat(99_998)}),
        json!({"prompt": "ü".repeat(49_999)}),
        json!({"prompt": "quotes \" ' newline \n nul \u{0} crab 🦀"}),
        json!({"prompt": "why?", "multitask_strategy": "rollback"}),
        json!({"prompt": "why?", "agent": null, "conversation_id": null, "messages": null, "metadata": {}, "background": false}),
        json!({"prompt": "why?", "agent": "assistant", "messages": conversation, "metadata": {"": {"deep": [1, 2.5, null, 1e300]}}}),
    ] {
        assert!(fits_the_document(&body), "{body}");
        for background in [true, false] {
            let mut body = body.clone();
            body["background"] = json!(background);
            let world = world();
            let answer = world.call(ask(&body)).await;
            assert_eq!(answer.status, if background { 202 } else { 200 }, "{body}");
            assert_eq!(world.call(crate::requests::get("/v1/runs/{id}").id(answer.text("/run_id"))).await.body["prompt"], body["prompt"]);
        }
    }
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_refused_with_the_name_of_the_field() {
    let question = "q2";
    for (status, field, body) in [
        (400, "body", json!([question, "yes"])),
        (400, "answer", json!({"question_id": question})),
        (400, "question_id", json!({"answer": "yes"})),
        (400, "question_id", json!({"question_id": 2, "answer": "yes"})),
        (400, "answer", json!({"question_id": question, "answer": true})),
        (400, "answer", json!({"question_id": question, "answer": null})),
        (400, "answer", json!({"question_id": question, "answer": ""})),
        (400, "answer", json!({"question_id": question, "answer": " \n"})),
        (400, "run_id", json!({"question_id": question, "answer": "yes", "run_id": "x"})),
        (413, "answer", json!({"question_id": question, "answer": "x".repeat(99_999)})),
    ] {
        let world = world();
        let run = world.asking("acme");
        let answer = world.call(post("/v1/runs/{id}/answer").id(run.id.to_string()).body(body.to_string())).await;
        assert_eq!((answer.status, answer.text("/field")), (status, field), "{body:.80}");
        assert!(!fits("AnswerRequest", &body), "the document takes what the function refuses: {body:.80}");
        assert_eq!((world.store.get(run.id), world.store.writes(), world.queue.take().len()), (Some(run), 0, 0));
    }
}

#[tokio::test]
async fn an_event_that_does_not_fit_is_refused_with_the_name_of_the_field() {
    let with = |name: &str, value: Value| {
        let mut event = json!({"type": "ticket.opened", "source": "crm", "payload": {}});
        event[name] = value;
        event
    };
    let long = "x".repeat(256);
    let mut table = vec![
        (400, "body", json!(["ticket.opened", "crm", {}])),
        (400, "type", json!({"source": "crm", "payload": {}})),
        (400, "source", json!({"type": "ticket.opened", "payload": {}})),
        (400, "payload", json!({"type": "ticket.opened", "source": "crm"})),
        (400, "tenant", with("tenant", json!("evil"))),
    ];
    for name in ["type", "source", "id", "correlation_id", "causation_id", "trace_id"] {
        table
            .extend([json!(7), json!(""), json!("a b"), json!("ü"), json!("a\n"), json!(long)].map(|value| (400, name, with(name, value))));
    }
    for (status, field, body) in table {
        refused(post("/v1/events").body(body.to_string()), status, field, &body.to_string()).await;
        assert!(!fits("EventRequest", &body), "the document takes what the function refuses: {body:.80}");
    }
    let reserved = with("type", json!("agent.request"));
    refused(post("/v1/events").body(reserved.to_string()), 400, "type", "what only POST /v1/agent records").await;
    let deep = (0..65).fold(json!(1), |inner, _| json!([inner]));
    refused(post("/v1/events").body(with("payload", deep).to_string()), 400, "payload", "a deep payload").await;
    let large = with("payload", json!("x".repeat(200_000)));
    refused(post("/v1/events").body(large.to_string()), 413, "payload", "a large payload").await;
    for payload in [json!(null), json!(7), json!("x".repeat(199_998)), json!({"a": [1, null]})] {
        let body = with("payload", payload.clone());
        assert!(fits("EventRequest", &body));
        let answer = world().call(post("/v1/events").body(body.to_string())).await;
        assert_eq!((answer.status, &answer.body["payload"]), (202, &payload));
    }
}

#[tokio::test]
async fn a_key_that_is_none_is_refused_with_the_name_of_the_header() {
    let parameter = &DOCUMENT.0["components"]["parameters"]["IdempotencyKey"]["schema"];
    for bad in ["", " ", "a b", "ü", &"k".repeat(256)] {
        refused(ask(&json!({"prompt": "why?"})).header("Idempotency-Key", bad), 400, "Idempotency-Key", bad).await;
        assert!(!DOCUMENT.validator(parameter).is_valid(&json!(bad)), "the document takes {bad:?}");
    }
}
