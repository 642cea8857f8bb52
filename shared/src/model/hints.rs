//! How long a provider asks us to wait: what its headers say, in any of the ways that providers say it.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::HeaderMap;

use crate::domain::clock::between;

/// The pairs of headers that tell of one limit: what is left of it, and when it is full again.
const LIMITS: [(&str, &str); 6] = [
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"),
];

/// The pause that these headers ask for. A date is counted from the provider's own clock, if it tells it.
pub(super) fn pause(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let now = text("date").and_then(date).unwrap_or(now);
    let said = text("retry-after-ms")
        .and_then(|text| seconds(text).map(|s| s / 1_000))
        .or_else(|| text("retry-after").and_then(|text| seconds(text).or_else(|| Some(between(now, date(text)?)))));
    // Only a limit that is used up says how long to wait; the longest of these counts.
    let used_up = LIMITS.iter().filter(|(left, _)| text(left) == Some("0"));
    said.or_else(|| used_up.filter_map(|(_, reset)| moment(text(reset)?, now)).max())
}

/// The time until a limit is full again: a length of time (`1s`, `6m0s`, `250ms`, `12.5`), a time, or seconds since 1970.
fn moment(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(between(now, at));
    }
    match seconds(text) {
        Some(length) if length > Duration::from_secs(1_000_000_000) => {
            // Some count in milliseconds.
            let length = if length > Duration::from_secs(1_000_000_000_000) { length / 1_000 } else { length };
            Some(between(now, Timestamp::from_second(i64::try_from(length.as_secs()).ok()?).ok()?))
        }
        Some(length) => Some(length),
        None => parts(text),
    }
}

fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse::<f64>().ok()?).ok()
}

fn date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

/// `1h2m3.5s`, `20ms`.
fn parts(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let (number, tail) = rest.split_at(unit_at);
        let number_at = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(number_at);
        let factor = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        sum = sum.checked_add(Duration::try_from_secs_f64(number.parse::<f64>().ok()? * factor).ok()?)?;
        rest = tail;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(pairs: &[(&'static str, &str)]) -> Option<u128> {
        let headers = pairs.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect();
        pause(&headers, "2026-11-22T07:00:00Z".parse().unwrap()).map(|pause| pause.as_millis())
    }

    #[test]
    fn each_way_to_ask_for_a_pause_is_understood() {
        for (pairs, millis) in [
            (vec![("retry-after", "7")], Some(7_000)),
            (vec![("retry-after", "1.5")], Some(1_500)),
            (vec![("retry-after", "Sun, 22 Nov 2026 07:00:09 GMT")], Some(9_000)),
            (vec![("retry-after", "Sun, 22 Nov 2026 06:00:00 GMT")], Some(0)),
            (vec![("retry-after", "Sun, 22 Nov 2026 08:00:09 GMT"), ("date", "Sun, 22 Nov 2026 08:00:00 GMT")], Some(9_000)),
            (vec![("retry-after-ms", "250"), ("retry-after", "1")], Some(250)),
            (vec![("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "6m0s")], Some(360_000)),
            (vec![("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "20ms")], Some(20)),
            (vec![("x-ratelimit-remaining-requests", "3"), ("x-ratelimit-reset-requests", "1h")], None),
            (vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1795330812")], Some(12_000)),
            (vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1795330812000")], Some(12_000)),
            (
                vec![("anthropic-ratelimit-requests-remaining", "0"), ("anthropic-ratelimit-requests-reset", "2026-11-22T07:00:30Z")],
                Some(30_000),
            ),
            (vec![("retry-after", "soon")], None),
            (vec![("retry-after", "-3")], None),
            (vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "9x")], None),
            (vec![], None),
        ] {
            assert_eq!(hint(&pairs), millis, "{pairs:?}");
        }
    }
}
