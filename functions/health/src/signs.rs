//! What the signs of life say: does the sweeper tick, do workers take messages off the queue, does the queue get longer and longer.

use std::time::Duration;

use jiff::Timestamp;
use shared::domain::clock::between;
use shared::heartbeat::Marks;

use crate::indicator::Health;
use crate::survey::Survey;

/// A canary that took longer has waited for a consumer: it stands behind nobody's backlog, so all of them were busy. Not configured, as it
/// must be well below the time between two canaries.
const SLOW: Duration = Duration::from_secs(30);

/// Whether the sweeper ticks.
pub(crate) fn sweeper(marks: &Marks, now: Timestamp, timeout: Duration) -> (Health, String) {
    match marks.swept_at.map(|at| between(at, now)) {
        None => (Health::Unhealthy, "No sweeper has left a mark, so no canary is sent.".into()),
        Some(age) if age > timeout => {
            let silent =
                format!("The sweeper has been silent for {} s: no canary is sent, and nobody looks after stuck runs.", age.as_secs());
            (Health::Unhealthy, silent)
        }
        Some(age) => (Health::Healthy, format!("last seen {} s ago", age.as_secs())),
    }
}

/// Whether workers take messages off the queue.
pub(crate) fn worker(marks: &Marks, now: Timestamp, timeout: Duration) -> (Health, String) {
    match marks.arrived {
        Some(arrived) if between(arrived.at, now) <= timeout => {
            let wait = between(arrived.sent_at, arrived.at);
            if wait > SLOW {
                (Health::Degraded, format!("The last canary waited {} s for a worker.", wait.as_secs()))
            } else {
                (
                    Health::Healthy,
                    format!("took a canary {} s ago, which had waited {} ms", between(arrived.at, now).as_secs(), wait.as_millis()),
                )
            }
        }
        // Nobody sent one that they could have taken: what is wrong is said of the sweeper.
        _ if sweeper(marks, now, timeout).0 == Health::Unhealthy => {
            (Health::Degraded, "Whether workers live is not known: no canary is sent.".into())
        }
        Some(arrived) => {
            let age = between(arrived.at, now).as_secs();
            (Health::Unhealthy, format!("No worker has taken a canary off the queue for {age} s. Queue processing is offline."))
        }
        None => (Health::Unhealthy, "No worker has taken a canary off the queue yet; the sweeper sends one a minute.".into()),
    }
}

/// How long the run that has waited longest has waited for a worker, if the sweeper's last tick knew one.
pub(crate) fn oldest(survey: &Survey) -> Option<Duration> {
    let oldest = survey.table.found.as_ref().ok()?.oldest.as_ref()?;
    Some(between(oldest.since, survey.at))
}

/// What is wrong with the backlog, if something is: there is too much of it, somebody has waited in it for too long, or it grows and
/// nothing drains.
pub(crate) fn backlog(survey: &Survey) -> Option<String> {
    let (depth, marks) = (survey.tasks.found.as_ref().ok()?, survey.table.found.as_ref().ok());
    if depth.pending() > survey.thresholds().backlog {
        return Some(format!("Queue depth is {}. The backlog is large.", depth.pending()));
    }
    if let Some(age) = oldest(survey).filter(|age| *age > survey.thresholds().backlog_age) {
        return Some(format!("A run has waited in the queue for {} s.", age.as_secs()));
    }
    let course = marks?.growth(depth.waiting)?;
    let course = course.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Some(format!("The backlog grows from tick to tick and nothing drains: {course} messages wait."))
}
