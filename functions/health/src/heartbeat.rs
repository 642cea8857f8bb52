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
use shared::heartbeat::Depth;
use shared::http::{Problem, Reply};
use shared::sweep::LOOK_AHEAD;

use crate::checks::Check;
use crate::indicator::Health;
use crate::ready::QueueHealth;
use crate::signs::{self, backlog};
use crate::survey::Survey;

/// The sweeper looks at what is due within this time; what is due for longer, it does not find.
pub(crate) const OVERDUE: Duration = LOOK_AHEAD;

/// What was found about the work, beside the survey.
pub(crate) struct Pulse<'a> {
    pub(crate) survey: &'a Survey,
    /// Runs that somebody has to look at.
    pub(crate) due: Check<Vec<Run>>,
    /// What was due before then, and still is, nobody looks after.
    pub(crate) late: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    Warn,
    Fail,
}

impl Verdict {
    pub(crate) const ALL: [Self; 3] = [Self::Pass, Self::Warn, Self::Fail];

    /// As the manual has it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

impl Pulse<'_> {
    /// `sees` says of which tenants the caller may see runs.
    pub(crate) fn reply(&self, sees: impl Fn(&TenantId) -> bool) -> Result<Reply, Problem> {
        let (verdict, message, details) = self.judge();
        let status = match verdict {
            Verdict::Pass => StatusCode::OK,
            Verdict::Warn | Verdict::Fail => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut said = json!({"status": verdict.word(), "message": message});
        if let Some(details) = details {
            said["details"] = details;
        }
        let mut held: Vec<&Run> = self.due.iter().flatten().filter(|run| is_held(run) && sees(&run.tenant)).collect();
        held.sort_by_key(|run| locked_at(run));
        let leases = held.into_iter().map(|run| self.lease(run));
        let dead = self.survey.dead_letters.found.as_ref().ok();
        let body = json!({
            "status": said,
            "timestamp": rfc3339_millis::format(self.survey.at),
            "worker": self.worker(),
            "queueHealth": QueueHealth::of(self.survey),
            "queueDepths": {
                "tasks": self.survey.tasks.found.as_ref().ok().map(|depth| counts(depth, dead.map(Depth::pending))),
                "dead_letters": dead.map(|depth| counts(depth, None)),
                "jobs": self.survey.jobs.found.as_ref().ok().map(|depth| counts(depth, None)),
            },
            "leases": leases.collect::<Vec<_>>(),
            // What callers wait for is worked on in the API's own function, as far as they wait.
            "inlineWorker": true,
        });
        Reply::json(status, &body)
    }

    /// What the probe says, in a word.
    pub(crate) fn verdict(&self) -> Verdict {
        self.judge().0
    }

    /// In the order of the manual: no worker, no queue, leases that nobody renews, a backlog.
    fn judge(&self) -> (Verdict, String, Option<Value>) {
        let fail = |message: String| (Verdict::Fail, message, None);
        let marks = match &self.survey.table.found {
            Ok(marks) => marks,
            Err(problem) => return fail(format!("Whether workers live cannot be told: {problem}.")),
        };
        let timeout = self.survey.thresholds().heartbeat;
        let (worker, sweeper) = (signs::worker(marks, self.survey.at, timeout), signs::sweeper(marks, self.survey.at, timeout));
        for (health, message) in [&sweeper, &worker] {
            if *health == Health::Unhealthy {
                return fail(message.clone());
            }
        }
        if let Some(problem) = self.survey.queue_problem() {
            return (Verdict::Fail, QueueHealth::of(self.survey).message.to_owned(), Some(json!({"error": problem})));
        }
        let due = match &self.due {
            Err(problem) => return fail(format!("Whether runs are stuck cannot be told: {problem}.")),
            Ok(due) => due,
        };
        // The index may lag behind: the record is the truth.
        let overdue: Vec<&Run> = due.iter().filter(|run| run.due_ms.is_some_and(|at| at < self.late.as_millisecond())).collect();
        if !overdue.is_empty() {
            let stale = overdue.iter().filter(|run| is_held(run)).count();
            let message =
                format!("{} runs, or more, wait for the sweeper; {stale} of them have a lease without a fresh heartbeat.", overdue.len());
            let oldest = overdue.iter().filter(|run| run.state == RunState::Queued).map(|run| between(run.updated_at, self.survey.at));
            let oldest = oldest.max().map(|age| age.as_secs());
            let details = json!({"overdue": overdue.len(), "staleLeases": stale, "oldestQueuedSeconds": oldest});
            return (Verdict::Warn, message, Some(details));
        }
        let waiting = self.survey.tasks.found.as_ref().map_or(0, Depth::pending);
        let late = Some(worker).filter(|(health, _)| *health == Health::Degraded).map(|(_, message)| message);
        if let Some(problem) = late.or_else(|| backlog(self.survey)) {
            let recent: Vec<u64> = marks.depths.iter().map(|tick| tick.depth.waiting).collect();
            let oldest = signs::oldest(self.survey).map(|age| age.as_secs());
            return (Verdict::Warn, problem, Some(json!({"totalWaiting": waiting, "lastTicks": recent, "oldestQueuedSeconds": oldest})));
        }
        // Some messages wait for a moment in every queue that is used.
        let tail = if waiting == 0 { "the queue is drained".to_owned() } else { format!("{waiting} messages are on their way") };
        (Verdict::Pass, format!("Workers take messages off the queue; {tail}."), None)
    }

    fn worker(&self) -> Value {
        let marks = self.survey.table.found.as_ref().ok().cloned().unwrap_or_default();
        let timeout = self.survey.thresholds().heartbeat;
        let age = |at: Timestamp| u64::try_from(between(at, self.survey.at).as_millis()).unwrap_or(u64::MAX);
        let (at, swept) = (marks.arrived.map(|arrived| arrived.at), marks.swept_at);
        json!({
            "started": at.is_some(),
            "id": "queue-consumer",
            "queue": "tasks",
            "heartbeatTimeoutMs": u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
            "latestHeartbeatAt": at.map(rfc3339_millis::format),
            "latestHeartbeatAgeMs": at.map(age),
            "latestCanaryLatencyMs": marks.arrived.map(|it| u64::try_from(between(it.sent_at, it.at).as_millis()).unwrap_or(u64::MAX)),
            "sweeperAt": swept.map(rfc3339_millis::format),
            "sweeperAgeMs": swept.map(age),
        })
    }

    fn lease(&self, run: &Run) -> Value {
        // A renewal writes nothing but the lease's new end.
        let renewed = run.lease_end().checked_sub(jiff::SignedDuration::try_from(self.survey.thresholds().lease).unwrap_or_default());
        let last = renewed.unwrap_or(run.updated_at).clamp(run.updated_at, run.updated_at.max(self.survey.at));
        json!({
            "executionId": run.id,
            "organizationId": run.tenant,
            "workerId": run.lease_owner,
            "lockedAt": locked_at(run).map(rfc3339_millis::format),
            "lockExpiresAt": Timestamp::from_millisecond(run.lease_until_ms).ok().map(rfc3339_millis::format),
            "lastHeartbeatAt": rfc3339_millis::format(last),
            "renewCount": run.renewals,
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

fn is_held(run: &Run) -> bool {
    run.state == RunState::Running
}

/// When its lease was taken.
fn locked_at(run: &Run) -> Option<Timestamp> {
    run.transitions.iter().rev().find(|transition| transition.to == RunState::Running).map(|transition| transition.at)
}
