//! Reprise's library: what every function and the command share.
//!
//! Read in this order: [`domain`] (the words and the state table, no I/O), [`engine`] (how one run advances, and the
//! ports it needs), [`ledger`] (how a change is written), [`intake`] (how a run is accepted), then the adapters [`aws`] and [`model`] and the edges [`http`],
//! [`config`] and [`telemetry`].

#[cfg(test)]
#[expect(unreachable_pub, reason = "a part of the crate agent-files, compiled here for its tests")]
mod agent_folder;
pub mod backup;
pub mod config;
pub mod definitions;
pub mod domain;
pub mod engine;
#[cfg(any(test, feature = "fakes"))]
pub mod fakes;
pub mod heartbeat;
pub mod intake;
pub mod jobs;
pub mod ledger;
pub mod letters;
pub mod metrics;
pub mod operate;
pub mod replay;
pub mod stream;
pub mod sweep;
pub mod telemetry;
pub mod tools;

#[cfg(any(feature = "dynamodb", feature = "sqs", feature = "secrets"))]
pub mod aws;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "model")]
pub mod model;
