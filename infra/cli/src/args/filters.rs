//! What is chosen by its fields: the same flags, query parameters and body fields wherever runs are chosen.

use clap::Args as ClapArgs;
use jiff::{SpanRelativeTo, Timestamp};
use serde_json::{Map, Value, json};

/// Dead runs by their fields; all that are given must fit.
#[derive(Debug, Clone, Default, ClapArgs)]
#[command(next_help_heading = "Which runs")]
pub(crate) struct Filters {
    /// The code of the error, as provider_timeout
    #[arg(long)]
    pub(crate) code: Option<String>,
    /// The kind of failure, as `reprise dlq stats` names it
    #[arg(long)]
    pub(crate) fingerprint: Option<String>,
    /// A part of the error's message
    #[arg(long)]
    pub(crate) text: Option<String>,
    /// The agent
    #[arg(long)]
    pub(crate) agent: Option<String>,
    /// The provider that failed, as openai or openai::gpt-4o
    #[arg(long)]
    pub(crate) provider: Option<String>,
    /// The type of the event
    #[arg(long, value_name = "TYPE", alias = "type")]
    pub(crate) event_type: Option<String>,
    /// The source of the event
    #[arg(long)]
    pub(crate) source: Option<String>,
    /// The trigger that started them
    #[arg(long)]
    pub(crate) trigger: Option<String>,
    /// Dead since then: a time (2026-11-22T02:10:00Z) or an age (90s, 10m, 2h, 7d)
    #[arg(long, value_name = "TIME|AGE", value_parser = moment)]
    pub(crate) since: Option<Timestamp>,
    /// Dead before then
    #[arg(long, value_name = "TIME|AGE", value_parser = moment)]
    pub(crate) until: Option<Timestamp>,
    /// At least so many attempts
    #[arg(long, value_name = "N")]
    pub(crate) min_attempts: Option<u32>,
    /// At most so many attempts
    #[arg(long, value_name = "N")]
    pub(crate) max_attempts: Option<u32>,
    /// Another tenant's, or `*` for all (operators only)
    #[arg(long)]
    pub(crate) tenant: Option<String>,
}

impl Filters {
    /// The fields that were given, as JSON has them.
    pub(crate) fn fields(&self) -> Map<String, Value> {
        let text = |value: &Option<String>| value.as_ref().map(|value| json!(value));
        let fields = [
            ("code", text(&self.code)),
            ("fingerprint", text(&self.fingerprint)),
            ("text", text(&self.text)),
            ("agent", text(&self.agent)),
            ("provider", text(&self.provider)),
            ("event_type", text(&self.event_type)),
            ("source", text(&self.source)),
            ("trigger", text(&self.trigger)),
            ("since", self.since.map(|time| json!(rfc3339(time)))),
            ("until", self.until.map(|time| json!(rfc3339(time)))),
            ("min_attempts", self.min_attempts.map(|count| json!(count))),
            ("max_attempts", self.max_attempts.map(|count| json!(count))),
            ("tenant", text(&self.tenant)),
        ];
        given(fields)
    }
}

/// Those fields that have a value.
pub(crate) fn given<const N: usize>(fields: [(&str, Option<Value>); N]) -> Map<String, Value> {
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// As the API writes times.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// A time, or how long ago it was.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let wrong = || "write a time as 2026-11-22T02:10:00Z, or an age as 90s, 10m, 2h or 7d".to_owned();
    let span: jiff::Span = text.parse().map_err(|_| wrong())?;
    let age = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    if age.is_negative() { Err("an age is not negative".to_owned()) } else { crate::clock::now().checked_sub(age).map_err(|_| wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_an_age() {
        assert_eq!(rfc3339(moment("2026-11-22T02:10:00+01:00").unwrap()), "2026-11-22T01:10:00.000Z");
        let week = jiff::SignedDuration::from_hours(7 * 24);
        let (before, then, after) = (crate::clock::now(), moment("7d").unwrap(), crate::clock::now());
        assert!(before - week <= then && then <= after - week, "{then}");
        for text in ["soon", "-2h", "2026-11-22", ""] {
            assert!(moment(text).is_err(), "{text} was taken");
        }
    }
}
