//! Data and transitions. Nothing here does I/O or knows AWS, HTTP or an async runtime.
//!
//! The words are those of the README's glossary: event, run, step, journal, conversation, lease, dead letter.

pub mod agent;
#[cfg(test)]
#[expect(unreachable_pub, reason = "a part of the crate agent-files, compiled here for its tests")]
pub(crate) mod agent_files;
pub mod board;
pub mod breaker;
pub mod bundle;
pub mod bundle_file;
pub mod canonical;
pub mod clock;
pub mod conversation;
pub mod dead;
pub mod definition;
pub mod delta;
pub mod event;
pub mod failure;
pub mod id;
pub mod idempotency;
pub mod incident;
pub mod job;
pub mod job_message;
pub mod message;
pub mod overrides;
pub mod pattern;
pub mod price;
pub mod principal;
pub mod redact;
pub mod revival;
pub mod run;
pub mod schema;
pub mod spend;
pub mod state;
pub mod step;
pub mod task;
pub mod template;
pub mod tool_definition;
pub mod trace;
pub mod transcript;
pub mod trigger;
pub mod turn;
pub mod waiting;
pub mod wildcard;
