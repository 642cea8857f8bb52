//! What stands on the queue of jobs: a small versioned reference to a job, never its order.

use serde::{Deserialize, Serialize};

use super::id::{JobId, TenantId};

const VERSION: u8 = 1;

/// A job to go on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobMessage {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub job: JobId,
    /// Which message of it: older ones mean nothing.
    pub turn: u64,
}

/// Why a message is not about a job.
#[derive(Debug, thiserror::Error)]
#[error("message body is not about a job")]
pub struct NotAJob(#[source] serde_json::Error);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    v: u8,
    tenant: TenantId,
    job: JobId,
    turn: u64,
}

impl JobMessage {
    /// The message body.
    #[must_use]
    pub fn to_body(&self) -> String {
        let Self { tenant, job, turn } = self.clone();
        serde_json::json!(Body { v: VERSION, tenant, job, turn }).to_string()
    }

    /// Reads a message body of any version that was ever sent.
    ///
    /// # Errors
    /// [`NotAJob`] when it is none of them.
    pub fn from_body(body: &str) -> Result<Self, NotAJob> {
        let body: Body = serde_json::from_str(body).map_err(NotAJob)?;
        if body.v != VERSION {
            return Err(NotAJob(serde::de::Error::custom("the version is unknown")));
        }
        Ok(Self { tenant: body.tenant, job: body.job, turn: body.turn })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_about_a_job_survives_the_queue_and_nothing_else_is_one() {
        let message = JobMessage { tenant: "acme".parse().unwrap(), job: JobId::new(jiff::Timestamp::UNIX_EPOCH), turn: 3 };
        let body = message.to_body();
        assert_eq!(JobMessage::from_body(&body).unwrap(), message);
        for bad in ["", "{}", "null", &body.replace(r#""v":1"#, r#""v":2"#), &body.replace("job_", "run_"), &body.replace("turn", "epoch")]
        {
            assert!(JobMessage::from_body(bad).is_err(), "{bad} was taken");
        }
    }
}
