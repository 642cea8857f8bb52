//! What one sandbox measures, and how it is told: to CloudWatch as lines on the log (`emf`), and to Prometheus as sums that the
//! whole fleet adds to in the table ([`fleet`], [`catalogue`]).
//!
//! A [`Meter`] collects in memory while an invocation works, which costs a map entry, and a `Reporter` tells it when the invocation
//! ends. Nothing here fails or delays whoever is measured. Dimensions and labels are bounded: functions, agents, providers and models of
//! the deployment, kinds and codes of ours; never a tenant, a run or a text of a caller (ADR 0029).

pub mod catalogue;
#[cfg(feature = "metrics")]
mod emf;
pub mod fleet;
mod measured;
mod meter;
#[cfg(feature = "metrics")]
mod report;
#[cfg(test)]
mod tests;
mod writes;

#[cfg(feature = "metrics")]
pub use emf::lines;
pub use measured::{Dimension, Measured, Unit};
pub use meter::{Meter, ModelCall, ModelEnd};
#[cfg(feature = "metrics")]
pub use report::{Instance, Reporter};
pub use writes::Gauges;
