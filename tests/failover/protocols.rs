//! The same agent over every protocol: the offline model speaks them all.

use serde_json::{Value, json};
use tests::client::text;
use tests::{Alone, Stack, fresh, wait_for};

/// Providers of the stack that speak other protocols, with a model each; infra/checks/failover.sh names them.
const MODELS: [&str; 4] =
    ["responses::gpt-4o-mini", "anthropic::claude-haiku-4-5", "bedrock::anthropic.claude-haiku-4-5-v1:0", "nova::amazon.nova-lite-v1:0"];

/// Everything is sent to `model` while the guard lives.
struct Pinned<'a>(&'a Stack);

impl<'a> Pinned<'a> {
    fn to(stack: &'a Alone, model: &str) -> Self {
        stack.api.post("/v1/providers/pin", &json!({"name": model, "reason": "a test of its protocol"})).must(200);
        let pinned = Self(stack);
        let provider = model.split("::").next().unwrap_or_default();
        wait_for("a pin that every function knows", std::time::Duration::from_secs(20), || {
            let found: Vec<String> = (0..3).map(|_| text(&finished(stack, &fresh("echo")).1[0], "provider")).collect();
            if found.iter().all(|found| found == provider) { Ok(()) } else { Err(format!("{found:?}")) }
        });
        pinned
    }
}

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        self.0.api.post("/v1/providers/unpin", &json!({}));
    }
}

/// A run in the background that has completed, and its steps.
fn finished(stack: &Stack, prompt: &str) -> (Value, Vec<Value>) {
    let run = stack.start(prompt);
    let ended = stack.wait_until(&run, "completed");
    (ended, stack.steps(&run))
}

fn calls(step: &Value) -> usize {
    step["message"]["tool_calls"].as_array().map_or(0, Vec::len)
}

#[test]
fn the_same_agent_works_over_every_protocol() {
    let stack = Stack::alone();
    for model in MODELS {
        let _pinned = Pinned::to(&stack, model);
        let provider = model.split("::").next().unwrap_or_default();

        let prompt = fresh("echo");
        let (ended, steps) = finished(&stack, &prompt);
        assert_eq!(text(&ended, "response"), format!("You said: {prompt}"), "{model}");
        assert_eq!((text(&steps[0], "provider").as_str(), text(&steps[0], "finish_reason").as_str()), (provider, "stop"));

        // One tool, then another turn with its result.
        let (ended, steps) = finished(&stack, &fresh("echo after 1 clock"));
        assert_eq!((steps.len(), calls(&steps[0]), text(&steps[0], "finish_reason").as_str()), (3, 1, "tool_calls"), "{model}: {ended}");

        // Two calls in one answer, whose results go back together.
        let (ended, steps) = finished(&stack, &fresh("both clocks at once"));
        assert_eq!(calls(&steps[0]), 2, "{model}: {ended}");
        assert!(!text(&ended, "response").is_empty());

        // A schema that the answer satisfies, over the API of OpenAI's clients.
        let schema =
            json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": false});
        let answer = stack.api.post(
            "/v1/chat/completions",
            &json!({
                "model": "assistant", "messages": [{"role": "user", "content": fresh("city as json")}],
                "response_format": {"type": "json_schema", "json_schema": {"name": "city", "schema": schema, "strict": true}}
            }),
        );
        let body = answer.must(200);
        let content = body["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned();
        let city: Value = serde_json::from_str(&content).unwrap_or_default();
        assert_eq!(city["city"], "Lisbon", "{model}: {content}");

        // What is streamed to the caller is the whole answer.
        let prompt = fresh("echo to whoever reads along");
        let messages = json!([{"role": "user", "content": prompt}]);
        let stream = stack.api.post("/v1/chat/completions", &json!({"model": "assistant", "stream": true, "messages": messages}));
        let parts = stream.body.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
        let heard: String = parts.filter_map(|part| part["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect();
        assert_eq!(heard, format!("You said: {prompt}"), "{model}: {}", stream.body);
    }
}
