//! What is read off the records as they are written: whatever ends a run, puts one back or finishes a step passes the store, so it is
//! counted there, once, when the write was carried out.

use std::time::Duration;

use jiff::Timestamp;

use super::catalogue::Counter;
use super::measured::{Dimension, Measured, Unit};
use super::meter::{Meter, number};
use crate::domain::clock::between;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::run::Run;
use crate::domain::state::RunState;
use crate::domain::step::{Purpose, Step, StepBody};
use crate::engine::ports::{Guard, Write};

/// What the sweeper finds once a tick. What it could not read is absent: no number is better than a wrong one.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Gauges {
    /// Since the last canary arrived.
    pub canary_age: Option<Duration>,
    /// How long that one waited.
    pub canary_latency: Option<Duration>,
    /// Runs that somebody should have looked at five minutes ago.
    pub stuck_runs: Option<u64>,
    /// Models whose breaker keeps calls away, or did so until a few minutes ago.
    pub breakers_open: Option<u64>,
    /// Messages on the dead-letter queue.
    pub dead_runs: Option<u64>,
    /// Messages on the tasks queue that nobody has taken.
    pub queue_depth: Option<u64>,
    /// Since the last copy of everything was verified; where there is none, since the deployment is there.
    pub backup_age: Option<Duration>,
}

impl Meter {
    /// These writes were carried out.
    pub fn written(&self, writes: &[Write<'_>]) {
        self.measure(|m| {
            for write in writes {
                if let Write::Run(run, guard) = write {
                    moved(m, run, *guard);
                } else if let Write::Step(_, step) = write {
                    finished(m, step);
                }
            }
        });
    }

    /// A worker has claimed a run that was `before`; its attempt has this number.
    pub fn claimed(&self, before: &Run, attempt: u32, now: Timestamp) {
        self.measure(|m| {
            if attempt > 1 {
                m.point(&Dimension::Stack, "Retries", Unit::Count, 1.0);
                m.count(Counter::new("retries_total"), 1.0);
            }
            // After a failure it is to wait: that says nothing of how busy the workers are.
            let ready = before.transitions.last().filter(|last| {
                let pauses = before.failures.last().is_some_and(|failure| failure.code == last.reason);
                before.state == RunState::Queued && !pauses
            });
            if let Some(ready) = ready {
                let waited = between(ready.at, now);
                m.point(&Dimension::Stack, "QueueWaitMs", Unit::Milliseconds, waited.as_secs_f64() * 1000.0);
                m.observe(&Counter::new("queue_wait_seconds"), waited.as_secs_f64());
            }
        });
    }

    /// A tick of the sweeper, and what it found.
    pub fn tick(&self, found: &Gauges) {
        let seconds = |duration: Option<Duration>| duration.map(|duration| duration.as_secs_f64());
        let gauges = [
            ("CanaryAgeSeconds", Unit::Seconds, seconds(found.canary_age)),
            ("CanaryLatencyMs", Unit::Milliseconds, seconds(found.canary_latency).map(|seconds| seconds * 1000.0)),
            ("StuckRuns", Unit::Count, found.stuck_runs.map(number)),
            ("BreakersOpen", Unit::Count, found.breakers_open.map(number)),
            ("DeadRuns", Unit::Count, found.dead_runs.map(number)),
            ("QueueDepth", Unit::Count, found.queue_depth.map(number)),
            ("BackupAgeHours", Unit::None, seconds(found.backup_age).map(|seconds| seconds / 3600.0)),
        ];
        self.measure(|m| {
            m.point(&Dimension::Stack, "SweeperTicks", Unit::Count, 1.0);
            m.count(Counter::new("sweeper_ticks_total"), 1.0);
            for (name, unit, value) in gauges {
                if let Some(value) = value {
                    m.point(&Dimension::Stack, name, unit, value);
                }
            }
        });
    }
}

/// A run's record was written: whether it has another state now.
fn moved(m: &mut Measured, run: &Run, guard: Guard) {
    let before = match guard {
        Guard::New => None,
        Guard::Held { .. } => Some(RunState::Running),
        Guard::Seen(seen) => Some(seen.state),
    };
    if before == Some(run.state) {
        return;
    }
    let dead_letter = |m: &mut Measured, name, direction| {
        m.point(&Dimension::Stack, name, Unit::Count, 1.0);
        m.count(Counter::new("dead_letters_total").with("direction", direction), 1.0);
    };
    if before == Some(RunState::Dead) {
        dead_letter(m, "DeadLettersOut", "out");
    }
    if run.state == RunState::Dead {
        dead_letter(m, "DeadLettersIn", "in");
    }
    // What died and is given up has ended before.
    if run.state.has_ended() && before != Some(RunState::Dead) {
        ended(m, run);
    }
    let reason = run.transitions.last().map(|last| last.reason.as_str());
    if let Some(failure) = run.failures.last().filter(|failure| reason == Some(failure.code.as_ref())) {
        m.count(Counter::new("errors_total").with("error_type", &word(failure)), 1.0);
    }
}

/// A run has ended.
fn ended(m: &mut Measured, run: &Run) {
    let took = between(run.created_at, run.ended_at.unwrap_or(run.updated_at));
    let dimension = Dimension::Agent(run.agent.clone());
    let is_bad = run.state == RunState::Dead || (run.state == RunState::Failed && run.failures.last().is_none_or(is_our_fault));
    let states = [
        ("RunsCompleted", run.state == RunState::Completed),
        ("RunsFailed", run.state == RunState::Failed),
        ("RunsDead", run.state == RunState::Dead),
        ("RunsCancelled", run.state == RunState::Cancelled),
        ("RunsBad", is_bad),
    ];
    for (name, is_it) in states {
        m.point(&dimension, name, Unit::Count, f64::from(u8::from(is_it)));
    }
    m.point(&dimension, "RunMs", Unit::Milliseconds, took.as_secs_f64() * 1000.0);
    m.count(Counter::new("runs_total").with("agent", &run.agent).with("outcome", run.state.as_str()), 1.0);
    m.count(Counter::new("runs_bad_total"), f64::from(u8::from(is_bad)));
    m.observe(&Counter::new("run_duration_seconds"), took.as_secs_f64());
}

/// A step was finished.
fn finished(m: &mut Measured, step: &Step) {
    let (kind, took) = match &step.body {
        StepBody::Model(_) => ("model", between(step.started_at, step.ended_at)),
        StepBody::Tool(_) => ("tool", between(step.started_at, step.ended_at)),
        // A person's time.
        StepBody::Approval(_) => return,
    };
    m.point(&Dimension::Kind(kind), "StepMs", Unit::Milliseconds, took.as_secs_f64() * 1000.0);
    m.observe(&Counter::new("step_duration_seconds").with("kind", kind), took.as_secs_f64());
    let StepBody::Model(model) = &step.body else { return };
    let Some(verdict) = model.verdict.as_ref().filter(|_| model.purpose != Purpose::Reflect) else { return };
    m.point(&Dimension::Stack, "Reflections", Unit::Count, 1.0);
    m.point(&Dimension::Stack, "ReflectionFailures", Unit::Count, f64::from(u8::from(!verdict.success)));
    let status = if verdict.success { "success" } else { "failure" };
    m.count(Counter::new("reflections_total").with("status", status), 1.0);
    // A zero makes the series begin before the first failure, so that a rate sees it.
    m.count(Counter::new("reflection_failures_total"), f64::from(u8::from(!verdict.success)));
}

/// The code of a failure; those that records of later versions may have are one word.
fn word(failure: &Failure) -> String {
    FailureCode::of(&failure.code).map_or("other", FailureCode::as_str).to_owned()
}

/// Whether a run that cannot succeed is ours to mend: not what its agent, its caller or a model's answer is the cause of.
fn is_our_fault(failure: &Failure) -> bool {
    use FailureCode as C;
    match FailureCode::of(&failure.code) {
        Some(
            C::ProviderRejected
            | C::AnswerCutOff
            | C::AnswerRefused
            | C::InvalidOutput
            | C::ResultTooLarge
            | C::StepLimit
            | C::TokenLimit
            | C::TimeLimit
            | C::CostLimit
            | C::RepeatedToolCall
            | C::CancelRequested,
        ) => false,
        Some(
            C::ProviderTimeout
            | C::ProviderRateLimited
            | C::ProviderUnavailable
            | C::ProviderAuth
            | C::NoProvider
            | C::InvalidAnswer
            | C::ToolsUnavailable
            | C::UnknownAgent
            | C::UncertainToolCall
            | C::WorkerLost
            | C::NoTime
            | C::JournalUnavailable
            | C::WorkerPanicked,
        )
        | None => true,
    }
}
