//! Bad input: a problem document that names the field, and nothing written. Alone, so that any write is ours.

use serde_json::{Value, json};
use tests::client::{Answer, text};
use tests::requests::Call;
use tests::{Alone, Stack, fresh};

/// Path segments that are no id of anything.
const NO_IDS: [&str; 14] = [
    "x",
    "run_",
    "run_01",
    "run_%22quoted%22",
    "%27%20OR%201%3D1",
    "run_01K0000000000000000000000%0A",
    "a%0D%0Ab",
    "%00",
    "..",
    "%2e%2e",
    "%C3%BC%F0%9F%98%80",
    "%ff%fe",
    "run%23step",
    "run_01k0000000000000000000000z",
];

/// `%s` stands for an id.
const ROUTES_WITH_ID: [(&str, &str); 5] = [
    ("GET", "/v1/runs/%s"),
    ("GET", "/v1/runs/%s/steps"),
    ("POST", "/v1/runs/%s/cancel"),
    ("GET", "/v1/conversations/%s"),
    ("POST", "/v1/dlq/%s/retry"),
];

/// Fails unless the test wrote nothing: neither to the table nor to a queue.
struct NothingWritten<'a> {
    stack: &'a Alone,
    since: u64,
}

impl<'a> NothingWritten<'a> {
    fn from_here(stack: &'a Alone) -> Self {
        Self { stack, since: stack.log_position() }
    }

    fn holds(&self) {
        let written: Vec<_> = self.calls().into_iter().filter(|call| call.is_write() || call.operation == "SendMessage").collect();
        assert!(written.is_empty(), "{written:?}");
    }

    /// What the functions of the API did since. The sweeper ticks whenever it is time, and other tests have tables of their own.
    fn calls(&self) -> Vec<Call> {
        let of_the_api = |call: &Call| ["agent-api", "dlq-redrive", "operator-api", "health"].contains(&call.function.as_str());
        self.stack.calls("", self.since).into_iter().filter(of_the_api).collect()
    }
}

fn post(stack: &Stack, body: impl Into<Vec<u8>>) -> Answer {
    stack.api.send("POST", "/v1/agent", &[("content-type", "application/json")], body.into())
}

#[test]
fn a_body_that_does_not_fit_is_refused_with_the_name_of_its_field() {
    let stack = Stack::alone();
    let nothing_written = NothingWritten::from_here(&stack);
    for body in ["", " ", "{", "prompt=x", "\u{feff}{}", "{\"prompt\":\"x\"} trailing", "{\"prompt\":\"\\ud800\"}", "nul\0", "[1", "'x'"] {
        post(&stack, body).refused(400, Some("body"));
    }
    post(&stack, vec![0xff, 0xfe, 0x00]).refused(400, Some("body"));
    for body in ["\"x\"", "7", "null", "[]", "[\"x\"]", "[{\"prompt\":\"x\"}]", "true"] {
        let problem = post(&stack, body).refused(400, Some("body"));
        assert!(!text(&problem, "detail").contains("struct"), "{problem}");
    }
    let cases: [(Value, &str); 26] = [
        (json!({}), "prompt"),
        (json!({"prompt": null}), "prompt"),
        (json!({"prompt": 7}), "prompt"),
        (json!({"prompt": ["x"]}), "prompt"),
        (json!({"prompt": ""}), "prompt"),
        (json!({"prompt": " \n\t"}), "prompt"),
        (json!({"prompt": "x", "promt": "y"}), "promt"),
        (json!({"prompt": "x", "tenant": "acme"}), "tenant"),
        (json!({"prompt": "x", "agent": 1}), "agent"),
        (json!({"prompt": "x", "agent": "nobody"}), "agent"),
        (json!({"prompt": "x", "agent": ""}), "agent"),
        (json!({"prompt": "x", "background": "yes"}), "background"),
        (json!({"prompt": "x", "background": 1}), "background"),
        (json!({"prompt": "x", "metadata": []}), "metadata"),
        (json!({"prompt": "x", "metadata": "x"}), "metadata"),
        (json!({"prompt": "x", "conversation_id": 5}), "conversation_id"),
        (json!({"prompt": "x", "conversation_id": ""}), "conversation_id"),
        (json!({"prompt": "x", "conversation_id": "conv_'\"\n\u{0}ü"}), "conversation_id"),
        (json!({"prompt": "x", "conversation_id": "run_01K00000000000000000000000"}), "conversation_id"),
        (json!({"prompt": "x", "messages": {}}), "messages"),
        (json!({"prompt": "x", "messages": ["hi"]}), "messages[0]"),
        (json!({"prompt": "x", "messages": [{"role": "king", "content": "hi"}]}), "messages[0].role"),
        (json!({"prompt": "x", "messages": [{"role": "user"}]}), "messages[0].content"),
        (json!({"prompt": "x", "messages": [{"role": "user", "content": "a"}, {"role": "assistant"}]}), "messages[1].content"),
        (json!({"prompt": "x", "messages": [{"role": "tool", "content": "a", "tool_call_id": "none"}]}), "messages[0].tool_call_id"),
        (json!({"prompt": "x", "messages": [{"role": "user", "content": "a", "colour": "b"}]}), "messages[0].colour"),
    ];
    for (body, field) in cases {
        for background in [false, true] {
            let mut body = body.clone();
            if background && body["background"].is_null() {
                body["background"] = json!(true);
            }
            post(&stack, body.to_string()).refused(400, Some(field));
        }
    }
    nothing_written.holds();
}

#[test]
fn what_is_too_large_is_refused_with_the_name_of_its_field() {
    let stack = Stack::alone();
    let nothing_written = NothingWritten::from_here(&stack);
    let large = "x".repeat(2 * 1024 * 1024);
    let unicode = "ü".repeat(100_000);
    let message = json!({"role": "user", "content": "y".repeat(200_000)});
    post(&stack, json!({"prompt": large}).to_string()).refused(413, Some("prompt"));
    post(&stack, json!({"prompt": large, "background": true}).to_string()).refused(413, Some("prompt"));
    post(&stack, json!({"prompt": unicode}).to_string()).refused(413, Some("prompt"));
    post(&stack, json!({"prompt": "x", "messages": [message]}).to_string()).refused(413, Some("messages"));
    post(&stack, json!({"prompt": "x", "metadata": {"k": "v".repeat(20_000)}}).to_string()).refused(413, Some("metadata"));
    let deep = format!("{{\"prompt\":\"x\",\"metadata\":{{\"k\":{}{}}}}}", "[".repeat(5_000), "]".repeat(5_000));
    let answer = post(&stack, deep);
    assert!((400..500).contains(&answer.status), "{}", answer.body);
    nothing_written.holds();
}

#[test]
fn an_id_that_is_none_is_refused_on_every_route() {
    let stack = Stack::alone();
    let nothing_written = NothingWritten::from_here(&stack);
    for (method, route) in ROUTES_WITH_ID {
        for id in NO_IDS {
            let answer = stack.api.send(method, &route.replace("%s", id), &[], Vec::new());
            answer.refused(400, Some("id"));
        }
        let long = "run_".to_owned() + &"0".repeat(4_000);
        stack.api.send(method, &route.replace("%s", &long), &[], Vec::new()).refused(400, Some("id"));
    }
    nothing_written.holds();
}

#[test]
fn an_id_of_nothing_is_not_found() {
    let stack = Stack::alone();
    let nothing_written = NothingWritten::from_here(&stack);
    for (method, route) in ROUTES_WITH_ID {
        let is_conversation = route.contains("conversations");
        let id = if is_conversation { "conv_01K00000000000000000000000" } else { "run_01K00000000000000000000000" };
        let problem = stack.api.send(method, &route.replace("%s", id), &[], Vec::new()).refused(404, Some("id"));
        assert_eq!(problem["code"], "not_found");
    }
    let body = json!({"prompt": "x", "conversation_id": "conv_01K00000000000000000000000"});
    stack.ask(&body).refused(404, Some("conversation_id"));
    let written = nothing_written.calls().into_iter().filter(|call| call.is_write() && call.status == 200).count();
    assert_eq!(written, 0, "a refused transaction writes nothing");
}

#[test]
fn a_query_that_does_not_fit_is_refused_with_the_name_of_its_parameter() {
    let stack = Stack::alone();
    let nothing_written = NothingWritten::from_here(&stack);
    let run = "/v1/runs/run_01K00000000000000000000000/steps";
    let conversation = "/v1/conversations/conv_01K00000000000000000000000";
    for list in ["/v1/runs", run, conversation, "/v1/dlq"] {
        for limit in ["0", "101", "-1", "1.5", "x", "", "%00", "99999999999999999999"] {
            stack.api.get(&format!("{list}?limit={limit}")).refused(400, Some("limit"));
        }
        for cursor in ["x", "%27", "-1", "%0A", ""] {
            stack.api.get(&format!("{list}?cursor={cursor}")).refused(400, Some("cursor"));
        }
        stack.api.get(&format!("{list}?statsu=dead")).refused(400, Some("statsu"));
    }
    for (query, field) in [
        ("status=nope", "status"),
        ("status=Dead", "status"),
        ("status=", "status"),
        ("since=yesterday", "since"),
        ("since=", "since"),
        ("until=2026-13-01T00:00:00Z", "until"),
        ("until=2026-01-01", "until"),
    ] {
        stack.api.get(&format!("/v1/runs?{query}")).refused(400, Some(field));
    }
    // Times at the ends of the calendar are times.
    stack.api.get("/v1/runs?since=-009999-01-02T01:59:59Z&until=9999-12-30T22:00:00Z&limit=1").must(200);
    nothing_written.holds();
}

#[test]
fn a_route_that_does_not_exist_is_refused_by_the_gateway() {
    let stack = Stack::beside();
    let nowhere = format!("/v1/{}", fresh("nowhere"));
    for (method, path) in
        [("GET", nowhere.as_str()), ("DELETE", "/v1/runs"), ("GET", "/v1/agent"), ("PUT", "/v1/dlq"), ("GET", "/v1/runs/a%2Fb")]
    {
        let answer = stack.api.send(method, path, &[], Vec::new());
        assert_eq!(answer.refused(403, None)["code"], "unauthenticated");
    }
}
