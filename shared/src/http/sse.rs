//! Server-sent events, as the WHATWG HTML standard writes them.

use std::fmt::Display;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt};
use serde::Serialize;

use crate::domain::clock::Clock;

/// How often a stream says something at least: what stands between us and the reader closes connections that say nothing. Edge-optimized
/// endpoints of API Gateway wait for 30 s.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The first thing in a stream: after how many milliseconds a reader that was cut off comes back.
pub const RETRY: &str = "retry: 1000\n\n";

/// One event. Its id is what a reader that comes back sends as `Last-Event-ID`; without one it stays what it was.
#[must_use]
pub fn event(id: Option<&dyn Display>, name: &str, data: &impl Serialize) -> String {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    // JSON has no line breaks of its own. What we write ourselves can be written.
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("{id}event: {name}\ndata: {data}\n\n")
}

/// A line that readers do not hear of.
#[must_use]
pub fn comment(text: &str) -> String {
    format!(": {text}\n\n")
}

/// The stream, with a comment wherever nothing was said for 15 s.
pub fn with_heartbeats(pieces: impl Stream<Item = String> + Send + 'static, clock: Arc<dyn Clock>) -> impl Stream<Item = String> + Send {
    unfold((pieces.boxed(), clock), |(mut pieces, clock)| async move {
        let piece = next_or_heartbeat(pieces.as_mut(), clock.as_ref()).await?;
        Some((piece, (pieces, clock)))
    })
}

async fn next_or_heartbeat(mut pieces: Pin<&mut (dyn Stream<Item = String> + Send)>, clock: &dyn Clock) -> Option<String> {
    match select(pieces.next(), pin!(clock.sleep(HEARTBEAT))).await {
        Either::Left((piece, _)) => piece,
        Either::Right(((), _)) => Some(comment("keep-alive")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::delta::Position;
    use crate::fakes::TokioClock;

    #[test]
    fn an_event_is_one_line_of_data_whatever_is_in_it() {
        let told = event(Some(&Position::START), "delta", &json!({"text": "a\nb\r\u{2028}c"}));
        assert_eq!(told, "id: 1.-.0\nevent: delta\ndata: {\"text\":\"a\\nb\\r\u{2028}c\"}\n\n");
        assert_eq!(event(None, "run", &1), "event: run\ndata: 1\n\n");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_broken_every_fifteen_seconds() {
        let clock = Arc::new(TokioClock::from("2026-01-02T03:04:05Z".parse().unwrap()));
        let slow = unfold(0, |said| async move {
            tokio::time::sleep(Duration::from_secs(40)).await;
            (said < 2).then(|| (format!("{said}"), said + 1))
        });
        let told: Vec<String> = with_heartbeats(slow, clock).collect().await;
        let beat = comment("keep-alive");
        assert_eq!(told, [&beat, &beat, "0", &beat, &beat, "1", &beat, &beat].map(ToString::to_string));
    }
}
