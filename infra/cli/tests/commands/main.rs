//! The binary as a user calls it: what it asks, what it prints and its exit codes, against a made-up API and in a made-up checkout.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its stage should panic")]

mod agents;
mod data;
mod dlq;
mod health;
mod incident;
mod replay;
mod run;
mod stack;
mod support;
mod terminal;
mod transport;
