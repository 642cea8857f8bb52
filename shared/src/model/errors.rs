//! What a provider's failure means: retryable or terminal, told without prompts, bodies or keys.
//!
//! The crate's own error texts hold whole requests and answers, so none of them leaves this file.

use std::time::Duration;

use genai::Error as E;
use genai::webc::{Error as Web, StreamTimeout};
use jiff::Timestamp;
use serde_json::Value;

use super::hints;
use crate::domain::failure::FailureCode as Code;
use crate::engine::CallError;

pub(super) fn classify(error: &E, now: Timestamp) -> CallError {
    if let Some(status) = error.status() {
        return of_status(status.as_u16(), error.headers().and_then(|headers| hints::pause(headers, now)));
    }
    match error {
        // While it streams, the crate puts every failure into a box of this name.
        E::WebStream { error, .. } => match error.downcast_ref::<E>() {
            Some(inner) => classify(inner, now),
            None => of_transport(error.as_ref()),
        },
        E::WebModelCall { webc_error: Web::Reqwest(e), .. } | E::WebAdapterCall { webc_error: Web::Reqwest(e), .. } => of_transport(e),
        E::ChatResponse { body, .. } => in_stream(body),
        E::WebModelCall { .. }
        | E::WebAdapterCall { .. }
        | E::ChatResponseGeneration { .. }
        | E::InvalidJsonResponseElement { .. }
        | E::SerdeJson(_)
        | E::JsonValueExt(_)
        | E::NoChatResponse { .. }
        | E::StreamParse { .. } => CallError::garbled("the model's answer could not be read"),
        E::HttpError { .. } => CallError::retryable(Code::ProviderUnavailable, BROKE_OFF, None),
        E::RequiresApiKey { .. } | E::NoAuthResolver { .. } | E::NoAuthData { .. } | E::Resolver { .. } => {
            no_access("no key is configured")
        }
        // This is how missing AWS credentials arrive.
        E::AdapterNotSupported { .. } | E::AdapterKindMismatch { .. } => no_access("no credentials, or the provider cannot do this"),
        E::ChatReqHasNoMessages { .. }
        | E::LastChatMessageIsNotUser { .. }
        | E::MessageRoleNotSupported { .. }
        | E::MessageContentTypeNotSupported { .. }
        | E::JsonModeWithoutInstruction
        | E::VerbosityParsing { .. }
        | E::ReasoningParsingError { .. }
        | E::ServiceTierParsing { .. }
        | E::PromptCacheRetentionParsing { .. }
        | E::CacheBreakpointNoEligibleContent { .. }
        | E::ModelMapperFailed { .. }
        | E::ClientBuildFail { .. }
        | E::Internal(_) => CallError::rejected("the request cannot be put to this provider"),
    }
}

/// An answer that ends where it should not.
pub(super) const BROKE_OFF: &str = "the model's answer broke off";

fn of_transport(error: &(dyn std::error::Error + 'static)) -> CallError {
    let Some(error) = error.downcast_ref::<reqwest::Error>() else {
        if error.downcast_ref::<StreamTimeout>().is_some() {
            return CallError::retryable(Code::ProviderTimeout, "the model did not answer in time", None);
        }
        return CallError::retryable(Code::ProviderUnavailable, BROKE_OFF, None);
    };
    if error.is_timeout() {
        CallError::retryable(Code::ProviderTimeout, "the connection to the model timed out", None)
    } else if error.is_body() || error.is_decode() {
        CallError::retryable(Code::ProviderUnavailable, BROKE_OFF, None)
    } else {
        CallError::retryable(Code::ProviderUnavailable, "the model could not be reached", None)
    }
}

/// An error that the provider tells of in the middle of an answer. Its kind is told in as many ways as there are providers.
fn in_stream(body: &Value) -> CallError {
    let inner = body.get("error").filter(|inner| inner.is_object()).unwrap_or(body);
    if let Some(status) = inner.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok()) {
        return of_status(status, None);
    }
    let told = ["type", "code"].into_iter().filter_map(|field| inner.get(field)?.as_str()).collect::<Vec<_>>().join(" ");
    match told {
        told if told.contains("rate_limit") || told.contains("insufficient_quota") => {
            CallError::retryable(Code::ProviderRateLimited, "the provider is rate limiting (in the middle of the answer)", None)
        }
        told if told.contains("authentication") || told.contains("permission") => no_access("in the middle of the answer"),
        told if told.contains("invalid_request") || told.contains("content_policy") => {
            CallError::rejected("the provider refused the request in the middle of the answer")
        }
        _ => CallError::retryable(Code::ProviderUnavailable, "the provider failed in the middle of the answer", None),
    }
}

fn of_status(status: u16, after: Option<Duration>) -> CallError {
    match status {
        429 => CallError::retryable(Code::ProviderRateLimited, "the provider is rate limiting (HTTP 429)", after),
        401 | 403 => no_access(&format!("HTTP {status}")),
        // An unknown model or address is the operator's to mend: the run waits among the dead letters.
        404 => CallError::retryable(Code::ProviderUnavailable, "the provider knows no such model or address (HTTP 404)", None),
        408 | 409 | 425 | 500..=599 => {
            CallError::retryable(Code::ProviderUnavailable, format!("the provider answered HTTP {status}"), after)
        }
        _ => CallError::rejected(format!("the provider refused the request (HTTP {status})")),
    }
}

/// Wrong credentials are mended by people: worth a retry from the dead letters, once they are.
fn no_access(why: &str) -> CallError {
    CallError::retryable(Code::ProviderAuth, format!("the provider refused access: {why}; check the key and the model's name"), None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn code(error: &CallError) -> Option<&'static str> {
        match error {
            CallError::Retryable { code, .. } => Some(code.as_str()),
            CallError::Terminal { .. } => None,
        }
    }

    #[test]
    fn a_status_says_whether_another_try_may_help() {
        for (status, expected) in [
            (429, Some("provider_rate_limited")),
            (500, Some("provider_unavailable")),
            (529, Some("provider_unavailable")),
            (401, Some("provider_auth")),
            (400, None),
            (413, None),
        ] {
            assert_eq!(code(&of_status(status, Some(Duration::from_secs(7)))), expected, "{status}");
        }
    }

    #[test]
    fn an_error_in_the_middle_of_an_answer_says_whether_another_try_may_help() {
        for (body, expected) in [
            (json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}), Some("provider_unavailable")),
            (json!({"error": {"type": "rate_limit_error"}}), Some("provider_rate_limited")),
            (json!({"message": "x", "type": "server_error", "code": "rate_limit_exceeded"}), Some("provider_rate_limited")),
            (json!({"code": 502, "message": "x"}), Some("provider_unavailable")),
            (json!({"code": 429}), Some("provider_rate_limited")),
            (json!({"type": "invalid_request_error"}), None),
            (json!("what?"), Some("provider_unavailable")),
            (Value::Null, Some("provider_unavailable")),
        ] {
            assert_eq!(code(&in_stream(&body)), expected, "{body}");
        }
    }
}
