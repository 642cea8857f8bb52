//! Problem documents (RFC 9457) for people: title, detail, code, request id, and what to do next.

use serde::Deserialize;

use crate::error::{Error, FAILED};
use crate::http::Reply;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
    code: Option<String>,
    request_id: Option<String>,
    field: Option<String>,
    retry_after: Option<u64>,
    /// What API Gateway says when it refuses by itself.
    #[serde(alias = "Message")]
    message: Option<String>,
}

/// Turns an answer that is no success into an error to print.
pub(crate) fn explain(reply: &Reply) -> Error {
    let problem: Problem = serde_json::from_str(&reply.body).unwrap_or_default();
    let title = problem.title.clone().unwrap_or_else(|| "the request failed".to_owned());
    let mut error = Error::new(format!("{title} (HTTP {})", reply.status)).with_code(FAILED);
    let fields = [
        ("", problem.detail.clone().or(problem.message.clone())),
        ("field: ", problem.field.clone()),
        ("code: ", problem.code.clone()),
        ("request id: ", problem.request_id.clone()),
    ];
    for (label, text) in fields {
        if let Some(text) = text {
            error = error.because(format!("{label}{text}"));
        }
    }
    if problem.detail.is_none() && problem.message.is_none() && problem.code.is_none() && !reply.body.trim().is_empty() {
        error = error.because(crate::out::brief(&reply.body, 300));
    }
    let error = error.passing(reply.status == 429 || reply.status >= 500);
    match advice(reply.status, problem.retry_after) {
        Some(advice) => error.with_hint(advice),
        None => error,
    }
}

/// What to do next; nothing where the problem's own words are the best advice.
fn advice(status: u16, retry_after: Option<u64>) -> Option<String> {
    let advice = match (status, retry_after) {
        (_, Some(seconds)) => return Some(format!("try again in {seconds} s")),
        (409, None) => return None,
        (400 | 413 | 422, None) => "correct the request; nothing was recorded",
        (401 | 403, None) => {
            "this deployment wants signed requests or a key (a profile says which, see the README), these credentials may not do this, \
             or the clock of this machine is wrong"
        }
        (404, None) => "check the id and the address (`--url`, `--profile`)",
        (429, None) => "too many requests: wait a little and try again",
        (502..=504, None) => "see `reprise health --detailed`, and `reprise stack logs` of the function that answers this path",
        _ => "search the logs of the function that answers this path (`reprise stack logs`) for the request id",
    };
    Some(advice.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_document_shows_detail_field_code_and_request_id() {
        let reply = Reply { status: 400, body: r#"{"type":"about:blank","title":"Bad request","status":400,"detail":"prompt is empty","code":"invalid_request","request_id":"r-1","field":"prompt"}"#.into() };
        let text = explain(&reply).render();
        for part in [
            "Bad request (HTTP 400)",
            "prompt is empty",
            "field: prompt",
            "code: invalid_request",
            "request id: r-1",
            "hint: correct the request",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }

    #[test]
    fn an_answer_that_is_no_problem_document_is_shown_cut() {
        let text = explain(&Reply { status: 502, body: format!("<html>{}</html>", "x".repeat(900)) }).render();
        assert!(text.contains("HTTP 502") && text.contains("<html>") && text.len() < 600);
    }

    #[test]
    fn retry_after_is_the_advice_where_it_is_given() {
        let text = explain(&Reply { status: 429, body: r#"{"title":"Slow down","code":"rate_limited","retry_after":7}"#.into() }).render();
        assert!(text.contains("try again in 7 s"));
    }
}
