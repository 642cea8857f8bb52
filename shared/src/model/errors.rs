//! What a provider's failure means: retryable or terminal, told without prompts, bodies or keys.
//!
//! The crate's own error texts hold whole requests and answers, so none of them leaves this file.

use std::time::Duration;

use genai::Error as E;
use genai::webc::Error as Web;

use crate::domain::failure::FailureCode as Code;
use crate::engine::CallError;

pub(super) fn classify(error: &E) -> CallError {
    if let Some(status) = error.status() {
        return of_status(status.as_u16(), retry_after(error));
    }
    match error {
        E::WebModelCall { webc_error: Web::Reqwest(e), .. } | E::WebAdapterCall { webc_error: Web::Reqwest(e), .. } => {
            if e.is_timeout() {
                CallError::retryable(Code::ProviderTimeout, "the connection to the model timed out", None)
            } else {
                CallError::retryable(Code::ProviderUnavailable, "the model could not be reached", None)
            }
        }
        E::WebModelCall { .. }
        | E::WebAdapterCall { .. }
        | E::ChatResponseGeneration { .. }
        | E::InvalidJsonResponseElement { .. }
        | E::SerdeJson(_)
        | E::JsonValueExt(_)
        | E::NoChatResponse { .. }
        | E::ChatResponse { .. }
        | E::StreamParse { .. } => CallError::garbled("the model's answer could not be read"),
        E::WebStream { .. } | E::HttpError { .. } => CallError::retryable(Code::ProviderUnavailable, "the model's answer broke off", None),
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

/// Seconds, as every provider sends it; a date is ignored in favour of our own back-off.
fn retry_after(error: &E) -> Option<Duration> {
    let text = error.headers()?.get("retry-after")?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_whether_another_try_may_help() {
        for (status, code) in [
            (429, Some("provider_rate_limited")),
            (500, Some("provider_unavailable")),
            (401, Some("provider_auth")),
            (400, None),
            (413, None),
        ] {
            match of_status(status, Some(Duration::from_secs(7))) {
                CallError::Retryable { code: found, .. } => assert_eq!(Some(found.as_str()), code, "{status}"),
                CallError::Terminal { .. } => assert_eq!(None, code, "{status}"),
            }
        }
    }
}
