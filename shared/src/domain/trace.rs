//! Which trace a run belongs to, in the words of W3C Trace Context. Nothing here makes a trace; it only names places in one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A place in a trace: the span that something else goes on from. Written as the header `traceparent` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceContext {
    /// The trace.
    pub trace: u128,
    /// The span.
    pub span: u64,
    /// Whether it is kept.
    pub is_sampled: bool,
}

/// Why a text names no place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no trace context as W3C defines it")]
pub struct NoTrace;

impl TraceContext {
    /// The trace's id, as people look it up.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.is_sampled))
    }
}

impl FromStr for TraceContext {
    type Err = NoTrace;

    fn from_str(text: &str) -> Result<Self, NoTrace> {
        // A later version may have more parts; what is known of it stays where it is.
        let mut parts = text.split('-');
        let mut hex = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits).ok_or(NoTrace)?;
            let is_hex = part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            u128::from_str_radix(part, 16).ok().filter(|_| is_hex).ok_or(NoTrace)
        };
        let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        let span = u64::try_from(span).map_err(|_| NoTrace)?;
        let is_whole = version != 0xff && (version > 0 || parts.next().is_none()) && trace != 0 && span != 0;
        is_whole.then_some(Self { trace, span, is_sampled: flags & 1 == 1 }).ok_or(NoTrace)
    }
}

impl TryFrom<String> for TraceContext {
    type Error = NoTrace;
    fn try_from(text: String) -> Result<Self, NoTrace> {
        text.parse()
    }
}

impl From<TraceContext> for String {
    fn from(context: TraceContext) -> Self {
        context.to_string()
    }
}

/// What a run's record knows of its trace: two places, so that it stays as small after a hundred attempts as after one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunTrace {
    /// What its attempts go on from: the request that started it. None for a replay until its first attempt is made: that begins a trace.
    #[serde(default, rename = "of", skip_serializing_if = "Option::is_none")]
    pub parent: Option<TraceContext>,
    /// The attempt before, which the next one is linked to; for a replay at first, the run of then.
    #[serde(default, rename = "last", skip_serializing_if = "Option::is_none")]
    pub before: Option<TraceContext>,
}

impl RunTrace {
    /// The trace of a run that is accepted at this place.
    #[must_use]
    pub const fn accepted(parent: TraceContext) -> Self {
        Self { parent: Some(parent), before: None }
    }

    /// A new trace that tells of `then`.
    #[must_use]
    pub fn told_of(then: &Self) -> Option<Self> {
        then.before.or(then.parent).map(|before| Self { parent: None, before: Some(before) })
    }

    /// After another attempt.
    #[must_use]
    pub fn with_attempt(this: Option<Self>, attempt: TraceContext) -> Self {
        Self { parent: this.and_then(|this| this.parent).or(Some(attempt)), before: Some(attempt) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_context_reads_as_it_is_written() {
        let context: TraceContext = TEXT.parse().unwrap();
        assert_eq!((context.to_string().as_str(), context.trace_id().as_str()), (TEXT, "4bf92f3577b34da6a3ce929d0e0e4736"));
        assert!(context.is_sampled);
        assert!(!TEXT.replace("-01", "-00").parse::<TraceContext>().unwrap().is_sampled);
        assert_eq!(TEXT.replacen("00", "01", 1).replace("-01", "-01-more").replacen("01-more-", "01-", 1).parse(), Ok(context));
    }

    #[test]
    fn what_is_no_trace_context_is_refused() {
        for bad in [
            "",
            "00",
            &TEXT.to_uppercase(),
            &TEXT.replacen("00-", "ff-", 1),
            &TEXT.replacen("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32), 1),
            &TEXT.replacen("00f067aa0ba902b7", &"0".repeat(16), 1),
            &format!("{TEXT}-more"),
            &TEXT.replace("4bf", "+bf"),
            &TEXT[1..],
        ] {
            assert_eq!(bad.parse::<TraceContext>(), Err(NoTrace), "{bad}");
        }
    }

    #[test]
    fn a_record_keeps_two_places_however_many_attempts_there_are() {
        let place = |span| TraceContext { span, ..TEXT.parse().unwrap() };
        let mut trace = RunTrace::accepted(place(1));
        for span in 2..100 {
            trace = RunTrace::with_attempt(Some(trace), place(span));
            assert_eq!(trace, RunTrace { parent: Some(place(1)), before: Some(place(span)) });
            assert_eq!(serde_json::to_string(&trace).unwrap().len(), 129);
        }
        assert_eq!(RunTrace::told_of(&trace), Some(RunTrace { parent: None, before: Some(place(99)) }));
    }
}
