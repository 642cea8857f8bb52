//! What stands on the queue: a small versioned reference to a run, never its payload.

use serde::{Deserialize, Serialize};

use super::id::{RunId, TenantId};

/// A run to advance, as one message of the tasks queue.
///
/// Each enqueue raises the run's epoch in the same write that makes it `queued`; a message of an older epoch is dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Whose run.
    pub tenant: TenantId,
    /// Which run.
    pub run: RunId,
    /// Which enqueue of it.
    pub epoch: u64,
}

/// Why a message is not ours to read: it goes to the dead-letter queue as it is.
#[derive(Debug, thiserror::Error)]
#[error("message body is not a task")]
pub struct NotATask(#[source] serde_json::Error);

/// The bodies that have ever been sent, by version.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Body {
    V1(TaskV1),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskV1 {
    v: Version<1>,
    tenant: TenantId,
    run: RunId,
    epoch: u64,
}

/// A number that must be `N`, so that an untagged enum chooses by it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
struct Version<const N: u64>;

impl<const N: u64> TryFrom<u64> for Version<N> {
    type Error = String;
    fn try_from(v: u64) -> Result<Self, String> {
        if v == N { Ok(Self) } else { Err(format!("version {v} is unknown")) }
    }
}

impl<const N: u64> From<Version<N>> for u64 {
    fn from(_: Version<N>) -> u64 {
        N
    }
}

impl<const N: u64> Clone for Version<N> {
    fn clone(&self) -> Self {
        Self
    }
}

impl Task {
    /// The message body.
    #[must_use]
    pub fn to_body(&self) -> String {
        let body = Body::V1(TaskV1 { v: Version, tenant: self.tenant.clone(), run: self.run, epoch: self.epoch });
        serde_json::json!(body).to_string()
    }

    /// Reads a message body of any version that was ever sent.
    ///
    /// # Errors
    /// [`NotATask`] when it is none of them.
    pub fn from_body(body: &str) -> Result<Self, NotATask> {
        let Body::V1(task) = serde_json::from_str(body).map_err(NotATask)?;
        Ok(Self { tenant: task.tenant, run: task.run, epoch: task.epoch })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_survives_the_queue() {
        let task = Task { tenant: "acme".parse().unwrap(), run: RunId::new(jiff::Timestamp::UNIX_EPOCH), epoch: 3 };
        let body = task.to_body();
        assert_eq!(Task::from_body(&body).unwrap(), task);
        assert!(body.len() < 120, "a reference stays small: {body}");
        assert!(body.contains(r#""v":1"#));
    }

    #[test]
    fn anything_else_is_not_a_task() {
        let good = Task { tenant: "acme".parse().unwrap(), run: RunId::new(jiff::Timestamp::UNIX_EPOCH), epoch: 3 }.to_body();
        for bad in [
            "",
            "null",
            "{}",
            "not json",
            &good.replace(r#""v":1"#, r#""v":2"#),
            &good.replace("acme", "a#b"),
            &good.replace("run_", "evt_"),
        ] {
            assert!(Task::from_body(bad).is_err(), "{bad} was taken");
        }
    }
}
