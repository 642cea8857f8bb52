//! The real binaries against a mock Lambda Runtime API: how they start, what they touch, and how they end.
//!
//! Looks for the binaries beside its own (`target/<profile>/`): `cargo build` first, or `make test`, which does.

mod aws;
mod definitions;
mod failing;
mod function;
mod health;
mod logging;
mod starting;
mod streaming;
mod tracing;
