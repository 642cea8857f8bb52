//! What the end-to-end and runtime tests stand on. [`Stack`] is the deployed stack, [`runs`] what tests do with it,
//! [`requests`], [`logs`], [`model`], [`queues`], [`cloudwatch`] and [`processes`] what they look at from behind, [`runtime_api`] a mock Lambda
//! Runtime API for single binaries, [`runbook`] runbooks as programs, [`wait_for`] the only way to wait.

pub mod client;
pub mod cloudwatch;
pub mod functions;
pub mod logs;
pub mod model;
pub mod processes;
pub mod queues;
pub mod requests;
pub mod runbook;
pub mod runs;
pub mod runtime_api;
mod stack;
mod table;
mod wait;

pub use stack::{Alone, Beside, Stack, address};
pub use wait::{fresh, wait_for};
