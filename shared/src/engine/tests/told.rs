//! What log lines tell of a run: which one, and nothing of what is said in it.

use serde_json::{Value, json};
use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;

use super::tool_calls::{Asks, Takes};
use super::*;
use crate::domain::definition::ToolUse;
use crate::fakes::locked;
use crate::telemetry::{Format, Lines, speakers};

/// Said in the question, in a call, in its result and in the answer.
const MARKER: &str = "hunter2";

/// Fails, asks for a call, fails, then answers; all that it says, it says with the marker.
struct Chatters(Mutex<Vec<Option<&'static str>>>);

#[async_trait::async_trait]
impl Model for Chatters {
    async fn ask(&self, request: &ports::ModelRequest<'_>) -> Result<ports::ModelReply, CallError> {
        let next = locked(&self.0).pop();
        match next {
            Some(None) => Err(CallError::retryable(FailureCode::ProviderUnavailable, "503", None)),
            Some(Some(tool)) => {
                let mut reply = Asks(Mutex::new(vec![vec![1]])).ask(request).await?;
                for call in &mut reply.message.tool_calls {
                    call.name = tool.into();
                    call.arguments = json!({"seconds": 1, "secret": MARKER});
                }
                Ok(reply)
            }
            None => ScriptedModel::new([Scripted::Says(format!("the answer is {MARKER}"))]).ask(request).await,
        }
    }
}

#[tokio::test]
async fn each_line_says_which_run_step_and_attempt_it_is_about_and_none_says_what_was_said() {
    let heard = Arc::new(Mutex::new(Vec::<String>::new()));
    let to = heard.clone();
    let lines = Lines::to(Format::Json, move |line| locked(&to).push(line.to_owned())).with_filter(speakers(tracing::Level::TRACE));
    let _listening = crate::fakes::subscribe(tracing_subscriber::registry().with(lines));

    let mut w = world_asked(json!({"prompt": MARKER, "metadata": {"note": MARKER}}), []).await;
    w.engine.tools = Toolbox::of(vec![Arc::new(Takes::harmless(MARKER, w.clock.clone()))]);
    w.change_agent(|agent| agent.tools = vec![ToolUse::of("takes")]);
    // Last first: three tries fail and the attempt with them; then a call, a failure that is got over, and the answer.
    w.engine.model = Arc::new(Chatters(Mutex::new(vec![None, Some("takes"), None, None, None])));
    assert!(matches!(w.take_up(1).await, Advance::Again { .. }));
    assert!(matches!(w.take_up(2).await, Advance::Ended { state: RunState::Completed, .. }));
    assert!(w.steps().iter().any(|step| serde_json::to_string(step).unwrap().contains(MARKER)), "it was said");

    let lines = locked(&heard).clone();
    let id = w.run.id.to_string();
    assert!(lines.len() >= 4, "{lines:?}");
    for line in &lines {
        assert!(!line.contains(MARKER), "{line}");
        let said: Value = serde_json::from_str(line).unwrap();
        assert_eq!((said["run.id"].as_str(), said["tenant"].as_str()), (Some(id.as_str()), Some("acme")), "{line}");
    }
    let failed: Vec<Value> =
        lines.iter().filter(|line| line.contains("model call failed")).map(|line| serde_json::from_str(line).unwrap()).collect();
    let of: Vec<_> = failed.iter().map(|line| (line["attempt"].as_u64().unwrap(), line["step"].as_u64().unwrap())).collect();
    // The second attempt counts from one again once it has a step.
    assert_eq!(of, [(1, 1), (1, 1), (1, 1), (2, 3)]);
}
