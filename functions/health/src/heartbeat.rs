//! Does work get done: `/api/production/queue/heartbeat`. Once a minute the sweeper sends a canary through the tasks queue, and whoever takes
//! it off leaves a mark. So an idle queue is a healthy one, and a queue that nobody serves is not.

use std::time::Duration;

use jiff::Timestamp;
use lambda_http::http::StatusCode;
use serde_json::{Value, json};
use shared::domain::clock::{between, rfc3339_millis};
use shared::domain::id::TenantId;
use shared::domain::run::Run;
use shared::domain::state::RunState;
use shared::heartbeat::{Depth, Marks};
use shared::http::{Problem, Reply};
use shared::sweep::LOOK_AHEAD;

use crate::checks::Check;
use crate::ready::QueueHealth;
use crate::survey::Survey;

/// A mark that is older is no sign of life: two canaries were sent in that time.
const TIMEOUT: Duration = Duration::from_secs(120);
/// A canary that took longer has waited for a consumer: it stands behind nobody's backlog, so all of them were busy.
const SLOW: Duration = Duration::from_secs(30);
/// The sweeper looks at what is due within this time; what is due for longer, it does not find.
pub(crate) const OVERDUE: Duration = LOOK_AHEAD;

/// What was found about the work, beside the survey.
pub(crate) struct Pulse<'a> {
    pub(crate) survey: &'a Survey,
    pub(crate) overdue: Check<Vec<Run>>,
}

enum Verdict {
    Pass,
    Warn,
    Fail,
}

impl Pulse<'_> {
    /// `sees` says of which tenants the caller may see runs.
    pub(crate) fn reply(&self, sees: impl Fn(&TenantId) -> bool) -> Result<Reply, Problem> {
        let (verdict, message, details) = self.judge();
        let (word, status) = match verdict {
            Verdict::Pass => ("pass", StatusCode::OK),
            Verdict::Warn => ("warn", StatusCode::SERVICE_UNAVAILABLE),
            Verdict::Fail => ("fail", StatusCode::SERVICE_UNAVAILABLE),
        };
        let mut said = json!({"status": word, "message": message});
        if let Some(details) = details {
            said["details"] = details;
        }
        let leases = self.overdue.iter().flatten().filter(|run| is_stale(run) && sees(&run.tenant)).map(lease);
        let dead = self.survey.dead_letters.found.as_ref().ok();
        let body = json!({
            "status": said,
            "timestamp": rfc3339_millis::format(self.survey.at),
            "worker": self.worker(),
            "queueHealth": QueueHealth::of(self.survey),
            "queueDepths": {
                "tasks": self.survey.tasks.found.as_ref().ok().map(|depth| counts(depth, dead.map(Depth::pending))),
                "dead_letters": dead.map(|depth| counts(depth, None)),
            },
            "leases": leases.collect::<Vec<_>>(),
            // What callers wait for is worked on in the API's own function, as far as they wait.
            "inlineWorker": true,
        });
        Reply::json(status, &body)
    }

    /// In the order of the manual: no worker, no queue, leases that nobody renews, a backlog.
    fn judge(&self) -> (Verdict, String, Option<Value>) {
        let fail = |message: String| (Verdict::Fail, message, None);
        let marks = match &self.survey.table.found {
            Ok(marks) => marks,
            Err(problem) => return fail(format!("Whether workers live cannot be told: {problem}.")),
        };
        if let Some(message) = self.silence(marks) {
            return fail(message);
        }
        if let Some(problem) = self.survey.queue_problem() {
            return (Verdict::Fail, QueueHealth::of(self.survey).message.to_owned(), Some(json!({"error": problem})));
        }
        match &self.overdue {
            Err(problem) => return fail(format!("Whether runs are stuck cannot be told: {problem}.")),
            Ok(overdue) if !overdue.is_empty() => {
                let stale = overdue.iter().filter(|run| is_stale(run)).count();
                let message = format!(
                    "{} runs, or more, wait for the sweeper; {stale} of them have a lease without a fresh heartbeat.",
                    overdue.len()
                );
                return (Verdict::Warn, message, Some(json!({"overdue": overdue.len(), "staleLeases": stale})));
            }
            Ok(_) => {}
        }
        let waiting = self.survey.tasks.found.as_ref().map_or(0, Depth::pending);
        let latency = marks.arrived.map(|arrived| between(arrived.sent_at, arrived.at)).unwrap_or_default();
        let details = Some(json!({"totalWaiting": waiting}));
        if latency > SLOW {
            let message = format!("The last canary waited {} s for a worker; {waiting} messages wait.", latency.as_secs());
            return (Verdict::Warn, message, details);
        }
        if waiting > self.survey.thresholds().backlog {
            return (Verdict::Warn, format!("Queue depth is {waiting}. Workers run, but the backlog is large."), details);
        }
        // Some messages wait for a moment in every queue that is used.
        let tail = if waiting == 0 { "the queue is drained".to_owned() } else { format!("{waiting} messages are on their way") };
        (Verdict::Pass, format!("Workers take messages off the queue; {tail}."), None)
    }

    /// What says that no work gets done, if something does.
    fn silence(&self, marks: &Marks) -> Option<String> {
        let age = |at: Timestamp| between(at, self.survey.at);
        match (marks.arrived, marks.swept_at) {
            (Some(arrived), _) if age(arrived.at) <= TIMEOUT => None,
            (Some(_), None) => Some("No sweeper has left a mark, so no canary is sent.".into()),
            (_, Some(swept)) if age(swept) > TIMEOUT => Some(format!(
                "The sweeper has been silent for {} s: no canary is sent, and nobody looks after stuck runs.",
                age(swept).as_secs()
            )),
            (Some(arrived), Some(_)) => Some(format!(
                "No worker has taken a canary off the queue for {} s. Queue processing is offline.",
                age(arrived.at).as_secs()
            )),
            (None, _) => Some("No worker has taken a canary off the queue yet; the sweeper sends one a minute.".into()),
        }
    }

    fn worker(&self) -> Value {
        let marks = self.survey.table.found.as_ref().ok().copied().unwrap_or_default();
        let age = |at: Timestamp| u64::try_from(between(at, self.survey.at).as_millis()).unwrap_or(u64::MAX);
        let (at, swept) = (marks.arrived.map(|arrived| arrived.at), marks.swept_at);
        json!({
            "started": at.is_some(),
            "id": "queue-consumer",
            "queue": "tasks",
            "heartbeatTimeoutMs": u64::try_from(TIMEOUT.as_millis()).unwrap_or(u64::MAX),
            "latestHeartbeatAt": at.map(rfc3339_millis::format),
            "latestHeartbeatAgeMs": at.map(age),
            "latestCanaryLatencyMs": marks.arrived.map(|it| u64::try_from(between(it.sent_at, it.at).as_millis()).unwrap_or(u64::MAX)),
            "sweeperAt": swept.map(rfc3339_millis::format),
            "sweeperAgeMs": swept.map(age),
        })
    }
}

/// A queue in the manual's words. SQS counts nothing that is done, and does not pause.
fn counts(depth: &Depth, failed: Option<u64>) -> Value {
    let total = depth.waiting + depth.in_flight + depth.delayed;
    json!({
        "waiting": depth.waiting, "active": depth.in_flight, "completed": null, "failed": failed, "delayed": depth.delayed, "paused": 0,
        "total": total,
    })
}

fn is_stale(run: &Run) -> bool {
    run.state == RunState::Running
}

fn lease(run: &Run) -> Value {
    let locked = run.transitions.iter().rev().find(|transition| transition.to == RunState::Running).map(|transition| transition.at);
    json!({
        "executionId": run.id,
        "organizationId": run.tenant,
        "workerId": run.lease_owner,
        "lockedAt": locked.map(rfc3339_millis::format),
        "lockExpiresAt": Timestamp::from_millisecond(run.lease_until_ms).ok().map(rfc3339_millis::format),
        "lastHeartbeatAt": rfc3339_millis::format(run.updated_at),
        // Renewals are not counted.
        "renewCount": null,
    })
}
