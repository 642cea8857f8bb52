//! Time as a port, so that tests and simulations own it.

use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

/// The time of day and the passing of time.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The present, UTC. Millisecond precision is enough for every caller.
    fn now(&self) -> Timestamp;
    /// Returns after `duration`.
    async fn sleep(&self, duration: Duration);
}

/// `later - earlier`, zero where it would be negative.
#[must_use]
pub fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or(Duration::ZERO)
}

/// `at + duration`, saturating at the end of time.
#[must_use]
pub fn after(at: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration).ok().and_then(|d| at.checked_add(d).ok()).unwrap_or(Timestamp::MAX)
}

/// RFC 3339 in UTC with milliseconds, as every API field and record holds times.
pub mod rfc3339_millis {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    /// `2026-01-02T03:04:05.678Z`.
    #[must_use]
    pub fn format(at: Timestamp) -> String {
        format!("{at:.3}")
    }

    /// Writes the text form.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format(*at))
    }

    /// Reads any RFC 3339 time.
    ///
    /// # Errors
    /// When the text is not a time.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }

    /// The same for a time that may be absent.
    pub mod option {
        use jiff::Timestamp;
        use serde::{Deserialize, Deserializer, Serializer};

        /// Writes the text form, or null.
        ///
        /// # Errors
        /// Those of the serializer.
        pub fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
            match at {
                Some(at) => serializer.serialize_some(&super::format(*at)),
                None => serializer.serialize_none(),
            }
        }

        /// Reads any RFC 3339 time, or null.
        ///
        /// # Errors
        /// When the text is not a time.
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
            Option::<String>::deserialize(deserializer)?.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_with_milliseconds_in_utc() {
        let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(rfc3339_millis::format(at), "2026-01-02T03:04:05.000Z");
        assert_eq!(rfc3339_millis::format(after(at, Duration::from_millis(7))), "2026-01-02T03:04:05.007Z");
    }

    #[test]
    fn a_duration_never_goes_negative() {
        let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(between(after(at, Duration::from_secs(3)), at), Duration::ZERO);
        assert_eq!(between(at, after(at, Duration::from_secs(3))), Duration::from_secs(3));
        assert_eq!(after(at, Duration::MAX), Timestamp::MAX);
    }
}
