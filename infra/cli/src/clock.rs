//! The time of day, read in one place. Waiting is measured with `Instant`, never with this.

use jiff::Timestamp;

/// Now; for the record of a start and for the age of log lines, both of which a person reads.
#[expect(clippy::disallowed_methods, reason = "the one clock of the command line; what decides anything takes a time as an argument")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
