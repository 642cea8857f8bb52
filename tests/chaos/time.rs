//! The one clock of this program. All that it compares runs on the same machine.

use std::time::Duration;

/// Now, in Unix milliseconds.
#[expect(clippy::disallowed_methods, reason = "the one real clock of this program")]
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Waits.
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// The Unix milliseconds of an RFC 3339 time.
pub(crate) fn millis(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}
