//! Typed ids: `run_…`, `evt_…`, `conv_…`, each a prefix and a ULID.
//!
//! A ULID begins with the time in milliseconds, so ids sort by the time of arrival and a list needs no other sort key.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use ulid::Ulid;

/// Why a text is not an id: says what was expected, never echoes what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be `{prefix}` followed by 26 characters of Crockford base 32")]
pub struct InvalidId {
    prefix: &'static str,
}

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Ulid);

        impl $name {
            /// What every id of this kind begins with.
            pub const PREFIX: &'static str = $prefix;

            /// A new id that sorts at `now`.
            #[must_use]
            pub fn new(now: Timestamp) -> Self {
                Self(ulid_at(now))
            }

            /// A new id that sorts at `now`, or just above `last` where the clock that made that one was ahead.
            #[must_use]
            pub fn above(last: Self, now: Timestamp) -> Self {
                let new = Self::new(now);
                if new > last { new } else { Self(Ulid::from_parts(last.0.timestamp_ms() + 1, new.0.random())) }
            }

            /// The one id at `now` that follows from `name`: whoever makes it again makes the same.
            #[must_use]
            pub fn derived(now: Timestamp, name: &str) -> Self {
                let digest = Sha256::digest(name);
                let random = digest.iter().take(10).fold(0, |random, byte| (random << 8) | u128::from(*byte));
                Self(Ulid::from_parts(millis(now), random))
            }

            /// The smallest id of `at`'s millisecond: a bound for queries by time.
            #[must_use]
            pub fn lower_bound(at: Timestamp) -> Self {
                Self(Ulid::from_parts(millis(at), 0))
            }

            /// A number in `0..shards` that spreads ids evenly: taken from the random part.
            #[must_use]
            pub fn shard(&self, shards: u8) -> u8 {
                (self.0.random() % u128::from(shards.max(1))) as u8
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let invalid = InvalidId { prefix: $prefix };
                let ulid = text.strip_prefix($prefix).ok_or(invalid)?;
                let id = Ulid::from_string(ulid).map_err(|_| invalid)?;
                // The parser takes lower case and look-alikes; one run has one name, so only its canonical form is an id.
                if id.to_string() == ulid { Ok(Self(id)) } else { Err(invalid) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    };
}

typed_id!(
    /// One execution of one agent for one event.
    RunId,
    "run_"
);
typed_id!(
    /// Something that arrived.
    EventId,
    "evt_"
);
typed_id!(
    /// An ordered list of messages.
    ConversationId,
    "conv_"
);
typed_id!(
    /// A bulk action of an operator.
    JobId,
    "job_"
);
typed_id!(
    /// Something that went wrong with the system, and what people did about it.
    IncidentId,
    "inc_"
);

typed_id!(
    /// A message on our queues that is none of ours. Made of its text: the same text is the same letter.
    LetterId,
    "ltr_"
);

impl LetterId {
    /// The letter that is that text.
    #[must_use]
    pub fn of(body: &str) -> Self {
        let digest = Sha256::digest(body);
        Self(Ulid(digest.iter().take(16).fold(0, |number, byte| (number << 8) | u128::from(*byte))))
    }
}

/// Who pays. Starts every key in the table, so it may hold only characters that cannot end a key part.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(String);

/// Why a text cannot be a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 characters of a-z, A-Z, 0-9, `-`, `_` and `.`")]
pub struct InvalidTenant;

impl TenantId {
    /// The tenant's name, as it stands in keys and message groups.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantId {
    type Err = InvalidTenant;

    fn from_str(text: &str) -> Result<Self, InvalidTenant> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if (1..=64).contains(&text.len()) && text.chars().all(allowed) { Ok(Self(text.to_owned())) } else { Err(InvalidTenant) }
    }
}

impl TryFrom<String> for TenantId {
    type Error = InvalidTenant;
    fn try_from(text: String) -> Result<Self, InvalidTenant> {
        text.parse()
    }
}

impl From<TenantId> for String {
    fn from(tenant: TenantId) -> String {
        tenant.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn ulid_at(now: Timestamp) -> Ulid {
    // Simulations repeat what a seed did, ids included.
    #[cfg(any(test, feature = "fakes"))]
    if let Some(random) = crate::fakes::seeded_id() {
        return Ulid::from_parts(millis(now), random);
    }
    Ulid::from_datetime(std::time::UNIX_EPOCH + std::time::Duration::from_millis(millis(now)))
}

/// Milliseconds since 1970; a time before is taken as 1970.
fn millis(at: Timestamp) -> u64 {
    u64::try_from(at.as_millisecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn an_id_survives_its_text_form() {
        let id = RunId::new(at("2026-01-02T03:04:05.678Z"));
        assert_eq!(id.to_string().parse::<RunId>(), Ok(id));
        assert!(id.to_string().starts_with("run_"));
    }

    #[test]
    fn a_derived_id_is_made_again_from_its_time_and_name_alone() {
        let now = at("2026-01-02T03:04:05.678Z");
        let id = RunId::derived(now, "job/event");
        assert_eq!((id, id.to_string().parse()), (RunId::derived(now, "job/event"), Ok(id)));
        assert_ne!(id, RunId::derived(now, "job/event#trigger"));
        assert!(RunId::lower_bound(now) < id && id < RunId::lower_bound(at("2026-01-02T03:04:05.679Z")));
    }

    #[test]
    fn ids_sort_by_time() {
        let (early, late) = (at("2026-01-02T03:04:05.678Z"), at("2026-01-02T03:04:05.679Z"));
        assert!(RunId::new(early).to_string() < RunId::new(late).to_string());
        assert!(RunId::lower_bound(late) > RunId::new(early));
        assert!(RunId::lower_bound(late) <= RunId::new(late));
    }

    #[test]
    fn an_id_above_another_is_above_it_even_if_the_clock_went_back() {
        let last = RunId::new(at("2026-01-02T03:04:05.678Z"));
        for now in ["2026-01-02T03:04:05.678Z", "2026-01-02T03:04:04.000Z", "2026-01-02T03:04:06.000Z"] {
            assert!(RunId::above(last, at(now)) > last, "{now}");
        }
    }

    #[test]
    fn only_the_canonical_text_is_an_id() {
        let id = RunId::new(at("2026-01-02T03:04:05Z")).to_string();
        for bad in [
            id.to_lowercase(),
            id.replace("run_", "evt_"),
            format!("{id}\n"),
            format!("{id}'"),
            String::new(),
            "run_".into(),
            "run_ü".repeat(9),
            "run_8ZZZZZZZZZZZZZZZZZZZZZZZZZ".into(),
        ] {
            assert!(bad.parse::<RunId>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn shards_spread_and_stay_in_range() {
        let mut seen = [0_u32; 8];
        for _ in 0..800 {
            seen[usize::from(RunId::new(at("2026-01-02T03:04:05Z")).shard(8))] += 1;
        }
        assert!(seen.iter().all(|n| *n > 40), "uneven: {seen:?}");
    }

    #[test]
    fn a_tenant_cannot_break_out_of_its_key() {
        assert!("team-a.eu_1".parse::<TenantId>().is_ok());
        for bad in ["", "a#b", "a b", "ä", "a\n", &"x".repeat(65)] {
            assert!(bad.parse::<TenantId>().is_err(), "{bad:?} was taken");
        }
    }
}
