//! What stands on the queue: a small versioned reference to a run, never its payload; now and then a canary.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::clock::rfc3339_millis;
use super::id::{RunId, TenantId};

/// The attribute of a message, and the header of a request, that says where it stands in a trace (W3C Trace Context).
pub const TRACEPARENT: &str = "traceparent";

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

/// A message that only shows that messages get through: whoever takes it off the queue says so, and is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canary {
    /// When it was sent.
    pub sent_at: Timestamp,
}

/// All that the tasks queue carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A run to advance.
    Run(Task),
    /// A sign of life.
    Canary(Canary),
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
    CanaryV1(CanaryV1),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskV1 {
    v: Version<1>,
    tenant: TenantId,
    run: RunId,
    epoch: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CanaryV1 {
    v: Version<1>,
    #[serde(with = "rfc3339_millis")]
    canary: Timestamp,
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

    /// Reads the body of a message that stands for a run.
    ///
    /// # Errors
    /// [`NotATask`] when it is none, or stands for something else.
    pub fn from_body(body: &str) -> Result<Self, NotATask> {
        match Message::from_body(body)? {
            Message::Run(task) => Ok(task),
            Message::Canary(_) => Err(NotATask(serde::de::Error::custom("a canary stands for no run"))),
        }
    }
}

impl Canary {
    /// The message body.
    #[must_use]
    pub fn to_body(&self) -> String {
        serde_json::json!(Body::CanaryV1(CanaryV1 { v: Version, canary: self.sent_at })).to_string()
    }
}

impl Message {
    /// Reads a message body of any version that was ever sent.
    ///
    /// # Errors
    /// [`NotATask`] when it is none of them.
    pub fn from_body(body: &str) -> Result<Self, NotATask> {
        Ok(match serde_json::from_str(body).map_err(NotATask)? {
            Body::V1(task) => Self::Run(Task { tenant: task.tenant, run: task.run, epoch: task.epoch }),
            Body::CanaryV1(canary) => Self::Canary(Canary { sent_at: canary.canary }),
        })
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
        assert_eq!(Message::from_body(&body).unwrap(), Message::Run(task));
        assert!(body.len() < 120, "a reference stays small: {body}");
        assert!(body.contains(r#""v":1"#));
    }

    #[test]
    fn a_canary_survives_the_queue_and_stands_for_no_run() {
        let canary = Canary { sent_at: "2026-01-02T03:04:05.678Z".parse().unwrap() };
        let body = canary.to_body();
        let fields: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(fields, serde_json::json!({"v": 1, "canary": "2026-01-02T03:04:05.678Z"}));
        assert_eq!(Message::from_body(&body).unwrap(), Message::Canary(canary));
        assert!(Task::from_body(&body).is_err());
        for bad in [body.replace(r#""v":1"#, r#""v":2"#), body.replace("2026", "then"), body.replace('{', r#"{"run":"x","#)] {
            assert!(Message::from_body(&bad).is_err(), "{bad} was taken");
        }
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
