//! The adapters to AWS. SDK types end here; so do its retries and its time-outs.

#[cfg(feature = "dynamodb")]
mod backups;
#[cfg(feature = "dynamodb")]
mod breakers;
#[cfg(feature = "dynamodb")]
mod chunks;
#[cfg(feature = "dynamodb")]
mod contents;
#[cfg(feature = "dynamodb")]
mod dead;
#[cfg(feature = "dynamodb")]
mod erase;
#[cfg(feature = "dynamodb")]
mod events;
#[cfg(feature = "dynamodb")]
mod expression;
#[cfg(feature = "dynamodb")]
mod fleet;
#[cfg(feature = "dynamodb")]
mod incidents;
#[cfg(feature = "dynamodb")]
mod items;
#[cfg(feature = "sqs")]
mod job_queue;
#[cfg(feature = "dynamodb")]
mod jobs;
#[cfg(feature = "dynamodb")]
mod journal;
#[cfg(feature = "dynamodb")]
mod letter_book;
#[cfg(feature = "sqs")]
mod letters;
#[cfg(feature = "dynamodb")]
mod probes;
#[cfg(feature = "dynamodb")]
mod query;
#[cfg(feature = "sqs")]
mod queue;
#[cfg(feature = "dynamodb")]
mod records;
#[cfg(all(feature = "dynamodb", feature = "metrics"))]
mod sandbox;
#[cfg(feature = "secrets")]
mod secrets;
#[cfg(feature = "dynamodb")]
mod sweep;
#[cfg(test)]
#[cfg(all(feature = "dynamodb", feature = "sqs"))]
mod sweep_tests;
#[cfg(test)]
#[cfg(all(feature = "dynamodb", feature = "sqs"))]
mod tests;
#[cfg(feature = "dynamodb")]
mod transact;
#[cfg(feature = "dynamodb")]
mod whole_table;
#[cfg(feature = "dynamodb")]
mod writes;

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};

#[cfg(feature = "dynamodb")]
pub use items::Table;
#[cfg(feature = "sqs")]
pub use job_queue::JobMessages;
#[cfg(feature = "sqs")]
pub use queue::{DeadLetters, TaskQueue};
#[cfg(all(feature = "dynamodb", feature = "metrics"))]
pub use sandbox::Sandbox;
#[cfg(feature = "secrets")]
pub use secrets::AwsSecrets;

use crate::engine::ports::JournalError;

/// The shared settings of all clients of a function: region, credentials, time-outs, retries. `function` is what request
/// logs know the caller by.
pub async fn sdk_config(function: &'static str) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(1))
        .operation_attempt_timeout(Duration::from_secs(3))
        // Three attempts and their back-off: what a synchronous request can afford.
        .operation_timeout(Duration::from_secs(8))
        .build();
    let mut config = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts).retry_config(RetryConfig::standard());
    if let Ok(name) = aws_config::AppName::new(function) {
        config = config.app_name(name);
    }
    config.load().await
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> JournalError {
    JournalError::Unavailable(Box::new(error))
}
