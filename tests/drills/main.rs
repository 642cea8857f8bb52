//! What an operator sees while something is wrong, on a deployed stack with short thresholds: each probe under each fault, each metric and
//! trace, each alarm driven to ALARM and back, each runbook followed line by line.
//!
//! Faults are for the whole stack, so the tests run one after the other (`infra/checks/drills.sh`), and each leaves the stack healthy.

#![expect(clippy::unwrap_used, reason = "all of this is a test: a call that fails ends it")]

mod alarm_metrics;
mod alarms;
mod metrics;
mod pager;
mod probes;
mod runbooks;
mod traces;
