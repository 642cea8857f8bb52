//! What a stream says beside the text and the tool calls, and `genai` does not tell: the name of the model that answers, the words
//! of a refusal, why an answer is incomplete, how many of the tokens were thoughts.

use std::sync::{Arc, Mutex, PoisonError};

use genai::chat::{ChatFrameSink, FrameCtx, RawFrameRef};
use serde_json::Value;

/// What was found so far.
#[derive(Debug, Default, Clone)]
pub(super) struct Found {
    /// The model as the provider names it.
    pub(super) model: Option<String>,
    /// What a model says that refuses to answer.
    pub(super) refusal: String,
    /// Whether the provider's filter ended the answer.
    pub(super) is_filtered: bool,
    /// Tokens of thoughts.
    pub(super) thoughts: Option<u64>,
}

/// Reads every frame of one stream.
#[derive(Debug, Default, Clone)]
pub(super) struct Aside(Arc<Mutex<Found>>);

impl Aside {
    /// What was found.
    pub(super) fn found(&self) -> Found {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ChatFrameSink for Aside {
    fn on_frame(&self, _: &FrameCtx, frame: RawFrameRef<'_>) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_of_interest = |word: &str| frame.data.contains(word);
        let wants_model = found.model.is_none() && is_of_interest("\"model\"");
        // Most frames are a few letters of text: these are not parsed a second time.
        if !wants_model && !["refusal", "incomplete_details", "thinking_tokens"].into_iter().any(is_of_interest) {
            return;
        }
        let Some(json) = frame.json() else { return };
        let text = |path: &str| json.pointer(path).and_then(Value::as_str);
        if found.model.is_none() {
            let model = text("/model").or_else(|| text("/message/model")).or_else(|| text("/response/model"));
            found.model = model.filter(|name| !name.is_empty()).map(str::to_owned);
        }
        let is_refusal = text("/type") == Some("response.refusal.delta");
        let refusal = text("/choices/0/delta/refusal").or_else(|| text("/delta").filter(|_| is_refusal));
        found.refusal.push_str(refusal.unwrap_or_default());
        found.is_filtered |= text("/response/incomplete_details/reason") == Some("content_filter");
        let thoughts = json.pointer("/usage/output_tokens_details/thinking_tokens").and_then(Value::as_u64);
        found.thoughts = thoughts.or(found.thoughts);
    }
}
